/* tie.c - see tie.h. */
#include "tie.h"

#include "stdio_bus.h"
#include "sys.h"

void ties_free(ties_t *ties) {
    index_free(&ties->index);
}

static uint32_t hash_of(const ties_t *ties, const client_t *client, const target_t *target) {
    return index_hash(&ties->secret, (uint32_t)client->id, (const char *)&target->worker_id, sizeof target->worker_id);
}

static tie_t *find(const ties_t *ties, uint32_t hash, const client_t *client, const target_t *target) {
    tie_t *tie;
    for (size_t at = index_begin(&ties->index, hash); (tie = index_next(&ties->index, hash, &at));)
        if (tie->client == client && tie->target == target) return tie;
    return NULL;
}

bool tie_take(ties_t *ties, client_t *client, target_t *target, tie_t **out) {
    *out = NULL;
    if (client->id == STDIO_BUS_HOST_CLIENT) return true;
    uint32_t hash = hash_of(ties, client, target);
    tie_t *tie = find(ties, hash, client, target);
    if (!tie) {
        tie = sys_calloc(1, sizeof *tie);
        if (!tie || !index_add(&ties->index, hash, tie)) {
            sys_free(tie);
            return false;
        }
        tie->ties = ties;
        tie->client = client;
        tie->target = target;
        tie->hash = hash;
        list_append(&target->ties, &tie->on_target);
    }
    tie->count++;
    *out = tie;
    return true;
}

void tie_drop(tie_t *tie) {
    if (!tie || --tie->count) return;
    index_remove(&tie->ties->index, tie->hash, tie);
    list_remove(&tie->on_target);
    sys_free(tie);
}

/* Clients with requests out stand in front: whether it is only one can be told at once. */
static void move(tie_t *tie) {
    list_t *ties = &tie->target->ties;
    list_remove(&tie->on_target);
    list_append(tie->calls ? ties->next : ties, &tie->on_target);
}

void tie_count_call(tie_t *tie, target_t *target, int change) {
    target->calls += (size_t)change;
    if (!tie) {
        target->host_calls += (size_t)change;
        return;
    }
    tie->calls += (size_t)change;
    if (tie->calls == (change > 0)) move(tie);
}

void tie_count_ask(tie_t *tie, target_t *target, int change) {
    target->ask_count += (size_t)change;
    *(tie ? &tie->asks : &target->host_asks) += (size_t)change;
}
