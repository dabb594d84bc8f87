/* json_read.c - see json_read.h. */
#include "json_read.h"

#include <string.h>

static size_t skip_space(json_span_t span, size_t at) {
    while (at < span.len && memchr(" \t\r\n", span.text[at], 4)) at++;
    return at;
}

/* Behind the string whose opening quote is at `at`. */
static size_t skip_string(json_span_t span, size_t at) {
    for (at++; span.text[at] != '"'; at++)
        if (span.text[at] == '\\') at++;
    return at + 1;
}

static size_t skip_value(json_span_t span, size_t at) {
    size_t depth = 0;
    do {
        switch (span.text[at]) {
        case '"': at = skip_string(span, at); break;
        case '{':
        case '[': depth++, at++; break;
        case '}':
        case ']': depth--, at++; break;
        default:
            if (depth) {
                at++;
                break;
            }
            while (at < span.len && !memchr(" \t\r\n,:]}", span.text[at], 8)) at++;
        }
    } while (depth);
    return at;
}

bool json_next(json_span_t container, size_t *at, json_span_t *key, json_span_t *value) {
    size_t pos = skip_space(container, *at ? *at : skip_space(container, 0) + 1);
    if (container.text[pos] == ',') pos = skip_space(container, pos + 1);
    if (container.text[pos] == '}' || container.text[pos] == ']') return false;
    *key = (json_span_t){container.text + pos, 0};
    if (container.text[skip_space(container, 0)] == '{') {
        size_t end = skip_string(container, pos);
        key->len = end - pos;
        pos = skip_space(container, skip_space(container, end) + 1); /* over the colon */
    }
    size_t end = skip_value(container, pos);
    *value = (json_span_t){container.text + pos, end - pos};
    *at = end;
    return true;
}

bool json_get(json_span_t object, const char *name, json_span_t *value) {
    json_span_t key;
    size_t at = 0, len = strlen(name);
    while (json_next(object, &at, &key, value))
        if (json_string_equals(key, name, len)) return true;
    return false;
}

static unsigned hex4(const char *text) {
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        value = value * 16 + (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static size_t encode_utf8(unsigned code, char *out) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* Decodes the escape at `p` (a backslash) into `out`; sets how many bytes it took up. */
static size_t decode_escape(const char *p, const char *end, char *out, size_t *consumed) {
    *consumed = 2;
    switch (p[1]) {
    case 'b': *out = '\b'; return 1;
    case 'f': *out = '\f'; return 1;
    case 'n': *out = '\n'; return 1;
    case 'r': *out = '\r'; return 1;
    case 't': *out = '\t'; return 1;
    case 'u': break;
    default: *out = p[1]; return 1;
    }
    unsigned code = hex4(p + 2);
    *consumed = 6;
    if (code >= 0xD800 && code <= 0xDFFF) {
        bool pair = code <= 0xDBFF && end - p >= 12 && p[6] == '\\' && p[7] == 'u';
        unsigned low = pair ? hex4(p + 8) : 0;
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *consumed = 12;
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        } else {
            code = 0xFFFD;
        }
    }
    return encode_utf8(code, out);
}

size_t json_string_decode(json_span_t string, char *out) {
    const char *p = string.text + 1, *end = string.text + string.len - 1;
    char *to = out;
    while (p < end) {
        if (*p != '\\') {
            *to++ = *p++;
            continue;
        }
        size_t consumed;
        to += decode_escape(p, end, to, &consumed);
        p += consumed;
    }
    return (size_t)(to - out);
}

/* Compares up to the end of `text`; where the comparison has ended in the string, or NULL. */
static const char *match_text(json_span_t string, const char *text, size_t len) {
    if (string.len < 2 || string.text[0] != '"') return NULL;
    const char *p = string.text + 1, *end = string.text + string.len - 1;
    const char *match_end = text + len;
    while (text < match_end) {
        char decoded[4];
        size_t consumed = 1, n = 1;
        if (p == end) return NULL;
        if (*p == '\\') n = decode_escape(p, end, decoded, &consumed);
        else decoded[0] = *p;
        if ((size_t)(match_end - text) < n || memcmp(text, decoded, n) != 0) return NULL;
        text += n;
        p += consumed;
    }
    return p;
}

bool json_string_equals(json_span_t string, const char *text, size_t len) {
    const char *end = match_text(string, text, len);
    return end && end == string.text + string.len - 1;
}

bool json_string_begins(json_span_t string, const char *text, size_t len) {
    return match_text(string, text, len) != NULL;
}

uint64_t json_string_hash(json_span_t string) {
    const char *p = string.text + 1, *end = string.text + string.len - 1;
    uint64_t hash = 0xCBF29CE484222325u;
    while (p < end) {
        char decoded[4];
        size_t consumed = 1, n = 1;
        decoded[0] = *p;
        if (*p == '\\') n = decode_escape(p, end, decoded, &consumed);
        for (size_t i = 0; i < n; i++) hash = (hash ^ (unsigned char)decoded[i]) * 0x100000001B3u;
        p += consumed;
    }
    return hash;
}

bool json_integer(json_span_t value, int64_t *out) {
    if (!value.len || value.len > 20) return false;
    bool negative = value.text[0] == '-';
    uint64_t number = 0;
    for (size_t i = negative; i < value.len; i++) {
        if (value.text[i] < '0' || value.text[i] > '9') return false;
        unsigned digit = (unsigned)(value.text[i] - '0');
        if (number > ((uint64_t)INT64_MAX - digit) / 10) return false;
        number = number * 10 + digit;
    }
    *out = negative ? -(int64_t)number : (int64_t)number;
    return value.len > (size_t)negative;
}
