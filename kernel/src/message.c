/* message.c - see message.h. */
#include "message.h"

#include <string.h>

void message_init(message_t *message, const scan_t *scan, size_t len) {
    message->scan = scan;
    message->len = len;
    message->edit_count = 0;
}

static void add_edit(message_t *message, uint32_t start, uint32_t end, const char *text, size_t len) {
    size_t at = message->edit_count++;
    for (; at > 0 && message->edits[at - 1].start > start; at--) message->edits[at] = message->edits[at - 1];
    message->edits[at].start = start;
    message->edits[at].end = end;
    message->edits[at].with = (piece_t){text, len};
}

void message_replace(message_t *message, scan_field_t field, const char *with, size_t len) {
    const scan_value_t *value = &message->scan->field[field];
    add_edit(message, value->start, value->end, with, len);
}

void message_change_ending(message_t *message, scan_field_t field, size_t cut, const char *text, size_t len) {
    uint32_t quote = message->scan->field[field].end - 1;
    add_edit(message, quote - (uint32_t)cut, quote, text, len);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void message_remove(message_t *message, const scan_field_t *fields, size_t count) {
    const char *text = message->scan->text;
    const scan_value_t *sorted[SCAN_FIELD_COUNT];
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const scan_value_t *value = &message->scan->field[fields[i]];
        if (!value->end) continue;
        size_t at = found++;
        for (; at > 0 && sorted[at - 1]->key > value->key; at--) sorted[at] = sorted[at - 1];
        sorted[at] = value;
    }
    /* A member goes with the comma before it; as long as all members so far have gone,
     * with the comma behind it instead. */
    uint32_t leading_end = 0;
    for (size_t i = 0; i < found; i++) {
        uint32_t start = sorted[i]->key, end = sorted[i]->end, before = start;
        while (is_space(text[before - 1])) before--;
        bool first = text[before - 1] == '{' || start == leading_end;
        if (!first) {
            add_edit(message, before - 1, end, NULL, 0);
            continue;
        }
        while (is_space(text[end])) end++;
        if (text[end] == ',') end++;
        while (is_space(text[end])) end++;
        leading_end = end;
        add_edit(message, start, end, NULL, 0);
    }
}

void message_insert(message_t *message, const char *members, size_t len) {
    uint32_t at = 0;
    while (message->scan->text[at] != '{') at++;
    add_edit(message, at + 1, at + 1, members, len);
}

size_t message_pieces(const message_t *message, piece_t out[MESSAGE_MAX_PIECES]) {
    size_t count = 0;
    uint32_t done = 0;
    for (size_t i = 0; i < message->edit_count; i++) {
        uint32_t start = message->edits[i].start;
        if (start > done) out[count++] = (piece_t){message->scan->text + done, start - done};
        if (message->edits[i].with.len) out[count++] = message->edits[i].with;
        done = message->edits[i].end;
    }
    if (message->len > done) out[count++] = (piece_t){message->scan->text + done, message->len - done};
    return count;
}

bool message_append_line(buffer_t *to, const piece_t *pieces, size_t count) {
    size_t len = 1;
    for (size_t i = 0; i < count; i++) len += pieces[i].len;
    if (!buffer_reserve(to, len)) return false;
    char *at = to->data + to->head + to->len;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].len) memcpy(at, pieces[i].text, pieces[i].len); /* an empty one may be NULL */
        at += pieces[i].len;
    }
    *at = '\n';
    to->len += len;
    return true;
}
