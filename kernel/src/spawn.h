/*
 * spawn.h - starts a child process with pipes on its standard descriptors.
 *
 * The child gets its own process group, descriptors 0, 1 and 2 and no others, default
 * signal dispositions and an empty mask; on Linux SIGTERM when the calling thread dies.
 * spawn.c prepares everything (environment, look-up, pipes); spawn_linux.c and
 * spawn_darwin.c do the step from one process to two.
 */
#ifndef STDIO_BUS_SPAWN_H
#define STDIO_BUS_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct spawn_request {
    const char *command; /* looked up on the child's PATH unless it has a slash */
    char *const *args;   /* behind argv[0]; ends with NULL */
    char *const *env;    /* "NAME=value" sets, "NAME" drops; ends with NULL */
    bool inherit_env;
    const char *cwd; /* NULL: the caller's */
} spawn_request_t;

typedef struct spawn_child {
    pid_t pid;
    int to_stdin, from_stdout, from_stderr; /* the caller's ends: non-blocking, close-on-exec */
} spawn_child_t;

#define SPAWN_ERROR_SIZE 320

/* Returns once the program runs (exec has succeeded).  0, or an errno with one sentence
 * in `error`; `*permanent` says that trying again cannot help (no such command). */
int spawn(const spawn_request_t *request, spawn_child_t *child, bool *permanent, char error[SPAWN_ERROR_SIZE]);

/* What the platform's half needs, all prepared beforehand. */
typedef struct spawn_plan {
    const char *path; /* of the program */
    char *const *argv;
    char *const *envp;
    const char *cwd; /* NULL: unchanged */
    int stdio[3];    /* the child's ends, none of them 0, 1 or 2 */
} spawn_plan_t;

typedef enum spawn_stage { SPAWN_FORK, SPAWN_CHDIR, SPAWN_EXEC } spawn_stage_t;

/* 0, or the errno of the stage that failed (no child is left then). */
int spawn_execute(const spawn_plan_t *plan, pid_t *pid, spawn_stage_t *stage);

#endif
