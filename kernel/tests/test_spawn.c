/* test_spawn.c - what a child gets and what it does not, and commands that cannot run.
 * This program is its own child: with arguments it reports on itself. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "fake_sys.h"
#include "spawn.h"
#include "sys.h"

extern char **environ;

static char self[4096], folder[] = "/tmp/stdio_bus_spawn_XXXXXX";
static char *const nothing[] = {NULL};

/* ---- the child -------------------------------------------------------------------- */

static int report(int count, char **names) {
    char line[256];
    printf("fds");
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0) printf(" %d", fd);
    printf("\ngroup %s\n", getpgid(0) == getpid() ? "own" : "shared");
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    int blocked = 0, unusual = 0;
    for (int signal = 1; signal < NSIG; signal++) {
        struct sigaction action;
        if (signal == 32 || signal == 33) continue; /* the C library's own */
        blocked += sigismember(&mask, signal) == 1;
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN) unusual++;
    }
    printf("blocked %d ignored %d\n", blocked, unusual);
    for (int i = 0; i < count; i++) printf("%s=%s\n", names[i], getenv(names[i]) ? getenv(names[i]) : "(unset)");
    printf("cwd %s\n", getcwd(line, sizeof line) ? line : "?");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) fprintf(stderr, "heard %s", line);
    return 7;
}

/* ---- the parent --------------------------------------------------------------------- */

/* All that comes from a descriptor until its end. */
static const char *read_all(int fd, char *out, size_t size) {
    size_t len = 0;
    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        REQUIRE(poll(&wait, 1, 30000) == 1);
        ssize_t n = read(fd, out + len, size - len - 1);
        if (n <= 0) break;
        len += (size_t)n;
    }
    out[len] = '\0';
    return out;
}

typedef struct result {
    int error, status;
    bool permanent;
    char message[SPAWN_ERROR_SIZE], output[8192], errors[8192];
} result_t;

static result_t run(const spawn_request_t *request, const char *input) {
    static result_t r;
    spawn_child_t child;
    memset(&r, 0, sizeof r);
    r.error = spawn(request, &child, &r.permanent, r.message);
    if (r.error) return r;
    for (int i = 0; i < 3; i++) {
        int fd = (int[]){child.to_stdin, child.from_stdout, child.from_stderr}[i];
        CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    }
    CHECK_INT(write(child.to_stdin, input, strlen(input)), strlen(input));
    sys_close(child.to_stdin);
    read_all(child.from_stdout, r.output, sizeof r.output);
    read_all(child.from_stderr, r.errors, sizeof r.errors);
    sys_close(child.from_stdout);
    sys_close(child.from_stderr);
    r.status = sys_reap(child.pid);
    return r;
}

static void on_signal(int signal) {
    (void)signal;
}

static void test_child(void) {
    char *const args[] = {"report", "KEPT", "SET", "EMPTY", "DROPPED", NULL};
    char *const env[] = {"SET=new", "EMPTY=", "DROPPED", "NEVER_THERE", NULL};
    spawn_request_t request = {.command = self, .args = args, .env = env, .inherit_env = true, .cwd = folder};
    setenv("KEPT", "k", 1);
    setenv("SET", "old", 1);
    setenv("DROPPED", "d", 1);
    /* A host with open descriptors, handlers, ignored and blocked signals. */
    int inherited = open("/dev/null", O_RDONLY), far = fcntl(inherited, F_DUPFD, 900);
    REQUIRE(inherited >= 0 && far >= 900);
    sigset_t all, before;
    sigfillset(&all);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, on_signal);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    result_t r = run(&request, "you\n");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    char expected[512];
    snprintf(expected, sizeof expected,
             "fds 0 1 2\ngroup own\nblocked 0 ignored 0\nKEPT=k\nSET=new\nEMPTY=\nDROPPED=(unset)\ncwd %s\n", folder);
    CHECK_INT(r.error, 0);
    CHECK_STR(r.output, expected);
    CHECK_STR(r.errors, "heard you\n");
    CHECK(WIFEXITED(r.status) && WEXITSTATUS(r.status) == 7);
    struct sigaction action;
    sigaction(SIGUSR2, NULL, &action);
    CHECK(action.sa_handler == on_signal); /* the host's own is as it was */
    signal(SIGPIPE, SIG_DFL);
    close(inherited);
    close(far);

    request.inherit_env = false;
    r = run(&request, "");
    CHECK(strstr(r.output, "KEPT=(unset)\nSET=new\nEMPTY=\nDROPPED=(unset)\n") != NULL);
    request.cwd = NULL;
    r = run(&request, "");
    char *here = getcwd(NULL, 0);
    CHECK(here && strstr(r.output, here) != NULL);
    free(here);
}

/* The mask of the host is as it was, whether the command runs or not. */
static void test_mask_is_kept(void) {
    spawn_request_t request = {.command = "/does/not/exist", .args = nothing, .env = nothing};
    sigset_t mask, now;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    run(&request, "");
    request.command = "/bin/true";
    run(&request, "");
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    int differences = 0;
    for (int signal = 1; signal < NSIG; signal++) differences += sigismember(&mask, signal) != sigismember(&now, signal);
    CHECK_INT(differences, 0);
    sigemptyset(&mask);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

static void check_error(spawn_request_t request, int error, const char *message) {
    result_t r = run(&request, "");
    char expected[SPAWN_ERROR_SIZE + 256];
    CHECK_INT(r.error, error);
    snprintf(expected, sizeof expected, message, strerror(error), error);
    CHECK_STR(r.message, expected);
    CHECK(r.permanent);
}

static void make_file(const char *name, const char *text, mode_t mode) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    REQUIRE(file != NULL);
    fputs(text, file);
    fclose(file);
    REQUIRE(chmod(path, mode) == 0);
}

static void test_errors(void) {
    static char *path_env[] = {NULL, NULL};
    static char path[300], text[600], command[300];
    snprintf(path, sizeof path, "PATH=/nowhere:%s", folder);
    path_env[0] = path;
    make_file("plain", "text", 0644);
    make_file("broken", "#!/no/such/interpreter\n", 0755);
    make_file("garbage", "\x7f" "ELFnot really", 0755);

    check_error((spawn_request_t){.command = "no-such-command", .args = nothing, .env = path_env}, ENOENT,
                "command \"no-such-command\": %s (errno %d); it is not on PATH: install it or give its full path");
    check_error((spawn_request_t){.command = "/no/such/file", .args = nothing, .env = nothing}, ENOENT,
                "command \"/no/such/file\": %s (errno %d)");
    check_error((spawn_request_t){.command = "plain", .args = nothing, .env = path_env}, EACCES,
                "command \"plain\": %s (errno %d)");
    check_error((spawn_request_t){.command = "./plain", .args = nothing, .env = nothing, .cwd = folder}, EACCES,
                "command \"./plain\": %s (errno %d)");
    check_error((spawn_request_t){.command = "/", .args = nothing, .env = nothing}, EISDIR, "command \"/\": %s (errno %d)");
    if (check_under_valgrind()) {
        printf("SKIP errors of exec\n");
        return;
    }
    check_error((spawn_request_t){.command = "./broken", .args = nothing, .env = nothing, .cwd = folder}, ENOENT,
                "command \"./broken\": %s (errno %d)");
    check_error((spawn_request_t){.command = "./garbage", .args = nothing, .env = nothing, .cwd = folder}, ENOEXEC,
                "command \"./garbage\": %s (errno %d)");
    check_error((spawn_request_t){.command = "/bin/true", .args = nothing, .env = nothing, .cwd = "/no/such/folder"}, ENOENT,
                "cwd \"/no/such/folder\": %s (errno %d)");
    snprintf(command, sizeof command, "%s/plain", folder);
    snprintf(text, sizeof text, "cwd \"%s\": %%s (errno %%d)", command);
    check_error((spawn_request_t){.command = "/bin/true", .args = nothing, .env = nothing, .cwd = command}, ENOTDIR, text);

    static char long_name[6000];
    memset(long_name, 'x', sizeof long_name - 1);
    spawn_request_t request = {.command = long_name, .args = nothing, .env = nothing};
    CHECK(run(&request, "").error != 0);
    long_name[3] = '/';
    CHECK_INT(run(&request, "").error, ENAMETOOLONG);
}

/* The command is looked up on the PATH that the worker will have, seen from its folder. */
static void test_look_up(void) {
    static char path[300];
    make_file("tool", "#!/bin/sh\necho tool \"$@\"\n", 0755);
    char *const args[] = {"a b", "", NULL};
    char *env[] = {path, NULL};
    spawn_request_t request = {.command = "tool", .args = args, .env = env, .inherit_env = true};
    static const char *const paths[] = {"%s", "/nowhere::%s", "%s:/nowhere", "/:%s"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char value[280];
        snprintf(value, sizeof value, paths[i], folder);
        snprintf(path, sizeof path, "PATH=%s", value);
        CHECK_STR(run(&request, "").output, "tool a b \n");
    }
    request.cwd = folder;
    strcpy(path, "PATH=.");
    CHECK_STR(run(&request, "").output, "tool a b \n");
    strcpy(path, "PATH="); /* an empty entry is the folder itself */
    CHECK_STR(run(&request, "").output, "tool a b \n");
    strcpy(path, "PATH"); /* dropped: the usual places */
    request.command = "true";
    request.args = nothing;
    CHECK_INT(run(&request, "").error, 0);
    /* An environment is a list of strings: one may lack its "=". */
    char *strange[] = {"PATH", NULL}, **before = environ;
    request.env = nothing;
    environ = strange;
    result_t r = run(&request, "");
    environ = before;
    CHECK_INT(r.error, 0);
}

/* Whatever cannot be had, no descriptor, no memory and no child is left. */
static void test_failures(void) {
    spawn_request_t request = {.command = "/bin/true", .args = nothing, .env = nothing};
    int before = fake_sys_open_descriptors(), failures = 0;
    for (long n = 1;; n++) {
        fake_sys_fail_allocation(n);
        result_t r = run(&request, "");
        bool failed = fake_sys_has_failed();
        fake_sys_fail_allocation(0);
        if (!failed) break;
        failures++;
        CHECK_INT(r.error, ENOMEM);
        CHECK(!r.permanent);
        CHECK_INT(fake_sys_open_descriptors(), before);
    }
    CHECK(failures >= 3);
    for (long n = 1; n <= 3; n++) {
        fake_sys_fail_call(n);
        result_t r = run(&request, "");
        CHECK(fake_sys_has_failed());
        fake_sys_fail_call(0);
        CHECK_INT(r.error, EMFILE);
        CHECK(!r.permanent);
        CHECK(strstr(r.message, "pipes for command \"/bin/true\"") != NULL);
        CHECK_INT(fake_sys_open_descriptors(), before);
    }
}

int main(int argc, char **argv) {
    if (argc > 1) return report(argc - 2, argv + 2);
    REQUIRE(realpath(argv[0], self) != NULL);
    REQUIRE(mkdtemp(folder) != NULL);
    fake_sys_begin();
    test_child();
    test_mask_is_kept();
    test_errors();
    test_look_up();
    test_failures();
    fake_sys_end();
    static const char *const files[] = {"plain", "broken", "garbage", "tool", ""};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        remove(path);
    }
    return check_result();
}
