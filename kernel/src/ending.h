/*
 * ending.h - how a worker's process ended, in words and numbers.
 */
#ifndef STDIO_BUS_ENDING_H
#define STDIO_BUS_ENDING_H

#include "worker.h"

typedef struct ending {
    pid_t pid;
    int exit_code; /* -1: none */
    int signal;    /* 0: none */
    char reason[768];
    char *stderr_tail; /* owned; NULL: no memory */
} ending_t;

/* Collects the process of the worker: its last output, its group, its status; the worker has
 * none afterwards. */
void ending_collect(worker_t *worker, ending_t *ending);
void ending_free(ending_t *ending);

/* The last lines of its stderr, or "". */
const char *ending_stderr(const ending_t *ending);

#endif
