/* test_client.c - a client begins with nothing under way and a stream of its own. */
#include "client.h"

#include <string.h>

#include "check.h"
#include "fake_sys.h"

static void test_begin(void) {
    pool_t pool;
    client_t client;
    client_init(&client, 7, &pool, 4096);
    CHECK_INT(client.id, 7);
    CHECK(client.default_pool == &pool);
    CHECK(!client.external);
    CHECK(!list_first(&client.pending) && !list_first(&client.sessions));
    client_free(&client);
}

/* The ends of an over-long line are kept, to find its id in. */
static void test_stream(void) {
    client_t client;
    line_t line;
    char text[3000];
    client_init(&client, 1, NULL, 2048);
    memset(text, 'x', sizeof text);
    memcpy(text, "head", 4);
    memcpy(text + sizeof text - 5, "tail\n", 5);
    line_feed(&client.lines, text, sizeof text);
    CHECK_INT(line_next(&client.lines, &line), LINE_TOO_LONG);
    CHECK_INT(line.len, CLIENT_LINE_KEEP);
    CHECK_INT(line.tail_len, CLIENT_LINE_KEEP);
    CHECK(memcmp(line.text, "head", 4) == 0 && memcmp(line.tail + line.tail_len - 4, "tail", 4) == 0);
    CHECK_INT(line_next(&client.lines, &line), LINE_MORE);
    line_feed(&client.lines, "half", 4); /* is freed with the client */
    CHECK_INT(line_next(&client.lines, &line), LINE_MORE);
    CHECK(fake_sys_live_allocations() > 0);
    client_free(&client);
}

int main(void) {
    fake_sys_begin();
    test_begin();
    test_stream();
    fake_sys_end();
    return check_result();
}
