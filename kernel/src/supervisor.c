/* supervisor.c - see supervisor.h: the life of one worker, and of all. */
#include "supervisor_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ending.h"
#include "stdio_bus.h"
#include "sys.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 10000
/* A worker whose stdout or stdin is closed has this long to exit by itself. */
#define CLOSED_PIPE_GRACE_MS 500
#define STOP_GRACE_MAX_MS 2000
#define NOISE_REPORT_BYTES 120

typedef void action_fn(worker_t *worker);
static action_fn start_process, become_ready, kill_now, await_exit, give_up_waiting, take_crash, take_stop_exit,
    fail_startup, escalate, begin_stop, hasten_stop, stop_unstarted;

/*
 * The whole life of a worker.  NULL: the event means nothing in that state.
 *
 *                       SPAWN          READY         FAULT     CLOSED      EXITED          TIMER            STOP
 */
static action_fn *const TABLE[WORKER_STATE_COUNT][EVENT_COUNT] = {
    [WORKER_IDLE]     = {start_process, NULL,         NULL,     NULL,       NULL,           NULL,            stop_unstarted},
    [WORKER_STARTING] = {NULL,          become_ready, kill_now, await_exit, take_crash,     fail_startup,    begin_stop},
    [WORKER_READY]    = {NULL,          NULL,         kill_now, await_exit, take_crash,     begin_stop,      begin_stop},
    [WORKER_DYING]    = {NULL,          NULL,         NULL,     NULL,       take_crash,     give_up_waiting, begin_stop},
    [WORKER_BACKOFF]  = {start_process, NULL,         NULL,     NULL,       NULL,           start_process,   stop_unstarted},
    [WORKER_STOPPING] = {NULL,          NULL,         NULL,     NULL,       take_stop_exit, escalate,        hasten_stop},
    [WORKER_STOPPED]  = {NULL,          NULL,         NULL,     NULL,       NULL,           NULL,            NULL},
    [WORKER_FAILED]   = {NULL,          NULL,         NULL,     NULL,       NULL,           NULL,            NULL},
};

void supervisor_happen(worker_t *worker, worker_event_t event) {
    action_fn *action = TABLE[worker->state][event];
    if (action) action(worker);
}

static void log_worker(worker_t *worker, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void log_worker(worker_t *worker, int level, const char *format, ...) {
    char text[3 * TAIL_LINE_MAX + 256];
    int used = snprintf(text, sizeof text, "pool \"%s\" worker %" PRId32 ": ", worker->target.pool->config->id,
                        worker->target.worker_id);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, sizeof text - (size_t)used, format, args);
    va_end(args);
    supervisor_of(worker)->ops.log(supervisor_of(worker)->context, level, text);
}

void supervisor_start_timer(worker_t *worker, uint64_t delay_ms) {
    /* Room in the timer heap was reserved by supervisor_init: this cannot fail. */
    loop_timer_start(worker->shared->loop, &worker->timer, delay_ms);
}

static void announce(worker_t *worker, const supervisor_event_t *event) {
    supervisor_of(worker)->ops.event(supervisor_of(worker)->context, worker, event);
}

/* ---- how a process ended ---------------------------------------------------- */

static void announce_ending(worker_t *worker, const char *kind, const ending_t *ending) {
    announce(worker, &(supervisor_event_t){
                         .kind = kind,
                         .reason = ending->reason,
                         .stderr_tail = ending_stderr(ending),
                         .pid = ending->pid,
                         .exit_code = ending->exit_code,
                         .signal = ending->signal,
                     });
}

static void lose_requests(worker_t *worker, const ending_t *ending, rpc_error_t error) {
    router_loss_t loss = {
        .error = error,
        .message = error != RPC_STOPPING                    ? ending->reason
                   : supervisor_of(worker)->stopping ? "the bus is stopping"
                                                     : "its worker was taken out of service",
        .exit_code = ending->exit_code,
        .signal = ending->signal,
        .stderr_tail = ending_stderr(ending),
    };
    router_target_lost(supervisor_of(worker)->router, &worker->target, &loss);
}

/* ---- starting --------------------------------------------------------------- */

static void fail_for_good(worker_t *worker, const ending_t *ending) {
    worker->state = WORKER_FAILED;
    log_worker(worker, STDIO_BUS_LOG_ERROR, "failed for good: %s", ending->reason);
    announce_ending(worker, "failed", ending);
    supervisor_count_out(worker, ending->reason, ending_stderr(ending));
}

/* Whether one more crash now is within max_restarts in restart_window_sec; counts it. */
static bool may_restart(worker_t *worker) {
    const config_limits_t *limits = &supervisor_of(worker)->config->limits;
    size_t max = (size_t)limits->max_restarts;
    uint64_t now = loop_now(worker->shared->loop), window = (uint64_t)limits->restart_window_sec * 1000;
    if (!max) return false;
    if (!worker->crashes && !(worker->crashes = sys_calloc(max, sizeof *worker->crashes))) return false;
    uint64_t *slot = &worker->crashes[worker->crash_next];
    bool allowed = worker->crash_count < max || now - *slot > window;
    *slot = now;
    if (++worker->crash_next == max) worker->crash_next = 0;
    if (worker->crash_count < max) worker->crash_count++;
    return allowed;
}

/* After a crash or a start that failed: a further start later, or the end. */
static void schedule_restart(worker_t *worker, ending_t *ending) {
    const config_limits_t *limits = &supervisor_of(worker)->config->limits;
    uint64_t now = loop_now(worker->shared->loop);
    bool stable = worker->started_at && now - worker->started_at >= (uint64_t)limits->restart_window_sec * 1000;
    if (!may_restart(worker)) {
        size_t used = strlen(ending->reason);
        snprintf(ending->reason + used, sizeof ending->reason - used,
                 ", more than %" PRId64 " times in %" PRId64 " s (limits.max_restarts, limits.restart_window_sec)",
                 limits->max_restarts, limits->restart_window_sec);
        fail_for_good(worker, ending);
        return;
    }
    worker->backoff_ms = stable || !worker->backoff_ms ? BACKOFF_FIRST_MS : worker->backoff_ms * 2;
    if (worker->backoff_ms > BACKOFF_LAST_MS) worker->backoff_ms = BACKOFF_LAST_MS;
    worker->state = WORKER_BACKOFF;
    supervisor_start_timer(worker, worker->backoff_ms);
    log_worker(worker, STDIO_BUS_LOG_WARNING, "%s; next start in %" PRIu64 " ms", ending->reason, worker->backoff_ms);
    announce_ending(worker, "restarting", ending);
}

static void start_process(worker_t *worker) {
    supervisor_t *supervisor = supervisor_of(worker);
    const config_pool_t *config = worker->target.pool->config;
    spawn_request_t request = {
        .command = config->command,
        .args = config->args,
        .env = config->env,
        .inherit_env = config->inherit_env,
        .cwd = config->cwd,
    };
    spawn_child_t child;
    bool permanent;
    char error[SPAWN_ERROR_SIZE];
    if (worker->state == WORKER_BACKOFF) {
        worker->restarts++;
        supervisor->restarts++;
    }
    loop_timer_stop(worker->shared->loop, &worker->timer);
    worker->started_at = 0;
    worker->target.pool->failed = false; /* requests wait for it, should the pool have been lost */
    if (spawn(&request, &child, &permanent, error) != 0) {
        ending_t ending = {.exit_code = -1};
        snprintf(ending.reason, sizeof ending.reason, "worker %" PRId32 " of pool \"%s\" cannot be started: %s",
                 worker->target.worker_id, config->id, error);
        if (permanent) fail_for_good(worker, &ending);
        else schedule_restart(worker, &ending);
        return;
    }
    worker->state = WORKER_STARTING;
    worker->started_at = loop_now(worker->shared->loop);
    if (!worker_attach(worker, &child)) {
        snprintf(worker->fault, sizeof worker->fault, "its pipes cannot be watched: %s", strerror(errno));
        supervisor_happen(worker, EVENT_FAULT);
        return;
    }
    log_worker(worker, STDIO_BUS_LOG_DEBUG, "started, pid %d", (int)child.pid);
    supervisor_start_timer(worker, (uint64_t)config->startup_timeout_sec * 1000);
    if (!router_begin_handshake(supervisor->router, &worker->target)) supervisor_happen(worker, EVENT_READY);
}

static void become_ready(worker_t *worker) {
    loop_timer_stop(worker->shared->loop, &worker->timer);
    worker->state = WORKER_READY;
    log_worker(worker, STDIO_BUS_LOG_DEBUG, "ready");
    announce(worker, &(supervisor_event_t){
                         .kind = "started", .reason = "", .stderr_tail = "", .pid = worker->pid, .exit_code = -1});
    router_target_ready(supervisor_of(worker)->router, &worker->target);
    if (worker->replaces) supervisor_succeed(worker);
}

void supervisor_handshake_done(worker_t *worker, const char *error) {
    /* One that is ending anyway cannot be sent the rest of its handshake, which is not why it ends. */
    if (error && worker->state == WORKER_STARTING) snprintf(worker->fault, sizeof worker->fault, "%s", error);
    supervisor_happen(worker, error ? EVENT_FAULT : EVENT_READY);
}

/* ---- faults and exits --------------------------------------------------------- */

static void begin_dying(worker_t *worker) {
    worker->state = WORKER_DYING;
    target_set_ready(&worker->target, false);
}

/* One that SIGKILL does not reach is taken for gone in the next turn: else it would never be. */
static void kill_process(worker_t *worker) {
    worker->unkillable = worker->pid && sys_kill_group(worker->pid, SIGKILL) < 0 && !sys_has_exited(worker->pid);
    if (worker->unkillable)
        log_worker(worker, STDIO_BUS_LOG_ERROR,
                   "process %d cannot be killed, it runs as another user: it is left running, without its pipes",
                   (int)worker->pid);
    loop_timer_stop(worker->shared->loop, &worker->timer);
    if (!worker->watched_child || worker->unkillable) loop_timer_start(worker->shared->loop, &worker->reap, 0);
}

static void kill_now(worker_t *worker) {
    begin_dying(worker);
    kill_process(worker);
}

static void fail_startup(worker_t *worker) {
    snprintf(worker->fault, sizeof worker->fault, "no answer to its handshake within %" PRId64 " s (startup_timeout_sec)",
             worker->target.pool->config->startup_timeout_sec);
    kill_now(worker);
}

static void await_exit(worker_t *worker) {
    begin_dying(worker);
    supervisor_start_timer(worker, CLOSED_PIPE_GRACE_MS);
}

static void give_up_waiting(worker_t *worker) {
    snprintf(worker->fault, sizeof worker->fault, "it had closed its %s", worker->closed_pipe);
    kill_now(worker);
}

/* Gone, and nobody will start it again. */
static void end_for_good(worker_t *worker, const ending_t *ending) {
    worker->state = WORKER_STOPPED;
    if (worker->embedded) supervisor_mark_leaving(worker);
    announce_ending(worker, "stopped", ending);
}

static void take_crash(worker_t *worker) {
    ending_t ending;
    begin_dying(worker); /* what it still had to say does not make it ready any more */
    ending_collect(worker, &ending);
    lose_requests(worker, &ending, RPC_WORKER_EXITED);
    if (worker->leaving || worker->embedded) end_for_good(worker, &ending);
    else schedule_restart(worker, &ending);
    ending_free(&ending);
}

/* ---- stopping ----------------------------------------------------------------- */

static void stop_unstarted(worker_t *worker) {
    loop_timer_stop(worker->shared->loop, &worker->timer);
    worker->state = WORKER_STOPPED;
    announce(worker, &(supervisor_event_t){.kind = "stopped", .reason = "", .stderr_tail = "", .exit_code = -1});
}

static uint64_t until(const worker_t *worker, uint64_t when) {
    uint64_t now = loop_now(worker->shared->loop);
    return when > now ? when - now : 0;
}

static void begin_stop(worker_t *worker) {
    const supervisor_t *supervisor = supervisor_of(worker);
    uint64_t grace = supervisor->closing ? supervisor->grace_ms : STOP_GRACE_MAX_MS;
    target_set_ready(&worker->target, false);
    worker->state = WORKER_STOPPING;
    worker->kill_at = supervisor->closing ? supervisor->kill_at : loop_now(worker->shared->loop) + 2 * grace;
    worker_close_stdin(worker);
    if (worker->attached) loop_timer_start(worker->shared->loop, &worker->reap, 0); /* has nothing to close */
    supervisor_start_timer(worker, grace);
}

/* The whole bus stops while this worker is at it already. */
static void hasten_stop(worker_t *worker) {
    const supervisor_t *supervisor = supervisor_of(worker);
    if (supervisor->kill_at >= worker->kill_at) return;
    worker->kill_at = supervisor->kill_at;
    uint64_t left = until(worker, worker->kill_at);
    supervisor_start_timer(worker, left < supervisor->grace_ms ? left : supervisor->grace_ms);
}

/* SIGTERM first, SIGKILL when the time is up. */
static void escalate(worker_t *worker) {
    if (worker->embedded) {
        take_stop_exit(worker); /* it has had its time to close the connection */
        return;
    }
    uint64_t left = until(worker, worker->kill_at);
    if (!left) {
        kill_process(worker);
        return;
    }
    sys_kill_group(worker->pid, SIGTERM);
    supervisor_start_timer(worker, left);
}

static void take_stop_exit(worker_t *worker) {
    ending_t ending;
    ending_collect(worker, &ending);
    lose_requests(worker, &ending, RPC_STOPPING);
    end_for_good(worker, &ending);
    ending_free(&ending);
}

/* ---- what the traffic reports ------------------------------------------------- */

/* What a worker wrote, as valid UTF-8; the caller frees it.  NULL: no memory. */
static char *readable(const char *text, size_t len) {
    buffer_t clean;
    buffer_init(&clean, 3 * TAIL_LINE_MAX + 1);
    bool ok = buffer_text(&clean, text, len) && buffer_append(&clean, "", 1);
    if (ok) return clean.data; /* nothing was consumed: it begins there */
    buffer_free(&clean);
    return NULL;
}

static void on_line(worker_t *worker, line_result_t result, const line_t *line) {
    router_t *router = supervisor_of(worker)->router;
    if (result == LINE_READY) {
        if (router_worker_line(router, &worker->target, line->text, line->len)) {
            worker->noise = 0;
            return;
        }
        if (worker->noise++) return; /* once per burst */
        char *text = readable(line->text, line->len < NOISE_REPORT_BYTES ? line->len : NOISE_REPORT_BYTES);
        log_worker(worker, STDIO_BUS_LOG_WARNING, "skipped on its stdout, no JSON-RPC message: %s", text ? text : "");
        sys_free(text);
        return;
    }
    log_worker(worker, STDIO_BUS_LOG_ERROR, "skipped a line longer than %zu bytes (limits.max_input_buffer)",
               router->max_line);
    if (result == LINE_TOO_LONG && router_worker_too_long(router, &worker->target, line)) return;
    snprintf(worker->fault, sizeof worker->fault, "it wrote a line beyond limits.max_input_buffer that names no request");
    supervisor_happen(worker, EVENT_FAULT);
}

static void on_stderr_line(worker_t *worker, const char *text, size_t len) {
    char *line = readable(text, len);
    if (!line) return;
    log_worker(worker, STDIO_BUS_LOG_INFO, "stderr: %s", line);
    tail_add(&worker->tail, line);
    sys_free(line);
}

static void on_closed(worker_t *worker, const char *pipe) {
    if (!worker->pid || sys_has_exited(worker->pid)) {
        supervisor_happen(worker, EVENT_EXITED);
        return;
    }
    worker->closed_pipe = pipe;
    supervisor_happen(worker, EVENT_CLOSED);
}

static void on_exited(worker_t *worker) {
    supervisor_happen(worker, EVENT_EXITED);
}

static void on_timer(loop_timer_t *timer) {
    supervisor_happen(timer->owner, EVENT_TIMER);
}

/* ---- the supervisor ------------------------------------------------------------ */

static void on_drain_timer(loop_timer_t *timer);

worker_t *supervisor_add_worker(supervisor_t *supervisor, pool_t *pool) {
    size_t count = supervisor->worker_count;
    if (count == supervisor->worker_capacity) {
        size_t capacity = count ? 2 * count : 8;
        worker_t **workers = sys_realloc(supervisor->workers, capacity * sizeof(*workers));
        if (!workers) return NULL;
        supervisor->workers = workers;
        supervisor->worker_capacity = capacity;
    }
    /* Two timers for each worker, one of ours, one to spare; and at worst all of the
     * workers are ready in one pool. */
    if (!heap_reserve(&pool->ready, count + 1) || !loop_reserve_timers(supervisor->shared.loop, LOOP_WORKER_TIMERS, 2 * (count + 1) + 2))
        return NULL;
    worker_t *worker = sys_malloc(sizeof *worker);
    if (!worker) return NULL;
    worker_init(worker, &supervisor->shared, &supervisor->config->limits, pool, ++supervisor->last_worker_id);
    worker->supervisor = supervisor;
    worker->timer.fn = on_timer;
    supervisor->workers[supervisor->worker_count++] = worker;
    pool->processes++;
    return worker;
}

bool supervisor_init(supervisor_t *supervisor, loop_t *loop, router_t *router, const config_t *config, pool_t *pools,
                     const supervisor_ops_t *ops, void *context) {
    *supervisor = (supervisor_t){.router = router, .config = config, .ops = *ops, .context = context};
    supervisor->shared.loop = loop;
    supervisor->shared.ops = (worker_ops_t){on_line, on_stderr_line, on_closed, on_exited};
    supervisor->drain_timer = (loop_timer_t){.fn = on_drain_timer, .owner = supervisor};
    list_init(&supervisor->shared.dirty);
    supervisor->shared.scratch = sys_malloc(WORKER_SCRATCH_SIZE);
    if (!supervisor->shared.scratch) return false;
    for (size_t i = 0; i < config->pool_count; i++)
        for (int64_t k = 0; k < config->pools[i].instances; k++)
            if (!supervisor_add_worker(supervisor, &pools[i])) return false;
    return true;
}

void supervisor_free_worker(worker_t *worker) {
    if (!worker->embedded) worker->target.pool->processes--;
    worker_free(worker);
    sys_free(worker);
}

void supervisor_free(supervisor_t *supervisor) {
    for (size_t i = 0; i < supervisor->worker_count; i++) {
        worker_t *worker = supervisor->workers[i];
        static const ending_t nobody = {.exit_code = -1};
        if (worker->pid) worker_end_process(worker);
        lose_requests(worker, &nobody, RPC_STOPPING);
        supervisor_free_worker(worker);
    }
    if (supervisor->shared.loop) loop_timer_stop(supervisor->shared.loop, &supervisor->drain_timer);
    sys_free(supervisor->workers);
    sys_free(supervisor->shared.scratch);
    buffer_free(&supervisor->shared.spare);
}

void supervisor_start(supervisor_t *supervisor) {
    for (size_t i = 0; i < supervisor->worker_count; i++) supervisor_happen(supervisor->workers[i], EVENT_SPAWN);
}

static void close_workers(supervisor_t *supervisor) {
    uint64_t now = loop_now(supervisor->shared.loop);
    uint64_t left = supervisor->kill_at > now ? supervisor->kill_at - now : 0;
    supervisor->closing = true;
    if (supervisor->grace_ms > left / 2) supervisor->grace_ms = left / 2;
    /* From now on it only brings the loop round when the time is up. */
    loop_timer_start(supervisor->shared.loop, &supervisor->drain_timer, left);
    router_refuse_waiting(supervisor->router);
    for (size_t i = 0; i < supervisor->worker_count; i++) supervisor_happen(supervisor->workers[i], EVENT_STOP);
}

static void on_drain_timer(loop_timer_t *timer) {
    supervisor_t *supervisor = timer->owner;
    if (!supervisor->closing) close_workers(supervisor);
}

void supervisor_stop(supervisor_t *supervisor, uint64_t timeout_ms) {
    loop_t *loop = supervisor->shared.loop;
    if (supervisor->stopping && loop_now(loop) + timeout_ms >= supervisor->kill_at) return;
    supervisor->stopping = true;
    /* The last two parts of the time are for workers that do not end by themselves. */
    supervisor->grace_ms = timeout_ms / 4 < STOP_GRACE_MAX_MS ? timeout_ms / 4 : STOP_GRACE_MAX_MS;
    loop_timer_start(loop, &supervisor->drain_timer, timeout_ms - 2 * supervisor->grace_ms);
    supervisor->kill_at = loop_now(loop) + timeout_ms;
    supervisor->router->stopping = true;
    for (size_t i = 0; i < supervisor->worker_count; i++) worker_pause(supervisor->workers[i], false);
    if (supervisor->closing) close_workers(supervisor); /* they have less time than they were told */
}

bool supervisor_stopped(const supervisor_t *supervisor) {
    if (!supervisor->closing) return false;
    for (size_t i = 0; i < supervisor->worker_count; i++)
        if (worker_is_alive(supervisor->workers[i])) return false;
    return true;
}

bool supervisor_settled(const supervisor_t *supervisor) {
    const router_t *router = supervisor->router;
    for (size_t i = 0; i < router->pool_count; i++) {
        const pool_t *pool = &router->pools[i];
        if (!heap_first(&pool->ready) && !pool->failed && !pool->config->embedded) return false;
    }
    return true;
}

static void flush_dirty(supervisor_t *supervisor) {
    sys_sigpipe_t hold;
    bool broken = false;
    list_t *link, lost;
    list_init(&lost);
    sys_sigpipe_hold(&hold);
    while ((link = list_first(&supervisor->shared.dirty))) {
        worker_t *worker = list_entry(link, worker_t, dirty);
        if (worker_flush(worker)) {
            if (worker->target.full && !worker->outbox.len) router_target_drained(supervisor->router, &worker->target);
            continue;
        }
        broken = true;
        list_append(&lost, &worker->dirty);
    }
    sys_sigpipe_release(&hold, broken);
    while ((link = list_first(&lost))) {
        list_remove(link);
        on_closed(list_entry(link, worker_t, dirty), "stdin");
    }
}

void supervisor_flush(supervisor_t *supervisor) {
    if (supervisor->leaving) supervisor_bury_leaving(supervisor);
    while (list_first(&supervisor->shared.dirty)) flush_dirty(supervisor);
    if (supervisor->stopping && !supervisor->closing && !router_has_work(supervisor->router)) close_workers(supervisor);
}

worker_t *supervisor_find(const supervisor_t *supervisor, int32_t worker_id) {
    for (size_t i = 0; i < supervisor->worker_count; i++)
        if (supervisor->workers[i]->target.worker_id == worker_id) return supervisor->workers[i];
    return NULL;
}
