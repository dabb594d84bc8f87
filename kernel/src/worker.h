/*
 * worker.h - one child process and its three pipes: bytes in, bytes out, stderr kept.
 *
 * What a worker's life is made of is decided in supervisor.c, what its messages mean in
 * router.h; here is only the traffic.
 */
#ifndef STDIO_BUS_WORKER_H
#define STDIO_BUS_WORKER_H

#include "buffer.h"
#include "line.h"
#include "loop.h"
#include "pool.h"
#include "router.h"
#include "spawn.h"
#include "tail.h"

/* Bytes kept of either end of an over-long answer, to find its id in. */
#define WORKER_LINE_KEEP 512

struct worker;

typedef struct worker_ops {
    /* One line of its stdout or stderr. */
    void (*line)(struct worker *worker, line_result_t result, const line_t *line);
    void (*stderr_line)(struct worker *worker, const char *text, size_t len);
    /* A pipe is closed at the worker's end though no exit was reported: "stdout", "stdin". */
    void (*closed)(struct worker *worker, const char *pipe);
    void (*exited)(struct worker *worker);
} worker_ops_t;

/* What all workers of a bus share. */
typedef struct worker_shared {
    loop_t *loop;
    worker_ops_t ops;
    char *scratch; /* one read buffer for all */
    buffer_t spare; /* the memory of the outbox emptied last, for the next that is filled */
    list_t dirty;  /* worker_t.dirty: have bytes to write */
} worker_shared_t;

#define WORKER_SCRATCH_SIZE (256u * 1024)

typedef enum worker_state {
    WORKER_IDLE,     /* never started */
    WORKER_STARTING, /* spawned; its handshake is under way */
    WORKER_READY,
    WORKER_DYING,    /* at fault: killed, or about to be */
    WORKER_BACKOFF,  /* gone; a new start is due */
    WORKER_STOPPING, /* asked to end */
    WORKER_STOPPED,
    WORKER_FAILED,   /* gone for good */
    WORKER_STATE_COUNT
} worker_state_t;

typedef struct worker {
    target_t target;
    /* What every message needs, together; see target_t. */
    worker_shared_t *shared;
    worker_state_t state;
    bool attached; /* embedded without descriptors: its lines come and go as messages of the host client */
    bool paused;
    bool close_after_flush;
    bool watched_child; /* exits are reported; otherwise end-of-file and `reap` serve */
    list_t dirty;
    watch_t in, out; /* fd -1: closed */
    buffer_t outbox; /* without memory while it is empty */
    line_reader_t lines;
    uint64_t bytes_in, bytes_out;
    void *supervisor;
    /* What only its life is made of. */
    bool embedded;    /* lives inside the host: descriptors and no process */
    bool leaving;     /* retired: freed once it has ended */
    bool unkillable;  /* SIGKILL is refused, it runs as another user: nobody waits for its exit */
    bool outdated;    /* to be replaced by a rolling restart */
    int32_t replaces; /* the worker that is retired when this one is ready; 0: none */
    pid_t pid;        /* 0: no process */
    watch_t err, child;
    line_reader_t err_lines;
    tail_t tail;
    loop_timer_t timer; /* what it means depends on the state */
    loop_timer_t reap;
    uint64_t kill_at; /* while stopping: by when it must be gone, in loop time */
    uint64_t started_at, backoff_ms, noise;
    uint64_t *crashes; /* ring of the times of the last max_restarts crashes */
    size_t crash_count, crash_next; /* how many are in it; where the next one goes */
    uint64_t restarts;
    const char *closed_pipe; /* "stdout" or "stdin", static */
    char fault[256]; /* why it is dying, "" when it died by itself */
} worker_t;

void worker_init(worker_t *worker, worker_shared_t *shared, const config_limits_t *limits, pool_t *pool, int32_t id);
void worker_free(worker_t *worker); /* no process may be left */

/* Whether a process or a connection is there. */
bool worker_is_alive(const worker_t *worker);

/* Takes over the pipes and the process (pid 0: none).  False: the loop cannot watch them. */
bool worker_attach(worker_t *worker, const spawn_child_t *child);
/* Closes the pipes and forgets what was not written. */
void worker_detach(worker_t *worker);

/* Kills the process and all of its group.  Its wait status, or negative: somebody else has
 * reaped it, or it cannot be killed. */
int worker_end_process(worker_t *worker);

/* Queues one line for its stdin; false over the limit.  Written by worker_flush. */
bool worker_queue(worker_t *worker, const piece_t *pieces, size_t count);
/* Writes what the pipe takes.  Returns false when the pipe has no reader. */
bool worker_flush(worker_t *worker);
/* Closes its stdin as soon as all is written. */
void worker_close_stdin(worker_t *worker);
/* Reads what is left after its exit. */
void worker_drain(worker_t *worker);
/* Begins or ends reading from its stdout. */
void worker_pause(worker_t *worker, bool paused);

#endif
