/*
 * utf8.h - one UTF-8 sequence at a time (RFC 3629: no overlong forms, no surrogates,
 * nothing above U+10FFFF).
 */
#ifndef STDIO_BUS_UTF8_H
#define STDIO_BUS_UTF8_H

#include <stddef.h>

/* The length (2 to 4) of the valid multi-byte sequence at `at`, 0 when there is none
 * before `end`.  `at` points to a byte >= 0x80. */
static inline size_t utf8_sequence(const char *at, const char *end) {
    const unsigned char *p = (const unsigned char *)at;
    size_t left = (size_t)(end - at);
#define CONTINUES(i) ((p[i] & 0xC0) == 0x80)
    if (p[0] >= 0xC2 && p[0] <= 0xDF) return left >= 2 && CONTINUES(1) ? 2 : 0;
    if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        if (left < 3 || !CONTINUES(1) || !CONTINUES(2)) return 0;
        if (p[0] == 0xE0 && p[1] < 0xA0) return 0;
        if (p[0] == 0xED && p[1] > 0x9F) return 0;
        return 3;
    }
    if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        if (left < 4 || !CONTINUES(1) || !CONTINUES(2) || !CONTINUES(3)) return 0;
        if (p[0] == 0xF0 && p[1] < 0x90) return 0;
        if (p[0] == 0xF4 && p[1] > 0x8F) return 0;
        return 4;
    }
#undef CONTINUES
    return 0;
}

/* How many of the `len` bytes of valid UTF-8 to show when at most `max` may be, so that no
 * sequence is cut. */
static inline int utf8_clip(const char *text, size_t len, size_t max) {
    if (len <= max) return (int)len;
    while (max && ((unsigned char)text[max] & 0xC0) == 0x80) max--;
    return (int)max;
}

#endif
