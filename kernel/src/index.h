/*
 * index.h - a hash index that grows with its entries.
 *
 * The user computes the hash and compares keys itself.  Hashes stand beside the borrowed
 * entries, so that neither a search nor growth has to fetch those of another hash.
 */
#ifndef STDIO_BUS_INDEX_H
#define STDIO_BUS_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct index_place {
    void *entry; /* borrowed; NULL: empty */
    uint32_t hash;
} index_place_t;

typedef struct index {
    index_place_t *places; /* owned; never all taken */
    size_t mask;           /* places - 1; 0 without places */
    size_t count;
} index_t;

/* Whoever does not know the secret cannot choose keys of one hash, a search for which would take as
 * long as there are many.  `seed` tells apart kinds of the same bytes. */
typedef struct index_secret {
    uint64_t half[2];
} index_secret_t;

uint32_t index_hash(const index_secret_t *secret, uint32_t seed, const char *bytes, size_t len);

void index_free(index_t *index);
bool index_add(index_t *index, uint32_t hash, void *entry); /* false: no memory */
void index_remove(index_t *index, uint32_t hash, const void *entry); /* which is in it */

/* Has the places of this hash fetched from memory: a later visit need not wait for them. */
void index_fetch(const index_t *index, uint32_t hash);
/* Visits the entries of this hash, the oldest first: `at` is index_begin, then left alone.
 * NULL at the end.  The index must not change meanwhile. */
size_t index_begin(const index_t *index, uint32_t hash);
void *index_next(const index_t *index, uint32_t hash, size_t *at);

#endif
