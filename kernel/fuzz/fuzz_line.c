/* fuzz_line.c - any split of a stream gives the same lines.  The first byte of the input
 * chooses the maximum, the second seeds one of the splits; the rest is the stream. */
#include "fake_sys.h"
#include "fuzz.h"
#include "line.h"

#define RECORD_SIZE(len) (64 * ((len) + 2))

/* All that came out, one record behind the other. */
typedef struct output {
    char *data;
    size_t len, size;
} output_t;

static void put(output_t *out, const void *data, size_t len) {
    HOLDS(len <= out->size - out->len);
    if (len) memcpy(out->data + out->len, data, len);
    out->len += len;
}

static void record(output_t *out, line_result_t kind, const line_t *line) {
    put(out, &kind, sizeof kind);
    put(out, &line->len, sizeof line->len);
    put(out, &line->tail_len, sizeof line->tail_len);
    put(out, line->text, line->len);
    put(out, line->tail, line->tail_len);
}

static void check(const line_reader_t *reader, line_result_t kind, const line_t *line) {
    HOLDS(kind == LINE_READY || kind == LINE_TOO_LONG);
    HOLDS(!memchr(line->text, '\n', line->len));
    if (kind == LINE_READY) HOLDS(line->len > 0 && line->len <= reader->max && !line->tail_len);
    else HOLDS(line->len == reader->keep && line->tail_len <= reader->keep);
    HOLDS(reader->partial.cap <= 2 * (reader->max + 1) + 64);
}

/* Feeds chunks of 1 to `most` bytes, by the numbers that `seed` begins; 0: all at once. */
static void cut(output_t *out, const char *data, size_t len, size_t max, size_t keep, size_t most, unsigned seed) {
    line_reader_t reader;
    line_result_t kind;
    line_t line;
    line_reader_init(&reader, max, keep);
    for (size_t at = 0; at < len;) {
        seed = seed * 1103515245u + 12345u;
        size_t n = most ? 1 + (seed >> 16) % most : len;
        if (n > len - at) n = len - at;
        char *chunk = fuzz_copy(data + at, n);
        line_feed(&reader, chunk, n);
        while ((kind = line_next(&reader, &line)) != LINE_MORE) {
            check(&reader, kind, &line);
            record(out, kind, &line);
        }
        free(chunk);
        at += n;
    }
    kind = line_finish(&reader, &line);
    if (kind != LINE_MORE) record(out, kind, &line);
    line_reader_free(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    size_t max = 8 + data[0] % 32, keep = 1 + data[0] / 32, len = size - 2;
    const char *stream = (const char *)data + 2;
    const size_t mosts[] = {1, 7, len + 1};
    output_t whole = {.data = malloc(RECORD_SIZE(len)), .size = RECORD_SIZE(len)};
    output_t split = {.data = malloc(RECORD_SIZE(len)), .size = RECORD_SIZE(len)};
    HOLDS(whole.data && split.data);
    cut(&whole, stream, len, max, keep, 0, 0);
    for (size_t i = 0; i < sizeof mosts / sizeof *mosts; i++) {
        split.len = 0;
        cut(&split, stream, len, max, keep, mosts[i], data[1]);
        HOLDS(split.len == whole.len && memcmp(split.data, whole.data, whole.len) == 0);
    }
    free(whole.data);
    free(split.data);
    HOLDS(fake_sys_live_allocations() == 0);
    return 0;
}
