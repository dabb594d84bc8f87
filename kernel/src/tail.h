/*
 * tail.h - the last lines of a worker's stderr, for error reports.
 */
#ifndef STDIO_BUS_TAIL_H
#define STDIO_BUS_TAIL_H

#include <stddef.h>

#define TAIL_LINES 64
#define TAIL_LINE_MAX 8192 /* longer lines are cut */

typedef struct tail {
    char **lines; /* owned ring of owned strings; NULL until the first line */
    size_t count; /* lines ever added */
} tail_t;

void tail_free(tail_t *tail);
/* Forgets the oldest line when there are too many; drops this one for want of memory. */
void tail_add(tail_t *tail, const char *line);
/* All lines with newlines between them; the caller frees it with sys_free.  NULL: no
 * memory. */
char *tail_join(const tail_t *tail);

#endif
