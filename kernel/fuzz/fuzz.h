/*
 * fuzz.h - what the fuzz targets share: a property that must hold, and text whose end is
 * the end of what may be read.
 *
 * Each target is one file with LLVMFuzzerTestOneInput, for libFuzzer or for driver.c; its
 * first seeds lie in corpus/NAME.  Linked with the rooms and the helpers of the unit tests.
 */
#ifndef STDIO_BUS_FUZZ_H
#define STDIO_BUS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

/* A copy in memory of exactly that size: sanitizers see reads beyond it.  The caller frees it. */
static inline char *fuzz_copy(const void *data, size_t len) {
    char *copy = malloc(len ? len : 1);
    HOLDS(copy != NULL);
    if (len) memcpy(copy, data, len);
    return copy;
}

#endif
