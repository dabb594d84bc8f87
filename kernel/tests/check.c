/* check.c - see check.h. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPORTS_MAX 20

static unsigned long checks, failures;

static bool count(const char *file, int line, bool ok) {
    checks++;
    if (ok) return true;
    if (++failures <= REPORTS_MAX) fprintf(stderr, "%s:%d: ", file, line);
    return false;
}

static bool reported(void) {
    return failures <= REPORTS_MAX;
}

bool check_true(const char *file, int line, const char *what, bool value) {
    if (count(file, line, value)) return true;
    if (reported()) fprintf(stderr, "not true: %s\n", what);
    return false;
}

void check_require(const char *file, int line, const char *what, bool value) {
    if (check_true(file, line, what, value)) return;
    check_result();
    exit(1);
}

bool check_int(const char *file, int line, const char *what, long long actual, long long expected) {
    if (count(file, line, actual == expected)) return true;
    if (reported()) fprintf(stderr, "%s is %lld, expected %lld\n", what, actual, expected);
    return false;
}

bool check_str(const char *file, int line, const char *what, const char *actual, const char *expected) {
    bool same = actual && expected ? strcmp(actual, expected) == 0 : actual == expected;
    if (count(file, line, same)) return true;
    if (reported())
        fprintf(stderr, "%s is\n  %s\nexpected\n  %s\n", what, actual ? actual : "(null)", expected ? expected : "(null)");
    return false;
}

bool check_text(const char *file, int line, const char *what, const char *actual, size_t len, const char *expected) {
    if (count(file, line, len == strlen(expected) && memcmp(actual, expected, len) == 0)) return true;
    if (reported()) fprintf(stderr, "%s is\n  %.*s\nexpected\n  %s\n", what, (int)len, actual, expected);
    return false;
}

static bool like(const char *text, const char *pattern, long long *number) {
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            for (;; text++) {
                if (like(text, pattern + 1, number)) return true;
                if (!*text) return false;
            }
        }
        if (*pattern == '#') {
            char *end;
            if (*text < '0' || *text > '9') return false;
            long long found = strtoll(text, &end, 10);
            if (*number >= 0 && *number != found) return false;
            *number = found;
            text = end;
        } else if (*text++ != *pattern) {
            return false;
        }
    }
    return !*text;
}

long long check_like(const char *file, int line, const char *actual, const char *pattern) {
    long long number = -1;
    if (count(file, line, actual && like(actual, pattern, &number))) return number;
    if (reported()) fprintf(stderr, "got\n  %s\nexpected\n  %s\n", actual ? actual : "(nothing)", pattern);
    return -1;
}

bool check_under_valgrind(void) {
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "vgpreload");
}

int check_result(void) {
    printf("%lu checks, %lu failed\n", checks, failures);
    return failures || !checks;
}

unsigned check_random(check_random_t *random, unsigned below) {
    random->state = random->state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random->state >> 33) % below;
}
