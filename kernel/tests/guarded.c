/* guarded.c - see guarded.h. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "guarded.h"

#include <string.h>
#include <sys/mman.h>

#include "check.h"

const char *guarded(const char *text, size_t len) {
    static char *end;
    REQUIRE(len <= GUARDED_MAX);
    if (!end) {
        void *memory = mmap(NULL, 2 * GUARDED_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        end = (char *)memory + GUARDED_MAX;
        REQUIRE(mprotect(end, GUARDED_MAX, PROT_NONE) == 0);
    }
    return memcpy(end - len, text, len);
}
