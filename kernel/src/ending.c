/* ending.c - see ending.h. */
#include "ending.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "sys.h"

static const char *signal_name(int signal) {
    static const struct {
        int number;
        const char *name;
    } names[] = {
        {SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},   {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},   {SIGTRAP, "SIGTRAP"},
        {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},   {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"},
        {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"}, {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"}, {SIGTERM, "SIGTERM"},
        {SIGXCPU, "SIGXCPU"}, {SIGSYS, "SIGSYS"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == signal) return names[i].name;
    return "unnamed";
}

void ending_collect(worker_t *worker, ending_t *ending) {
    worker_drain(worker);
    *ending = (ending_t){.pid = worker->pid, .exit_code = -1, .stderr_tail = tail_join(&worker->tail)};
    char how[96] = "has disappeared"; /* somebody else has reaped it */
    if (worker->embedded) strcpy(how, "has closed its connection");
    if (worker->unkillable) strcpy(how, "cannot be killed and is left running");
    int status = worker->embedded ? -1 : worker_end_process(worker);
    if (status >= 0 && WIFEXITED(status)) {
        ending->exit_code = WEXITSTATUS(status);
        snprintf(how, sizeof how, "exited with status %d", ending->exit_code);
    } else if (status >= 0 && WIFSIGNALED(status)) {
        ending->signal = WTERMSIG(status);
        snprintf(how, sizeof how, "was ended by signal %d (%s)", ending->signal, signal_name(ending->signal));
    }
    snprintf(ending->reason, sizeof ending->reason, "worker %" PRId32 " of pool \"%s\" %s%s%s",
             worker->target.worker_id, worker->target.pool->config->id, how, *worker->fault ? ": " : "", worker->fault);
    worker->fault[0] = '\0';
    worker_detach(worker);
    loop_timer_stop(worker->shared->loop, &worker->timer);
}

void ending_free(ending_t *ending) {
    sys_free(ending->stderr_tail);
}

const char *ending_stderr(const ending_t *ending) {
    return ending->stderr_tail ? ending->stderr_tail : "";
}
