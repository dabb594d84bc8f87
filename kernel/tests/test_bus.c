/* test_bus.c - the public functions: options, codes, both kinds of delivery, clients, the
 * poll descriptor, and destroying at any moment. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_sys.h"
#include "host.h"

#define PLAIN "{'pools':[{'id':'p','command':'SELF','args':['work']}]}"
#define STRICT "{'pools':[{'id':'p','command':'SELF','args':['work'],'protocol':'mcp','instances':2}]}"

static bool readable(void) {
    struct pollfd fd = {.fd = stdio_bus_get_poll_fd(host.bus), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

/* Waits as a host does: on the descriptor, and nothing else. */
static bool wait_readable(void) {
    struct pollfd fd = {.fd = stdio_bus_get_poll_fd(host.bus), .events = POLLIN};
    return poll(&fd, 1, 30000) == 1;
}

static char error_text[1024];

static void on_error(stdio_bus_t *bus, int code, const char *message, void *user) {
    CHECK(bus == NULL && user == error_text);
    snprintf(error_text, sizeof error_text, "%d: %s", code, message);
}

static void check_refused(stdio_bus_options_t options, const char *expected) {
    options.on_error = on_error;
    options.user_data = error_text;
    CHECK(stdio_bus_create(&options) == NULL);
    CHECK_STR(error_text, expected);
}

static void test_create(void) {
    CHECK(stdio_bus_create(NULL) == NULL);
    check_refused((stdio_bus_options_t){0}, "-10: exactly one of config_path and config_json must be set");
    check_refused((stdio_bus_options_t){.config_json = "{}", .config_path = "x"},
                  "-10: exactly one of config_path and config_json must be set");
    check_refused((stdio_bus_options_t){.config_json = "{}"}, "-10: pools: is required");
    check_refused((stdio_bus_options_t){.config_json = "{"}, "-10: line 1, column 2: the text ends too early");
    check_refused((stdio_bus_options_t){.config_path = "/no/such/file"},
                  "-10: /no/such/file: cannot be read: No such file or directory");
    CHECK(stdio_bus_create(&(stdio_bus_options_t){.config_json = "{}"}) == NULL); /* without on_error */
    stdio_bus_destroy(NULL);
    CHECK_STR(stdio_bus_version(), STDIO_BUS_VERSION);
    CHECK_INT(stdio_bus_abi(), STDIO_BUS_ABI);
    CHECK_INT(stdio_bus_sizeof(STDIO_BUS_SIZEOF_OPTIONS), sizeof(stdio_bus_options_t));
    CHECK_INT(stdio_bus_sizeof(STDIO_BUS_SIZEOF_STATS), 64);
    CHECK_INT(stdio_bus_sizeof(STDIO_BUS_SIZEOF_LINE), 16);
    CHECK_INT(stdio_bus_sizeof(STDIO_BUS_SIZEOF_WORKER_INFO), sizeof(stdio_bus_worker_info_t));
    CHECK_INT(stdio_bus_sizeof(STDIO_BUS_SIZEOF_WORKER_EVENT), sizeof(stdio_bus_worker_event_t));
    CHECK_INT(stdio_bus_sizeof(99), 0);
    CHECK_STR(stdio_bus_worker_state_name(STDIO_BUS_WORKER_BACKOFF), "backoff");
    CHECK_STR(stdio_bus_worker_state_name(99), "unknown");
}

static void test_states(void) {
    REQUIRE(host_create(PLAIN));
    CHECK_INT(stdio_bus_get_state(host.bus), STDIO_BUS_STATE_CREATED);
    CHECK_INT(host_ingest("{'id':1,'method':'echo'}"), STDIO_BUS_ERR_STATE);
    CHECK_INT(stdio_bus_feed(host.bus, 0, "\n", 1), STDIO_BUS_ERR_STATE);
    CHECK_INT(stdio_bus_step(host.bus, 0), STDIO_BUS_ERR_STATE);
    CHECK_INT(stdio_bus_worker_count(host.bus), 0);
    CHECK_INT(stdio_bus_start(host.bus), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_start(host.bus), STDIO_BUS_ERR_STATE);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_RUNNING);
    CHECK_INT(stdio_bus_worker_count(host.bus), 1);
    CHECK_INT(stdio_bus_client_count(host.bus), 0);
    CHECK_INT(stdio_bus_stop(host.bus, 20), STDIO_BUS_OK);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK_INT(stdio_bus_stop(host.bus, 20), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_feed(host.bus, 0, "\n", 1), STDIO_BUS_ERR_STATE);
    CHECK_INT(stdio_bus_start(host.bus), STDIO_BUS_ERR_STATE);
    host_destroy();
}

static void test_ingest_codes(void) {
    host_open("{'pools':[{'id':'p','command':'SELF','args':['work'],'max_in_flight':1,'max_queue':1}],"
              "'limits':{'max_input_buffer':1024}}");
    char text[1100];
    static const char *const invalid[] = {"", "hello", "[]", "{}", "{'id':1}", "{'id':{},'method':'m'}",
                                          "{'id':1,'method':'echo'}\n", "\n", "{'id':1,\n'method':'echo'}"};
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++)
        CHECK_INT(host_ingest("%s", invalid[i]), STDIO_BUS_ERR_INVALID);
    CHECK_INT(stdio_bus_ingest(host.bus, NULL, 0), STDIO_BUS_ERR_INVALID);
    CHECK_INT(stdio_bus_ingest(host.bus, "{}\0", 3), STDIO_BUS_ERR_INVALID);
    snprintf(text, sizeof text, "{\"method\":\"%*s\"}", 1024 - 13, "");
    CHECK_INT(strlen(text), 1024);
    CHECK_INT(stdio_bus_ingest(host.bus, text, 1024), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_ingest(host.bus, text, 1025), STDIO_BUS_ERR_BUFFER);
    CHECK_INT(host_ingest("{'id':1,'method':'hang'}"), STDIO_BUS_OK);
    CHECK_INT(host_ingest("{'id':1,'method':'hang'}"), STDIO_BUS_ERR_INVALID);
    CHECK_INT(host_ingest("{'id':2,'method':'echo','pool':'q'}"), STDIO_BUS_ERR_ROUTING);
    CHECK_INT(host_ingest("{'id':2,'method':'echo'}"), STDIO_BUS_OK);
    CHECK_INT(host_ingest("{'id':3,'method':'echo'}"), STDIO_BUS_ERR_EFULL);
    CHECK_INT(stdio_bus_pending_count(host.bus), 2);
    CHECK_INT(host_messages(), 0); /* a refused message gets no other report */
    CHECK_INT(stdio_bus_stop(host.bus, 0), STDIO_BUS_OK);
    CHECK_INT(host_ingest("{'id':3,'method':'echo'}"), STDIO_BUS_ERR_STATE);
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_STOPPED);
    CHECK_INT(host_messages(), 2);
    host_destroy();
}

/* A stream gives the same answers whatever its split, mistakes included. */
static void test_feed_in_any_split(void) {
    static const char stream[] =
        "{\"id\":1,\"method\":\"echo\"}\r\n\n\r\nnot JSON\n[]\n{\"id\":2,\"method\":\"stdio_bus/ping\"}\n{\"id\":3}\n";
    for (size_t size = 1; size <= sizeof stream; size = size < 8 ? size + 1 : size * 2) {
        host_open(PLAIN);
        for (size_t at = 0; at < sizeof stream - 1; at += size) {
            size_t n = sizeof stream - 1 - at < size ? sizeof stream - 1 - at : size;
            char *piece = malloc(n); /* its end is the end of what may be read */
            memcpy(piece, stream + at, n);
            CHECK_INT(stdio_bus_feed(host.bus, 0, piece, n), STDIO_BUS_OK);
            free(piece);
        }
        HOST_GETS("{'jsonrpc':'2.0','id':null,'error':{'code':-32700,*}}");
        HOST_GETS("{'jsonrpc':'2.0','id':null,'error':{'code':-32600,*}}");
        HOST_GETS("{'jsonrpc':'2.0','id':2,'result':{}}");
        HOST_GETS("{'jsonrpc':'2.0','id':3,'error':{'code':-32600,*}}");
        HOST_GETS("{'jsonrpc':'2.0','id':1,'result':{'pid':*}}");
        CHECK_INT(stdio_bus_feed(host.bus, 0, NULL, 0), STDIO_BUS_OK);
        host_close();
    }
}

static void test_feed_too_long(void) {
    static char line[3000];
    host_open("{'pools':[{'id':'p','command':'SELF','args':['work']}],'limits':{'max_input_buffer':1024}}");
    memset(line, 'x', sizeof line);
    memcpy(line, "{\"id\":7,\"method\":\"", 18);
    memcpy(line + sizeof line - 3, "\"}\n", 3);
    for (size_t at = 0; at < sizeof line; at += 100) CHECK_INT(stdio_bus_feed(host.bus, 0, line + at, 100), STDIO_BUS_OK);
    HOST_GETS("{'jsonrpc':'2.0','id':7,'error':{'code':-32600,*at most 1024 bytes*}}");
    host_feed(0, "{'id':8,'method':'echo'}\n");
    HOST_GETS("{'jsonrpc':'2.0','id':8,'result':*}");
    host_close();
}

/* A line of the host makes a worker start, and the callback about that feeds the bus: what it says
 * comes after all that the line came with. */
static struct {
    char answers[512];
    int code, closed, host_closed;
} inner_feed;

static void feed_in_callback(stdio_bus_t *bus, int worker_id, const char *event, void *user) {
    static const char ping[] = "{\"jsonrpc\":\"2.0\",\"id\":\"inner\",\"method\":\"stdio_bus/ping\"}\n";
    (void)event, (void)user;
    if (worker_id != 2) return;
    inner_feed.host_closed = stdio_bus_client_close(bus, STDIO_BUS_HOST_CLIENT);
    inner_feed.closed = stdio_bus_client_close(bus, 1);
    inner_feed.code = stdio_bus_feed(bus, 1, ping, sizeof ping - 1) + stdio_bus_feed(bus, 0, ping, sizeof ping - 1);
}

static void keep_ids(stdio_bus_t *bus, const char *data, size_t len, const stdio_bus_line_t *lines, size_t count,
                     void *user) {
    (void)bus, (void)len, (void)user;
    for (size_t i = 0; i < count; data += lines[i++].length + 1) {
        const char *id = strstr(data, "\"id\":\"") + 6;
        size_t used = strlen(inner_feed.answers);
        snprintf(inner_feed.answers + used, sizeof inner_feed.answers - used, "%d:%.*s ", (int)lines[i].client_id,
                 (int)strcspn(id, "\""), id);
    }
}

static size_t lines_counted;

static void count_lines(stdio_bus_t *bus, const char *data, size_t len, const stdio_bus_line_t *lines, size_t count,
                        void *user) {
    (void)bus, (void)data, (void)len, (void)lines, (void)user;
    lines_counted += count;
}

static void test_feed_in_callback(void) {
    static char lines[8192];
    stdio_bus_options_t options = {.config_json = host_config("{'pools':[{'id':'p','command':'SELF','args':['work']}]}"),
                                   .on_worker = feed_in_callback};
    int len = snprintf(lines, sizeof lines,
                       "{'jsonrpc':'2.0',%6000s'id':'outer','method':'stdio_bus/scale','params':{'pool':'p','instances':2}}\n"
                       "{'jsonrpc':'2.0','id':'after','method':'stdio_bus/ping'}\n",
                       "");
    for (char *at = lines; (at = strchr(at, '\'')); at++) *at = '"';
    for (int cut = 0; cut <= 6050; cut += 6050) { /* whole lines in one piece; a line in two */
        memset(&inner_feed, 0, sizeof inner_feed);
        stdio_bus_t *bus = stdio_bus_create(&options);
        REQUIRE(bus != NULL);
        stdio_bus_set_on_batch(bus, keep_ids);
        CHECK_INT(stdio_bus_start(bus), STDIO_BUS_OK);
        CHECK_INT(stdio_bus_client_open(bus, "p"), 1);
        CHECK_INT(stdio_bus_feed(bus, 0, lines, (size_t)cut), STDIO_BUS_OK);
        CHECK_INT(stdio_bus_feed(bus, 0, lines + cut, (size_t)(len - cut)), STDIO_BUS_OK);
        for (int i = 0; i < 100 && !strstr(inner_feed.answers, "inner"); i++) stdio_bus_step(bus, 50);
        CHECK_STR(inner_feed.answers, "0:outer 0:after 0:inner ");
        CHECK_INT(inner_feed.host_closed, STDIO_BUS_ERR_STATE); /* its lines are being taken */
        CHECK_INT(inner_feed.closed, STDIO_BUS_OK);
        CHECK_INT(inner_feed.code, STDIO_BUS_ERR_ENOTFOUND); /* the closed one's, and OK */
        stdio_bus_destroy(bus);
    }
}

static void test_clients(void) {
    host_open(STRICT);
    int a = stdio_bus_client_open(host.bus, NULL), b = stdio_bus_client_open(host.bus, "p");
    CHECK(a > 0 && b > 0 && a != b);
    CHECK_INT(stdio_bus_client_open(host.bus, "nowhere"), STDIO_BUS_ERR_ENOTFOUND);
    CHECK_INT(stdio_bus_feed(host.bus, 999, "\n", 1), STDIO_BUS_ERR_ENOTFOUND);
    CHECK_INT(stdio_bus_client_count(host.bus), 0); /* not external */
    host_feed(a, "{'jsonrpc':'2.0','id':1,'method':'hang','sessionId':'s'}\n");
    host_feed(b, "{'jsonrpc':'2.0','id':1,'method':'echo','sessionId':'s'}\n{'jsonrpc':'2.0',");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':*}");
    CHECK_INT(host_message_client, b);
    CHECK(host_message_worker == 1 || host_message_worker == 2);
    CHECK_INT(stdio_bus_session_count(host.bus), 2);
    host_feed(0, "{'jsonrpc':'2.0','id':1,'method':'echo'}\n");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':*}");
    CHECK_INT(host_message_client, STDIO_BUS_HOST_CLIENT);
    host_feed(b, "'id':2,'method':'echo'}\n"); /* the rest of its line */
    HOST_GETS("{'jsonrpc':'2.0','id':2,'result':*}");
    CHECK_INT(host_message_client, b);
    CHECK_INT(stdio_bus_client_close(host.bus, a), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_client_close(host.bus, a), STDIO_BUS_ERR_ENOTFOUND);
    CHECK_INT(stdio_bus_session_count(host.bus), 1);
    CHECK_INT(stdio_bus_pending_count(host.bus), 0);
    host_close();
}

/* The host client itself takes all that the host has with it, and stays. */
static void test_closing_the_host_client(void) {
    host_open(STRICT);
    int client = stdio_bus_client_open(host.bus, NULL);
    host_feed(0, "{'jsonrpc':'2.0','id':1,'method':'hang','sessionId':'s'}\n");
    host_feed(client, "{'jsonrpc':'2.0','id':1,'method':'hang','sessionId':'s'}\n");
    UNTIL(stdio_bus_pending_count(host.bus) == 2 && stdio_bus_session_count(host.bus) == 2);
    CHECK_INT(stdio_bus_client_close(host.bus, STDIO_BUS_HOST_CLIENT), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_pending_count(host.bus), 0);
    CHECK_INT(stdio_bus_session_count(host.bus), 0);
    CHECK_INT(stdio_bus_feed(host.bus, client, "\n", 1), STDIO_BUS_ERR_ENOTFOUND);
    host_feed(0, "{'jsonrpc':'2.0','id':1,'method':'echo'}\n");
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':*}");
    CHECK_INT(host_message_client, STDIO_BUS_HOST_CLIENT);
    host_close();
}

/* ---- delivery by message -------------------------------------------------------------- */

static int by_message, nested, refused;

static void on_message(stdio_bus_t *bus, const char *msg, size_t len, void *user) {
    CHECK(user == &by_message);
    by_message++;
    CHECK(len > 2 && msg[0] == '{' && msg[len - 1] == '}');
    refused += memmem(msg, len, "(on_batch)", 10) != NULL;
    if (nested++ < 5) { /* a callback may send: the answer comes with a later step */
        int before = by_message;
        CHECK_INT(stdio_bus_feed(bus, 0, "{\"id\":9,\"method\":\"stdio_bus/ping\"}\n", 35), STDIO_BUS_OK);
        CHECK_INT(stdio_bus_ingest(bus, "{\"method\":\"note\"}", 17), STDIO_BUS_OK);
        CHECK_INT(by_message, before);
    }
}

static void test_on_message(void) {
    stdio_bus_options_t options = {.config_json = host_config(PLAIN), .on_message = on_message, .user_data = &by_message};
    by_message = nested = refused = 0;
    host.bus = stdio_bus_create(&options);
    REQUIRE(host.bus != NULL);
    CHECK_INT(stdio_bus_start(host.bus), STDIO_BUS_OK);
    CHECK_INT(stdio_bus_client_open(host.bus, NULL), STDIO_BUS_ERR_STATE); /* whose message would it be? */
    for (int i = 0; i < 3; i++) CHECK_INT(host_ingest("{'id':%d,'method':'echo'}", i), STDIO_BUS_OK);
    UNTIL(by_message == 8);
    host_feed(0, "{'id':1,'method':'stdio_bus/open','params':{'pool':'p'}}\n");
    UNTIL(by_message == 9);
    CHECK_INT(refused, 1);
    host_close();
}

/* ---- the poll descriptor ------------------------------------------------------------------ */

/* Readable when there is something to do, also for what a call of the host has left. */
static void test_poll_descriptor(void) {
    host_open(STRICT);
    while (!(strstr(host.events, "started:1") && strstr(host.events, "started:2")) && CHECK(wait_readable()))
        CHECK(stdio_bus_step(host.bus, 0) >= 0);
    CHECK_INT(stdio_bus_get_state(host.bus), STDIO_BUS_STATE_RUNNING);
    CHECK(!readable()); /* idle */
    host_feed(0, "{'jsonrpc':'2.0','id':1,'method':'stdio_bus/ping'}\n");
    CHECK(readable());
    CHECK(stdio_bus_step(host.bus, -1) >= 0); /* does not wait: there is a message */
    CHECK_INT(host_messages(), 1);
    HOST_GETS("{'jsonrpc':'2.0','id':1,'result':{}}");
    CHECK(!readable());
    host_feed(0, "{'jsonrpc':'2.0','id':2,'method':'exit'}\n");
    while (!host_messages() && CHECK(wait_readable())) stdio_bus_step(host.bus, 0);
    HOST_GETS("{'jsonrpc':'2.0','id':2,'error':{'code':-32083,*}}");
    /* The restart is due by itself: 100 ms later the descriptor says so. */
    host_events();
    while (!strstr(host.events, "started") && CHECK(wait_readable())) stdio_bus_step(host.bus, 0);
    CHECK_INT(stdio_bus_stop(host.bus, 20), STDIO_BUS_OK);
    CHECK(readable());
    while (stdio_bus_get_state(host.bus) != STDIO_BUS_STATE_STOPPED && CHECK(wait_readable())) stdio_bus_step(host.bus, 0);
    CHECK_INT(stdio_bus_step(host.bus, 0), 0);
    CHECK(!readable()); /* stopped: nothing to do ever more */
    host_destroy();
}

/* The last request is taken back during a stop, while no worker is there: that is its end. */
static void test_poll_descriptor_at_the_end(void) {
    host_open("{'pools':[{'id':'p','embedded':true}]}");
    int client = stdio_bus_client_open(host.bus, NULL);
    host_feed(client, "{'id':1,'method':'echo'}\n"); /* waits for a worker */
    CHECK_INT(stdio_bus_stop(host.bus, 20), STDIO_BUS_OK);
    CHECK(stdio_bus_step(host.bus, 0) >= 0);
    CHECK(!readable());
    CHECK_INT(stdio_bus_client_close(host.bus, client), STDIO_BUS_OK);
    CHECK(readable());
    CHECK(stdio_bus_step(host.bus, 0) >= 0);
    CHECK_INT(stdio_bus_get_state(host.bus), STDIO_BUS_STATE_STOPPED);
    host_destroy();
}

/* ---- the clock ---------------------------------------------------------------------------- */

/* A host steps when the descriptor is readable: the last turn of the loop may be long ago. */
static void test_calls_after_a_long_silence(void) {
    host_open("{'pools':[{'id':'p','command':'SELF','args':['work']}]}");
    UNTIL(stdio_bus_get_state(host.bus) == STDIO_BUS_STATE_RUNNING);
    fake_sys_advance(3600 * 1000);
    CHECK_INT(stdio_bus_scale_pool(host.bus, "p", 2), STDIO_BUS_OK);
    stdio_bus_worker_info_t workers[2];
    CHECK_INT(stdio_bus_get_workers(host.bus, workers, 2), 2);
    CHECK(workers[1].uptime_ms < 60 * 1000);
    host_ingest("{'id':1,'method':'hang'}");
    CHECK_INT(stdio_bus_stop(host.bus, 200), STDIO_BUS_OK);
    fake_sys_advance(150 * 1000);
    CHECK_INT(stdio_bus_stop(host.bus, 100), STDIO_BUS_OK); /* would end later than the first */
    CHECK(stdio_bus_stop_left(host.bus) <= 50 * 1000);
    host_destroy();
}

/* ---- memory ------------------------------------------------------------------------------- */

static int told_of_losses;

static void feed_in_on_error(stdio_bus_t *bus, int code, const char *message, void *user) {
    (void)user, (void)message;
    if (code != STDIO_BUS_ERR_BUFFER) return;
    told_of_losses++;
    fake_sys_no_memory(false);
    static const char cancel[] = "{\"method\":\"stdio_bus/cancel\",\"params\":{\"id\":7}}\n";
    CHECK_INT(stdio_bus_feed(bus, 0, cancel, sizeof cancel - 1), STDIO_BUS_OK);
}

/* For want of memory the host loses an answer, and is told when nothing is in the midst of it. */
static void test_lost_message(void) {
    stdio_bus_options_t options = {.on_error = feed_in_on_error};
    options.config_json = host_config("{'pools':[{'id':'p','command':'SELF','args':['work'],'protocol':'jsonrpc'}]}");
    for (int n = 1; n < 20 && !told_of_losses; n++) {
        stdio_bus_t *bus = host.bus = stdio_bus_create(&options);
        REQUIRE(bus != NULL);
        stdio_bus_set_on_batch(bus, count_lines);
        CHECK_INT(stdio_bus_start(bus), STDIO_BUS_OK);
        for (int i = 0; i < 100 && stdio_bus_get_state(bus) != STDIO_BUS_STATE_RUNNING; i++) stdio_bus_step(bus, 50);
        CHECK_INT(host_ingest("{'jsonrpc':'2.0','id':7,'method':'big','params':['%3000s']}", ""), STDIO_BUS_OK);
        fake_sys_fail_allocation(n);
        lines_counted = 0;
        for (int i = 0; i < 100 && !lines_counted && !told_of_losses; i++) stdio_bus_step(bus, 50);
        fake_sys_fail_allocation(0);
        CHECK_INT(stdio_bus_pending_count(bus), 0);
        lines_counted = 0;
        for (int i = 0; i < 3; i++) CHECK_INT(host_ingest("{'jsonrpc':'2.0','id':%d,'method':'echo'}", i), STDIO_BUS_OK);
        for (int i = 0; i < 100 && lines_counted < 3; i++) stdio_bus_step(bus, 50);
        CHECK_INT(lines_counted, 3);
        stdio_bus_destroy(bus);
    }
    CHECK_INT(told_of_losses, 1);
}

/* ---- destroying --------------------------------------------------------------------------- */

/* After any number of steps, whatever is under way: nothing may be left. */
static void test_destroy_at_any_moment(void) {
    for (int steps = 0; steps < 40; steps++) {
        REQUIRE(host_create("{'pools':[{'id':'p','command':'SELF','args':['work'],'instances':2,'max_in_flight':1},"
                            "{'id':'q','command':'SELF','args':['die']},"
                            "{'id':'r','command':'SELF','args':['deaf'],'protocol':'mcp'}]}"));
        int client = 0;
        for (int i = 0; i < steps; i++) {
            switch (i) {
            case 1: CHECK_INT(stdio_bus_start(host.bus), STDIO_BUS_OK); break;
            case 3: client = stdio_bus_client_open(host.bus, NULL); break;
            case 5: host_feed(client, "{'id':1,'method':'ask','sessionId':'s'}\n{'id':2,'method':'echo'}\n{'id':3,"); break;
            case 7: host_ingest("{'id':1,'method':'echo','pool':'q'}"); break;
            case 9: host_ingest("{'id':2,'method':'exit','sessionId':'t'}"); break;
            case 11: host_feed(0, "{'jsonrpc':'2.0','id':4,'method':'initialize','pool':'r'}\n"); break;
            case 20: CHECK_INT(stdio_bus_stop(host.bus, steps % 2), STDIO_BUS_OK); break;
            case 25: fake_sys_advance(5000); break;
            default:
                if (i > 1) CHECK(stdio_bus_step(host.bus, 20) >= 0);
            }
        }
        host_destroy();
        CHECK_INT(fake_sys_live_allocations(), 0);
    }
}

int main(int argc, char **argv) {
    host_main(argc, argv);
    fake_sys_begin();
    test_create();
    test_states();
    test_ingest_codes();
    test_feed_in_any_split();
    test_feed_too_long();
    test_feed_in_callback();
    test_clients();
    test_closing_the_host_client();
    test_on_message();
    test_poll_descriptor();
    test_poll_descriptor_at_the_end();
    test_calls_after_a_long_silence();
    test_lost_message();
    test_destroy_at_any_moment();
    fake_sys_end();
    return check_result();
}
