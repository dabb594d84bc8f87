/* session.c - see session.h. */
#include "session.h"

#include <stdio.h>
#include <string.h>

#include "sys.h"

void sessions_init(sessions_t *sessions, size_t max, const index_secret_t *secret) {
    *sessions = (sessions_t){.secret = *secret, .ties.secret = *secret, .max = max};
}

void sessions_free(sessions_t *sessions) {
    index_free(&sessions->by_client);
    index_free(&sessions->by_target);
    ties_free(&sessions->ties);
    heap_free(&sessions->holders);
}

#define CACHE_LINE 64
/* The bare id, then with the client's number behind it: others may have taken either, and ahead of
 * time.  What follows nobody can know beforehand. */
#define NAMES_TRIED 4
/* The key of a client among the holders that has no idle session: behind all others. */
#define NONE_IDLE UINT64_MAX

static uint32_t hash_of_id(const sessions_t *sessions, const client_t *client, const char *id, size_t len) {
    return index_hash(&sessions->secret, (uint32_t)client->id, id, len);
}

static uint32_t hash_of_name(const sessions_t *sessions, const target_t *target, const char *name, size_t len) {
    return index_hash(&sessions->secret, (uint32_t)target->worker_id, name, len);
}

static void fetch(const void *from, size_t len) {
    for (size_t at = 0; at < len; at += CACHE_LINE) __builtin_prefetch((const char *)from + at, 1);
    __builtin_prefetch((const char *)from + len - 1, 1);
}

/* Has what the message will need next fetched from memory while it is still being looked at. */
static session_t *fetch_ahead(session_t *session) {
    fetch(session->target, TARGET_FETCH);
    if (session->idle.next) {
        __builtin_prefetch(session->idle.next, 1);
        __builtin_prefetch(session->idle.prev, 1);
    }
    return session;
}

session_key_t sessions_key(const sessions_t *sessions, const client_t *client, const char *id, size_t len) {
    session_key_t key = {.client = client, .id = id, .len = len, .hash = hash_of_id(sessions, client, id, len)};
    index_fetch(&sessions->by_client, key.hash);
    return key;
}

void sessions_fetch(const sessions_t *sessions, const session_key_t *key) {
    const size_t hot = sizeof(session_t) - offsetof(session_t, idle);
    session_t *session;
    for (size_t at = index_begin(&sessions->by_client, key->hash);
         (session = index_next(&sessions->by_client, key->hash, &at));)
        fetch(&session->idle, hot + key->len);
}

session_t *sessions_find(const sessions_t *sessions, const session_key_t *key, const pool_t *pool) {
    session_t *session, *found = NULL;
    for (size_t at = index_begin(&sessions->by_client, key->hash);
         (session = index_next(&sessions->by_client, key->hash, &at));)
        if (session->client == key->client && (!pool || session->pool == pool) && session->len == key->len &&
            memcmp(session->id, key->id, key->len) == 0)
            found = session;
    return found ? fetch_ahead(found) : NULL;
}

session_t *sessions_find_on(const sessions_t *sessions, const target_t *target, const char *name, size_t len) {
    uint32_t hash = hash_of_name(sessions, target, name, len);
    session_t *session;
    for (size_t at = index_begin(&sessions->by_target, hash); (session = index_next(&sessions->by_target, hash, &at));) {
        size_t stem = session_stem_len(session);
        if (session->target == target && len == stem + session->suffix_len &&
            memcmp(name, session->id, stem) == 0 && memcmp(name + stem, session->suffix, session->suffix_len) == 0)
            return session;
    }
    return NULL;
}

size_t session_name(const session_t *session, char out[SESSION_NAME_MAX]) {
    size_t stem = session_stem_len(session);
    memcpy(out, session->id, stem);
    memcpy(out + stem, session->suffix, session->suffix_len);
    return stem + session->suffix_len;
}

/* Where workers do not see names, sessions need none there. */
static bool needs_name(const session_t *session) {
    return profile_shows_sessions(session->pool->config->profile);
}

static uint32_t make_up_number(sessions_t *sessions) {
    uint64_t count = ++sessions->named;
    return index_hash(&sessions->secret, 0, (const char *)&count, sizeof count);
}

/* Gives the session a name that nobody has on its worker, the bare id only if it `may_be_bare`.
 * False: all taken. */
static bool choose_name(sessions_t *sessions, session_t *session, bool may_be_bare) {
    char name[SESSION_NAME_MAX];
    for (int attempt = may_be_bare ? 0 : 1; attempt < NAMES_TRIED; attempt++) {
        char *suffix = session->suffix;
        int len = attempt == 0   ? 0
                  : attempt == 1 ? snprintf(suffix, SESSION_SUFFIX_MAX, "~%d", (int)session->client->id)
                                 : snprintf(suffix, SESSION_SUFFIX_MAX, "~%08x", (unsigned)make_up_number(sessions));
        session->suffix_len = (uint8_t)len;
        if (!sessions_find_on(sessions, session->target, name, session_name(session, name))) return true;
    }
    return false;
}

static uint32_t hash_of_session(const sessions_t *sessions, const session_t *session) {
    char name[SESSION_NAME_MAX];
    return hash_of_name(sessions, session->target, name, session_name(session, name));
}

static bool join_by_target(sessions_t *sessions, session_t *session) {
    return !needs_name(session) || index_add(&sessions->by_target, hash_of_session(sessions, session), session);
}

static void leave_by_client(sessions_t *sessions, const session_t *session) {
    index_remove(&sessions->by_client, hash_of_id(sessions, session->client, session->id, session->len), session);
}

static uint64_t holder_key(const client_t *client) {
    return list_first(&client->idle) ? UINT64_MAX - client->session_count : NONE_IDLE;
}

/* Places the client by what it has.  Later it may deserve less: that it has used a session, has none
 * idle any more or has lost some is seen when it comes first, which costs messages nothing. */
static void rank(sessions_t *sessions, client_t *client) {
    client->holder.key = holder_key(client);
    client->holder.order = client->session_use;
    heap_put(&sessions->holders, &client->holder); /* there is room: never fails */
}

/* Who has most sessions, of the clients with an idle one; among equals who has used none for the
 * longest time. */
static client_t *holder_of_most(sessions_t *sessions) {
    heap_node_t *first;
    while ((first = heap_first(&sessions->holders)) && first->key != NONE_IDLE) {
        client_t *client = list_entry(first, client_t, holder);
        if (first->key == holder_key(client) && first->order == client->session_use) return client;
        rank(sessions, client);
    }
    return NULL;
}

/* The session to be forgotten for a new one of this client.  Whoever could push out those of clients
 * that have fewer could take over their names, and with them their conversations. */
static session_t *dispensable(sessions_t *sessions, const client_t *client) {
    const client_t *from = holder_of_most(sessions);
    if (!from) return NULL;
    if (client->session_count >= from->session_count) from = client;
    list_t *oldest = list_first(&from->idle);
    return oldest ? list_entry(oldest, session_t, idle) : NULL;
}

/* `own_len`: how much of the id's end is the client's alone. */
static session_t *bind_named(sessions_t *sessions, client_t *client, target_t *target, const char *id, size_t len,
                             size_t own_len) {
    if (sessions->count >= sessions->max) {
        session_t *old = dispensable(sessions, client);
        if (!old) return NULL;
        sessions_unbind(sessions, old);
    }
    session_t *session = sys_calloc(1, offsetof(session_t, id) + len);
    if (!session) return NULL;
    session->client = client;
    session->target = target;
    session->pool = target->pool;
    session->len = (uint16_t)len;
    session->own_len = (uint8_t)own_len;
    memcpy(session->id, id, len);
    if (needs_name(session) && !choose_name(sessions, session, true)) goto fail;
    if (!heap_reserve(&sessions->holders, sessions->holders.count + 1)) goto fail;
    if (!tie_take(&sessions->ties, client, target, &session->tie)) goto fail;
    if (!index_add(&sessions->by_client, hash_of_id(sessions, client, id, len), session)) goto fail_tie;
    if (!join_by_target(sessions, session)) goto fail_index;
    list_append(&client->sessions, &session->of_client);
    list_append(&target->sessions, &session->on_target);
    list_append(&client->idle, &session->idle);
    sessions->count++;
    client->session_count++;
    client->session_use = ++sessions->uses;
    rank(sessions, client);
    return session;

fail_index:
    leave_by_client(sessions, session);
fail_tie:
    tie_drop(session->tie);
fail:
    sys_free(session);
    return NULL;
}

session_t *sessions_bind(sessions_t *sessions, client_t *client, target_t *target, const char *id, size_t len) {
    return bind_named(sessions, client, target, id, len, 0);
}

session_t *sessions_learn(sessions_t *sessions, client_t *client, target_t *target, const char *name, size_t len) {
    char id[SESSION_NAME_MAX];
    memcpy(id, name, len);
    int own_len = 0;
    for (int attempt = 0;; attempt++) {
        session_key_t key = sessions_key(sessions, client, id, len + (size_t)own_len);
        if (!sessions_find(sessions, &key, target->pool)) break;
        own_len = snprintf(id + len, SESSION_SUFFIX_MAX, "@%d%s", (int)target->worker_id, attempt ? "@" : "");
        if (attempt == 2 || len + (size_t)own_len > SESSION_ID_MAX) return NULL; /* all taken, or too long */
    }
    return bind_named(sessions, client, target, id, len + (size_t)own_len, (size_t)own_len);
}

bool sessions_rename(sessions_t *sessions, session_t *session) {
    uint8_t len = session->suffix_len;
    char before[SESSION_SUFFIX_MAX];
    memcpy(before, session->suffix, sizeof before);
    uint32_t hash = hash_of_session(sessions, session);
    if (!choose_name(sessions, session, false)) {
        session->suffix_len = len;
        memcpy(session->suffix, before, sizeof before);
        return false;
    }
    index_remove(&sessions->by_target, hash, session);
    return join_by_target(sessions, session); /* there is a place: never fails */
}

void sessions_unbind(sessions_t *sessions, session_t *session) {
    client_t *client = session->client;
    leave_by_client(sessions, session);
    if (needs_name(session)) index_remove(&sessions->by_target, hash_of_session(sessions, session), session);
    list_remove(&session->of_client);
    list_remove(&session->on_target);
    list_remove(&session->idle);
    tie_drop(session->tie);
    sessions->count--;
    if (!--client->session_count) heap_remove(&sessions->holders, &client->holder);
    sys_free(session);
}

void sessions_count(sessions_t *sessions, session_t *session, int change) {
    if (change > 0) session->in_flight++;
    if (change < 0) session->in_flight--;
    client_t *client = session->client;
    client->session_use = ++sessions->uses;
    list_remove(&session->idle);
    if (session->in_flight) return;
    list_append(&client->idle, &session->idle);
    if (client->holder.key == NONE_IDLE) rank(sessions, client);
}
