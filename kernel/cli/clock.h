/*
 * clock.h - the time, for waiting.
 */
#ifndef STDIO_BUS_CLI_CLOCK_H
#define STDIO_BUS_CLI_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Monotonic milliseconds. */
static inline uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)(now.tv_nsec / 1000000);
}

#endif
