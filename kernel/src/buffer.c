/* buffer.c - see buffer.h. */
#include "buffer.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "sys.h"
#include "utf8.h"

void buffer_init(buffer_t *buffer, size_t max) {
    *buffer = (buffer_t){.max = max};
}

void buffer_free(buffer_t *buffer) {
    sys_free(buffer->data);
    buffer_init(buffer, buffer->max);
}

bool buffer_reserve(buffer_t *buffer, size_t extra) {
    if (extra > buffer->max || buffer->len > buffer->max - extra) return false;
    size_t need = buffer->len + extra;
    if (buffer->head + need <= buffer->cap) return true;
    /* Moving the content down pays when it frees at least as much as it moves. */
    if (need <= buffer->cap && (buffer->head >= buffer->len || buffer->cap == buffer->max)) {
        memmove(buffer->data, buffer->data + buffer->head, buffer->len);
        buffer->head = 0;
        return true;
    }
    size_t cap = buffer->cap ? buffer->cap : 256;
    while (cap < need) cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (cap > buffer->max) cap = buffer->max;
    char *data = sys_malloc(cap);
    if (!data) return false;
    if (buffer->len) memcpy(data, buffer->data + buffer->head, buffer->len);
    sys_free(buffer->data);
    buffer->data = data;
    buffer->cap = cap;
    buffer->head = 0;
    return true;
}

bool buffer_append(buffer_t *buffer, const void *bytes, size_t len) {
    if (!len) return true;
    if (!buffer_reserve(buffer, len)) return false;
    memcpy(buffer->data + buffer->head + buffer->len, bytes, len);
    buffer->len += len;
    return true;
}

bool buffer_puts(buffer_t *buffer, const char *text) {
    return buffer_append(buffer, text, strlen(text));
}

bool buffer_printf(buffer_t *buffer, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len < 0) return false;
    if ((size_t)len < sizeof text) return buffer_append(buffer, text, (size_t)len);
    if (!buffer_reserve(buffer, (size_t)len + 1)) return false;
    va_start(args, format);
    vsnprintf(buffer->data + buffer->head + buffer->len, (size_t)len + 1, format, args);
    va_end(args);
    buffer->len += (size_t)len;
    return true;
}

void buffer_consume(buffer_t *buffer, size_t len) {
    buffer->head += len;
    buffer->len -= len;
    if (buffer->len) return;
    buffer->head = 0;
    if (buffer->cap > BUFFER_KEEP) buffer_free(buffer);
}

void buffer_truncate(buffer_t *buffer, size_t len) {
    buffer->len = len;
}

static bool append_escaped(buffer_t *buffer, unsigned char byte) {
    switch (byte) {
    case '"': return buffer_append(buffer, "\\\"", 2);
    case '\\': return buffer_append(buffer, "\\\\", 2);
    case '\n': return buffer_append(buffer, "\\n", 2);
    case '\r': return buffer_append(buffer, "\\r", 2);
    case '\t': return buffer_append(buffer, "\\t", 2);
    default: return buffer_printf(buffer, "\\u%04x", byte);
    }
}

bool buffer_json_string(buffer_t *buffer, const char *text, size_t len) {
    size_t before = buffer->len, done = 0, at = 0;
    bool ok = buffer_append(buffer, "\"", 1);
    for (; ok && at < len; at++) {
        unsigned char byte = (unsigned char)text[at];
        if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
        ok = buffer_append(buffer, text + done, at - done) && append_escaped(buffer, byte);
        done = at + 1;
    }
    ok = ok && buffer_append(buffer, text + done, at - done) && buffer_append(buffer, "\"", 1);
    if (!ok) buffer_truncate(buffer, before);
    return ok;
}

bool buffer_text(buffer_t *buffer, const char *text, size_t len) {
    size_t before = buffer->len, done = 0, at = 0;
    bool ok = true;
    while (ok && at < len) {
        unsigned char byte = (unsigned char)text[at];
        size_t step = byte >= 0x80 ? utf8_sequence(text + at, text + len) : byte != 0;
        if (step) {
            at += step;
            continue;
        }
        ok = buffer_append(buffer, text + done, at - done) && buffer_append(buffer, "\xEF\xBF\xBD", 3);
        done = ++at;
    }
    ok = ok && buffer_append(buffer, text + done, at - done);
    if (!ok) buffer_truncate(buffer, before);
    return ok;
}

char *buffer_strdup(const char *text, size_t len) {
    char *copy = sys_malloc(len + 1);
    if (!copy) return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}
