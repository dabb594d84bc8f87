/*
 * spawn_linux.c - the step from one process to two on Linux.
 *
 * clone(CLONE_VM | CLONE_VFORK): the child borrows the memory of a host that may be
 * huge and have many threads, and the calling thread sleeps until the child has exec'd
 * or gone, so the child can report an error by plain assignment.  Between clone and
 * exec it runs on a stack of its own, makes only async-signal-safe calls, and has all
 * signals blocked until their dispositions are the default ones (a handler of the host
 * must not run in it).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "spawn.h"
#include "sys.h"

#ifndef SYS_close_range
#define SYS_close_range 436 /* the same on every architecture; older headers lack it */
#endif

#define STACK_SIZE (64u * 1024)
#define FD_SCAN_MAX 65536 /* without close_range: descriptors beyond are not looked for */

typedef struct child_task {
    const spawn_plan_t *plan;
    pid_t parent;
    volatile int error; /* written by the child in the parent's memory */
    volatile spawn_stage_t stage;
} child_task_t;

static void close_above_stdio(void) {
    if (syscall(SYS_close_range, 3u, ~0u, 0u) == 0) return;
    struct rlimit limit;
    int end = FD_SCAN_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FD_SCAN_MAX) end = (int)limit.rlim_cur;
    for (int fd = 3; fd < end; fd++) close(fd);
}

static void reset_signals(void) {
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int signal = 1; signal < NSIG; signal++) sigaction(signal, &standard, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

__attribute__((no_sanitize("address", "undefined"))) static int run_child(void *argument) {
    child_task_t *task = argument;
    const spawn_plan_t *plan = task->plan;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != task->parent) _exit(127); /* it died before the request took effect */
    for (int fd = 0; fd < 3; fd++) dup2(plan->stdio[fd], fd);
    close_above_stdio();
    reset_signals();
    task->stage = SPAWN_CHDIR;
    if (!plan->cwd || chdir(plan->cwd) == 0) {
        task->stage = SPAWN_EXEC;
        execve(plan->path, plan->argv, plan->envp);
    }
    task->error = errno;
    _exit(127);
}

int spawn_execute(const spawn_plan_t *plan, pid_t *pid, spawn_stage_t *stage) {
    child_task_t task = {.plan = plan, .parent = getpid(), .stage = SPAWN_FORK};
    char *stack = sys_malloc(STACK_SIZE);
    if (!stack) return ENOMEM;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    char *top = (char *)((uintptr_t)(stack + STACK_SIZE) & ~(uintptr_t)15);
    int child = clone(run_child, top, CLONE_VM | CLONE_VFORK | SIGCHLD, &task);
    int error = child < 0 ? errno : task.error;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    sys_free(stack);
    *stage = task.stage;
    *pid = child;
    if (child >= 0 && error) sys_reap(child); /* it has called _exit */
    return error;
}
