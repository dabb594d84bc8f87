/* line.c - see line.h. */
#include "line.h"

#include <string.h>

void line_reader_init(line_reader_t *reader, size_t max, size_t keep) {
    *reader = (line_reader_t){.max = max, .keep = keep};
    buffer_init(&reader->partial, max + 1); /* a '\r' may stand behind a longest line */
}

void line_reader_free(line_reader_t *reader) {
    buffer_free(&reader->partial);
}

void line_reader_extend(line_reader_t *reader, size_t max) {
    reader->max = max;
    reader->partial.max = max + 1;
}

void line_feed(line_reader_t *reader, const char *data, size_t len) {
    reader->chunk = data;
    reader->chunk_len = len;
}

/* Keeps the last `keep` bytes of the over-long line behind its head. */
static void skip_bytes(line_reader_t *reader, const char *data, size_t len) {
    buffer_t *b = &reader->partial;
    if (reader->lost) return;
    if (len >= reader->keep) {
        buffer_truncate(b, reader->head_len);
        buffer_append(b, data + len - reader->keep, reader->keep);
        return;
    }
    size_t tail = b->len - reader->head_len;
    size_t drop = tail + len > reader->keep ? tail + len - reader->keep : 0;
    if (drop) {
        char *at = b->data + b->head + reader->head_len;
        memmove(at, at + drop, tail - drop);
        buffer_truncate(b, b->len - drop);
    }
    buffer_append(b, data, len);
}

/* Turns the partial line (and `data` behind it) into a skipped one.  Space for head
 * and tail is taken first, so that skipping cannot fail later. */
static void begin_skipping(line_reader_t *reader, const char *data, size_t len) {
    buffer_t head;
    buffer_init(&head, 2 * reader->keep);
    reader->skipping = true;
    reader->lost = !buffer_reserve(&head, 2 * reader->keep);
    if (!reader->lost) {
        buffer_t *b = &reader->partial;
        size_t from_partial = b->len < reader->keep ? b->len : reader->keep;
        size_t from_data = reader->keep - from_partial < len ? reader->keep - from_partial : len;
        buffer_append(&head, buffer_bytes(b), from_partial);
        buffer_append(&head, data, from_data);
        reader->head_len = head.len;
        size_t rest = b->len - from_partial;
        size_t tail = rest < reader->keep ? rest : reader->keep;
        buffer_append(&head, buffer_bytes(b) + b->len - tail, tail);
        data += from_data;
        len -= from_data;
    }
    buffer_free(&reader->partial);
    size_t max = reader->partial.max;
    if (!reader->lost) {
        reader->partial = head;
        reader->partial.max = max > head.max ? max : head.max;
        skip_bytes(reader, data, len);
    }
}

static bool begins_too_long(const line_reader_t *reader, const char *data, size_t len) {
    size_t total = reader->partial.len + len;
    if (total <= reader->max) return false;
    if (total > reader->max + 1) return true;
    const char *last = len ? data + len - 1 : buffer_bytes(&reader->partial) + reader->partial.len - 1;
    return *last != '\r';
}

static line_result_t finish_skipping(line_reader_t *reader, line_t *out) {
    line_result_t result = reader->lost ? LINE_NO_MEMORY : LINE_TOO_LONG;
    buffer_t *b = &reader->partial;
    *out = (line_t){0};
    if (!reader->lost) {
        out->text = buffer_bytes(b);
        out->len = reader->head_len;
        out->tail = out->text + reader->head_len;
        out->tail_len = b->len - reader->head_len;
    }
    reader->skipping = reader->lost = false;
    reader->release = true;
    return result;
}

static bool set_line(line_t *out, const char *text, size_t len) {
    if (len && text[len - 1] == '\r') len--;
    *out = (line_t){.text = text, .len = len};
    return len > 0;
}

line_result_t line_next(line_reader_t *reader, line_t *out) {
    if (reader->release) {
        buffer_consume(&reader->partial, reader->partial.len);
        reader->release = false;
    }
    while (reader->chunk_len) {
        const char *data = reader->chunk;
        const char *newline = memchr(data, '\n', reader->chunk_len);
        size_t len = newline ? (size_t)(newline - data) : reader->chunk_len;
        size_t taken = newline ? len + 1 : len;
        reader->chunk += taken;
        reader->chunk_len -= taken;
        if (reader->skipping) {
            skip_bytes(reader, data, len);
        } else if (begins_too_long(reader, data, len)) {
            begin_skipping(reader, data, len);
        } else if (newline && !reader->partial.len) {
            if (set_line(out, data, len)) return LINE_READY;
            continue;
        } else if (!buffer_append(&reader->partial, data, len)) {
            buffer_free(&reader->partial);
            reader->skipping = reader->lost = true;
        }
        if (!newline) break;
        if (reader->skipping) return finish_skipping(reader, out);
        reader->release = true;
        if (set_line(out, buffer_bytes(&reader->partial), reader->partial.len)) return LINE_READY;
        buffer_consume(&reader->partial, reader->partial.len);
        reader->release = false;
    }
    return LINE_MORE;
}

line_result_t line_finish(line_reader_t *reader, line_t *out) {
    static const char newline = '\n';
    if (!reader->partial.len && !reader->skipping) return LINE_MORE;
    line_feed(reader, &newline, 1);
    return line_next(reader, out);
}
