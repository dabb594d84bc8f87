/* script_worker.c - see script_worker.h. */
#define _GNU_SOURCE
#include "script_worker.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool deaf;
static char hanging[64], asking[64];

static void answer(const char *id, const char *result) {
    printf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\n", id, result);
}

static void become_deaf(void) {
    signal(SIGTERM, SIG_IGN);
    deaf = true;
}

static void wait_for_ever(void) {
    for (;;) pause();
}

static void fill(char *out, size_t len, const char *before, const char *behind) {
    memset(out, 'x', len);
    memcpy(out, before, strlen(before));
    strcpy(out + len - strlen(behind), behind);
}

static void act(const char *method, const char *id, size_t line_len) {
    char result[64], text[4096];
    snprintf(result, sizeof result, "{\"pid\":%d}", (int)getpid());
    if (strcmp(method, "exit") == 0) {
        fprintf(stderr, "one\ntwo\n");
        _exit(3);
    } else if (strcmp(method, "kill") == 0) {
        raise(SIGKILL);
    } else if (strcmp(method, "hang") == 0) {
        strcpy(hanging, id);
        return;
    } else if (strcmp(method, "late") == 0) {
        answer(hanging, result);
    } else if (strcmp(method, "twice") == 0) {
        answer(id, result);
    } else if (strcmp(method, "noise") == 0) {
        printf("this is no JSON\nnor \xFF is this\n");
    } else if (strcmp(method, "long") == 0) {
        snprintf(result, sizeof result, "\",\"id\":%s}", id);
        fill(text, 3000, "{\"result\":\"", result);
        puts(text);
        return;
    } else if (strcmp(method, "longlost") == 0) {
        fill(text, 3000, "", "");
        puts(text);
        return;
    } else if (strcmp(method, "last") == 0) {
        printf("{\"id\":%s,\"result\":\"bye\"}", id);
        fflush(stdout);
        _exit(0);
    } else if (strcmp(method, "mute") == 0) {
        close(1);
        wait_for_ever();
    } else if (strcmp(method, "shut") == 0) {
        close(0);
        wait_for_ever();
    } else if (strcmp(method, "ask") == 0) {
        strcpy(asking, id);
        printf("{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"question\"}\n");
        return;
    } else if (strcmp(method, "errors") == 0) {
        for (int i = 0; i < 100; i++) fprintf(stderr, "line %d\n", i);
    } else if (strcmp(method, "deaf") == 0) {
        become_deaf();
    } else if (strcmp(method, "big") == 0) {
        char *all = malloc(line_len + 1);
        snprintf(result, sizeof result, "\",\"size\":%zu}}", line_len);
        snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"fill\":\"", id);
        fill(all, line_len, text, result);
        puts(all);
        free(all);
        return;
    } else if (strcmp(method, "grandchild") == 0) {
        pid_t child = fork();
        if (child == 0) wait_for_ever();
        snprintf(result, sizeof result, "{\"pid\":%d}", (int)child);
    }
    answer(id, result);
}

/* The text of a member's value, which holds neither comma nor brace. */
static bool member(const char *line, const char *key, char out[64]) {
    const char *at = strstr(line, key);
    if (!at) return false;
    snprintf(out, 64, "%.*s", (int)strcspn(at + strlen(key), ",}\n"), at + strlen(key));
    return true;
}

int script_worker(int argc, char **argv) {
    char *line = NULL, id[64], method[64];
    size_t cap = 0;
    const char *mode = argc > 1 ? argv[1] : "work";
    if (strcmp(mode, "die") == 0) {
        fprintf(stderr, "it cannot work\n");
        return 5;
    }
    if (strcmp(mode, "deaf") == 0) become_deaf();
    for (ssize_t len; (len = getline(&line, &cap, stdin)) > 0;) {
        if (strcmp(mode, "silent") == 0 || !member(line, "\"id\":", id)) continue;
        if (strcmp(id, "\"q\"") == 0) {
            answer(asking, "{\"asked\":true}");
        } else if (strcmp(mode, "refuse") == 0) {
            printf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":-1,\"message\":\"no\"}}\n", id);
        } else if (member(line, "\"method\":\"", method)) {
            method[strcspn(method, "\"")] = '\0';
            act(method, id, (size_t)len - 1);
        }
        fflush(stdout);
        if (strcmp(mode, "parting") == 0) break;
    }
    free(line);
    if (deaf) wait_for_ever();
    return 0;
}
