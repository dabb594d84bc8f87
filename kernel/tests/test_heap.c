/* test_heap.c - order, changes of keys and removals, against a plain search. */
#include "check.h"
#include "fake_sys.h"
#include "heap.h"

#define NODES 200

static heap_node_t nodes[NODES];

static heap_node_t *search_first(void) {
    heap_node_t *first = NULL;
    for (int i = 0; i < NODES; i++) {
        heap_node_t *n = &nodes[i];
        if (n->slot && (!first || n->key < first->key || (n->key == first->key && n->order < first->order))) first = n;
    }
    return first;
}

static void test_model(void) {
    heap_t heap = {0};
    check_random_t random = {5};
    int differences = 0;
    for (int i = 0; i < NODES; i++) nodes[i].order = (uint64_t)i; /* unique: one first node */
    for (int step = 0; step < 50000; step++) {
        heap_node_t *node = &nodes[check_random(&random, NODES)];
        if (check_random(&random, 3)) {
            node->key = check_random(&random, 50);
            differences += !heap_put(&heap, node);
        } else {
            heap_remove(&heap, node);
        }
        differences += heap_first(&heap) != search_first();
    }
    CHECK_INT(differences, 0);
    uint64_t last = 0;
    while (heap.count) {
        heap_node_t *first = heap_first(&heap);
        differences += first->key < last;
        last = first->key;
        heap_remove(&heap, first);
        heap_remove(&heap, first); /* not in it: fine */
    }
    CHECK_INT(differences, 0);
    CHECK(heap_first(&heap) == NULL);
    heap_free(&heap);
}

static void test_no_memory(void) {
    heap_t heap = {0};
    heap_node_t many[40] = {{0}};
    fake_sys_no_memory(true);
    CHECK(!heap_put(&heap, &many[0]));
    CHECK_INT(many[0].slot, 0);
    fake_sys_no_memory(false);
    CHECK(heap_reserve(&heap, 40));
    fake_sys_no_memory(true);
    for (int i = 0; i < 40; i++) {
        many[i].key = (uint64_t)(40 - i);
        CHECK(heap_put(&heap, &many[i])); /* room was reserved */
    }
    CHECK(!heap_reserve(&heap, 41));
    fake_sys_no_memory(false);
    CHECK(heap_first(&heap) == &many[39]);
    heap_free(&heap);
}

int main(void) {
    fake_sys_begin();
    test_model();
    test_no_memory();
    fake_sys_end();
    return check_result();
}
