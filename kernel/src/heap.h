/*
 * heap.h - an intrusive min-heap: O(log n) insert, remove and change of key.
 *
 * The user embeds a heap_node_t and supplies the order.  Serves the timers (nearest
 * first) and the workers of a pool (fewest requests in flight first).
 */
#ifndef STDIO_BUS_HEAP_H
#define STDIO_BUS_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct heap_node {
    uint64_t key;   /* smallest first */
    uint64_t order; /* among equal keys, smallest first */
    size_t slot;    /* 1-based place in the heap; 0: not in it */
} heap_node_t;

/* A node's place in the heap, with its keys beside: to compare them, the nodes themselves,
 * which lie all over the memory, need not be fetched. */
typedef struct heap_place {
    uint64_t key, order;
    heap_node_t *node; /* borrowed */
} heap_place_t;

typedef struct heap {
    heap_place_t *places; /* owned */
    size_t count;
    size_t cap;
} heap_t;

void heap_free(heap_t *heap);
/* Makes room for `count` nodes in all, so that heap_put cannot fail up to there. */
bool heap_reserve(heap_t *heap, size_t count);
/* Inserts the node, or moves it after its key has changed.  False: no memory. */
bool heap_put(heap_t *heap, heap_node_t *node);
void heap_remove(heap_t *heap, heap_node_t *node); /* fine when not in the heap */

static inline heap_node_t *heap_first(const heap_t *heap) {
    return heap->count ? heap->places[0].node : NULL;
}

#endif
