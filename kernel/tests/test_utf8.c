/* test_utf8.c - every sequence of up to three bytes, and four-byte ones, against the
 * definition: decode, and see whether encoding gives the same bytes. */
#include <string.h>

#include "check.h"
#include "utf8.h"

static size_t encode(unsigned code, unsigned char out[4]) {
    if (code < 0x80) return out[0] = (unsigned char)code, 1;
    if (code < 0x800) {
        out[0] = (unsigned char)(0xC0 | code >> 6);
        out[1] = (unsigned char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (unsigned char)(0xE0 | code >> 12);
        out[1] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (unsigned char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (unsigned char)(0xF0 | code >> 18);
    out[1] = (unsigned char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (unsigned char)(0x80 | (code & 0x3F));
    return 4;
}

/* The length that RFC 3629 gives the sequence at `p`, 0 for none. */
static size_t expected(const unsigned char *p, size_t len) {
    size_t n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : p[0] >= 0xC0 ? 2 : 0;
    if (!n || n > len || p[0] >= 0xF8) return 0;
    unsigned code = p[0] & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0;
        code = code << 6 | (p[i] & 0x3F);
    }
    unsigned char again[4];
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return 0;
    return encode(code, again) == n && memcmp(again, p, n) == 0 ? n : 0;
}

static size_t actual(const unsigned char *p, size_t len) {
    return utf8_sequence((const char *)p, (const char *)p + len);
}

static void test_sequences(void) {
    long differences = 0;
    for (unsigned a = 0x80; a < 0x100; a++)
        for (unsigned b = 0; b < 0x100; b++)
            for (unsigned c = 0; c < 0x100; c++) {
                unsigned char p[4] = {(unsigned char)a, (unsigned char)b, (unsigned char)c, 0x80};
                for (size_t len = 1; len <= 4; len++) differences += actual(p, len) != expected(p, len);
            }
    for (unsigned code = 0x10000; code < 0x110000; code += 7) {
        unsigned char p[4];
        differences += encode(code, p) != 4 || actual(p, 4) != 4 || actual(p, 3) != 0;
        p[3] ^= 0x40;
        differences += actual(p, 4) != 0;
    }
    CHECK_INT(differences, 0);
}

static void test_clip(void) {
    static const char text[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80";
    static const int clipped[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
    for (size_t max = 0; max < sizeof clipped / sizeof *clipped; max++)
        CHECK_INT(utf8_clip(text, sizeof text - 1, max), clipped[max]);
}

int main(void) {
    test_sequences();
    test_clip();
    return check_result();
}
