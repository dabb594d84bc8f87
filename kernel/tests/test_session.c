/* test_session.c - bindings: found by client and by worker, forgotten by age, never while
 * something is in flight. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "configured.h"
#include "fake_sys.h"
#include "session.h"

static config_t config;
static pool_t pools[3];     /* 2: its workers see no names */
static target_t targets[4]; /* 0, 1 of pool 0; 2 of pool 1; 3 of pool 2 */
#define CLIENTS 6
static client_t clients[CLIENTS];
static sessions_t sessions;
static const index_secret_t secret = {{1, 2}};

static session_t *find_bytes(int client, int pool, const char *id, size_t len) {
    session_key_t key = sessions_key(&sessions, &clients[client], id, len);
    sessions_fetch(&sessions, &key);
    return sessions_find(&sessions, &key, pool < 0 ? NULL : &pools[pool]);
}

static session_t *find(int client, int pool, const char *id) {
    return find_bytes(client, pool, id, strlen(id));
}

static session_t *find_on(int target, const char *id) {
    return sessions_find_on(&sessions, &targets[target], id, strlen(id));
}

static session_t *bind(int client, int target, const char *id) {
    return sessions_bind(&sessions, &clients[client], &targets[target], id, strlen(id));
}

static void unbind_all(void) {
    for (int c = 0; c < CLIENTS; c++)
        for (list_t *link; (link = list_first(&clients[c].sessions));)
            sessions_unbind(&sessions, list_entry(link, session_t, of_client));
    CHECK_INT(sessions.count, 0);
    for (int t = 0; t < 4; t++) CHECK(list_first(&targets[t].sessions) == NULL);
}

static void test_find(void) {
    session_t *a = bind(0, 0, "s"), *b = bind(0, 2, "s"), *c = bind(1, 0, "s");
    REQUIRE(a && b && c);
    CHECK(find(0, 0, "s") == a);
    CHECK(find(0, 1, "s") == b);
    CHECK(find(0, -1, "s") == b); /* the one bound last */
    CHECK(find(1, -1, "s") == c);
    CHECK(find(1, 1, "s") == NULL);
    CHECK(find(0, 0, "t") == NULL);
    CHECK(find(0, 0, "") == NULL);
    CHECK(find_on(2, "s") == b);
    CHECK(find_on(1, "s") == NULL);
    CHECK(find_on(0, "s") == a || find_on(0, "s") == c);
    CHECK(sessions_bind(&sessions, &clients[0], &targets[1], "a\0b", 3) != NULL);
    CHECK(find_bytes(0, -1, "a\0c", 3) == NULL);
    CHECK(find_bytes(0, -1, "a\0b", 3) != NULL);
    CHECK_INT(sessions.count, 4);
    sessions_unbind(&sessions, b);
    CHECK(find(0, -1, "s") == a);
    unbind_all();
}

static void test_rename(void) {
    session_t *a = bind(0, 0, "s"), *other = bind(1, 0, "t");
    REQUIRE(a && other);
    CHECK(sessions_rename(&sessions, a)); /* the bare name is free again */
    CHECK(find_on(0, "s") == NULL);
    CHECK(find_on(0, "s~0") == a);
    CHECK(find(0, 0, "s") == a);
    session_t *b = bind(1, 0, "s");
    REQUIRE(b != NULL);
    CHECK(find_on(0, "s") == b);
    CHECK(sessions_rename(&sessions, a));
    CHECK(find_on(0, "s~0") == NULL);
    char name[SESSION_NAME_MAX], before[SESSION_NAME_MAX];
    size_t len = session_name(a, before);
    CHECK(len > 2 && memcmp(before, "s~", 2) == 0);
    CHECK(sessions_find_on(&sessions, &targets[0], before, len) == a);
    CHECK(bind(1, 0, "s~0") != NULL);
    CHECK(sessions_rename(&sessions, a)); /* whatever others have taken, there is a further one */
    CHECK(sessions_find_on(&sessions, &targets[0], before, len) == NULL);
    CHECK(sessions_find_on(&sessions, &targets[0], name, session_name(a, name)) == a);
    CHECK(find(0, 0, "s") == a);
    unbind_all();
}

/* A client takes all names ahead that another's session might get. */
static void test_names_taken_ahead(void) {
    enum { TAKEN = 2000 };
    sessions.max = 2 * TAKEN;
    REQUIRE(bind(1, 0, "s") && bind(1, 0, "s~0"));
    for (int i = 0; i < TAKEN; i++) {
        char name[16];
        snprintf(name, sizeof name, i % 2 ? "s~0~%d" : "s~%08x", i / 2);
        REQUIRE(bind(1, 0, name) != NULL);
    }
    session_t *a = bind(0, 0, "s");
    REQUIRE(a != NULL);
    char name[SESSION_NAME_MAX];
    CHECK(sessions_find_on(&sessions, &targets[0], name, session_name(a, name)) == a);
    CHECK(find(0, 0, "s") == a);
    unbind_all();
    sessions.max = 4;
}

/* When all names are taken that are tried, it keeps its own. */
static void test_no_name_left(void) {
    sessions.max = 5;
    for (uint64_t i = 0; i < 3; i++) {
        char name[16] = "s~0";
        uint64_t count = sessions.named + i;
        unsigned number = index_hash(&secret, 0, (const char *)&count, sizeof count);
        if (i) snprintf(name, sizeof name, "s~%08x", number);
        REQUIRE(bind(1, 0, name) != NULL);
    }
    session_t *a = bind(0, 0, "s");
    CHECK(!sessions_rename(&sessions, a));
    CHECK(find_on(0, "s") == a);
    CHECK(bind(1, 0, "s") != NULL); /* its client can still have one of this name */
    CHECK(find_on(0, "s~1") != NULL);
    unbind_all();
    sessions.max = 4;
}

/* Where workers see no names, any number of sessions may have the same one. */
static void test_names_not_seen(void) {
    session_t *a = bind(0, 3, "s"), *b = bind(1, 3, "s"), *seen = bind(1, 0, "s");
    REQUIRE(a && b && seen);
    CHECK(!session_has_two_names(a) && !session_has_two_names(b));
    CHECK(find(0, 2, "s") == a && find(1, 2, "s") == b);
    CHECK(find_on(3, "s") == NULL);
    CHECK(find_on(0, "s") == seen);
    CHECK_INT(sessions.by_target.count, 1);
    unbind_all();
}

/* What workers name alike, a client that has both does not. */
static void test_learn(void) {
    session_t *a = bind(0, 0, "s"), *b = sessions_learn(&sessions, &clients[0], &targets[1], "s", 1);
    REQUIRE(a && b);
    CHECK(find(0, 0, "s") == a && find(0, 0, "s@2") == b);
    CHECK(find_on(0, "s") == a && find_on(1, "s") == b);
    CHECK(find_on(1, "s@2") == NULL);
    CHECK(sessions_rename(&sessions, b)); /* the other way round, at the same time */
    CHECK(find_on(1, "s") == NULL);
    CHECK(find_on(1, "s~0") == b && find(0, 0, "s@2") == b);
    session_t *c = sessions_learn(&sessions, &clients[0], &targets[1], "s", 1);
    CHECK(c && find(0, 0, "s@2@") == c && find_on(1, "s") == c);
    CHECK(sessions_rename(&sessions, c));
    CHECK(sessions_learn(&sessions, &clients[0], &targets[1], "s", 1) == NULL); /* all are taken */
    unbind_all();
    char longest[SESSION_ID_MAX];
    memset(longest, 's', sizeof longest);
    CHECK(sessions_learn(&sessions, &clients[0], &targets[0], longest, sizeof longest) != NULL);
    CHECK(sessions_learn(&sessions, &clients[0], &targets[1], longest, sizeof longest) == NULL);
    CHECK(sessions_learn(&sessions, &clients[0], &targets[2], longest, sizeof longest) != NULL); /* another pool */
    unbind_all();
}

static void test_least_recently_used(void) {
    session_t *a = bind(0, 0, "a");
    bind(0, 0, "b");
    bind(1, 1, "c");
    bind(0, 2, "d");
    sessions_count(&sessions, a, 0); /* used: now the youngest */
    bind(0, 0, "e");
    CHECK_INT(sessions.count, 4);
    CHECK(find(0, 0, "b") == NULL);
    CHECK(find(0, 0, "a") == a);
    bind(0, 0, "f");
    CHECK(find(0, 1, "d") == NULL);
    CHECK(find(1, 0, "c") != NULL); /* the oldest now, but its client has no other */
    unbind_all();
}

/* Whoever has most must give, and may not take from those that have less. */
static void test_forgetting_is_fair(void) {
    session_t *mine = bind(1, 0, "main");
    for (int i = 0; i < 10; i++) {
        char id[2] = {(char)('a' + i), 0};
        CHECK(bind(2, 0, id) != NULL);
    }
    CHECK(bind(2, 0, "main") != NULL);
    CHECK(find_on(0, "main") == mine); /* which is nobody else's conversation */
    CHECK(bind(3, 0, "x") != NULL);
    CHECK(find(2, 0, "i") == NULL && find(2, 0, "j") != NULL);
    CHECK(bind(3, 0, "y") != NULL);
    CHECK(find(2, 0, "j") == NULL && find(3, 0, "x") != NULL);
    CHECK(bind(3, 0, "z") != NULL); /* now it has most itself */
    CHECK(find(2, 0, "main") != NULL && find(3, 0, "x") == NULL);
    CHECK(find_on(0, "main") == mine);
    unbind_all();

    for (int i = 0; i < 3; i++) {
        char id[2] = {(char)('a' + i), 0};
        sessions_count(&sessions, bind(1, 0, id), +1);
    }
    CHECK(bind(2, 0, "idle") != NULL);
    CHECK(bind(1, 0, "d") == NULL); /* its own are busy */
    CHECK(find(2, 0, "idle") != NULL);
    CHECK(bind(3, 0, "new") != NULL); /* who has none yet gets one */
    CHECK(find(2, 0, "idle") == NULL);
    unbind_all();
}

/* What must be forgotten for a new session of the client, found by looking at everything. */
static session_t *expected_to_go(int client) {
    const client_t *most = NULL, *own = &clients[client];
    for (int c = 0; c < CLIENTS; c++) {
        const client_t *other = &clients[c];
        if (!list_first(&other->idle)) continue;
        if (!most || other->session_count > most->session_count ||
            (other->session_count == most->session_count && other->session_use < most->session_use))
            most = other;
    }
    if (most && own->session_count >= most->session_count) most = own;
    list_t *link = most ? list_first(&most->idle) : NULL;
    return link ? list_entry(link, session_t, idle) : NULL;
}

static void test_forgetting_at_random(void) {
    enum { MAX = 12, STEPS = 20000 };
    check_random_t random = {1};
    session_t *bound[MAX] = {0};
    int refused = 0;
    sessions.max = MAX;
    for (int i = 0; i < STEPS; i++) {
        int client = (int)check_random(&random, CLIENTS), place = (int)check_random(&random, MAX);
        session_t *session = bound[place];
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        if (session && check_random(&random, 50) == 0) {
            sessions_unbind(&sessions, session);
            bound[place] = NULL;
        } else if (session && check_random(&random, 3)) {
            sessions_count(&sessions, session, session->in_flight && check_random(&random, 2) ? -1 : +1);
        } else if (sessions.count < MAX) {
            for (place = 0; bound[place]; place++) continue;
            REQUIRE((bound[place] = bind(client, 0, id)) != NULL);
        } else {
            session_t *old = expected_to_go(client);
            for (place = 0; old && bound[place] != old; place++) continue;
            char gone[16] = "";
            int owner = 0;
            if (old) memcpy(gone, old->id, old->len), owner = (int)old->client->id;
            session = bind(client, 0, id);
            REQUIRE(!session == !old);
            if (session) bound[place] = session;
            else refused++;
            if (*gone) REQUIRE(find(owner, 0, gone) == NULL);
        }
    }
    CHECK(refused > 100 && refused < STEPS / 4);
    unbind_all();
    CHECK_INT(sessions.holders.count, 0);
    sessions.max = 4;
}

static void test_busy(void) {
    session_t *busy[4];
    for (int i = 0; i < 4; i++) {
        char id[2] = {(char)('a' + i), 0};
        busy[i] = bind(0, i % 3, id);
        sessions_count(&sessions, busy[i], +1);
    }
    CHECK(bind(0, 0, "new") == NULL);
    sessions_count(&sessions, busy[2], +1);
    sessions_count(&sessions, busy[2], -1);
    CHECK(bind(0, 0, "new") == NULL); /* one is still in flight */
    sessions_count(&sessions, busy[2], -1);
    CHECK(bind(0, 0, "new") != NULL);
    CHECK(find(0, -1, "c") == NULL);
    CHECK_INT(sessions.count, 4);
    unbind_all();
}

static void test_no_memory(void) {
    for (long n = 1;; n++) {
        sessions_free(&sessions);
        sessions_init(&sessions, 4, &secret);
        fake_sys_fail_allocation(n);
        session_t *session = bind(0, 0, "s");
        fake_sys_fail_allocation(0);
        if (session) {
            CHECK_INT(n, 5); /* the entry, two indexes and the holders */
            break;
        }
        CHECK(find(0, 0, "s") == NULL);
        CHECK(find_on(0, "s") == NULL);
        CHECK_INT(sessions.count, 0);
    }
    unbind_all();
}

int main(void) {
    fake_sys_begin();
    configured(&config, "{'pools':[{'id':'p','command':'c'},{'id':'q','command':'c'},"
                        "{'id':'r','command':'c','protocol':'jsonrpc'}]}");
    for (int i = 0; i < 3; i++) pool_init(&pools[i], &config.pools[i]);
    for (int i = 0; i < CLIENTS; i++) client_init(&clients[i], i, &pools[0], 1024);
    for (int i = 0; i < 4; i++) target_init(&targets[i], &pools[i < 2 ? 0 : i - 1], i + 1);
    sessions_init(&sessions, 4, &secret);
    test_find();
    test_rename();
    test_names_taken_ahead();
    test_no_name_left();
    test_names_not_seen();
    test_learn();
    test_least_recently_used();
    test_forgetting_is_fair();
    test_forgetting_at_random();
    test_busy();
    test_no_memory();
    sessions_free(&sessions);
    for (int i = 0; i < CLIENTS; i++) client_free(&clients[i]);
    for (int i = 0; i < 3; i++) pool_free(&pools[i]);
    config_free(&config);
    fake_sys_end();
    return check_result();
}
