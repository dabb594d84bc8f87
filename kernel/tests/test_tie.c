/* test_tie.c - ties are counted, found by client and worker, gone with the last; none for the host. */
#include "check.h"
#include "configured.h"
#include "fake_sys.h"
#include "tie.h"

static config_t config;
static pool_t pool;
static target_t targets[2];
static client_t clients[3]; /* 0 is the host */
static ties_t ties = {.secret = {{1, 2}}};

static tie_t *take(int client, int target) {
    tie_t *tie;
    CHECK(tie_take(&ties, &clients[client], &targets[target], &tie));
    return tie;
}

static size_t count(int target) {
    size_t n = 0;
    for (list_t *link = list_first(&targets[target].ties); link; link = list_next(&targets[target].ties, link)) n++;
    return n;
}

static void test_counted(void) {
    tie_t *a = take(1, 0), *b = take(2, 0), *other = take(1, 1);
    CHECK(a && b && other && a != b && a != other);
    CHECK(take(1, 0) == a);
    CHECK(take(0, 0) == NULL);
    CHECK_INT(count(0), 2);
    CHECK_INT(count(1), 1);
    CHECK(list_entry(list_first(&targets[0].ties), tie_t, on_target)->client == &clients[1]);
    tie_drop(a);
    CHECK_INT(count(0), 2);
    tie_drop(a);
    CHECK_INT(count(0), 1);
    tie_drop(b);
    tie_drop(other);
    tie_drop(NULL);
    CHECK_INT(count(0) + count(1), 0);
    CHECK_INT(ties.index.count, 0);
}

/* How many places beyond its own the furthest tie stands. */
static size_t furthest(void) {
    const index_t *index = &ties.index;
    size_t most = 0;
    for (size_t at = 0; at <= index->mask; at++) {
        size_t from_own = (at - index_begin(index, index->places[at].hash)) & index->mask;
        if (index->places[at].entry && from_own > most) most = from_own;
    }
    return most;
}

/* Clients may come and go until the bus has given them the numbers they want: those whose multiples
 * of a known factor lie close together, say. */
static void test_chosen_clients(void) {
    enum { CHOSEN = 1000 };
    static client_t chosen[CHOSEN];
    static tie_t *tied[CHOSEN];
    int32_t id = 0;
    for (int i = 0; i < CHOSEN; i++) {
        do id++;
        while ((uint32_t)id * 0x9E3779B1u % 2048 > 200);
        chosen[i].id = id;
        REQUIRE(tie_take(&ties, &chosen[i], &targets[0], &tied[i]));
    }
    CHECK(furthest() < 50);
    for (int i = 0; i < CHOSEN; i++) tie_drop(tied[i]);
    CHECK_INT(count(0), 0);
}

static void test_no_memory(void) {
    ties_free(&ties);
    for (long n = 1; n <= 3; n++) {
        tie_t *tie;
        fake_sys_fail_allocation(n);
        bool taken = tie_take(&ties, &clients[1], &targets[0], &tie);
        fake_sys_fail_allocation(0);
        CHECK_INT(taken, n == 3); /* a tie, and the index */
        CHECK_INT(count(0), taken);
        tie_drop(tie);
    }
}

int main(void) {
    fake_sys_begin();
    configured(&config, "{'pools':[{'id':'p','command':'c'}]}");
    pool_init(&pool, &config.pools[0]);
    for (int i = 0; i < 2; i++) target_init(&targets[i], &pool, i + 1);
    for (int i = 0; i < 3; i++) client_init(&clients[i], i, &pool, 1024);
    test_counted();
    test_chosen_clients();
    test_no_memory();
    ties_free(&ties);
    for (int i = 0; i < 3; i++) client_free(&clients[i]);
    pool_free(&pool);
    config_free(&config);
    fake_sys_end();
    return check_result();
}
