/* json_scan.c - see json_scan.h. */
#include "json_scan.h"

#include <string.h>

#include "json_read.h"
#include "utf8.h"

enum { SCOPE_NONE, SCOPE_TOP, SCOPE_PARAMS, SCOPE_META, SCOPE_RESULT, SCOPE_RESULT_META };

static const struct {
    unsigned char len;
    const char *name;
} FIELDS[] = {
#define X(name, scope, spelling) {sizeof(spelling) - 1, spelling},
    SCAN_FIELDS(X)
#undef X
};

/* Where the fields of a scope begin in FIELDS, and where those of the next do. */
static const unsigned char SCOPE_BEGIN[] = {
    [SCOPE_NONE] = 0,
    [SCOPE_TOP] = FIELD_JSONRPC,
    [SCOPE_PARAMS] = FIELD_PARAMS_ID,
    [SCOPE_META] = FIELD_META_PROGRESS_TOKEN,
    [SCOPE_RESULT] = FIELD_RESULT_SESSION_ID,
    [SCOPE_RESULT_META] = FIELD_RESULT_SUBSCRIPTION_ID,
    [SCOPE_RESULT_META + 1] = SCAN_FIELD_COUNT,
};

/* Envelope fields stand in the outermost objects only: members of the object at
 * depth 1 (the message), 2 (params, result) and 3 (their _meta). */
#define FIELD_DEPTH 3
#define NO_FIELD (-1)

typedef struct scanner {
    const char *begin, *at, *end;
    scan_t *out;
    unsigned depth;
    uint64_t is_object[JSON_MAX_DEPTH / 64 + 1]; /* a bit for each depth */
    int open[FIELD_DEPTH + 1];                   /* the field whose value is being read */
    unsigned char scope[FIELD_DEPTH + 2];        /* the scope of the object at a depth */
} scanner_t;

static scan_status_t fault(scanner_t *s, scan_status_t status, const char *what) {
    s->out->error = what;
    s->out->error_at = (size_t)(s->at - s->begin);
    return status;
}

static void skip_space(scanner_t *s) {
    while (s->at < s->end && *s->at <= ' ' && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r')) s->at++;
}

/* The first byte from `at` on that is a quote, a backslash, a control character or not
 * ASCII; eight bytes at a time.  A byte's flag can be wrong only above a byte whose
 * flag is right, and the lowest one is taken: all targets are little-endian. */
static const char *skip_plain(const char *at, const char *end) {
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\');
        uint64_t flags = ((word - ones * 0x20) | (quote - ones) | (slash - ones) | word) & high;
        if (flags) return at + __builtin_ctzll(flags) / 8;
        at += 8;
    }
    while (at < end && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x80 && *at != '"' && *at != '\\') at++;
    return at;
}

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The rest of a string that is not all plain. */
static const char *scan_special_string(scanner_t *s) {
    for (;;) {
        s->at = skip_plain(s->at, s->end);
        if (s->at == s->end) return "the text ends inside a string";
        unsigned char byte = (unsigned char)*s->at;
        if (byte == '"') {
            s->at++;
            return NULL;
        }
        if (byte >= 0x80) {
            size_t step = utf8_sequence(s->at, s->end);
            if (!step) return "a string is not valid UTF-8";
            s->at += step;
        } else if (byte == '\\') {
            if (s->end - s->at < 2) return "the text ends inside a string";
            char escape = s->at[1];
            if (escape == 'u') {
                for (int i = 2; i < 6; i++)
                    if (s->at + i >= s->end || !is_hex(s->at[i])) return "\\u needs four hexadecimal digits";
                s->at += 6;
            } else if (escape && strchr("\"\\/bfnrt", escape)) {
                s->at += 2;
            } else {
                return "unknown escape in a string";
            }
        } else {
            return "a control character inside a string";
        }
    }
}

/* From the opening quote to behind the closing one. */
static inline const char *scan_string(scanner_t *s) {
    s->at = skip_plain(s->at + 1, s->end);
    if (s->at == s->end || *s->at != '"') return scan_special_string(s);
    s->at++;
    return NULL;
}

static bool take_digits(scanner_t *s) {
    const char *from = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9') s->at++;
    return s->at > from;
}

static const char *scan_number(scanner_t *s) {
    static const char *const error = "a number is malformed";
    if (*s->at == '-') s->at++;
    if (s->at < s->end && *s->at == '0') s->at++;
    else if (!take_digits(s)) return error;
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!take_digits(s)) return error;
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-')) s->at++;
        if (!take_digits(s)) return error;
    }
    return NULL;
}

static const char *scan_literal(scanner_t *s, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0) return "unexpected character";
    s->at += len;
    return NULL;
}

static const char *scan_scalar(scanner_t *s) {
    switch (*s->at) {
    case '"': return scan_string(s);
    case 't': return scan_literal(s, "true");
    case 'f': return scan_literal(s, "false");
    case 'n': return scan_literal(s, "null");
    default: break;
    }
    if (*s->at == '-' || (*s->at >= '0' && *s->at <= '9')) return scan_number(s);
    return "unexpected character";
}

static bool in_object(const scanner_t *s) {
    return (s->is_object[s->depth / 64] >> (s->depth % 64)) & 1;
}

static void enter(scanner_t *s, bool object) {
    unsigned outer = s->depth++;
    uint64_t bit = (uint64_t)1 << (s->depth % 64);
    if (object) s->is_object[s->depth / 64] |= bit;
    else s->is_object[s->depth / 64] &= ~bit;
    if (s->depth > FIELD_DEPTH) return;
    unsigned char scope = SCOPE_NONE;
    if (object && outer == 0) scope = SCOPE_TOP;
    else if (object && s->open[outer] == FIELD_PARAMS) scope = SCOPE_PARAMS;
    else if (object && s->open[outer] == FIELD_PARAMS_META) scope = SCOPE_META;
    else if (object && s->open[outer] == FIELD_RESULT) scope = SCOPE_RESULT;
    else if (object && s->open[outer] == FIELD_RESULT_META) scope = SCOPE_RESULT_META;
    s->scope[s->depth] = scope;
    s->open[s->depth] = NO_FIELD;
}

/* The field of the scope that has this name, a string with its quotes. */
static int find_field(unsigned char scope, json_span_t name) {
    bool plain = !memchr(name.text, '\\', name.len);
    for (int i = SCOPE_BEGIN[scope]; i < SCOPE_BEGIN[scope + 1]; i++) {
        size_t len = FIELDS[i].len;
        if (plain ? name.len == len + 2 && memcmp(name.text + 1, FIELDS[i].name, len) == 0
                  : json_string_equals(name, FIELDS[i].name, len))
            return i;
    }
    return NO_FIELD;
}

/* Notes which field the key [key, s->at) begins. */
static scan_status_t open_field(scanner_t *s, const char *key) {
    if (s->depth > FIELD_DEPTH) return SCAN_OK;
    s->open[s->depth] = NO_FIELD;
    unsigned char scope = s->scope[s->depth];
    if (scope == SCOPE_NONE) return SCAN_OK;
    int field = find_field(scope, (json_span_t){key, (size_t)(s->at - key)});
    if (field != NO_FIELD) {
        if (s->out->field[field].end) {
            s->at = key;
            return fault(s, SCAN_DUPLICATE, "an envelope field stands twice");
        }
        s->open[s->depth] = field;
        s->out->field[field].key = (uint32_t)(key - s->begin);
        return SCAN_OK;
    }
    if (scope == SCOPE_TOP && !s->out->unknown.end) {
        s->out->unknown.key = (uint32_t)(key - s->begin);
        s->out->unknown.end = (uint32_t)(s->at - s->begin);
    }
    return SCAN_OK;
}

static void begin_value(scanner_t *s) {
    if (s->depth >= 1 && s->depth <= FIELD_DEPTH && s->open[s->depth] != NO_FIELD)
        s->out->field[s->open[s->depth]].start = (uint32_t)(s->at - s->begin);
}

static void end_value(scanner_t *s, const char *end) {
    if (s->depth < 1 || s->depth > FIELD_DEPTH || s->open[s->depth] == NO_FIELD) return;
    s->out->field[s->open[s->depth]].end = (uint32_t)(end - s->begin);
    s->open[s->depth] = NO_FIELD;
}

scan_status_t json_scan(const char *text, size_t len, scan_t *out) {
    static const char *const cut_off = "the text ends too early";
    memset(out, 0, sizeof *out);
    out->text = text;
    scanner_t scanner, *s = &scanner; /* what describes a depth is set when it is entered */
    s->begin = s->at = text;
    s->end = text + len;
    s->out = out;
    s->depth = 0;
    if (len > JSON_MAX_LENGTH) return fault(s, SCAN_NOT_JSON, "the text is too long");
    skip_space(s);
    size_t first = (size_t)(s->at - text);
    const char *value_end;

value:
    skip_space(s);
    if (s->at == s->end) return fault(s, SCAN_NOT_JSON, cut_off);
    begin_value(s);
    if (*s->at != '{' && *s->at != '[') {
        const char *error = scan_scalar(s);
        if (error) return fault(s, SCAN_NOT_JSON, error);
        goto value_done;
    }
    if (s->depth == JSON_MAX_DEPTH) return fault(s, SCAN_TOO_DEEP, "nesting is deeper than 512 levels");
    enter(s, *s->at == '{');
    s->at++;
    skip_space(s);
    if (s->at < s->end && *s->at == (in_object(s) ? '}' : ']')) goto close;
    if (!in_object(s)) goto value;

key:
    skip_space(s);
    if (s->at == s->end) return fault(s, SCAN_NOT_JSON, cut_off);
    if (*s->at != '"') return fault(s, SCAN_NOT_JSON, "expected a key in double quotes");
    {
        const char *key_start = s->at;
        const char *error = scan_string(s);
        if (error) return fault(s, SCAN_NOT_JSON, error);
        scan_status_t status = open_field(s, key_start);
        if (status != SCAN_OK) return status;
    }
    skip_space(s);
    if (s->at == s->end) return fault(s, SCAN_NOT_JSON, cut_off);
    if (*s->at != ':') return fault(s, SCAN_NOT_JSON, "expected a colon");
    s->at++;
    goto value;

value_done:
    value_end = s->at;
    skip_space(s);
    if (s->depth == 0) {
        if (s->at < s->end) return fault(s, SCAN_NOT_JSON, "something follows the JSON value");
        s->at = text + first;
        return text[first] == '{' ? SCAN_OK : fault(s, SCAN_NOT_OBJECT, "a message must be one JSON object");
    }
    if (value_end < s->end) end_value(s, value_end); /* else it may be cut off: a number might go on */
    if (s->at == s->end) return fault(s, SCAN_NOT_JSON, cut_off);
    if (*s->at == ',') {
        s->at++;
        if (in_object(s)) goto key;
        goto value;
    }
    if (*s->at != (in_object(s) ? '}' : ']')) return fault(s, SCAN_NOT_JSON, "expected a comma or the end of the value");

close:
    s->at++;
    s->depth--;
    goto value_done;
}
