/* test_tail.c - the last lines, in order; no memory. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "fake_sys.h"
#include "sys.h"
#include "tail.h"

static void check_joined(const tail_t *tail, const char *expected) {
    char *text = tail_join(tail);
    CHECK_STR(text, expected);
    sys_free(text);
}

int main(void) {
    tail_t tail = {0};
    fake_sys_begin();
    check_joined(&tail, "");
    tail_add(&tail, "one");
    check_joined(&tail, "one");
    tail_add(&tail, "");
    tail_add(&tail, "three");
    check_joined(&tail, "one\n\nthree");
    tail_free(&tail);

    char expected[64 * 8] = "";
    for (int i = 0; i < 150; i++) {
        char line[16];
        snprintf(line, sizeof line, "%d", i);
        tail_add(&tail, line);
        if (i >= 150 - TAIL_LINES) sprintf(expected + strlen(expected), "%s%d", *expected ? "\n" : "", i);
    }
    check_joined(&tail, expected);
    fake_sys_no_memory(true);
    tail_add(&tail, "lost");
    CHECK(tail_join(&tail) == NULL);
    fake_sys_no_memory(false);
    check_joined(&tail, expected);
    tail_free(&tail);

    fake_sys_no_memory(true);
    tail_add(&tail, "lost");
    fake_sys_no_memory(false);
    check_joined(&tail, "");

    /* The most it can hold: lines of the maximum, every byte of them replaced (3 for 1). */
    static char longest[3 * TAIL_LINE_MAX + 1];
    memset(longest, 'x', sizeof longest - 1);
    for (int i = 0; i < TAIL_LINES; i++) tail_add(&tail, longest);
    char *all = tail_join(&tail);
    REQUIRE(all != NULL);
    CHECK_INT(strlen(all), TAIL_LINES * (sizeof longest - 1) + TAIL_LINES - 1);
    sys_free(all);
    tail_free(&tail);
    fake_sys_end();
    return check_result();
}
