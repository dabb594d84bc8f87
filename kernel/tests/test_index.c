/* test_index.c - finding, removing, growth, entries of one hash in their order, growth without memory. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "fake_sys.h"
#include "index.h"

#define ENTRIES 2000

typedef struct entry {
    char key[16];
    uint32_t hash;
    unsigned added; /* when, 0: it is not in the index */
} entry_t;

static entry_t entries[ENTRIES];

static entry_t *find(const index_t *index, const entry_t *wanted) {
    entry_t *entry;
    for (size_t at = index_begin(index, wanted->hash); (entry = index_next(index, wanted->hash, &at));)
        if (strcmp(entry->key, wanted->key) == 0) return entry;
    return NULL;
}

/* What is wrong with a visit to a hash: entries of another, or not the oldest first. */
static int disorder(const index_t *index, uint32_t hash) {
    const entry_t *entry;
    int wrong = 0;
    unsigned last = 0;
    for (size_t at = index_begin(index, hash); (entry = index_next(index, hash, &at)); last = entry->added)
        wrong += entry->hash != hash || entry->added <= last;
    return wrong;
}

static uint32_t hash(uint64_t secret, uint32_t seed, const char *bytes, size_t len) {
    index_secret_t halves = {{secret, 0}};
    return index_hash(&halves, seed, bytes, len);
}

/* With `hashes` different hashes: few of them make long runs, which begin at the end of the
 * table with `from` near the largest. */
static void test_model(uint32_t hashes, uint32_t from) {
    index_t index = {0};
    check_random_t random = {11};
    int differences = 0;
    size_t count = 0;
    for (int i = 0; i < ENTRIES; i++) {
        snprintf(entries[i].key, sizeof entries[i].key, "key-%d", i);
        entries[i].hash = from + hash(9, 0, entries[i].key, strlen(entries[i].key)) % hashes;
    }
    for (unsigned step = 1; step < 20000; step++) {
        entry_t *entry = &entries[check_random(&random, ENTRIES)];
        index_fetch(&index, entry->hash);
        differences += find(&index, entry) != (entry->added ? entry : NULL);
        if (entry->added) index_remove(&index, entry->hash, entry), count--;
        else differences += !index_add(&index, entry->hash, entry), count++;
        entry->added = entry->added ? 0 : step;
        differences += index.count != count;
        if (step % 16 == 0) differences += disorder(&index, entry->hash);
    }
    for (int i = 0; i < ENTRIES; i++) {
        if (entries[i].added) index_remove(&index, entries[i].hash, &entries[i]);
        entries[i].added = 0;
    }
    CHECK_INT(differences, 0);
    CHECK_INT(index.count, 0);
    index_free(&index);
}

static void test_hash(void) {
    /* What CPython 3.11, whose strings are hashed by it, says of them with PYTHONHASHSEED=0. */
    CHECK_INT(hash(0, 0, "a", 1), 0xB89B1813u);
    CHECK_INT(hash(0, 0, "1234567", 7), 0x94FDAE81u);
    CHECK_INT(hash(0, 0, "12345678", 8), 0x30560A87u);
    CHECK_INT(hash(0, 0, "0b6f8a3e-51c7-4d2a-9e40-000000000001", 36), 0x84DA5307u);
    CHECK(hash(0, 1, "ab", 2) != hash(0, 2, "ab", 2));
    CHECK(hash(7, 1, "ab", 2) != hash(8, 1, "ab", 2));
    CHECK(hash(0, 1, "", 0) != hash(0, 1, "\0", 1));
}

/* A crowded table is slow, not wrong, until there is no place left but the one that ends a search. */
static void test_no_memory(void) {
    index_t index = {0};
    fake_sys_no_memory(true);
    CHECK(!index_add(&index, 1, &entries[0]));
    size_t at = index_begin(&index, 1);
    CHECK(index_next(&index, 1, &at) == NULL);
    fake_sys_no_memory(false);
    size_t added = 0;
    for (; added < 100; added++) {
        entries[added].hash = (uint32_t)added * 7;
        if (!index_add(&index, entries[added].hash, &entries[added])) break;
        if (added == 0) fake_sys_no_memory(true);
    }
    fake_sys_no_memory(false);
    CHECK_INT(added, 15);
    CHECK_INT(index.count, 15);
    for (size_t i = 0; i < 100; i++) CHECK(find(&index, &entries[i]) == (i < added ? &entries[i] : NULL));
    CHECK(index_add(&index, entries[added].hash, &entries[added]));
    CHECK(find(&index, &entries[added]) == &entries[added]);
    index_free(&index);
}

int main(void) {
    fake_sys_begin();
    test_model(UINT32_MAX, 0);
    test_model(3, 0);
    test_model(40, 0x0000FFE0); /* their runs cross the end of the table */
    test_hash();
    test_no_memory();
    fake_sys_end();
    return check_result();
}
