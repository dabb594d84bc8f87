/*
 * check.h - the assertions of the tests.  A failed one is reported with its place and
 * both values, and the test goes on; REQUIRE ends the program.  Every main ends with
 * `return check_result();`.
 */
#ifndef STDIO_BUS_TEST_CHECK_H
#define STDIO_BUS_TEST_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#define CHECK(condition) check_true(__FILE__, __LINE__, #condition, (condition))
#define REQUIRE(condition) check_require(__FILE__, __LINE__, #condition, (condition))
#define CHECK_INT(actual, expected) \
    check_int(__FILE__, __LINE__, #actual, (long long)(actual), (long long)(expected))
/* Terminated strings; NULL equals only NULL. */
#define CHECK_STR(actual, expected) check_str(__FILE__, __LINE__, #actual, (actual), (expected))
/* `len` bytes against a terminated string. */
#define CHECK_TEXT(actual, len, expected) check_text(__FILE__, __LINE__, #actual, (actual), (len), (expected))
/* Bytes against a pattern: # is one number (the same wherever it stands), * any run of
 * bytes.  Returns the number, -1 when there is none. */
#define CHECK_LIKE(actual, pattern) check_like(__FILE__, __LINE__, (actual), (pattern))

bool check_true(const char *file, int line, const char *what, bool value);
void check_require(const char *file, int line, const char *what, bool value);
bool check_int(const char *file, int line, const char *what, long long actual, long long expected);
bool check_str(const char *file, int line, const char *what, const char *actual, const char *expected);
bool check_text(const char *file, int line, const char *what, const char *actual, size_t len, const char *expected);
long long check_like(const char *file, int line, const char *actual, const char *pattern);

/* Under valgrind the child of a vfork has memory of its own, and descriptors beyond a lowered
 * limit cannot be closed. */
bool check_under_valgrind(void);

/* Prints how many checks there were; the exit status of the test. */
int check_result(void);

/* The same numbers in every run: a linear congruential generator. */
typedef struct check_random {
    unsigned long long state;
} check_random_t;
unsigned check_random(check_random_t *random, unsigned below);

#endif
