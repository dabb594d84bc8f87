/* test_pool.c - the least loaded of the ready workers, in turn among equals. */
#include "check.h"
#include "configured.h"
#include "fake_sys.h"
#include "pool.h"

static int chosen(pool_t *pool) {
    target_t *target = pool_choose(pool);
    return target ? target->worker_id : 0;
}

static int choose_and_load(pool_t *pool) {
    target_t *target = pool_choose(pool);
    if (!target) return 0;
    target_count(target, +1);
    return target->worker_id;
}

static void test_balance(int64_t max_in_flight) {
    config_t config;
    pool_t pool;
    target_t targets[3];
    configured(&config, "{'pools':[{'id':'p','command':'c','instances':3}]}");
    config.pools[0].max_in_flight = max_in_flight;
    pool_init(&pool, &config.pools[0]);
    CHECK(heap_reserve(&pool.ready, 3));
    for (int i = 0; i < 3; i++) target_init(&targets[i], &pool, i + 1);
    CHECK_INT(chosen(&pool), 0);
    CHECK(!target_has_room(&targets[0]));

    target_set_ready(&targets[0], true);
    CHECK_INT(choose_and_load(&pool), 1);
    target_set_ready(&targets[1], true);
    target_set_ready(&targets[2], true);
    int first = choose_and_load(&pool), second = choose_and_load(&pool);
    CHECK(first != 1 && second != 1 && first != second);
    /* All have one: round-robin, the one used longest ago first. */
    if (max_in_flight == 1) {
        CHECK_INT(chosen(&pool), 0);
    } else {
        CHECK_INT(choose_and_load(&pool), 1);
        CHECK_INT(choose_and_load(&pool), first);
        CHECK_INT(choose_and_load(&pool), second);
        target_count(&targets[second - 1], -1);
        target_count(&targets[second - 1], -1);
        CHECK_INT(choose_and_load(&pool), second); /* fewest first */
        CHECK_INT(choose_and_load(&pool), second);
        CHECK_INT(chosen(&pool), max_in_flight == 2 ? 0 : 1);
    }
    /* A count survives the time in which a worker is not ready. */
    target_count(&targets[0], -1);
    target_set_ready(&targets[0], false);
    CHECK(chosen(&pool) != 1);
    target_set_ready(&targets[0], true);
    CHECK_INT(choose_and_load(&pool), 1);
    for (int i = 0; i < 3; i++) target_set_ready(&targets[i], false);
    CHECK_INT(chosen(&pool), 0);
    pool_free(&pool);
    config_free(&config);
}

int main(void) {
    fake_sys_begin();
    test_balance(0);
    test_balance(1);
    test_balance(2);
    fake_sys_end();
    return check_result();
}
