/* heap.c - see heap.h. */
#include "heap.h"

#include "sys.h"

void heap_free(heap_t *heap) {
    sys_free(heap->nodes);
    *heap = (heap_t){0};
}

bool heap_reserve(heap_t *heap, size_t count) {
    if (count <= heap->cap) return true;
    size_t cap = heap->cap ? heap->cap * 2 : 8;
    if (cap < count) cap = count;
    heap_node_t **nodes = sys_realloc(heap->nodes, cap * sizeof(*nodes));
    if (!nodes) return false;
    heap->nodes = nodes;
    heap->cap = cap;
    return true;
}

static bool before(const heap_node_t *a, const heap_node_t *b) {
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void place(heap_t *heap, heap_node_t *node, size_t index) {
    heap->nodes[index] = node;
    node->slot = index + 1;
}

static void settle(heap_t *heap, heap_node_t *node, size_t index) {
    while (index > 0 && before(node, heap->nodes[(index - 1) / 2])) {
        place(heap, heap->nodes[(index - 1) / 2], index);
        index = (index - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= heap->count) break;
        if (child + 1 < heap->count && before(heap->nodes[child + 1], heap->nodes[child])) child++;
        if (!before(heap->nodes[child], node)) break;
        place(heap, heap->nodes[child], index);
        index = child;
    }
    place(heap, node, index);
}

bool heap_put(heap_t *heap, heap_node_t *node) {
    if (!node->slot) {
        if (!heap_reserve(heap, heap->count + 1)) return false;
        place(heap, node, heap->count++);
    }
    settle(heap, node, node->slot - 1);
    return true;
}

void heap_remove(heap_t *heap, heap_node_t *node) {
    if (!node->slot) return;
    size_t index = node->slot - 1;
    heap_node_t *last = heap->nodes[--heap->count];
    node->slot = 0;
    if (last == node) return;
    settle(heap, last, index);
}
