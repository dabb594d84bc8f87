/*
 * spawn_darwin.c - the step from one process to two on macOS: posix_spawn, whose
 * POSIX_SPAWN_CLOEXEC_DEFAULT leaves the child only the descriptors named.
 */
#include <errno.h>
#include <AvailabilityMacros.h>
#include <signal.h>
#include <spawn.h>

#include "spawn.h"

static int set_actions(const spawn_plan_t *plan, posix_spawn_file_actions_t *actions, spawn_stage_t *stage) {
    int error = 0;
    for (int fd = 0; fd < 3 && !error; fd++) error = posix_spawn_file_actions_adddup2(actions, plan->stdio[fd], fd);
    if (error || !plan->cwd) return error;
    *stage = SPAWN_CHDIR;
#if __MAC_OS_X_VERSION_MIN_REQUIRED < 101500
    /* It came with macOS 10.15: for an older deployment target it is linked weakly, and
     * NULL where the system lacks it. */
#pragma clang diagnostic ignored "-Wunguarded-availability-new"
    if (!posix_spawn_file_actions_addchdir_np) return ENOTSUP;
#endif
    return posix_spawn_file_actions_addchdir_np(actions, plan->cwd);
}

int spawn_execute(const spawn_plan_t *plan, pid_t *pid, spawn_stage_t *stage) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawnattr_init(&attributes);
    if (error) goto fail_attributes;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0);
    error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
                                                      POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_CLOEXEC_DEFAULT);
    if (!error) error = set_actions(plan, &actions, stage);
    if (!error) {
        *stage = SPAWN_EXEC;
        error = posix_spawn(pid, plan->path, &actions, &attributes, plan->argv, plan->envp);
        if (error == EAGAIN || error == ENOMEM) *stage = SPAWN_FORK;
    }
    posix_spawnattr_destroy(&attributes);
fail_attributes:
    posix_spawn_file_actions_destroy(&actions);
    return error;
}
