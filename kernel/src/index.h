/*
 * index.h - an intrusive chained hash index that grows with its entries.
 *
 * The user embeds an index_link_t, computes the hash, and compares keys itself.
 */
#ifndef STDIO_BUS_INDEX_H
#define STDIO_BUS_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct index_link {
    struct index_link *next;
    uint32_t hash;
} index_link_t;

typedef struct index {
    index_link_t **buckets; /* owned */
    size_t mask;            /* buckets - 1; meaningless without buckets */
    size_t count;
} index_t;

uint32_t index_hash(uint32_t seed, const char *bytes, size_t len);

void index_free(index_t *index);
bool index_add(index_t *index, index_link_t *link, uint32_t hash); /* false: no memory */
void index_remove(index_t *index, index_link_t *link);
/* The newest entry that may have this hash; go on with ->next, comparing ->hash. */
index_link_t *index_find(const index_t *index, uint32_t hash);

#endif
