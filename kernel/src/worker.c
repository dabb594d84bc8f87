/* worker.c - see worker.h. */
#include "worker.h"

#include <errno.h>
#include <signal.h>

#include "poller.h"
#include "sys.h"

#define REAP_POLL_MS 10
/* After an exit, at most this much is read of what a pipe still holds. */
#define DRAIN_ROUNDS 64

_Static_assert(offsetof(worker_t, supervisor) <= TARGET_FETCH, "what every message needs is fetched ahead");

static void on_writable(watch_t *watch, unsigned events);
static void on_readable(watch_t *watch, unsigned events);
static void on_stderr(watch_t *watch, unsigned events);
static void on_exit(watch_t *watch, unsigned events);
static void on_reap(loop_timer_t *timer);

void worker_init(worker_t *worker, worker_shared_t *shared, const config_limits_t *limits, pool_t *pool, int32_t id) {
    *worker = (worker_t){.shared = shared, .state = WORKER_IDLE};
    target_init(&worker->target, pool, id);
    worker->in = (watch_t){.fn = on_writable, .owner = worker, .fd = -1};
    worker->out = (watch_t){.fn = on_readable, .owner = worker, .fd = -1};
    worker->err = (watch_t){.fn = on_stderr, .owner = worker, .fd = -1};
    worker->child = (watch_t){.fn = on_exit, .owner = worker, .child_handle = -1};
    worker->reap = (loop_timer_t){.fn = on_reap, .owner = worker};
    worker->timer.owner = worker;
    buffer_init(&worker->outbox, config_queue_size(limits));
    line_reader_init(&worker->lines, (size_t)limits->max_input_buffer, WORKER_LINE_KEEP);
    line_reader_init(&worker->err_lines, TAIL_LINE_MAX, TAIL_LINE_MAX - 1);
}

void worker_free(worker_t *worker) {
    worker_detach(worker);
    loop_timer_stop(worker->shared->loop, &worker->timer);
    tail_free(&worker->tail);
    sys_free(worker->crashes);
}

bool worker_is_alive(const worker_t *worker) {
    bool attached = worker->attached && worker->state != WORKER_STOPPED;
    return worker->pid || worker->in.fd >= 0 || worker->out.fd >= 0 || attached;
}

static void close_pipe(worker_t *worker, watch_t *pipe) {
    if (pipe->fd < 0) return;
    loop_watch(worker->shared->loop, pipe, 0);
    if (worker->embedded && pipe == &worker->in) sys_end_writing(pipe->fd);
    sys_close(pipe->fd);
    pipe->fd = -1;
}

/* A paused worker is not read, so where the system reports no exits, a hang-up must tell. */
static int watch_output(worker_t *worker) {
    unsigned while_paused = worker->pid && !worker->watched_child ? POLL_HANGUP : 0;
    return loop_watch(worker->shared->loop, &worker->out, worker->paused ? while_paused : POLL_READ);
}

bool worker_attach(worker_t *worker, const spawn_child_t *child) {
    loop_t *loop = worker->shared->loop;
    worker->pid = worker->child.pid = child->pid;
    worker->in.fd = child->to_stdin;
    worker->out.fd = child->from_stdout;
    worker->err.fd = child->from_stderr;
    worker->close_after_flush = false;
    tail_free(&worker->tail); /* what an earlier process wrote explains nothing of this one */
    worker->watched_child = child->pid && loop_watch_child(loop, &worker->child);
    return watch_output(worker) == 0 &&
           (worker->err.fd < 0 || loop_watch(loop, &worker->err, POLL_READ) == 0);
}

void worker_detach(worker_t *worker) {
    close_pipe(worker, &worker->in);
    close_pipe(worker, &worker->out);
    close_pipe(worker, &worker->err);
    if (worker->watched_child) loop_unwatch_child(worker->shared->loop, &worker->child);
    worker->watched_child = false;
    loop_timer_stop(worker->shared->loop, &worker->reap);
    list_remove(&worker->dirty);
    buffer_free(&worker->outbox);
    line_reader_free(&worker->lines);
    line_reader_init(&worker->lines, worker->lines.max, worker->lines.keep);
    line_reader_free(&worker->err_lines);
    line_reader_init(&worker->err_lines, worker->err_lines.max, worker->err_lines.keep);
    worker->pid = 0;
    worker->unkillable = false;
    worker->paused = false;
}

/* Of many workers only a few have something to write at a time: memory goes from the one to
 * the next, still in the cache. */
static void move_memory(buffer_t *from, buffer_t *to) {
    to->data = from->data;
    to->cap = from->cap;
    from->data = NULL;
    from->cap = 0;
}

static void give_back_memory(worker_t *worker) {
    buffer_t *spare = &worker->shared->spare;
    if (spare->data) buffer_free(&worker->outbox);
    else move_memory(&worker->outbox, spare);
}

bool worker_queue(worker_t *worker, const piece_t *pieces, size_t count) {
    if (worker->in.fd < 0 || worker->close_after_flush) return false;
    if (!worker->outbox.data) move_memory(&worker->shared->spare, &worker->outbox);
    if (!message_append_line(&worker->outbox, pieces, count)) {
        if (worker->outbox.len) target_set_full(&worker->target, true); /* until that is written */
        return false;
    }
    if (!worker->dirty.next && !worker->in.events) list_append(&worker->shared->dirty, &worker->dirty);
    return true;
}

bool worker_flush(worker_t *worker) {
    list_remove(&worker->dirty);
    while (worker->outbox.len) {
        ssize_t n = sys_write(worker->in.fd, buffer_bytes(&worker->outbox), worker->outbox.len);
        if (n < 0 && errno == EAGAIN) return loop_watch(worker->shared->loop, &worker->in, POLL_WRITE) == 0;
        if (n < 0) {
            close_pipe(worker, &worker->in);
            buffer_free(&worker->outbox);
            return false;
        }
        worker->target.written += (uint64_t)n;
        worker->bytes_in += (uint64_t)n;
        buffer_consume(&worker->outbox, (size_t)n);
    }
    give_back_memory(worker);
    loop_watch(worker->shared->loop, &worker->in, 0);
    if (worker->close_after_flush) close_pipe(worker, &worker->in);
    return true;
}

void worker_close_stdin(worker_t *worker) {
    worker->close_after_flush = true;
    if (!worker->outbox.len) close_pipe(worker, &worker->in);
}

void worker_pause(worker_t *worker, bool paused) {
    worker->paused = paused;
    if (worker->out.fd >= 0) watch_output(worker);
}

static void on_writable(watch_t *watch, unsigned events) {
    worker_t *worker = watch->owner;
    (void)events;
    if (!worker->dirty.next) list_append(&worker->shared->dirty, &worker->dirty);
}

typedef enum read_result { READ_SOME, READ_NOTHING, READ_END } read_result_t;

static read_result_t read_once(worker_t *worker, const watch_t *pipe, line_reader_t *lines) {
    ssize_t n = sys_read(pipe->fd, worker->shared->scratch, WORKER_SCRATCH_SIZE);
    if (n < 0 && errno == EAGAIN) return READ_NOTHING;
    if (n <= 0) return READ_END;
    line_feed(lines, worker->shared->scratch, (size_t)n);
    if (pipe == &worker->out) worker->bytes_out += (uint64_t)n;
    return READ_SOME;
}

/* At the end of a stream its last line counts even without a newline. */
static read_result_t read_output(worker_t *worker) {
    line_t line;
    line_result_t kind;
    read_result_t result = read_once(worker, &worker->out, &worker->lines);
    while ((kind = result == READ_END ? line_finish(&worker->lines, &line) : line_next(&worker->lines, &line)) !=
           LINE_MORE)
        worker->shared->ops.line(worker, kind, &line);
    if (result == READ_END) close_pipe(worker, &worker->out);
    return result;
}

static read_result_t read_stderr(worker_t *worker) {
    line_t line;
    read_result_t result = read_once(worker, &worker->err, &worker->err_lines);
    while ((result == READ_END ? line_finish(&worker->err_lines, &line) : line_next(&worker->err_lines, &line)) !=
           LINE_MORE)
        worker->shared->ops.stderr_line(worker, line.text, line.len);
    if (result == READ_END) close_pipe(worker, &worker->err);
    return result;
}

static void on_readable(watch_t *watch, unsigned events) {
    worker_t *worker = watch->owner;
    (void)events;
    if (worker->paused) loop_watch(worker->shared->loop, watch, 0); /* told once; what is in the pipe stays there */
    else if (read_output(worker) != READ_END) return;
    if (!worker->watched_child) loop_timer_start(worker->shared->loop, &worker->reap, 0);
    if (worker->paused) return;
    worker->shared->ops.closed(worker, "stdout");
}

static void on_stderr(watch_t *watch, unsigned events) {
    worker_t *worker = watch->owner;
    (void)events;
    read_stderr(worker);
}

static void on_exit(watch_t *watch, unsigned events) {
    worker_t *worker = watch->owner;
    (void)events;
    worker->shared->ops.exited(worker);
}

/* Where the system reports no exits: asks, from the end of the worker's output on. */
static void on_reap(loop_timer_t *timer) {
    worker_t *worker = timer->owner;
    if (!worker->pid || worker->unkillable || sys_has_exited(worker->pid)) worker->shared->ops.exited(worker);
    else loop_timer_start(worker->shared->loop, timer, REAP_POLL_MS);
}

void worker_drain(worker_t *worker) {
    for (int i = 0; i < DRAIN_ROUNDS && worker->out.fd >= 0 && read_output(worker) == READ_SOME; i++) {
    }
    for (int i = 0; i < DRAIN_ROUNDS && worker->err.fd >= 0 && read_stderr(worker) == READ_SOME; i++) {
    }
}

int worker_end_process(worker_t *worker) {
    /* The leader is a zombie until it is reaped, so the group's number is still ours. */
    if (sys_kill_group(worker->pid, SIGKILL) < 0 && !sys_has_exited(worker->pid)) return -1;
    return sys_reap(worker->pid);
}
