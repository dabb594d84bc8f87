/* heap.c - see heap.h. */
#include "heap.h"

#include "sys.h"

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

/* Puts the node at `index`, or where its keys say from there. */
static void settle(heap_t *heap, heap_node_t *node, size_t index) {
    heap_place_t place = {.key = node->key, .order = node->order, .node = node};
    while (index > 0 && before(&place, &heap->places[(index - 1) / 2])) {
        put(heap, &heap->places[(index - 1) / 2], index);
        index = (index - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= heap->count) break;
        if (child + 1 < heap->count && before(&heap->places[child + 1], &heap->places[child])) child++;
        if (!before(&heap->places[child], &place)) break;
        put(heap, &heap->places[child], index);
        index = child;
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
