/* test_pending.c - ids that are never used twice, texts, look-ups, the maximum, no memory. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fake_sys.h"
#include "pending.h"

static pendings_t pendings;
static client_t clients[2];

static pending_t *call(int client, const char *id) {
    pending_texts_t texts = {.id = id, .id_len = strlen(id)};
    return pending_new(&pendings, PENDING_CALL, &clients[client], &texts);
}

static pending_t *of_client(int client, const char *id) {
    return pending_of_client(&pendings, &clients[client], id, strlen(id));
}

static void test_lookups(void) {
    pending_t *a = call(0, "1"), *b = call(1, "1"), *c = call(0, "\"1\"");
    REQUIRE(a && b && c);
    CHECK(of_client(0, "1") == a && of_client(1, "1") == b && of_client(0, "\"1\"") == c);
    CHECK(of_client(1, "\"1\"") == NULL);
    CHECK(pending_of_id(&pendings, (int64_t)a->id) == a);
    CHECK(pending_of_id(&pendings, (int64_t)b->id) == b);
    CHECK(a->id != b->id && b->id != c->id && a->id != c->id);
    CHECK(a->sequence < b->sequence && b->sequence < c->sequence);
    CHECK_INT(pendings.calls, 3);
    static const int64_t strange[] = {0, -1, INT64_MIN, INT64_MAX, 200, 257, 1 << 20, (1 << 20) + 1};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) CHECK(pending_of_id(&pendings, strange[i]) == NULL);

    int64_t old = (int64_t)a->id;
    pending_release(&pendings, a);
    CHECK(pending_of_id(&pendings, old) == NULL);
    CHECK(of_client(0, "1") == NULL);
    CHECK(of_client(1, "1") == b);
    pending_t *again = call(0, "1");
    CHECK((int64_t)again->id != old);
    CHECK(pending_of_id(&pendings, old) == NULL);

    /* Abandoned: the client may use the id again, the bus still knows its own. */
    pending_abandon(&pendings, b);
    CHECK(of_client(1, "1") == NULL);
    CHECK(b->client == NULL && b->abandoned);
    CHECK(pending_of_id(&pendings, (int64_t)b->id) == b);
    CHECK(list_first(&clients[1].pending) == NULL);
    CHECK_INT(pendings.calls, 2);
    pending_release(&pendings, b);
    pending_release(&pendings, again);
    pending_release(&pendings, c);
    CHECK_INT(pendings.calls, 0);
    CHECK(list_first(&clients[0].pending) == NULL);
}

/* Kinds without a client's id are found by the bus's only. */
static void test_other_kinds(void) {
    static const pending_texts_t none = {0};
    pending_texts_t ask_texts = {.id = "\"w\"", .id_len = 3};
    pending_t *handshake = pending_new(&pendings, PENDING_HANDSHAKE, NULL, &none);
    pending_t *note = pending_new(&pendings, PENDING_NOTE, &clients[0], &none);
    pending_t *ask = pending_new(&pendings, PENDING_ASK, &clients[0], &ask_texts);
    REQUIRE(handshake && note && ask);
    CHECK(of_client(0, "\"w\"") == NULL);
    CHECK(pending_of_id(&pendings, (int64_t)ask->id) == ask);
    CHECK(pending_of_id(&pendings, (int64_t)handshake->id) == handshake);
    CHECK_INT(pendings.calls, 0);
    pending_release(&pendings, ask);
    pending_release(&pendings, note);
    pending_release(&pendings, handshake);
}

static void check_texts(size_t id_len, size_t token_len, size_t put_back_len, size_t session_len) {
    char id[100], token[100], put_back[100], session[100];
    memset(id, 'i', sizeof id);
    memset(token, 't', sizeof token);
    memset(put_back, 'p', sizeof put_back);
    memset(session, 's', sizeof session);
    pending_texts_t texts = {id, token, put_back, session, id_len, token_len, put_back_len, session_len};
    pending_t *p = pending_new(&pendings, PENDING_CALL, &clients[0], &texts);
    REQUIRE(p != NULL);
    CHECK(p->id_len == id_len && p->token_len == token_len);
    CHECK(p->put_back_len == put_back_len && p->session_len == session_len);
    CHECK(memcmp(pending_id_text(p), id, id_len) == 0);
    CHECK(memcmp(pending_token(p), token, token_len) == 0);
    CHECK(memcmp(pending_put_back(p), put_back, put_back_len) == 0);
    CHECK(memcmp(pending_session_id(p), session, session_len) == 0);
    CHECK((p->texts == p->small) == (id_len + token_len + put_back_len + session_len <= sizeof p->small));
    pending_release(&pendings, p);
}

static void test_texts(void) {
    check_texts(1, 0, 0, 0);
    check_texts(12, 12, 12, 12);
    check_texts(12, 12, 12, 13);
    check_texts(100, 100, 100, 100);
    check_texts(48, 0, 0, 0);
    check_texts(49, 0, 0, 0);
    check_texts(3, 0, 90, 1);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void test_unique_ids(void) {
    enum { LIVE = 600, ROUNDS = 20000 };
    static pending_t *live[LIVE];
    static uint64_t ids[ROUNDS];
    static const pending_texts_t none = {0};
    check_random_t random = {2};
    size_t count = 0;
    for (int i = 0; i < ROUNDS; i++) {
        pending_t **slot = &live[check_random(&random, LIVE)];
        if (*slot) pending_release(&pendings, *slot);
        *slot = pending_new(&pendings, PENDING_NOTE, &clients[0], &none);
        REQUIRE(*slot != NULL);
        ids[count++] = (*slot)->id;
        CHECK(pending_of_id(&pendings, (int64_t)(*slot)->id) == *slot);
    }
    qsort(ids, count, sizeof *ids, by_value);
    int doubles = 0;
    for (size_t i = 1; i < count; i++) doubles += ids[i] == ids[i - 1];
    CHECK_INT(doubles, 0);
    CHECK(ids[0] >= 1 && ids[count - 1] < (uint64_t)1 << 53);
    for (int i = 0; i < LIVE; i++)
        if (live[i]) pending_release(&pendings, live[i]);
}

/* Generations end at 2^53 and begin again. */
static void test_wrap(void) {
    pending_t *p = call(0, "1");
    uint64_t slot = (p->id - 1) % PENDING_MAX;
    p->id = ((uint64_t)1 << 53) - PENDING_MAX + slot + 1;
    pending_release(&pendings, p);
    pending_t *next = call(0, "1");
    CHECK_INT(next->id, slot + 1);
    pending_release(&pendings, next);
}

static void test_maximum(void) {
    static pending_t *all[PENDING_MAX];
    static const pending_texts_t none = {0};
    size_t count = 0;
    while (count < PENDING_MAX && (all[count] = pending_new(&pendings, PENDING_HANDSHAKE, NULL, &none))) count++;
    CHECK_INT(count, PENDING_MAX);
    CHECK(pending_new(&pendings, PENDING_HANDSHAKE, NULL, &none) == NULL);
    pending_release(&pendings, all[12345]);
    all[12345] = pending_new(&pendings, PENDING_HANDSHAKE, NULL, &none);
    CHECK(all[12345] != NULL);
    for (size_t i = 0; i < count; i++) pending_release(&pendings, all[i]);
}

static void test_no_memory(void) {
    char id[100];
    memset(id, '7', sizeof id);
    pending_texts_t texts = {.id = id, .id_len = sizeof id};
    for (long n = 1;; n++) {
        pendings_free(&pendings);
        fake_sys_fail_allocation(n);
        pending_t *p = pending_new(&pendings, PENDING_CALL, &clients[0], &texts);
        fake_sys_fail_allocation(0);
        if (p) {
            CHECK_INT(n, 5); /* chunk table, chunk, texts, index */
            pending_release(&pendings, p);
            break;
        }
        CHECK_INT(pendings.calls, 0);
        CHECK(list_first(&clients[0].pending) == NULL);
        CHECK(pending_of_id(&pendings, 1) == NULL);
        CHECK(pending_of_client(&pendings, &clients[0], id, sizeof id) == NULL);
    }
}

/* However many one client wants, others find some. */
static void test_greedy_client(void) {
    static const pending_texts_t none = {0};
    size_t counts[2] = {0};
    for (int i = 0; i < 2; i++)
        while (pending_new(&pendings, PENDING_NOTE, &clients[i], &none)) counts[i]++;
    CHECK_INT(counts[0], PENDING_MAX / 2);
    CHECK_INT(counts[1], PENDING_MAX / 4);
    for (int i = 0; i < 2; i++) {
        for (list_t *link; (link = list_first(&clients[i].pending));)
            pending_release(&pendings, list_entry(link, pending_t, of_client));
        CHECK_INT(clients[i].pending_count, 0);
    }
    CHECK_INT(pendings.count, 0);
    pending_t *abandoned = call(0, "1");
    REQUIRE(abandoned != NULL);
    CHECK_INT(clients[0].pending_count, 1);
    pending_abandon(&pendings, abandoned);
    CHECK_INT(clients[0].pending_count, 0);
    pending_release(&pendings, abandoned);
    CHECK_INT(clients[0].pending_count, 0);
    pendings_free(&pendings);
}

int main(void) {
    fake_sys_begin();
    for (int i = 0; i < 2; i++) client_init(&clients[i], i, NULL, 1024);
    test_lookups();
    test_other_kinds();
    test_texts();
    test_unique_ids();
    test_wrap();
    test_maximum();
    test_greedy_client();
    test_no_memory();
    pendings_free(&pendings);
    for (int i = 0; i < 2; i++) client_free(&clients[i]);
    fake_sys_end();
    return check_result();
}
