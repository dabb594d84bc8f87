/*
 * guarded.h - text whose last byte is the last one that may be read: behind it is a page
 * without access, so that reading beyond ends the test.
 */
#ifndef STDIO_BUS_TEST_GUARDED_H
#define STDIO_BUS_TEST_GUARDED_H

#include <stddef.h>

#define GUARDED_MAX 65536

/* A copy of `len` bytes, valid until the next call. */
const char *guarded(const char *text, size_t len);

#endif
