/* spawn.c - see spawn.h: the part that all platforms share. */
#include "spawn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buffer.h"
#include "sys.h"
#include "utf8.h"

#define PATH_TEXT_MAX 4096
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

#if defined(__APPLE__)
#include <crt_externs.h>
#define environ (*_NSGetEnviron()) /* a shared library on macOS has no `environ` */
#else
extern char **environ;
#endif

static bool same_name(const char *a, const char *b) {
    size_t len = strcspn(a, "=");
    return strcspn(b, "=") == len && memcmp(a, b, len) == 0;
}

static bool is_edited(const char *variable, char *const *edits) {
    for (; *edits; edits++)
        if (same_name(variable, *edits)) return true;
    return false;
}

/* The child's environment: an array of borrowed strings, for the caller to free. */
static char **make_environment(const spawn_request_t *request) {
    size_t count = 1;
    for (char **e = environ; request->inherit_env && e && *e; e++) count++;
    for (char *const *e = request->env; *e; e++) count++;
    char **envp = sys_malloc(count * sizeof *envp);
    if (!envp) return NULL;
    size_t n = 0;
    for (char **e = environ; request->inherit_env && e && *e; e++)
        if (!is_edited(*e, request->env)) envp[n++] = *e;
    for (char *const *e = request->env; *e; e++)
        if (strchr(*e, '=')) envp[n++] = *e;
    envp[n] = NULL;
    return envp;
}

static const char *find_variable(char *const *envp, const char *name) {
    for (; *envp; envp++)
        if (same_name(*envp, name) && strchr(*envp, '=')) return strchr(*envp, '=') + 1;
    return NULL;
}

/* Whether there is a program at `path`, as seen from `cwd`. */
static int check_program(const char *cwd, const char *path) {
    char full[PATH_TEXT_MAX];
    struct stat info;
    if (*path != '/' && cwd) {
        if ((size_t)snprintf(full, sizeof full, "%s/%s", cwd, path) >= sizeof full) return ENAMETOOLONG;
        path = full;
    }
    if (stat(path, &info) < 0) return errno;
    if (S_ISDIR(info.st_mode)) return EISDIR;
    return access(path, X_OK) == 0 ? 0 : errno;
}

/* The path of the command in `out`; 0 or an errno.  As execvp: a match that may not be
 * executed is remembered, and the search goes on. */
static int look_up(const spawn_request_t *request, char *const *envp, char out[PATH_TEXT_MAX]) {
    if (strchr(request->command, '/')) {
        if ((size_t)snprintf(out, PATH_TEXT_MAX, "%s", request->command) >= PATH_TEXT_MAX) return ENAMETOOLONG;
        return check_program(request->cwd, out);
    }
    const char *path = find_variable(envp, "PATH");
    int result = ENOENT;
    for (const char *dir = path ? path : DEFAULT_PATH, *end; dir; dir = *end ? end + 1 : NULL) {
        end = dir + strcspn(dir, ":");
        int len = snprintf(out, PATH_TEXT_MAX, "%.*s/%s", end == dir ? 1 : (int)(end - dir), end == dir ? "." : dir,
                           request->command);
        if (len < 0 || len >= PATH_TEXT_MAX) continue;
        int error = check_program(request->cwd, out);
        if (!error) return 0;
        if (error == EACCES) result = EACCES;
    }
    return result;
}

static int report(int error, const char *what, const char *thing, const char *remedy, char text[SPAWN_ERROR_SIZE]) {
    snprintf(text, SPAWN_ERROR_SIZE, "%s \"%.*s\": %s (errno %d)%s", what,
             utf8_clip(thing, strlen(thing), 160), thing, strerror(error), error, remedy);
    return error;
}

static int report_command(const spawn_request_t *request, int error, char text[SPAWN_ERROR_SIZE]) {
    if (error == ENOENT && !strchr(request->command, '/'))
        return report(error, "command", request->command, "; it is not on PATH: install it or give its full path", text);
    return report(error, "command", request->command, "", text);
}

static int check_directory(const char *cwd) {
    struct stat info;
    if (stat(cwd, &info) < 0) return errno;
    return S_ISDIR(info.st_mode) ? 0 : ENOTDIR;
}

/* The three pipes; child's ends in stdio[], ours in `child`. */
static int make_pipes(spawn_child_t *child, int stdio[3]) {
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
    if (sys_pipe(in, false, true) == 0 && sys_pipe(out, true, false) == 0 && sys_pipe(err, true, false) == 0) {
        *child = (spawn_child_t){.to_stdin = in[1], .from_stdout = out[0], .from_stderr = err[0]};
        stdio[0] = in[0], stdio[1] = out[1], stdio[2] = err[1];
        return 0;
    }
    int saved = errno;
    int ends[] = {in[0], in[1], out[0], out[1]};
    for (int i = 0; i < 4; i++) sys_close(ends[i]);
    return saved;
}

static int run(const spawn_request_t *request, char *const *argv, char *const *envp, spawn_child_t *child,
               bool *permanent, char text[SPAWN_ERROR_SIZE]) {
    char path[PATH_TEXT_MAX];
    *permanent = true;
    int error = request->cwd ? check_directory(request->cwd) : 0;
    if (error) return report(error, "cwd", request->cwd, "", text);
    error = look_up(request, envp, path);
    if (error) return report_command(request, error, text);

    spawn_plan_t plan = {.path = path, .argv = argv, .envp = envp, .cwd = request->cwd};
    error = make_pipes(child, plan.stdio);
    if (error) {
        *permanent = false;
        return report(error, "pipes for command", request->command, "", text);
    }
    spawn_stage_t stage = SPAWN_FORK;
    error = spawn_execute(&plan, &child->pid, &stage);
    for (int i = 0; i < 3; i++) sys_close(plan.stdio[i]);
    if (!error) return 0;
    sys_close(child->to_stdin);
    sys_close(child->from_stdout);
    sys_close(child->from_stderr);
    *permanent = stage != SPAWN_FORK;
    if (stage == SPAWN_CHDIR) return report(error, "cwd", request->cwd, "", text);
    if (stage == SPAWN_FORK) return report(error, "fork for command", request->command, "", text);
    return report_command(request, error, text);
}

int spawn(const spawn_request_t *request, spawn_child_t *child, bool *permanent, char text[SPAWN_ERROR_SIZE]) {
    size_t count = 0;
    while (request->args[count]) count++;
    char **envp = make_environment(request);
    char **argv = sys_malloc((count + 2) * sizeof *argv);
    int error = ENOMEM;
    *permanent = false;
    if (envp && argv) {
        argv[0] = (char *)request->command;
        memcpy(argv + 1, request->args, (count + 1) * sizeof *argv);
        error = run(request, argv, envp, child, permanent, text);
    } else {
        report(error, "memory for command", request->command, "", text);
    }
    sys_free(argv);
    sys_free(envp);
    return error;
}
