/* index.c - see index.h: open addressing with linear probing. */
#include "index.h"

#include "sys.h"

#define FIRST_SIZE 16u

/* FNV-1a, finished by a multiply-shift so that the low bits depend on all bytes. */
uint32_t index_hash(uint32_t seed, const char *bytes, size_t len) {
    uint32_t hash = 2166136261u ^ (seed * 0x9E3779B1u);
    for (size_t i = 0; i < len; i++) hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
    return (hash ^ (hash >> 15)) * 0x85EBCA6Bu;
}

void index_free(index_t *index) {
    sys_free(index->places);
    *index = (index_t){0};
}

size_t index_begin(const index_t *index, uint32_t hash) {
    return (hash ^ (hash >> 16)) & index->mask;
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
