/* pending.c - see pending.h. */
#include "pending.h"

#include <string.h>

#include "stdio_bus.h"
#include "sys.h"

#define CHUNK 256u

/* id = generation * PENDING_MAX + slot + 1: an id finds its slot without a search, and
 * each use of a slot has an id of its own. */
static size_t slot_of(uint64_t id) {
    return (size_t)((id - 1) % PENDING_MAX);
}

void pendings_free(pendings_t *pendings) {
    for (size_t i = 0; i < pendings->chunk_count; i++) sys_free(pendings->chunks[i]);
    sys_free(pendings->chunks);
    index_free(&pendings->by_client_id);
    *pendings = (pendings_t){0};
}

static bool add_chunk(pendings_t *pendings) {
    size_t count = pendings->chunk_count;
    if (count == PENDING_MAX / CHUNK) return false;
    pending_t **chunks = sys_realloc(pendings->chunks, (count + 1) * sizeof(*chunks));
    if (!chunks) return false;
    pendings->chunks = chunks;
    pending_t *chunk = sys_calloc(CHUNK, sizeof *chunk);
    if (!chunk) return false;
    chunks[count] = chunk;
    pendings->chunk_count++;
    for (size_t i = CHUNK; i-- > 0;) {
        chunk[i].id = count * CHUNK + i + 1;
        chunk[i].next_free = pendings->free;
        pendings->free = &chunk[i];
    }
    return true;
}

static bool copy_texts(pending_t *p, const pending_texts_t *t) {
    size_t total = t->id_len + t->token_len + t->put_back_len + t->session_len;
    p->texts = total <= sizeof p->small ? p->small : sys_malloc(total);
    if (!p->texts) return false;
    p->id_len = (uint32_t)t->id_len;
    p->token_len = (uint32_t)t->token_len;
    p->put_back_len = (uint32_t)t->put_back_len;
    p->session_len = (uint32_t)t->session_len;
    char *to = p->texts;
    if (t->id_len) memcpy(to, t->id, t->id_len);
    if (t->token_len) memcpy(to + t->id_len, t->token, t->token_len);
    if (t->put_back_len) memcpy(to + t->id_len + t->token_len, t->put_back, t->put_back_len);
    if (t->session_len) memcpy(to + total - t->session_len, t->session, t->session_len);
    return true;
}

/* Whoever comes later must find some, however many one client wants: it has at most half of what
 * others have left. */
static bool is_greedy(const pendings_t *pendings, const client_t *client) {
    return client && client->pending_count >= PENDING_MAX - pendings->count;
}

static void leave_client(pending_t *pending) {
    if (pending->client) pending->client->pending_count--;
    if (pending->client && pending->sent) {
        if (pending->makes_session) pending->target->makers--;
        tie_count_call(pending->tie, pending->target, -1);
    }
    if (pending->client && pending->kind == PENDING_ASK && pending->target)
        tie_count_ask(pending->tie, pending->target, -1);
    list_remove(&pending->of_client);
    tie_drop(pending->tie);
    pending->tie = NULL;
}

pending_t *pending_new(pendings_t *pendings, pending_kind_t kind, client_t *client, const pending_texts_t *texts) {
    if (is_greedy(pendings, client)) return NULL;
    if (!pendings->free && !add_chunk(pendings)) return NULL;
    pending_t *p = pendings->free;
    uint64_t id = p->id;
    pending_t *next = p->next_free;
    *p = (pending_t){.id = id, .kind = kind, .client = client, .next_free = next};
    if (!copy_texts(p, texts)) return NULL;
    if (kind == PENDING_CALL) {
        p->hash = index_hash(&pendings->secret, (uint32_t)client->id, texts->id, texts->id_len);
        if (!index_add(&pendings->by_client_id, p->hash, p)) {
            if (p->texts != p->small) sys_free(p->texts);
            p->texts = NULL;
            return NULL;
        }
        p->indexed = true;
        pendings->calls++;
    }
    pendings->free = next;
    p->sequence = ++pendings->sequence;
    pendings->count++;
    if (client) {
        list_append(&client->pending, &p->of_client);
        client->pending_count++;
    }
    return p;
}

void pending_pass_host_id(pendings_t *pendings, pending_t *pending) {
    pending->host_id = true;
    pendings->host_ids++;
}

static void leave_index(pendings_t *pendings, pending_t *pending) {
    if (pending->indexed) index_remove(&pendings->by_client_id, pending->hash, pending);
    pending->indexed = false;
}

void pending_abandon(pendings_t *pendings, pending_t *pending) {
    if (!pending->host_id) leave_index(pendings, pending);
    else if (pending->sent) pending->target->host_given_up++;
    leave_client(pending);
    pending->client = NULL;
    pending->abandoned = true;
    pendings->calls--;
}

void pending_release(pendings_t *pendings, pending_t *pending) {
    if (pending->kind == PENDING_CALL && !pending->abandoned) pending_abandon(pendings, pending);
    leave_index(pendings, pending);
    leave_client(pending);
    list_remove(&pending->place);
    pendings->count--;
    if (pending->texts != pending->small) sys_free(pending->texts);
    sys_free(pending->message);
    uint64_t generation = (pending->id - 1) / PENDING_MAX + 1;
    uint64_t id = generation * PENDING_MAX + slot_of(pending->id) + 1;
    if (id >= (uint64_t)1 << 52) id = slot_of(pending->id) + 1;
    if (pending->host_id && pending->sent) pending->target->host_given_up--;
    if (pending->host_id) pendings->host_ids--;
    *pending = (pending_t){.id = id, .next_free = pendings->free};
    pendings->free = pending;
}

pending_t *pending_of_id(const pendings_t *pendings, int64_t id) {
    if (id < 1) return NULL;
    size_t slot = slot_of((uint64_t)id);
    if (slot / CHUNK >= pendings->chunk_count) return NULL;
    pending_t *p = &pendings->chunks[slot / CHUNK][slot % CHUNK];
    return p->id == (uint64_t)id && p->texts ? p : NULL;
}

/* An entry under the id of a client (whose number is `client_id`), or an abandoned one. */
static pending_t *find(const pendings_t *pendings, int32_t client_id, const client_t *client, const target_t *target,
                       const char *id, size_t len) {
    uint32_t hash = index_hash(&pendings->secret, (uint32_t)client_id, id, len);
    pending_t *p;
    for (size_t at = index_begin(&pendings->by_client_id, hash); (p = index_next(&pendings->by_client_id, hash, &at));) {
        if (p->client != client || p->id_len != len || memcmp(p->texts, id, len) != 0) continue;
        if (!target || p->target == target) return p;
    }
    return NULL;
}

pending_t *pending_of_client(const pendings_t *pendings, const client_t *client, const char *id, size_t len) {
    return find(pendings, client->id, client, NULL, id, len);
}

pending_t *pending_abandoned(const pendings_t *pendings, const target_t *target, const char *id, size_t len) {
    return find(pendings, STDIO_BUS_HOST_CLIENT, NULL, target, id, len);
}
