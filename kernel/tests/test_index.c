/* test_index.c - finding, removing, growth, entries of one hash, growth without memory. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "fake_sys.h"
#include "index.h"
#include "list.h"

#define ENTRIES 2000

typedef struct entry {
    index_link_t link;
    char key[16];
    bool in;
} entry_t;

static entry_t entries[ENTRIES];

static entry_t *find(const index_t *index, const char *key, uint32_t hash) {
    for (index_link_t *link = index_find(index, hash); link; link = link->next) {
        entry_t *entry = list_entry(link, entry_t, link);
        if (link->hash == hash && strcmp(entry->key, key) == 0) return entry;
    }
    return NULL;
}

/* With `hashes` different hashes: few of them make long chains. */
static void test_model(unsigned hashes) {
    index_t index = {0};
    check_random_t random = {11};
    int differences = 0;
    size_t count = 0;
    for (int i = 0; i < ENTRIES; i++) snprintf(entries[i].key, sizeof entries[i].key, "key-%d", i);
    for (int step = 0; step < 20000; step++) {
        entry_t *entry = &entries[check_random(&random, ENTRIES)];
        uint32_t hash = index_hash(9, entry->key, strlen(entry->key)) % hashes;
        differences += find(&index, entry->key, hash) != (entry->in ? entry : NULL);
        if (entry->in) index_remove(&index, &entry->link), count--;
        else differences += !index_add(&index, &entry->link, hash), count++;
        entry->in = !entry->in;
        differences += index.count != count;
    }
    for (int i = 0; i < ENTRIES; i++) {
        if (entries[i].in) index_remove(&index, &entries[i].link);
        entries[i].in = false;
    }
    CHECK_INT(differences, 0);
    CHECK_INT(index.count, 0);
    index_free(&index);
}

static void test_hash(void) {
    CHECK(index_hash(1, "ab", 2) == index_hash(1, "ab", 2));
    CHECK(index_hash(1, "ab", 2) != index_hash(2, "ab", 2));
    CHECK(index_hash(1, "ab", 2) != index_hash(1, "ba", 2));
    CHECK(index_hash(1, "", 0) != index_hash(1, "\0", 1));
}

static void test_no_memory(void) {
    index_t index = {0};
    fake_sys_no_memory(true);
    CHECK(!index_add(&index, &entries[0].link, 1));
    CHECK(index_find(&index, 1) == NULL);
    fake_sys_no_memory(false);
    for (uint32_t i = 0; i < 100; i++) { /* full buckets are slow, not wrong */
        CHECK(index_add(&index, &entries[i].link, i * 7));
        if (i == 0) fake_sys_no_memory(true);
    }
    fake_sys_no_memory(false);
    for (uint32_t i = 0; i < 100; i++) CHECK(find(&index, entries[i].key, i * 7) == &entries[i]);
    index_free(&index);
}

int main(void) {
    fake_sys_begin();
    test_model(UINT32_MAX);
    test_model(3);
    test_hash();
    test_no_memory();
    fake_sys_end();
    return check_result();
}
