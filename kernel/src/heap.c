/* heap.c - see heap.h. */
#include "heap.h"

#include "sys.h"

/* Four, not two: a node that moves passes half as many others, and each one it passes is
 * written to. */
#define HEAP_CHILDREN 4

void heap_free(heap_t *heap) {
    sys_free(heap->places);
    *heap = (heap_t){0};
}

bool heap_reserve(heap_t *heap, size_t count) {
    if (count <= heap->cap) return true;
    size_t cap = heap->cap ? heap->cap * 2 : 8;
    if (cap < count) cap = count;
    heap_place_t *places = sys_realloc(heap->places, cap * sizeof *places);
    if (!places) return false;
    heap->places = places;
    heap->cap = cap;
    return true;
}

static bool before(const heap_place_t *a, const heap_place_t *b) {
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void put(heap_t *heap, const heap_place_t *place, size_t index) {
    heap->places[index] = *place;
    place->node->slot = index + 1;
}

static size_t parent(size_t index) {
    return (index - 1) / HEAP_CHILDREN;
}

/* The smallest of those below `index`; the count of all when there are none. */
static size_t first_child(const heap_t *heap, size_t index) {
    size_t child = HEAP_CHILDREN * index + 1, end = child + HEAP_CHILDREN;
    if (child >= heap->count) return heap->count;
    if (end > heap->count) end = heap->count;
    for (size_t other = child + 1; other < end; other++)
        if (before(&heap->places[other], &heap->places[child])) child = other;
    return child;
}

/* Puts the node at `index`, or where its keys say from there. */
static void settle(heap_t *heap, heap_node_t *node, size_t index) {
    heap_place_t place = {.key = node->key, .order = node->order, .node = node};
    for (; index > 0 && before(&place, &heap->places[parent(index)]); index = parent(index))
        put(heap, &heap->places[parent(index)], index);
    for (size_t child; (child = first_child(heap, index)) < heap->count; index = child) {
        if (!before(&heap->places[child], &place)) break;
        put(heap, &heap->places[child], index);
    }
    put(heap, &place, index);
}

bool heap_put(heap_t *heap, heap_node_t *node) {
    if (!node->slot) {
        if (!heap_reserve(heap, heap->count + 1)) return false;
        node->slot = ++heap->count;
    }
    settle(heap, node, node->slot - 1);
    return true;
}

void heap_remove(heap_t *heap, heap_node_t *node) {
    if (!node->slot) return;
    size_t index = node->slot - 1;
    heap_node_t *last = heap->places[--heap->count].node;
    node->slot = 0;
    if (last != node) settle(heap, last, index);
}
