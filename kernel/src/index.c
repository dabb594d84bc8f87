/* index.c - see index.h. */
#include "index.h"

#include "sys.h"

/* FNV-1a, finished by a multiply-shift so that the low bits depend on all bytes. */
uint32_t index_hash(uint32_t seed, const char *bytes, size_t len) {
    uint32_t hash = 2166136261u ^ (seed * 0x9E3779B1u);
    for (size_t i = 0; i < len; i++) hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
    return (hash ^ (hash >> 15)) * 0x85EBCA6Bu;
}

void index_free(index_t *index) {
    sys_free(index->buckets);
    *index = (index_t){0};
}

static size_t bucket_of(const index_t *index, uint32_t hash) {
    return (hash ^ (hash >> 16)) & index->mask;
}

static bool grow(index_t *index) {
    size_t old_size = index->buckets ? index->mask + 1 : 0;
    size_t size = old_size ? old_size * 2 : 16;
    index_link_t **buckets = sys_calloc(size, sizeof(*buckets));
    if (!buckets) return old_size > 0; /* full buckets are slow, not wrong */
    index_t grown = {.buckets = buckets, .mask = size - 1, .count = index->count};
    for (size_t i = 0; i < old_size; i++) {
        for (index_link_t *link = index->buckets[i], *next; link; link = next) {
            next = link->next;
            index_link_t **end = &buckets[bucket_of(&grown, link->hash)];
            while (*end) end = &(*end)->next; /* entries keep their order: the newest first */
            link->next = NULL;
            *end = link;
        }
    }
    sys_free(index->buckets);
    *index = grown;
    return true;
}

bool index_add(index_t *index, index_link_t *link, uint32_t hash) {
    if ((!index->buckets || index->count > index->mask) && !grow(index)) return false;
    link->hash = hash;
    index_link_t **bucket = &index->buckets[bucket_of(index, hash)];
    link->next = *bucket;
    *bucket = link;
    index->count++;
    return true;
}

void index_remove(index_t *index, index_link_t *link) {
    index_link_t **at = &index->buckets[bucket_of(index, link->hash)];
    while (*at != link) at = &(*at)->next;
    *at = link->next;
    index->count--;
}

index_link_t *index_find(const index_t *index, uint32_t hash) {
    return index->buckets ? index->buckets[bucket_of(index, hash)] : NULL;
}
