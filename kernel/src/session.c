/* session.c - see session.h. */
#include "session.h"

#include <stdio.h>
#include <string.h>

#include "sys.h"

void sessions_init(sessions_t *sessions, size_t max) {
    *sessions = (sessions_t){.max = max};
    list_init(&sessions->idle);
}

void sessions_free(sessions_t *sessions) {
    index_free(&sessions->by_client);
    index_free(&sessions->by_target);
}

#define CACHE_LINE 64

static bool has_id(const session_t *session, const char *id, size_t len) {
    return session->len == len && memcmp(session->id, id, len) == 0;
}

/* Has what the message will need next fetched from memory while it is still being looked at. */
static session_t *fetch_ahead(session_t *session) {
    for (size_t at = 0; at < TARGET_FETCH; at += CACHE_LINE) __builtin_prefetch((char *)session->target + at, 1);
    if (session->idle.next) {
        __builtin_prefetch(session->idle.next, 1);
        __builtin_prefetch(session->idle.prev, 1);
    }
    return session;
}

session_t *sessions_find(const sessions_t *sessions, const client_t *client, const pool_t *pool, const char *id,
                         size_t len) {
    uint32_t hash = index_hash((uint32_t)client->id, id, len);
    for (index_link_t *link = index_find(&sessions->by_client, hash); link; link = link->next) {
        session_t *session = list_entry(link, session_t, by_client);
        if (link->hash == hash && session->client == client && (!pool || session->target->pool == pool) &&
            has_id(session, id, len))
            return fetch_ahead(session);
    }
    return NULL;
}

session_t *sessions_find_on(const sessions_t *sessions, const target_t *target, const char *name, size_t len) {
    uint32_t hash = index_hash((uint32_t)target->worker_id, name, len);
    for (index_link_t *link = index_find(&sessions->by_target, hash); link; link = link->next) {
        session_t *session = list_entry(link, session_t, by_target);
        size_t stem = session_stem_len(session);
        if (link->hash == hash && session->target == target && len == stem + session->suffix_len &&
            memcmp(name, session->id, stem) == 0 && memcmp(name + stem, session->suffix, session->suffix_len) == 0)
            return session;
    }
    return NULL;
}

/* Gives the session a name that nobody has on its worker, the bare id only if it `may_be_bare`;
 * the hash of it.  False: all taken. */
static bool choose_name(const sessions_t *sessions, session_t *session, bool may_be_bare, uint32_t *hash) {
    char name[SESSION_ID_MAX + SESSION_SUFFIX_MAX];
    size_t stem = session_stem_len(session);
    memcpy(name, session->id, stem);
    for (int attempt = may_be_bare ? 0 : 1; attempt < 3; attempt++) {
        int len = snprintf(session->suffix, sizeof session->suffix, "~%d%s", (int)session->client->id,
                           attempt > 1 ? "~" : "");
        if (!attempt) len = 0;
        session->suffix_len = (uint8_t)len;
        memcpy(name + stem, session->suffix, session->suffix_len);
        size_t total = stem + session->suffix_len;
        *hash = index_hash((uint32_t)session->target->worker_id, name, total);
        if (!sessions_find_on(sessions, session->target, name, total)) return true;
    }
    return false;
}

/* `own_len`: how much of the id's end is the client's alone. */
static session_t *bind_named(sessions_t *sessions, client_t *client, target_t *target, const char *id, size_t len,
                             size_t own_len) {
    if (sessions->count >= sessions->max) {
        list_t *oldest = list_first(&sessions->idle);
        if (!oldest) return NULL;
        sessions_unbind(sessions, list_entry(oldest, session_t, idle));
    }
    session_t *session = sys_calloc(1, offsetof(session_t, id) + len);
    if (!session) return NULL;
    session->client = client;
    session->target = target;
    session->len = (uint16_t)len;
    session->own_len = (uint8_t)own_len;
    memcpy(session->id, id, len);
    uint32_t name_hash;
    if (!choose_name(sessions, session, true, &name_hash) ||
        !index_add(&sessions->by_client, &session->by_client, index_hash((uint32_t)client->id, id, len))) {
        sys_free(session);
        return NULL;
    }
    if (!index_add(&sessions->by_target, &session->by_target, name_hash)) {
        index_remove(&sessions->by_client, &session->by_client);
        sys_free(session);
        return NULL;
    }
    list_append(&client->sessions, &session->of_client);
    list_append(&target->sessions, &session->on_target);
    list_append(&sessions->idle, &session->idle);
    sessions->count++;
    return session;
}

session_t *sessions_bind(sessions_t *sessions, client_t *client, target_t *target, const char *id, size_t len) {
    return bind_named(sessions, client, target, id, len, 0);
}

session_t *sessions_learn(sessions_t *sessions, client_t *client, target_t *target, const char *name, size_t len) {
    char id[SESSION_ID_MAX + SESSION_SUFFIX_MAX];
    memcpy(id, name, len);
    int own_len = 0;
    for (int attempt = 0; sessions_find(sessions, client, target->pool, id, len + (size_t)own_len); attempt++) {
        own_len = snprintf(id + len, SESSION_SUFFIX_MAX, "@%d%s", (int)target->worker_id, attempt ? "@" : "");
        if (attempt == 2 || len + (size_t)own_len > SESSION_ID_MAX) return NULL; /* all taken, or too long */
    }
    return bind_named(sessions, client, target, id, len + (size_t)own_len, (size_t)own_len);
}

bool sessions_rename(sessions_t *sessions, session_t *session) {
    uint8_t len = session->suffix_len;
    char before[SESSION_SUFFIX_MAX];
    uint32_t hash;
    memcpy(before, session->suffix, sizeof before);
    if (!choose_name(sessions, session, false, &hash)) {
        session->suffix_len = len;
        memcpy(session->suffix, before, sizeof before);
        return false;
    }
    index_remove(&sessions->by_target, &session->by_target);
    return index_add(&sessions->by_target, &session->by_target, hash); /* there are buckets: never fails */
}

void sessions_unbind(sessions_t *sessions, session_t *session) {
    index_remove(&sessions->by_client, &session->by_client);
    index_remove(&sessions->by_target, &session->by_target);
    list_remove(&session->of_client);
    list_remove(&session->on_target);
    list_remove(&session->idle);
    sessions->count--;
    sys_free(session);
}

void sessions_count(sessions_t *sessions, session_t *session, int change) {
    if (change > 0) session->in_flight++;
    if (change < 0) session->in_flight--;
    list_remove(&session->idle);
    if (!session->in_flight) list_append(&sessions->idle, &session->idle);
}
