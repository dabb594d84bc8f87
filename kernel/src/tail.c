/* tail.c - see tail.h. */
#include "tail.h"

#include <string.h>

#include "buffer.h"
#include "sys.h"

void tail_free(tail_t *tail) {
    for (size_t i = 0; tail->lines && i < TAIL_LINES; i++) sys_free(tail->lines[i]);
    sys_free(tail->lines);
    *tail = (tail_t){0};
}

void tail_add(tail_t *tail, const char *line) {
    if (!tail->lines && !(tail->lines = sys_calloc(TAIL_LINES, sizeof *tail->lines))) return;
    char *copy = buffer_strdup(line, strlen(line));
    if (!copy) return;
    char **slot = &tail->lines[tail->count++ % TAIL_LINES];
    sys_free(*slot);
    *slot = copy;
}

char *tail_join(const tail_t *tail) {
    buffer_t all;
    buffer_init(&all, (size_t)TAIL_LINES * (3 * TAIL_LINE_MAX + 1) + 1);
    size_t first = tail->count > TAIL_LINES ? tail->count - TAIL_LINES : 0;
    bool ok = true;
    for (size_t i = first; ok && i < tail->count; i++)
        ok = (i == first || buffer_append(&all, "\n", 1)) && buffer_puts(&all, tail->lines[i % TAIL_LINES]);
    char *text = ok ? buffer_strdup(buffer_bytes(&all), all.len) : NULL;
    buffer_free(&all);
    return text;
}
