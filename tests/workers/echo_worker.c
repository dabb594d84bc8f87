/*
 * echo_worker.c - a fast worker for tests and benchmarks.
 *
 * Answers each request line with {"jsonrpc":"2.0","id":<id>,"result":<params or {}>}; the
 * bytes of id and params are copied as they came.  Lines without an id are ignored.  It
 * trusts its input to be JSON; what it does not understand it ignores.
 *
 *   echo_worker [--each]    all answers to one read go out in one write; with --each every
 *                           answer in a write of its own, as servers usually do it
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    char *data;
    size_t used, capacity;
} text_t;

typedef struct {
    const char *start;
    size_t length;
} span_t;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Makes room for `more` further bytes. */
static void reserve(text_t *text, size_t more)
{
    if (text->capacity - text->used >= more)
        return;
    size_t capacity = (text->used + more) * 2;
    char *data = realloc(text->data, capacity);
    if (!data)
        die("realloc");
    text->data = data;
    text->capacity = capacity;
}

static void append(text_t *text, const char *data, size_t length)
{
    reserve(text, length);
    memcpy(text->data + text->used, data, length);
    text->used += length;
}

static void flush(text_t *out)
{
    size_t done = 0;
    while (done < out->used) {
        ssize_t n = write(STDOUT_FILENO, out->data + done, out->used - done);
        if (n < 0 && errno != EINTR)
            die("write");
        if (n > 0)
            done += (size_t)n;
    }
    out->used = 0;
}

/* The position after the string whose opening quote is at `p`. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\')
            p++;
    return p < end ? p + 1 : end;
}

/* The position after the value that starts at `p`: at the comma or bracket that ends it. */
static const char *skip_value(const char *p, const char *end)
{
    int depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        if (*p == '{' || *p == '[')
            depth++;
        else if (depth == 0 && (*p == ',' || *p == '}'))
            return p;
        else if (*p == '}' || *p == ']')
            depth--;
        p++;
    }
    return end;
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == ','))
        p++;
    return p;
}

static int key_is(span_t key, const char *name)
{
    return key.length == strlen(name) && memcmp(key.start, name, key.length) == 0;
}

static void answer(const char *line, const char *end, text_t *out)
{
    span_t id = {NULL, 0}, params = {"{}", 2};
    const char *p = skip_space(line, end);
    if (p == end || *p != '{')
        return;
    for (p = skip_space(p + 1, end); p < end && *p == '"'; p = skip_space(p, end)) {
        span_t key = {p + 1, 0};
        p = skip_string(p, end);
        key.length = (size_t)(p - key.start) - 1;
        p = skip_space(p, end);
        if (p == end || *p != ':')
            return;
        const char *value = skip_space(p + 1, end);
        p = skip_value(value, end);
        if (key_is(key, "id"))
            id = (span_t){value, (size_t)(p - value)};
        else if (key_is(key, "params"))
            params = (span_t){value, (size_t)(p - value)};
    }
    if (!id.start)
        return;
    append(out, "{\"jsonrpc\":\"2.0\",\"id\":", 22);
    append(out, id.start, id.length);
    append(out, ",\"result\":", 10);
    append(out, params.start, params.length);
    append(out, "}\n", 2);
}

int main(int argc, char **argv)
{
    int each = argc > 1 && strcmp(argv[1], "--each") == 0;
    text_t in = {NULL, 0, 0}, out = {NULL, 0, 0};
    for (;;) {
        reserve(&in, 1 << 18);
        ssize_t n = read(STDIN_FILENO, in.data + in.used, in.capacity - in.used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            die("read");
        if (n == 0)
            break;
        size_t searched = in.used, start = 0;
        in.used += (size_t)n;
        for (;;) {
            const char *newline = memchr(in.data + searched, '\n', in.used - searched);
            if (!newline)
                break;
            answer(in.data + start, newline, &out);
            if (each)
                flush(&out);
            start = searched = (size_t)(newline - in.data) + 1;
        }
        flush(&out);
        memmove(in.data, in.data + start, in.used - start);
        in.used -= start;
    }
    free(in.data);
    free(out.data);
    return 0;
}
