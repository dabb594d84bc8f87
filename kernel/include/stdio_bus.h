/*
 * stdio_bus.h - the one public header of libstdio_bus.
 *
 * The library starts worker processes, moves newline-delimited JSON-RPC 2.0
 * between clients and workers, and keeps both sides honest.  What lives here:
 * everything a host program may call.  What does not: anything about the inside.
 *
 * ABI rule: the functions, layouts and numbers of part 1 are linked against by
 * SDKs in other languages and never change.  Part 2 grows by new functions only;
 * a changed layout there changes STDIO_BUS_ABI.
 *
 * Threads: every call on one bus comes from one thread.  Different buses are
 * independent.  Callbacks run inside the call that caused them, on that thread;
 * a callback may call ingest, feed and the getters, but not step, stop, start
 * or destroy.  Strings and buffers passed to a callback are valid UTF-8 and valid until
 * it returns.
 */
#ifndef STDIO_BUS_H
#define STDIO_BUS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define STDIO_BUS_API __attribute__((visibility("default")))
#else
#define STDIO_BUS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define STDIO_BUS_VERSION "3.0.0.dev0"
#define STDIO_BUS_ABI 1

/* ---- Part 1: the established ABI ------------------------------------------ */

typedef struct stdio_bus stdio_bus_t;

typedef enum {
    STDIO_BUS_OK = 0,
    STDIO_BUS_ERR = -1,           /* anything without a code of its own */
    STDIO_BUS_ERR_EAGAIN = -2,    /* nothing to do now */
    STDIO_BUS_ERR_EOF = -3,       /* the other side is gone */
    STDIO_BUS_ERR_EFULL = -4,     /* a queue is full: retry later */
    STDIO_BUS_ERR_ENOTFOUND = -5, /* no such worker, client or pool */
    STDIO_BUS_ERR_EINVAL = -6,    /* bad argument */
    STDIO_BUS_ERR_CONFIG = -10,   /* the configuration is wrong */
    STDIO_BUS_ERR_WORKER = -11,   /* a worker could not be started or kept */
    STDIO_BUS_ERR_ROUTING = -12,  /* a message has no destination */
    STDIO_BUS_ERR_BUFFER = -13,   /* a message is larger than its limit, or no memory */
    STDIO_BUS_ERR_INVALID = -14,  /* not a JSON-RPC message */
    STDIO_BUS_ERR_STATE = -15     /* the bus is not in a state that allows this */
} stdio_bus_code_t;

typedef enum {
    STDIO_BUS_STATE_CREATED = 0,
    STDIO_BUS_STATE_STARTING = 1, /* some pool has no ready worker yet; messages are taken */
    STDIO_BUS_STATE_RUNNING = 2,
    STDIO_BUS_STATE_STOPPING = 3,
    STDIO_BUS_STATE_STOPPED = 4
} stdio_bus_state_t;

enum { STDIO_BUS_LISTEN_NONE = 0, STDIO_BUS_LISTEN_TCP = 1, STDIO_BUS_LISTEN_UNIX = 2 };

enum { STDIO_BUS_LOG_DEBUG = 0, STDIO_BUS_LOG_INFO = 1, STDIO_BUS_LOG_WARNING = 2, STDIO_BUS_LOG_ERROR = 3 };

/* One message for the host client: `len` bytes of JSON, no newline, not terminated. */
typedef void (*stdio_bus_on_message_fn)(stdio_bus_t *bus, const char *msg, size_t len, void *user);
typedef void (*stdio_bus_on_error_fn)(stdio_bus_t *bus, int code, const char *message, void *user);
typedef void (*stdio_bus_on_log_fn)(stdio_bus_t *bus, int level, const char *message, void *user);
/* `event` is "started" (ready for requests), "restarting" (crashed, a new start is
 * due), "failed" (will not be started again) or "stopped" (ended on demand). */
typedef void (*stdio_bus_on_worker_fn)(stdio_bus_t *bus, int worker_id, const char *event, void *user);
typedef void (*stdio_bus_on_client_connect_fn)(stdio_bus_t *bus, int client_id, const char *peer, void *user);
typedef void (*stdio_bus_on_client_disconnect_fn)(stdio_bus_t *bus, int client_id, const char *reason, void *user);

typedef struct stdio_bus_options {
    const char *config_path; /* exactly one of config_path and config_json is set */
    const char *config_json;
    struct {
        int mode; /* STDIO_BUS_LISTEN_* */
        const char *tcp_host; /* an address or "localhost"; NULL: 127.0.0.1 */
        uint16_t tcp_port;    /* 0: any free one, see stdio_bus_get_listener_port */
        const char *unix_path;
    } listener;
    stdio_bus_on_message_fn on_message;
    stdio_bus_on_error_fn on_error;
    stdio_bus_on_log_fn on_log;
    stdio_bus_on_worker_fn on_worker;
    stdio_bus_on_client_connect_fn on_client_connect;
    stdio_bus_on_client_disconnect_fn on_client_disconnect;
    void *user_data;
    int log_level; /* lowest STDIO_BUS_LOG_* level that reaches on_log */
} stdio_bus_options_t;

typedef struct stdio_bus_stats {
    uint64_t messages_in;    /* messages accepted from clients */
    uint64_t messages_out;   /* messages delivered to clients */
    uint64_t bytes_in;       /* bytes of the former, newlines not counted */
    uint64_t bytes_out;      /* bytes of the latter */
    uint64_t worker_restarts;
    uint64_t routing_errors; /* messages without a destination: late answers, unknown ids, dropped notifications */
    uint64_t client_connects;
    uint64_t client_disconnects;
} stdio_bus_stats_t;

/* Parses the configuration and allocates.  The strings of `options` are copied.
 * Returns NULL on error, after calling options->on_error with a NULL bus. */
STDIO_BUS_API stdio_bus_t *stdio_bus_create(const stdio_bus_options_t *options);

/* Starts every worker and opens the listener.  0, or a negative code (nothing runs then). */
STDIO_BUS_API int stdio_bus_start(stdio_bus_t *bus);

/* Does the pending work: reads, writes, timers, child exits, callbacks.  Waits at
 * most `timeout_ms` (0: not at all, -1: until something happens).  Returns the number
 * of events handled, or a negative code. */
STDIO_BUS_API int stdio_bus_step(stdio_bus_t *bus, int timeout_ms);

/* Begins an orderly stop that ends, at the latest, `timeout_sec` seconds from now
 * (negative: the configured drain_timeout_sec).  Keep stepping until STOPPED.  A further
 * call can only make it end sooner. */
STDIO_BUS_API int stdio_bus_stop(stdio_bus_t *bus, int timeout_sec);

/* Kills what is left, reaps it, frees everything.  NULL is fine. */
STDIO_BUS_API void stdio_bus_destroy(stdio_bus_t *bus);

/* One message (without newline) from the host client.  INVALID: not a JSON-RPC
 * message; EFULL: retry later; STATE: not running.  A refused message gets no
 * other report. */
STDIO_BUS_API int stdio_bus_ingest(stdio_bus_t *bus, const char *msg, size_t len);

STDIO_BUS_API stdio_bus_state_t stdio_bus_get_state(const stdio_bus_t *bus);
STDIO_BUS_API int stdio_bus_worker_count(const stdio_bus_t *bus);  /* running workers */
STDIO_BUS_API int stdio_bus_session_count(const stdio_bus_t *bus); /* bound sessions */
STDIO_BUS_API int stdio_bus_pending_count(const stdio_bus_t *bus); /* requests awaiting an answer */
STDIO_BUS_API int stdio_bus_client_count(const stdio_bus_t *bus);  /* connected external clients */

/* A descriptor that is readable whenever step() has something to do, timers and child
 * exits included; -1 when there is none.  It belongs to the bus: watch it, never read it. */
STDIO_BUS_API int stdio_bus_get_poll_fd(const stdio_bus_t *bus);

/* A worker inside the host, over a pair of descriptors (one socket may be both), which
 * the bus owns from then on unless the arguments are refused (STATE, ENOTFOUND, EINVAL).
 * Between start and stop.  It joins the pool's balancing, is greeted with the pool's
 * handshake, and is not started again when its descriptors close.  Returns its worker
 * id, or a negative code. */
STDIO_BUS_API int stdio_bus_register_embedded_worker(stdio_bus_t *bus, int fd_to_worker, int fd_from_worker,
                                                     const char *pool_id);
STDIO_BUS_API int stdio_bus_unregister_embedded_worker(stdio_bus_t *bus, int worker_id); /* idempotent; retires it */

STDIO_BUS_API void stdio_bus_get_stats(const stdio_bus_t *bus, stdio_bus_stats_t *out);

/* ---- Part 2: additions ------------------------------------------------------ */

/* The client id of the embedding program; logical clients and connections count from 1. */
#define STDIO_BUS_HOST_CLIENT 0

STDIO_BUS_API const char *stdio_bus_version(void); /* STDIO_BUS_VERSION of the library */
STDIO_BUS_API int stdio_bus_abi(void);             /* STDIO_BUS_ABI of the library */

enum {
    STDIO_BUS_SIZEOF_OPTIONS = 0,
    STDIO_BUS_SIZEOF_STATS = 1,
    STDIO_BUS_SIZEOF_LINE = 2,
    STDIO_BUS_SIZEOF_WORKER_INFO = 3,
    STDIO_BUS_SIZEOF_WORKER_EVENT = 4
};
/* The size of a struct as the library was compiled, 0 for an unknown one: a binding
 * compares it with its own before the first other call. */
STDIO_BUS_API size_t stdio_bus_sizeof(int what);

/* Batch delivery: one call per step instead of one on_message per message. */
typedef struct stdio_bus_line {
    uint32_t length;   /* bytes of this line, its newline not counted */
    int32_t worker_id; /* the worker it comes from or speaks of; 0: the bus itself */
    int32_t client_id; /* the client it is for */
    uint32_t reserved; /* 0 */
} stdio_bus_line_t;
/* `data` holds the lines one after the other, each with a newline after it. */
typedef void (*stdio_bus_on_batch_fn)(stdio_bus_t *bus, const char *data, size_t len, const stdio_bus_line_t *lines,
                                      size_t count, void *user);
/* Once set, on_message is not called any more.  NULL goes back to on_message. */
STDIO_BUS_API int stdio_bus_set_on_batch(stdio_bus_t *bus, stdio_bus_on_batch_fn fn);

/* A stream of bytes from one client: whole lines, parts of lines, many lines; split
 * anywhere.  What is wrong with a line is answered to the client as a JSON-RPC error.
 * Returns 0, STATE when not running, ENOTFOUND for an unknown client. */
STDIO_BUS_API int stdio_bus_feed(stdio_bus_t *bus, int client_id, const char *data, size_t len);

/* A further client of the host, with ids, tokens and sessions of its own.  Its
 * messages arrive by batch delivery.  `pool_id` (may be NULL) is the pool of messages
 * that name none.  Returns a client id > 0, or a negative code. */
STDIO_BUS_API int stdio_bus_client_open(stdio_bus_t *bus, const char *pool_id);
/* Cancels what the client has out and drops its sessions.  The host client stays, but with it
 * every further client of the host is closed. */
STDIO_BUS_API int stdio_bus_client_close(stdio_bus_t *bus, int client_id);

typedef enum {
    STDIO_BUS_WORKER_STARTING = 0, /* spawned, not ready for requests */
    STDIO_BUS_WORKER_READY = 1,
    STDIO_BUS_WORKER_BACKOFF = 2,  /* crashed; a new start is due */
    STDIO_BUS_WORKER_STOPPING = 3, /* asked to end */
    STDIO_BUS_WORKER_STOPPED = 4,
    STDIO_BUS_WORKER_FAILED = 5 /* will not be started again */
} stdio_bus_worker_state_t;
STDIO_BUS_API const char *stdio_bus_worker_state_name(int state); /* "starting", "ready", ... */

typedef struct stdio_bus_worker_info {
    const char *pool; /* valid until destroy */
    int32_t id;
    int32_t pid; /* 0 when no process runs */
    int32_t state;
    int32_t in_flight; /* requests sent and not answered */
    uint64_t restarts;
    uint64_t uptime_ms; /* of the present process */
    uint64_t bytes_in;  /* written to the worker's stdin */
    uint64_t bytes_out; /* read from its stdout */
} stdio_bus_worker_info_t;
/* Fills at most `capacity` entries; returns how many workers there are. */
STDIO_BUS_API int stdio_bus_get_workers(const stdio_bus_t *bus, stdio_bus_worker_info_t *out, int capacity);

typedef struct stdio_bus_worker_event {
    const char *kind; /* as in on_worker */
    const char *pool;
    const char *reason;      /* one sentence; "" for "started" */
    const char *stderr_tail; /* the last stderr lines, newline between them; may be "" */
    int32_t worker_id;
    int32_t pid;       /* of the process concerned, 0 if there was none */
    int32_t exit_code; /* -1 when the process did not exit by itself */
    int32_t signal;    /* 0 when no signal ended it */
} stdio_bus_worker_event_t;
typedef void (*stdio_bus_on_worker_event_fn)(stdio_bus_t *bus, const stdio_bus_worker_event_t *event, void *user);
/* Called after on_worker for each event.  NULL switches it off. */
STDIO_BUS_API int stdio_bus_set_on_worker_event(stdio_bus_t *bus, stdio_bus_on_worker_event_fn fn);

/* Stops and resumes reading from one worker (backpressure).  Whatever is sent to the worker
 * resumes it too, so that a slow reader of one answer never holds back another request; for
 * the same reason a worker with more than one request out is not paused (EAGAIN), nor one
 * that is not ready.  A stop resumes all.  Idempotent. */
STDIO_BUS_API int stdio_bus_pause_worker(stdio_bus_t *bus, int worker_id);
STDIO_BUS_API int stdio_bus_resume_worker(stdio_bus_t *bus, int worker_id);

/* Changes the number of a pool's workers, 1 to 1024.  Further ones are started; of too
 * many the youngest are retired: requests under way on them end first, within
 * drain_timeout_sec, and nothing new goes there.  0, STATE, ENOTFOUND or EINVAL. */
STDIO_BUS_API int stdio_bus_scale_pool(stdio_bus_t *bus, const char *pool_id, int instances);
/* Replaces every worker of a pool, one after the other: each is retired, as above, when
 * its successor is ready.  Successors have ids of their own. */
STDIO_BUS_API int stdio_bus_restart_pool(stdio_bus_t *bus, const char *pool_id);

/* The status as one JSON object: state (number), stats (the eight), pending, sessions,
 * clients, workers (pool, id, pid, state (name), in_flight, restarts, uptime_ms, bytes_in,
 * bytes_out).  Like snprintf: writes at most `capacity` bytes with the terminator, returns
 * the length it has or would have, or a negative code.  The next call may need more room:
 * uptimes grow. */
STDIO_BUS_API int stdio_bus_get_status(const stdio_bus_t *bus, char *out, size_t capacity);

/* What the first message of every external client (stdio_bus/hello) must carry as
 * params.token, 1 to 1024 bytes; in place of the configuration's `token`.  Before start.
 * Without a token a TCP listener must be bound to a loopback address. */
STDIO_BUS_API int stdio_bus_set_token(stdio_bus_t *bus, const char *token);

/* Whether the listener of the options may be opened: OK, or CONFIG after on_error, as start would
 * say.  Opens and starts nothing. */
STDIO_BUS_API int stdio_bus_check(stdio_bus_t *bus);

/* 1 when in no pool a worker is left that serves or may serve, 0 otherwise.  An embedded pool
 * counts as one that may serve: its workers are the host's to bring. */
STDIO_BUS_API int stdio_bus_all_failed(const stdio_bus_t *bus);

/* How many milliseconds a stop may take yet: after these the workers are killed.  -1 when the
 * bus is not stopping. */
STDIO_BUS_API int stdio_bus_stop_left(const stdio_bus_t *bus);

/* The port the TCP listener is bound to, or a negative code. */
STDIO_BUS_API int stdio_bus_get_listener_port(const stdio_bus_t *bus);

#ifdef __cplusplus
}
#endif

#endif /* STDIO_BUS_H */
