/* json_scan.c - see json_scan.h. */
#include "json_scan.h"

#include <string.h>

#include "json_read.h"
#include "utf8.h"

enum { SCOPE_NONE, SCOPE_TOP, SCOPE_PARAMS, SCOPE_META, SCOPE_RESULT, SCOPE_RESULT_META };

static const struct {
    unsigned char len;
    char name[47];
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
    const char *begin, *end;
    const char *at, *error; /* of a fault, where NULL is returned for one */
    scan_t *out;
    bool escaped; /* the string read last has a backslash in it */
    unsigned depth;
    uint64_t is_object[JSON_MAX_DEPTH / 64 + 1]; /* a bit for each depth */
    int open[FIELD_DEPTH + 1];                   /* the field whose value is the container below that depth */
    unsigned char scope[FIELD_DEPTH + 1];        /* the scope of the object at a depth */
} scanner_t;

static const char *fail(scanner_t *s, const char *at, const char *error) {
    s->at = at;
    s->error = error;
    return NULL;
}

static scan_status_t fault(scanner_t *s, const char *at, scan_status_t status, const char *what) {
    s->out->error = what;
    s->out->error_at = (size_t)(at - s->begin);
    return status;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline const char *skip_space(const char *at, const char *end) {
    while (at < end && (unsigned char)*at <= ' ' && is_space(*at)) at++; /* nearly always there is none */
    return at;
}

/* The first byte from `at` on that is a quote, a backslash, a control character or not
 * ASCII; eight bytes at a time.  A byte's flag can be wrong only above a byte whose
 * flag is right, and the lowest one is taken: all targets are little-endian. */
static inline const char *skip_plain(const char *at, const char *end) {
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
static const char *scan_special_string(scanner_t *s, const char *at) {
    const char *end = s->end;
    for (;;) {
        at = skip_plain(at, end);
        if (at == end) return fail(s, at, "the text ends inside a string");
        unsigned char byte = (unsigned char)*at;
        if (byte == '"') return at + 1;
        if (byte >= 0x80) {
            size_t step = utf8_sequence(at, end);
            if (!step) return fail(s, at, "a string is not valid UTF-8");
            at += step;
        } else if (byte == '\\') {
            s->escaped = true;
            if (end - at < 2) return fail(s, at, "the text ends inside a string");
            char escape = at[1];
            if (escape == 'u') {
                for (int i = 2; i < 6; i++)
                    if (at + i >= end || !is_hex(at[i])) return fail(s, at, "\\u needs four hexadecimal digits");
                at += 6;
            } else if (escape && strchr("\"\\/bfnrt", escape)) {
                at += 2;
            } else {
                return fail(s, at, "unknown escape in a string");
            }
        } else {
            return fail(s, at, "a control character inside a string");
        }
    }
}

/* From the opening quote to behind the closing one. */
static inline const char *scan_string(scanner_t *s, const char *at) {
    at = skip_plain(at + 1, s->end);
    return at < s->end && *at == '"' ? at + 1 : scan_special_string(s, at);
}

static const char *skip_digits(const char *at, const char *end) {
    while (at < end && *at >= '0' && *at <= '9') at++;
    return at;
}

static const char *scan_number(scanner_t *s, const char *at) {
    static const char *const error = "a number is malformed";
    const char *end = s->end, *from = *at == '-' ? at + 1 : at;
    at = from < end && *from == '0' ? from + 1 : skip_digits(from, end);
    if (at == from) return fail(s, at, error);
    if (at < end && *at == '.') {
        from = at + 1;
        at = skip_digits(from, end);
        if (at == from) return fail(s, at, error);
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        from = at + 1;
        if (from < end && (*from == '+' || *from == '-')) from++;
        at = skip_digits(from, end);
        if (at == from) return fail(s, at, error);
    }
    return at;
}

static const char *scan_literal(scanner_t *s, const char *at, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(s->end - at) < len || memcmp(at, word, len) != 0) return fail(s, at, "unexpected character");
    return at + len;
}

static const char *scan_scalar(scanner_t *s, const char *at) {
    switch (*at) {
    case '"': return scan_string(s, at);
    case 't': return scan_literal(s, at, "true");
    case 'f': return scan_literal(s, at, "false");
    case 'n': return scan_literal(s, at, "null");
    default: break;
    }
    if (*at == '-' || (*at >= '0' && *at <= '9')) return scan_number(s, at);
    return fail(s, at, "unexpected character");
}

static bool in_object(const scanner_t *s) {
    return (s->is_object[s->depth / 64] >> (s->depth % 64)) & 1;
}

/* Goes one level deeper, into the value of `field`. */
static void enter(scanner_t *s, bool object, int field) {
    unsigned outer = s->depth++;
    uint64_t bit = (uint64_t)1 << (s->depth % 64);
    if (object) s->is_object[s->depth / 64] |= bit;
    else s->is_object[s->depth / 64] &= ~bit;
    if (outer <= FIELD_DEPTH) s->open[outer] = field;
    if (s->depth > FIELD_DEPTH) return;
    unsigned char scope = SCOPE_NONE;
    if (object && outer == 0) scope = SCOPE_TOP;
    else if (object && field == FIELD_PARAMS) scope = SCOPE_PARAMS;
    else if (object && field == FIELD_PARAMS_META) scope = SCOPE_META;
    else if (object && field == FIELD_RESULT) scope = SCOPE_RESULT;
    else if (object && field == FIELD_RESULT_META) scope = SCOPE_RESULT_META;
    s->scope[s->depth] = scope;
}

/* Comes back; the field whose value ends here. */
static int leave(scanner_t *s) {
    s->depth--;
    return s->depth <= FIELD_DEPTH ? s->open[s->depth] : NO_FIELD;
}

/* Whether a name without escapes is that of the field.  Length and first letter tell nearly
 * all others apart. */
static inline bool is_field(int i, json_span_t name) {
    return name.len == FIELDS[i].len + 2u && name.text[1] == FIELDS[i].name[0] &&
           memcmp(name.text + 1, FIELDS[i].name, FIELDS[i].len) == 0;
}

/* The field of the scope that has this name, a string with its quotes. */
static int find_field(const scanner_t *s, unsigned char scope, json_span_t name) {
    int begin = SCOPE_BEGIN[scope], end = SCOPE_BEGIN[scope + 1];
    for (int i = begin; i < end; i++)
        if (s->escaped ? json_string_equals(name, FIELDS[i].name, FIELDS[i].len) : is_field(i, name)) return i;
    return NO_FIELD;
}

/* Notes which field the key [key, end) begins. */
static scan_status_t open_field(scanner_t *s, const char *key, const char *end, int *found) {
    unsigned char scope = s->depth <= FIELD_DEPTH ? s->scope[s->depth] : SCOPE_NONE;
    if (scope == SCOPE_NONE) return SCAN_OK;
    int field = *found = find_field(s, scope, (json_span_t){key, (size_t)(end - key)});
    if (field != NO_FIELD) {
        if (s->out->field[field].end) return fault(s, key, SCAN_DUPLICATE, "an envelope field stands twice");
        s->out->field[field].key = (uint32_t)(key - s->begin);
    } else if (scope == SCOPE_TOP && !s->out->unknown.end) {
        s->out->unknown.key = (uint32_t)(key - s->begin);
        s->out->unknown.end = (uint32_t)(end - s->begin);
    }
    return SCAN_OK;
}

scan_status_t json_scan(const char *text, size_t len, scan_t *out) {
    static const char *const cut_off = "the text ends too early";
    memset(out, 0, sizeof *out);
    out->text = text;
    scanner_t scanner, *s = &scanner; /* what describes a depth is set when it is entered */
    const char *const end = text + len;
    s->begin = text;
    s->end = end;
    s->out = out;
    s->depth = 0;
    s->is_object[0] = 0;
    if (len > JSON_MAX_LENGTH) return fault(s, text, SCAN_NOT_JSON, "the text is too long");
    const char *const first = skip_space(text, end);
    const char *at = first, *value_end;
    int field = NO_FIELD; /* whose value is being read */
    bool object = false;  /* the innermost container is one, not an array */

value:
    at = skip_space(at, end);
    if (at == end) return fault(s, at, SCAN_NOT_JSON, cut_off);
    if (field != NO_FIELD) out->field[field].start = (uint32_t)(at - text);
    if (*at != '{' && *at != '[') {
        at = scan_scalar(s, at);
        if (!at) return fault(s, s->at, SCAN_NOT_JSON, s->error);
        goto value_done;
    }
    if (s->depth == JSON_MAX_DEPTH) return fault(s, at, SCAN_TOO_DEEP, "nesting is deeper than 512 levels");
    object = *at == '{';
    enter(s, object, field);
    field = NO_FIELD;
    at = skip_space(at + 1, end);
    if (at < end && *at == (object ? '}' : ']')) goto close;
    if (!object) goto value;

key:
    at = skip_space(at, end);
    if (at == end) return fault(s, at, SCAN_NOT_JSON, cut_off);
    if (*at != '"') return fault(s, at, SCAN_NOT_JSON, "expected a key in double quotes");
    {
        const char *key = at;
        s->escaped = false;
        at = scan_string(s, at);
        if (!at) return fault(s, s->at, SCAN_NOT_JSON, s->error);
        scan_status_t status = open_field(s, key, at, &field);
        if (status != SCAN_OK) return status;
    }
    at = skip_space(at, end);
    if (at == end) return fault(s, at, SCAN_NOT_JSON, cut_off);
    if (*at != ':') return fault(s, at, SCAN_NOT_JSON, "expected a colon");
    at++;
    goto value;

value_done:
    value_end = at;
    at = skip_space(at, end);
    if (s->depth == 0) {
        if (at < end) return fault(s, at, SCAN_NOT_JSON, "something follows the JSON value");
        return *first == '{' ? SCAN_OK : fault(s, first, SCAN_NOT_OBJECT, "a message must be one JSON object");
    }
    /* Where the text ends with the value, it may be cut off: a number might go on. */
    if (field != NO_FIELD && value_end < end) out->field[field].end = (uint32_t)(value_end - text);
    field = NO_FIELD;
    if (at == end) return fault(s, at, SCAN_NOT_JSON, cut_off);
    if (*at == ',') {
        at++;
        if (object) goto key;
        goto value;
    }
    if (*at != (object ? '}' : ']')) return fault(s, at, SCAN_NOT_JSON, "expected a comma or the end of the value");

close:
    at++;
    field = leave(s);
    object = in_object(s);
    goto value_done;
}
