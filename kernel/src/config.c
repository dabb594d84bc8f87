/* config.c - see config.h. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "buffer.h"
#include "json_read.h"
#include "json_scan.h"
#include "stdio_bus.h"
#include "sys.h"
#include "utf8.h"

#define POOL_ID_MAX 128
#define TOKEN_MAX 1024
#define QUOTED_MAX 96 /* bytes of a name in an error message */
#define PATH_MAX_TEXT 160

struct config_block {
    struct config_block *next;
    max_align_t memory[];
};

typedef struct parser {
    config_t *config;
    char *error;
    int code;
    char path[PATH_MAX_TEXT]; /* the field being read, "pools[0].env" */
} parser_t;

typedef struct config_key config_key_t;
typedef bool read_fn(parser_t *p, json_span_t value, const config_key_t *key, void *out);

/* One key of an object: how to read it and where it goes. */
struct config_key {
    const char *name;
    read_fn *read;
    size_t offset;
    bool required;
    bool nullable; /* null means absent */
    int64_t low, high;
};

static bool fail(parser_t *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail(parser_t *p, const char *format, ...) {
    int used = *p->path ? snprintf(p->error, CONFIG_ERROR_SIZE, "%s: ", p->path) : 0;
    va_list args;
    va_start(args, format);
    vsnprintf(p->error + used, (size_t)(CONFIG_ERROR_SIZE - used), format, args);
    va_end(args);
    p->code = STDIO_BUS_ERR_CONFIG;
    return false;
}

static void *allocate(parser_t *p, size_t size) {
    struct config_block *block = sys_calloc(1, sizeof *block + size);
    if (!block) {
        snprintf(p->error, CONFIG_ERROR_SIZE, "no memory for the configuration");
        p->code = STDIO_BUS_ERR_BUFFER;
        return NULL;
    }
    block->next = p->config->blocks;
    p->config->blocks = block;
    return block->memory;
}

/* Extends the path for the time a member or item is read; returns what to cut back to. */
static size_t path_push(parser_t *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static size_t path_push(parser_t *p, const char *format, ...) {
    size_t len = strlen(p->path);
    va_list args;
    va_start(args, format);
    vsnprintf(p->path + len, sizeof p->path - len, format, args);
    va_end(args);
    return len;
}

static size_t count_items(json_span_t container) {
    json_span_t key, value;
    size_t at = 0, count = 0;
    while (json_next(container, &at, &key, &value)) count++;
    return count;
}

/* Decodes a string; *len excludes the terminator.  NULL: reported. */
static char *copy_string(parser_t *p, json_span_t value, size_t *len) {
    char *copy = allocate(p, value.len + 1);
    if (!copy) return NULL;
    *len = json_string_decode(value, copy);
    copy[*len] = '\0';
    if (memchr(copy, '\0', *len)) {
        fail(p, "must not contain a NUL character");
        return NULL;
    }
    return copy;
}

static bool read_string(parser_t *p, json_span_t value, const config_key_t *key, void *out) {
    size_t len;
    if (*value.text != '"') return fail(p, "must be a string");
    char *copy = copy_string(p, value, &len);
    if (!copy) return false;
    if (!len) return fail(p, "must not be empty");
    if (key->high && len > (size_t)key->high) return fail(p, "must be at most %" PRId64 " bytes", key->high);
    *(char **)out = copy;
    return true;
}

static bool read_integer(parser_t *p, json_span_t value, const config_key_t *key, void *out) {
    if (*value.text != '-' && (*value.text < '0' || *value.text > '9')) return fail(p, "must be an integer");
    for (size_t i = 0; i < value.len; i++)
        if (memchr(".eE", value.text[i], 3)) return fail(p, "must be an integer");
    int64_t number;
    if (!json_integer(value, &number) || number < key->low || number > key->high)
        return fail(p, "must be %" PRId64 "..%" PRId64, key->low, key->high);
    *(int64_t *)out = number;
    return true;
}

static bool read_bool(parser_t *p, json_span_t value, const config_key_t *key, void *out) {
    (void)key;
    if (*value.text != 't' && *value.text != 'f') return fail(p, "must be true or false");
    *(bool *)out = *value.text == 't';
    return true;
}

static bool read_strings(parser_t *p, json_span_t value, const config_key_t *key, void *out) {
    (void)key;
    if (*value.text != '[') return fail(p, "must be an array of strings");
    char **list = allocate(p, (count_items(value) + 1) * sizeof *list);
    if (!list) return false;
    json_span_t none, item;
    size_t at = 0, count = 0, len;
    while (json_next(value, &at, &none, &item)) {
        if (*item.text != '"') return fail(p, "must be an array of strings");
        if (!(list[count++] = copy_string(p, item, &len))) return false;
    }
    *(char ***)out = list;
    return true;
}

static bool read_env(parser_t *p, json_span_t value, const config_key_t *key, void *out) {
    (void)key;
    if (*value.text != '{') return fail(p, "must be an object");
    char **list = allocate(p, (count_items(value) + 1) * sizeof *list);
    if (!list) return false;
    json_span_t name, item;
    size_t at = 0, count = 0;
    while (json_next(value, &at, &name, &item)) {
        char *entry = allocate(p, name.len + item.len + 2);
        if (!entry) return false;
        size_t len = json_string_decode(name, entry);
        if (!len || memchr(entry, '=', len) || memchr(entry, '\0', len))
            return fail(p, "variable name %.*s must be non-empty, without \"=\" and NUL",
                        utf8_clip(name.text, name.len, QUOTED_MAX), name.text);
        size_t outer = path_push(p, ".%.*s", utf8_clip(entry, len, QUOTED_MAX), entry);
        if (*item.text == '"') {
            entry[len] = '=';
            size_t value_len = json_string_decode(item, entry + len + 1);
            if (memchr(entry + len + 1, '\0', value_len)) return fail(p, "must not contain a NUL character");
        } else if (*item.text != 'n') {
            return fail(p, "must be a string or null");
        }
        p->path[outer] = '\0';
        list[count++] = entry;
    }
    *(char ***)out = list;
    return true;
}

static bool read_profile(parser_t *p, json_span_t value, const config_key_t *key, void *out) {
    (void)key;
    size_t len;
    if (*value.text != '"') return fail(p, "must be a string");
    char *name = copy_string(p, value, &len);
    if (!name) return false;
    const profile_t *profile = profile_find(name, len);
    if (!profile) return fail(p, "must be one of %s", profile_names());
    *(const profile_t **)out = profile;
    return true;
}

/* An object kept as JSON text. */
static bool read_raw_object(parser_t *p, json_span_t value, const config_key_t *key, void *out) {
    (void)key;
    if (*value.text != '{') return fail(p, "must be an object");
    char *copy = allocate(p, value.len + 1);
    if (!copy) return false;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.text[i]; /* a line on the wire: the document's line breaks are white space */
        copy[i] = c == '\n' || c == '\r' ? ' ' : c;
    }
    *(char **)out = copy;
    return true;
}

static bool read_object(parser_t *p, json_span_t value, const config_key_t *keys, size_t count, void *out) {
    if (*value.text != '{') return fail(p, "must be an object");
    uint32_t seen = 0;
    json_span_t name, item;
    size_t at = 0;
    while (json_next(value, &at, &name, &item)) {
        size_t outer = strlen(p->path), i = 0;
        while (i < count && !json_string_equals(name, keys[i].name, strlen(keys[i].name))) i++;
        if (i == count) {
            path_push(p, "%s%.*s", outer ? "." : "", utf8_clip(name.text + 1, name.len - 2, QUOTED_MAX), name.text + 1);
            char known[256] = "";
            for (i = 0; i < count; i++) {
                size_t used = strlen(known);
                snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", keys[i].name);
            }
            return fail(p, "unknown key, expected one of %s", known);
        }
        path_push(p, "%s%s", outer ? "." : "", keys[i].name);
        if (!(keys[i].nullable && *item.text == 'n')) {
            if (!keys[i].read(p, item, &keys[i], (char *)out + keys[i].offset)) return false;
            seen |= 1u << i;
        }
        p->path[outer] = '\0';
    }
    for (size_t i = 0; i < count; i++) {
        if (!keys[i].required || (seen >> i) & 1) continue;
        path_push(p, "%s%s", *p->path ? "." : "", keys[i].name);
        return fail(p, "is required");
    }
    return true;
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

static bool read_handshake_request(parser_t *p, json_span_t value, const config_key_t *key, void *out) {
    static const config_key_t KEYS[] = {
        {.name = "method", .read = read_string, .offset = offsetof(config_handshake_t, method), .required = true},
        {.name = "params", .read = read_raw_object, .offset = offsetof(config_handshake_t, params), .nullable = true},
    };
    (void)key;
    return read_object(p, value, KEYS, COUNT(KEYS), out);
}

static bool read_handshake_notification(parser_t *p, json_span_t value, const config_key_t *key, void *out) {
    static const config_key_t KEYS[] = {
        {.name = "method",
         .read = read_string,
         .offset = offsetof(config_handshake_t, notification_method),
         .required = true},
        {.name = "params",
         .read = read_raw_object,
         .offset = offsetof(config_handshake_t, notification_params),
         .nullable = true},
    };
    (void)key;
    config_handshake_t *handshake = out;
    handshake->no_notification = *value.text == 'n';
    return handshake->no_notification || read_object(p, value, KEYS, COUNT(KEYS), out);
}

static bool read_handshake(parser_t *p, json_span_t value, const config_key_t *key, void *out) {
    static const config_key_t KEYS[] = {
        {.name = "request", .read = read_handshake_request, .required = true},
        {.name = "notification", .read = read_handshake_notification},
    };
    (void)key;
    return read_object(p, value, KEYS, COUNT(KEYS), out);
}

#define POOL(member) offsetof(config_pool_t, member)

static const config_key_t POOL_KEYS[] = {
    {.name = "id", .read = read_string, .offset = POOL(id), .required = true, .high = POOL_ID_MAX},
    {.name = "command", .read = read_string, .offset = POOL(command)},
    {.name = "args", .read = read_strings, .offset = POOL(args), .nullable = true},
    {.name = "instances", .read = read_integer, .offset = POOL(instances), .nullable = true, .low = 1,
     .high = CONFIG_MAX_INSTANCES},
    {.name = "env", .read = read_env, .offset = POOL(env), .nullable = true},
    {.name = "inherit_env", .read = read_bool, .offset = POOL(inherit_env), .nullable = true},
    {.name = "cwd", .read = read_string, .offset = POOL(cwd), .nullable = true},
    {.name = "protocol", .read = read_profile, .offset = POOL(profile), .nullable = true},
    {.name = "max_in_flight", .read = read_integer, .offset = POOL(max_in_flight), .nullable = true, .high = 1000000},
    {.name = "max_queue", .read = read_integer, .offset = POOL(max_queue), .nullable = true, .high = 1000000},
    {.name = "startup_timeout_sec",
     .read = read_integer,
     .offset = POOL(startup_timeout_sec),
     .nullable = true,
     .low = 1,
     .high = 3600},
    {.name = "handshake", .read = read_handshake, .offset = POOL(handshake), .nullable = true},
    {.name = "embedded", .read = read_bool, .offset = POOL(embedded), .nullable = true},
};

static char *copy_text(parser_t *p, const char *text) {
    char *copy = allocate(p, strlen(text) + 1);
    if (copy) strcpy(copy, text);
    return copy;
}

static bool fill(parser_t *p, char **field, const char *text) {
    return *field || !text || (*field = copy_text(p, text));
}

/* The profile's handshake in place of what the configuration does not say. */
static bool default_handshake(parser_t *p, config_pool_t *pool) {
    const profile_t *profile = pool->profile;
    config_handshake_t *handshake = &pool->handshake;
    if (!profile->handshake_method || (handshake->method && strcmp(handshake->method, profile->handshake_method) != 0))
        return true;
    return fill(p, &handshake->method, profile->handshake_method) &&
           fill(p, &handshake->params, profile->handshake_params) &&
           (handshake->no_notification || fill(p, &handshake->notification_method, profile->handshake_notification));
}

/* A pool has a command, or workers inside the host. */
static bool check_command(parser_t *p, config_pool_t *pool) {
    if (pool->embedded) pool->instances = 0;
    if (pool->embedded != !!pool->command) return true;
    path_push(p, ".command");
    return fail(p, pool->embedded ? "must not be given for an embedded pool" : "is required");
}

static bool read_pools(parser_t *p, json_span_t value, const config_key_t *key, void *out) {
    static char *no_strings[] = {NULL};
    (void)key;
    config_t *config = out;
    if (*value.text != '[') return fail(p, "must be an array");
    size_t count = count_items(value);
    if (!count) return fail(p, "must not be empty");
    config->pool_count = 0; /* of a key that stands twice the last one counts */
    if (!(config->pools = allocate(p, count * sizeof *config->pools))) return false;
    json_span_t none, item;
    size_t at = 0;
    while (json_next(value, &at, &none, &item)) {
        size_t index = config->pool_count++;
        config_pool_t *pool = &config->pools[index];
        *pool = (config_pool_t){.args = no_strings,
                                .env = no_strings,
                                .inherit_env = true,
                                .instances = 1,
                                .max_queue = 1000,
                                .startup_timeout_sec = 30,
                                .profile = profile_find("stdiobus", 8)};
        size_t outer = path_push(p, "[%zu]", index);
        if (!read_object(p, item, POOL_KEYS, COUNT(POOL_KEYS), pool) || !check_command(p, pool) ||
            !default_handshake(p, pool))
            return false;
        for (size_t i = 0; i < index; i++) {
            if (strcmp(config->pools[i].id, pool->id) != 0) continue;
            path_push(p, ".id");
            return fail(p, "\"%s\" is used twice", pool->id);
        }
        p->path[outer] = '\0';
    }
    return true;
}

#define LIMIT(member, lowest, highest)                                                              \
    {.name = #member, .read = read_integer, .offset = offsetof(config_limits_t, member), .low = lowest, \
     .high = highest}

static bool read_limits(parser_t *p, json_span_t value, const config_key_t *key, void *out) {
    static const config_key_t KEYS[] = {
        LIMIT(max_input_buffer, 1024, 1073741824),
        LIMIT(max_output_queue, 1024, 4294967296),
        LIMIT(max_restarts, 0, 1000000),
        LIMIT(restart_window_sec, 1, 86400),
        LIMIT(drain_timeout_sec, 0, 3600),
        LIMIT(backpressure_timeout_sec, 1, 3600),
        LIMIT(max_clients, 1, 65536),
        LIMIT(max_sessions, 1, 10000000),
    };
    (void)key;
    return read_object(p, value, KEYS, COUNT(KEYS), out);
}

static const config_limits_t DEFAULT_LIMITS = {
    .max_input_buffer = 10485760,
    .max_output_queue = 41943040,
    .max_restarts = 5,
    .restart_window_sec = 60,
    .drain_timeout_sec = 30,
    .backpressure_timeout_sec = 60,
    .max_clients = 1024,
    .max_sessions = 100000,
};

static bool report_syntax(parser_t *p, const char *text, const scan_t *scan) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < scan->error_at; i++) {
        column++;
        if (text[i] == '\n') line++, column = 1;
    }
    return fail(p, "line %zu, column %zu: %s", line, column, scan->error);
}

int config_parse(const char *text, size_t len, config_t *out, char error[CONFIG_ERROR_SIZE]) {
    static const config_key_t KEYS[] = {
        {.name = "pools", .read = read_pools, .offset = 0, .required = true},
        {.name = "limits", .read = read_limits, .offset = offsetof(config_t, limits)},
        {.name = "token", .read = read_string, .offset = offsetof(config_t, token), .high = TOKEN_MAX},
    };
    *out = (config_t){.limits = DEFAULT_LIMITS};
    parser_t parser = {.config = out, .error = error};
    scan_t scan;
    scan_status_t status = json_scan(text, len, &scan);
    size_t space = 0;
    while (status == SCAN_OK && text[space] != '{') space++;
    bool ok;
    if (status == SCAN_OK) ok = read_object(&parser, (json_span_t){text + space, len - space}, KEYS, COUNT(KEYS), out);
    else if (status == SCAN_NOT_OBJECT) ok = fail(&parser, "config: must be an object");
    else ok = report_syntax(&parser, text, &scan);
    if (ok) return STDIO_BUS_OK;
    config_free(out);
    return parser.code;
}

int config_read(const char *path, config_t *out, char error[CONFIG_ERROR_SIZE]) {
    buffer_t text;
    buffer_init(&text, CONFIG_MAX_FILE);
    int code = STDIO_BUS_ERR_CONFIG;
    ssize_t n = -1;
    int fd = sys_open_read(path);
    if (fd >= 0) {
        while (buffer_reserve(&text, 4096)) {
            n = sys_read(fd, text.data + text.head + text.len, 4096);
            if (n <= 0) break;
            text.len += (size_t)n;
        }
    }
    if (fd < 0 || n < 0) snprintf(error, CONFIG_ERROR_SIZE, "%s: cannot be read: %s", path, strerror(errno));
    else if (n > 0) snprintf(error, CONFIG_ERROR_SIZE, "%s: larger than %u bytes", path, CONFIG_MAX_FILE);
    else code = config_parse(buffer_bytes(&text), text.len, out, error);
    sys_close(fd);
    buffer_free(&text);
    return code;
}

size_t config_queue_size(const config_limits_t *limits) {
    const int64_t slack = 4096; /* ids and fields that the bus puts in */
    int64_t size = limits->max_output_queue;
    if (size < limits->max_input_buffer + slack) size = limits->max_input_buffer + slack;
    return size > (int64_t)(SIZE_MAX / 4) ? SIZE_MAX / 4 : (size_t)size;
}

void config_free(config_t *config) {
    while (config->blocks) {
        struct config_block *next = config->blocks->next;
        sys_free(config->blocks);
        config->blocks = next;
    }
    *config = (config_t){0};
}
