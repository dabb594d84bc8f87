/* index.c - see index.h: open addressing with linear probing. */
#include "index.h"

#include <string.h>

#include "sys.h"

#define FIRST_SIZE 16u

static inline uint64_t rotate(uint64_t word, int by) {
    return word << by | word >> (64 - by);
}

static inline void sip_round(uint64_t v[4]) {
    v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* SipHash-1-3 (Aumasson and Bernstein, 2012), the lower half; all targets are little-endian. */
uint32_t index_hash(const index_secret_t *secret, uint32_t seed, const char *bytes, size_t len) {
    uint64_t k0 = secret->half[0] ^ seed, k1 = secret->half[1], word, last = (uint64_t)len << 56;
    uint64_t v[4] = {k0 ^ 0x736F6D6570736575u, k1 ^ 0x646F72616E646F6Du, k0 ^ 0x6C7967656E657261u,
                     k1 ^ 0x7465646279746573u};
    for (; len >= sizeof word; bytes += sizeof word, len -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        sip_word(v, word);
    }
    for (size_t i = 0; i < len; i++) last |= (uint64_t)(unsigned char)bytes[i] << (8 * i);
    sip_word(v, last);
    v[2] ^= 0xFF;
    for (int i = 0; i < 3; i++) sip_round(v);
    return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

void index_free(index_t *index) {
    sys_free(index->places);
    *index = (index_t){0};
}

size_t index_begin(const index_t *index, uint32_t hash) {
    return hash & index->mask;
}

/* Into the first empty place from its own on: behind all entries of the same hash. */
static void put(index_t *index, const index_place_t *place) {
    size_t at = index_begin(index, place->hash);
    while (index->places[at].entry) at = (at + 1) & index->mask;
    index->places[at] = *place;
}

static bool grow(index_t *index) {
    size_t old_size = index->places ? index->mask + 1 : 0;
    size_t size = old_size ? old_size * 2 : FIRST_SIZE;
    index_t grown = {.places = sys_calloc(size, sizeof *grown.places), .mask = size - 1, .count = index->count};
    if (!grown.places) return false;
    /* From an empty place on, so that a run of entries across the end keeps its order. */
    size_t start = 0;
    while (start < old_size && index->places[start].entry) start++;
    for (size_t i = 0; i < old_size; i++) {
        const index_place_t *place = &index->places[(start + i) & index->mask];
        if (place->entry) put(&grown, place);
    }
    sys_free(index->places);
    *index = grown;
    return true;
}

bool index_add(index_t *index, uint32_t hash, void *entry) {
    bool crowded = index->count >= (index->mask + 1) / 4 * 3;
    /* Without memory it is slow, not wrong, as long as one place stays empty. */
    if (crowded && !grow(index) && index->count >= index->mask) return false;
    put(index, &(index_place_t){.entry = entry, .hash = hash});
    index->count++;
    return true;
}

void index_remove(index_t *index, uint32_t hash, const void *entry) {
    size_t hole = index_begin(index, hash);
    while (index->places[hole].entry != entry) hole = (hole + 1) & index->mask;
    /* What stands behind it moves up, but never in front of where its search begins. */
    for (size_t at = (hole + 1) & index->mask; index->places[at].entry; at = (at + 1) & index->mask) {
        size_t searched = (at - index_begin(index, index->places[at].hash)) & index->mask;
        if (searched < ((at - hole) & index->mask)) continue;
        index->places[hole] = index->places[at];
        hole = at;
    }
    index->places[hole].entry = NULL;
    index->count--;
}

void index_fetch(const index_t *index, uint32_t hash) {
    if (index->places) __builtin_prefetch(&index->places[index_begin(index, hash)]);
}

void *index_next(const index_t *index, uint32_t hash, size_t *at) {
    while (index->places && index->places[*at].entry) {
        const index_place_t *place = &index->places[*at];
        *at = (*at + 1) & index->mask;
        if (place->hash == hash) return place->entry;
    }
    return NULL;
}
