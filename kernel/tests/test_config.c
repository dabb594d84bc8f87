/* test_config.c - every field wrong once with its exact message, defaults, places of
 * syntax errors, files, and every allocation failed in turn. */
#define _GNU_SOURCE /* mkstemp */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer.h"
#include "check.h"
#include "config.h"
#include "configured.h"
#include "fake_sys.h"
#include "stdio_bus.h"

#define POOL_KEYS_TEXT                                                                                             \
    "id, command, args, instances, env, inherit_env, cwd, protocol, max_in_flight, max_queue, startup_timeout_sec, " \
    "handshake, embedded"
#define LIMIT_KEYS_TEXT                                                                                   \
    "max_input_buffer, max_output_queue, max_restarts, restart_window_sec, drain_timeout_sec, "           \
    "backpressure_timeout_sec, max_clients, max_sessions"

static char error[CONFIG_ERROR_SIZE];
static config_t config;

static int parse(const char *text) {
    const char *json = quoted(text);
    strcpy(error, "");
    return config_parse(json, strlen(json), &config, error);
}

static void check_wrong(const char *text, const char *message) {
    bool refused = CHECK_INT(parse(text), STDIO_BUS_ERR_CONFIG);
    if (!CHECK_STR(error, quoted(message)) || !refused) fprintf(stderr, "  of: %s\n", text);
    CHECK(config.blocks == NULL && config.pools == NULL);
    config_free(&config);
}

static void check_all_wrong(const char *const (*cases)[2], size_t count, const char *format) {
    for (size_t i = 0; i < count; i++) {
        char text[2048];
        snprintf(text, sizeof text, format, cases[i][0]);
        check_wrong(text, cases[i][1]);
    }
}
#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_root(void) {
    static const char *const cases[][2] = {
        {"{}", "pools: is required"},
        {"[]", "config: must be an object"},
        {"7", "config: must be an object"},
        {"{'pools':null}", "pools: must be an array"},
        {"{'pools':{}}", "pools: must be an array"},
        {"{'pools':[]}", "pools: must not be empty"},
        {"{'pools':[7]}", "pools[0]: must be an object"},
        {"{'pools':[{'id':'a','command':'c'},'x']}", "pools[1]: must be an object"},
        {"{'pool':[]}", "pool: unknown key, expected one of pools, limits, token"},
        {"{'pools':[{'id':'a','command':'c'},{'id':'b','command':'c'},{'id':'a','command':'c'}]}",
         "pools[2].id: 'a' is used twice"},
        {"{'pools':[{'id':'a','command':'c'},{'id':'\\u0061','command':'c'}]}", "pools[1].id: 'a' is used twice"},
        {"{'pools':[{'id':'a','command':'c'},{'id':'b','command':'c','instances':1025}]}",
         "pools[1].instances: must be 1..1024"},
        {"{'pools':[{'id':'a','command':'c'}],'limits':[]}", "limits: must be an object"},
        {"{'pools':[{'id':'a','command':'c'}],'limits':null}", "limits: must be an object"},
        {"{'pools':[{'id':'a','command':'c'}],'token':7}", "token: must be a string"},
        {"{'pools':[{'id':'a','command':'c'}],'token':''}", "token: must not be empty"},
    };
    check_all_wrong(cases, COUNT(cases), "%s");
}

static void test_pool_fields(void) {
    static const char *const cases[][2] = {
        {"'command':'c'", "pools[0].id: is required"},
        {"'id':'a'", "pools[0].command: is required"},
        {"'id':'a','embedded':false", "pools[0].command: is required"},
        {"'id':'a','embedded':true,'command':'c'", "pools[0].command: must not be given for an embedded pool"},
        {"'id':'a','embedded':1", "pools[0].embedded: must be true or false"},
        {"'id':7", "pools[0].id: must be a string"},
        {"'id':null", "pools[0].id: must be a string"},
        {"'id':''", "pools[0].id: must not be empty"},
        {"'id':'a\\u0000b'", "pools[0].id: must not contain a NUL character"},
        {"'id':'a','command':true", "pools[0].command: must be a string"},
        {"'id':'a','command':''", "pools[0].command: must not be empty"},
        {"'id':'a','command':'\\u0000'", "pools[0].command: must not contain a NUL character"},
        {"'id':'a','command':'c','instnces':1", "pools[0].instnces: unknown key, expected one of " POOL_KEYS_TEXT},
        {"'id':'a','command':'c','':1", "pools[0].: unknown key, expected one of " POOL_KEYS_TEXT},
        {"'args':'x'", "pools[0].args: must be an array of strings"},
        {"'args':{}", "pools[0].args: must be an array of strings"},
        {"'args':['x',7]", "pools[0].args: must be an array of strings"},
        {"'args':['x',null]", "pools[0].args: must be an array of strings"},
        {"'args':['x\\u0000']", "pools[0].args: must not contain a NUL character"},
        {"'instances':0", "pools[0].instances: must be 1..1024"},
        {"'instances':-1", "pools[0].instances: must be 1..1024"},
        {"'instances':1025", "pools[0].instances: must be 1..1024"},
        {"'instances':99999999999999999999999", "pools[0].instances: must be 1..1024"},
        {"'instances':'1'", "pools[0].instances: must be an integer"},
        {"'instances':1.0", "pools[0].instances: must be an integer"},
        {"'instances':1e0", "pools[0].instances: must be an integer"},
        {"'instances':1E0", "pools[0].instances: must be an integer"},
        {"'instances':true", "pools[0].instances: must be an integer"},
        {"'instances':[1]", "pools[0].instances: must be an integer"},
        {"'env':[]", "pools[0].env: must be an object"},
        {"'env':{'A':1}", "pools[0].env.A: must be a string or null"},
        {"'env':{'A':'1','B':false}", "pools[0].env.B: must be a string or null"},
        {"'env':{'A':'x\\u0000'}", "pools[0].env.A: must not contain a NUL character"},
        {"'env':{'':'x'}", "pools[0].env: variable name '' must be non-empty, without '=' and NUL"},
        {"'env':{'A=B':'x'}", "pools[0].env: variable name 'A=B' must be non-empty, without '=' and NUL"},
        {"'env':{'A\\u0000':'x'}", "pools[0].env: variable name 'A\\u0000' must be non-empty, without '=' and NUL"},
        {"'inherit_env':1", "pools[0].inherit_env: must be true or false"},
        {"'inherit_env':'true'", "pools[0].inherit_env: must be true or false"},
        {"'cwd':7", "pools[0].cwd: must be a string"},
        {"'cwd':''", "pools[0].cwd: must not be empty"},
        {"'cwd':'\\u0000'", "pools[0].cwd: must not contain a NUL character"},
        {"'protocol':'http'", "pools[0].protocol: must be one of stdiobus, jsonrpc, mcp, mcp-stateless, acp"},
        {"'protocol':''", "pools[0].protocol: must be one of stdiobus, jsonrpc, mcp, mcp-stateless, acp"},
        {"'protocol':7", "pools[0].protocol: must be a string"},
        {"'max_in_flight':-1", "pools[0].max_in_flight: must be 0..1000000"},
        {"'max_in_flight':1000001", "pools[0].max_in_flight: must be 0..1000000"},
        {"'max_in_flight':'8'", "pools[0].max_in_flight: must be an integer"},
        {"'max_queue':-1", "pools[0].max_queue: must be 0..1000000"},
        {"'max_queue':1000001", "pools[0].max_queue: must be 0..1000000"},
        {"'max_queue':{}", "pools[0].max_queue: must be an integer"},
        {"'startup_timeout_sec':0", "pools[0].startup_timeout_sec: must be 1..3600"},
        {"'startup_timeout_sec':3601", "pools[0].startup_timeout_sec: must be 1..3600"},
        {"'startup_timeout_sec':2.5", "pools[0].startup_timeout_sec: must be an integer"},
        {"'handshake':[]", "pools[0].handshake: must be an object"},
        {"'handshake':{}", "pools[0].handshake.request: is required"},
        {"'handshake':{'x':1}", "pools[0].handshake.x: unknown key, expected one of request, notification"},
        {"'handshake':{'request':7}", "pools[0].handshake.request: must be an object"},
        {"'handshake':{'request':null}", "pools[0].handshake.request: must be an object"},
        {"'handshake':{'request':{}}", "pools[0].handshake.request.method: is required"},
        {"'handshake':{'request':{'method':7}}", "pools[0].handshake.request.method: must be a string"},
        {"'handshake':{'request':{'method':''}}", "pools[0].handshake.request.method: must not be empty"},
        {"'handshake':{'request':{'method':'m','params':[]}}", "pools[0].handshake.request.params: must be an object"},
        {"'handshake':{'request':{'method':'m','id':1}}",
         "pools[0].handshake.request.id: unknown key, expected one of method, params"},
        {"'handshake':{'request':{'method':'m'},'notification':7}", "pools[0].handshake.notification: must be an object"},
        {"'handshake':{'request':{'method':'m'},'notification':{}}",
         "pools[0].handshake.notification.method: is required"},
        {"'handshake':{'request':{'method':'m'},'notification':{'method':'n','params':7}}",
         "pools[0].handshake.notification.params: must be an object"},
        {"'handshake':{'request':{'method':'m'},'notification':{'method':'n','x':7}}",
         "pools[0].handshake.notification.x: unknown key, expected one of method, params"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[2048];
        bool own_id = strncmp(cases[i][0], "'id'", 4) == 0 || strncmp(cases[i][0], "'command'", 9) == 0;
        snprintf(text, sizeof text, "{'pools':[{%s%s}]}", own_id ? "" : "'id':'a','command':'c',", cases[i][0]);
        check_wrong(text, cases[i][1]);
    }
    char text[300], id[200];
    memset(id, 'x', sizeof id);
    snprintf(text, sizeof text, "{'pools':[{'id':'%.129s','command':'c'}]}", id);
    check_wrong(text, "pools[0].id: must be at most 128 bytes");
    snprintf(text, sizeof text, "{'pools':[{'id':'%.128s','command':'c'}]}", id);
    CHECK_INT(parse(text), STDIO_BUS_OK);
    config_free(&config);
}

static void test_limit_fields(void) {
    static const char *const cases[][2] = {
        {"'max_input_buffer':1023", "limits.max_input_buffer: must be 1024..1073741824"},
        {"'max_input_buffer':1073741825", "limits.max_input_buffer: must be 1024..1073741824"},
        {"'max_output_queue':1023", "limits.max_output_queue: must be 1024..4294967296"},
        {"'max_output_queue':4294967297", "limits.max_output_queue: must be 1024..4294967296"},
        {"'max_restarts':-1", "limits.max_restarts: must be 0..1000000"},
        {"'max_restarts':1000001", "limits.max_restarts: must be 0..1000000"},
        {"'restart_window_sec':0", "limits.restart_window_sec: must be 1..86400"},
        {"'restart_window_sec':86401", "limits.restart_window_sec: must be 1..86400"},
        {"'drain_timeout_sec':-1", "limits.drain_timeout_sec: must be 0..3600"},
        {"'drain_timeout_sec':3601", "limits.drain_timeout_sec: must be 0..3600"},
        {"'backpressure_timeout_sec':0", "limits.backpressure_timeout_sec: must be 1..3600"},
        {"'backpressure_timeout_sec':3601", "limits.backpressure_timeout_sec: must be 1..3600"},
        {"'max_clients':0", "limits.max_clients: must be 1..65536"},
        {"'max_clients':65537", "limits.max_clients: must be 1..65536"},
        {"'max_sessions':0", "limits.max_sessions: must be 1..10000000"},
        {"'max_sessions':10000001", "limits.max_sessions: must be 1..10000000"},
        {"'max_sessions':null", "limits.max_sessions: must be an integer"},
        {"'max_sessions':'1'", "limits.max_sessions: must be an integer"},
        {"'max':1", "limits.max: unknown key, expected one of " LIMIT_KEYS_TEXT},
    };
    check_all_wrong(cases, COUNT(cases), "{'pools':[{'id':'a','command':'c'}],'limits':{%s}}");
}

static void test_syntax(void) {
    static const char *const cases[][2] = {
        {"", "line 1, column 1: the text ends too early"},
        {"{'pools':[}", "line 1, column 11: unexpected character"},
        {"{\n  'pools': [\n    {'id': 'a',}\n  ]\n}", "line 3, column 16: expected a key in double quotes"},
        {"{\n\n\n'pools' []}", "line 4, column 9: expected a colon"},
        {"{'pools':[]} x", "line 1, column 14: something follows the JSON value"},
    };
    check_all_wrong(cases, COUNT(cases), "%s");
}

static void test_defaults(void) {
    CHECK_INT(parse("{'pools':[{'id':'a','command':'c'}]}"), STDIO_BUS_OK);
    CHECK_INT(config.pool_count, 1);
    const config_pool_t *pool = &config.pools[0];
    CHECK_STR(pool->id, "a");
    CHECK_STR(pool->command, "c");
    CHECK_STR(pool->args[0], NULL);
    CHECK_STR(pool->env[0], NULL);
    CHECK_STR(pool->cwd, NULL);
    CHECK(pool->inherit_env);
    CHECK_INT(pool->instances, 1);
    CHECK_INT(pool->max_in_flight, 0);
    CHECK_INT(pool->max_queue, 1000);
    CHECK_INT(pool->startup_timeout_sec, 30);
    CHECK_STR(pool->profile->name, "stdiobus");
    CHECK_STR(pool->handshake.method, NULL);
    CHECK_INT(config.limits.max_input_buffer, 10485760);
    CHECK_INT(config.limits.max_output_queue, 41943040);
    CHECK_INT(config.limits.max_restarts, 5);
    CHECK_INT(config.limits.restart_window_sec, 60);
    CHECK_INT(config.limits.drain_timeout_sec, 30);
    CHECK_INT(config.limits.backpressure_timeout_sec, 60);
    CHECK_INT(config.limits.max_clients, 1024);
    CHECK_INT(config.limits.max_sessions, 100000);
    config_free(&config);
    CHECK_INT(parse("{'pools':[{'id':'a','command':'c','args':null,'instances':null,'env':null,'inherit_env':null,"
                    "'cwd':null,'protocol':null,'max_in_flight':null,'max_queue':null,'startup_timeout_sec':null,"
                    "'handshake':null}]}"),
              STDIO_BUS_OK);
    CHECK_INT(config.pools[0].instances, 1);
    CHECK(config.pools[0].inherit_env);
    config_free(&config);
}

static const char FULL[] =
    "{'limits':{'max_input_buffer':1024,'max_output_queue':4294967296,'max_restarts':0,'restart_window_sec':1,"
    "'drain_timeout_sec':0,'backpressure_timeout_sec':2,'max_clients':3,'max_sessions':4},"
    "'pools':[{'handshake':{'request':{'method':'hello','params':{'a':\n[1]}},'notification':{'method':'ready',"
    "'params':{}}},'startup_timeout_sec':3600,'max_queue':0,'max_in_flight':1000000,'protocol':'jsonrpc',"
    "'cwd':'/\\u00e9','inherit_env':false,'env':{'A':'1','DROP':null,'E':''},'instances':1024,"
    "'args':['-x','','\\u20ac'],'command':'run','id':'first'},{'id':'second','command':'c','protocol':'mcp'},"
    "{'id':'third','command':'c','protocol':'mcp','handshake':{'request':{'method':'initialize','params':{'b':2}},"
    "'notification':null}},{'id':'fourth','command':'c','protocol':'mcp','handshake':{'request':{'method':'hi'}}}],"
    "'token':'secret'}";

static void test_full(void) {
    CHECK_INT(parse(FULL), STDIO_BUS_OK);
    CHECK_INT(config.pool_count, 4);
    const config_pool_t *pool = &config.pools[0];
    CHECK_STR(pool->id, "first");
    CHECK_STR(pool->args[0], "-x");
    CHECK_STR(pool->args[1], "");
    CHECK_STR(pool->args[2], "\xE2\x82\xAC");
    CHECK_STR(pool->args[3], NULL);
    CHECK_STR(pool->env[0], "A=1");
    CHECK_STR(pool->env[1], "DROP");
    CHECK_STR(pool->env[2], "E=");
    CHECK_STR(pool->env[3], NULL);
    CHECK_STR(pool->cwd, "/\xC3\xA9");
    CHECK(!pool->inherit_env);
    CHECK_INT(pool->instances, 1024);
    CHECK_INT(pool->max_in_flight, 1000000);
    CHECK_INT(pool->max_queue, 0);
    CHECK_INT(pool->startup_timeout_sec, 3600);
    CHECK_STR(pool->profile->name, "jsonrpc");
    CHECK_STR(pool->handshake.method, "hello");
    CHECK_STR(pool->handshake.params, quoted("{'a': [1]}")); /* one line on the wire */
    CHECK_STR(pool->handshake.notification_method, "ready");
    CHECK_STR(pool->handshake.notification_params, "{}");
    CHECK_STR(config.pools[1].handshake.method, "initialize");
    CHECK_STR(config.pools[1].handshake.params, config.pools[1].profile->handshake_params);
    CHECK_STR(config.pools[1].handshake.notification_method, "notifications/initialized");
    CHECK_STR(config.pools[2].handshake.method, "initialize");
    CHECK_STR(config.pools[2].handshake.params, quoted("{'b':2}"));
    CHECK_STR(config.pools[2].handshake.notification_method, NULL);
    CHECK_STR(config.pools[3].handshake.method, "hi"); /* another than the profile's: all is as configured */
    CHECK_STR(config.pools[3].handshake.params, NULL);
    CHECK_STR(config.pools[3].handshake.notification_method, NULL);
    CHECK_STR(config.token, "secret");
    CHECK_INT(config.limits.max_output_queue, 4294967296);
    CHECK_INT(config.limits.max_sessions, 4);
    config_free(&config);
}

/* JSON leaves it open what a key that stands twice means: the last one counts. */
static void test_repeated_keys(void) {
    CHECK_INT(parse("{'pools':[{'id':'a','command':'c'},{'id':'b','command':'c'}],"
                    "'pools':[{'id':'c','command':'c','command':'d'}]}"),
              STDIO_BUS_OK);
    CHECK_INT(config.pool_count, 1);
    CHECK_STR(config.pools[0].id, "c");
    CHECK_STR(config.pools[0].command, "d");
    config_free(&config);
}

/* However long a name is, the message is UTF-8, ends, and says what is wrong. */
static void test_long_names(void) {
    static char text[8192];
    static const char *const cases[][3] = {
        {"{'", "':1}", "unknown key"},
        {"{'pools':[{'id':'a','command':'c','env':{'=", "':'x'}}]}", "must be non-empty"},
        {"{'pools':[{'id':'a','command':'c','env':{'", "':1}}]}", "must be a string or null"},
    };
    for (size_t i = 0; i < 3 * COUNT(cases); i++) {
        const char *const *parts = cases[i / 3];
        char *to = text + sprintf(text, "%s%.*s", quoted(parts[0]), (int)(i % 3), "ab"); /* cut at any byte */
        for (int k = 0; k < 1000; k++) to += sprintf(to, "\xE2\x82\xAC");
        sprintf(to, "%s", quoted(parts[1]));
        CHECK_INT(config_parse(text, strlen(text), &config, error), STDIO_BUS_ERR_CONFIG);
        CHECK(strlen(error) < CONFIG_ERROR_SIZE);
        buffer_t clean;
        buffer_init(&clean, 4096);
        CHECK(buffer_text(&clean, error, strlen(error)));
        CHECK_TEXT(buffer_bytes(&clean), clean.len, error); /* nothing had to be replaced */
        buffer_free(&clean);
        CHECK(strstr(error, parts[2]) != NULL);
        config_free(&config);
    }
}

static void test_files(void) {
    char path[] = "/tmp/stdio_bus_test_XXXXXX", expected[600];
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    const char *json = quoted(FULL);
    CHECK_INT(write(fd, json, strlen(json)), strlen(json));
    CHECK_INT(config_read(path, &config, error), STDIO_BUS_OK);
    CHECK_INT(config.pool_count, 4);
    config_free(&config);
    fake_sys_fail_call(2);
    CHECK_INT(config_read(path, &config, error), STDIO_BUS_ERR_CONFIG);
    snprintf(expected, sizeof expected, "%s: cannot be read: %s", path, strerror(EIO));
    CHECK_STR(error, expected);
    CHECK(fake_sys_has_failed());
    CHECK_INT(ftruncate(fd, CONFIG_MAX_FILE + 1), 0);
    CHECK_INT(config_read(path, &config, error), STDIO_BUS_ERR_CONFIG);
    snprintf(expected, sizeof expected, "%s: larger than %u bytes", path, CONFIG_MAX_FILE);
    CHECK_STR(error, expected);
    close(fd);
    unlink(path);
    CHECK_INT(config_read(path, &config, error), STDIO_BUS_ERR_CONFIG);
    snprintf(expected, sizeof expected, "%s: cannot be read: %s", path, strerror(ENOENT));
    CHECK_STR(error, expected);
    CHECK_INT(config_read("/", &config, error), STDIO_BUS_ERR_CONFIG);
    snprintf(expected, sizeof expected, "/: cannot be read: %s", strerror(EISDIR));
    CHECK_STR(error, expected);
}

static void test_no_memory(void) {
    long n = 1;
    for (;; n++) {
        fake_sys_fail_allocation(n);
        int code = parse(FULL);
        bool failed = fake_sys_has_failed();
        fake_sys_fail_allocation(0);
        if (!failed) {
            CHECK_INT(code, STDIO_BUS_OK);
            config_free(&config);
            break;
        }
        CHECK_INT(code, STDIO_BUS_ERR_BUFFER);
        CHECK_STR(error, "no memory for the configuration");
        CHECK_INT(fake_sys_live_allocations(), 0);
    }
    CHECK(n > 20);
}

int main(void) {
    fake_sys_begin();
    test_root();
    test_pool_fields();
    test_limit_fields();
    test_syntax();
    test_defaults();
    test_full();
    test_long_names();
    test_files();
    test_no_memory();
    test_repeated_keys();
    fake_sys_end();
    return check_result();
}
