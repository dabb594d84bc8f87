/*
 * json_read.h - reading values out of JSON text that json_scan has accepted.
 *
 * Works on spans of the original text; nothing here checks syntax again, and nothing
 * allocates.
 */
#ifndef STDIO_BUS_JSON_READ_H
#define STDIO_BUS_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct json_span {
    const char *text; /* borrowed; for a string it includes the quotes */
    size_t len;
} json_span_t;

static inline bool json_is_string(json_span_t value) {
    return *value.text == '"';
}

static inline bool json_is_number(json_span_t value) {
    return *value.text == '-' || (*value.text >= '0' && *value.text <= '9');
}

/* Walks the members of an object or the items of an array.  `key` is a string span,
 * and empty for arrays.  Start with `*at` = 0; false at the end. */
bool json_next(json_span_t container, size_t *at, json_span_t *key, json_span_t *value);

/* The value of a member whose key is `name`; false when there is none. */
bool json_get(json_span_t object, const char *name, json_span_t *value);

/* Decodes a string span into `out`, which has room for span.len bytes.  A lone
 * surrogate becomes U+FFFD.  Returns the decoded length. */
size_t json_string_decode(json_span_t string, char *out);

/* Whether the span is a string that decodes to exactly these bytes. */
bool json_string_equals(json_span_t string, const char *text, size_t len);

/* Whether the span is a string that decodes to these bytes and, perhaps, more. */
bool json_string_begins(json_span_t string, const char *text, size_t len);

/* A hash of what the string decodes to, however it is spelled; 64 bits, FNV-1a. */
uint64_t json_string_hash(json_span_t string);

/* An integer without fraction or exponent that fits; false otherwise. */
bool json_integer(json_span_t value, int64_t *out);

#endif
