/* test_json_suite.c - a public set of JSON texts: y_* are accepted, n_* refused, i_* do no
 * harm.  A message is an object, so what does not begin with one becomes {"v": TEXT}; a
 * message is a line, so raw newlines cut it as they do on the wire. */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "json_scan.h"
#include "line.h"

#define SUITE "../shared/data/json-test-suite"
#define FILE_MAX (1u << 20)

/* The text of a file as a message; the caller frees it. */
static char *read_message(const char *name, size_t *len) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", SUITE, name);
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL);
    char *text = malloc(FILE_MAX + 8);
    size_t n = fread(text + 6, 1, FILE_MAX, file);
    fclose(file);
    size_t first = 6;
    while (first < n + 6 && memchr(" \t\r\n", text[first], 4)) first++;
    if (first < n + 6 && text[first] == '{') {
        memmove(text, text + 6, n);
        *len = n;
        return text;
    }
    memcpy(text, "{\"v\": ", 6);
    text[6 + n] = '}';
    *len = n + 7;
    return text;
}

/* The same text through the line room: whether all its lines together are one good message. */
static bool accepted_as_line(const char *text, size_t len) {
    line_reader_t reader;
    line_t line;
    line_result_t result;
    int lines = 0, good = 0;
    line_reader_init(&reader, FILE_MAX + 8, 16);
    line_feed(&reader, text, len);
    while ((result = line_next(&reader, &line)) != LINE_MORE || (result = line_finish(&reader, &line)) != LINE_MORE) {
        scan_t scan;
        char *copy = malloc(line.len); /* of its own size: the sanitizer sees reads beyond */
        memcpy(copy, line.text, line.len);
        good += result == LINE_READY && json_scan(copy, line.len, &scan) == SCAN_OK;
        lines++;
        free(copy);
    }
    line_reader_free(&reader);
    return lines == 1 && good == 1;
}

static void check_file(const char *name) {
    size_t len;
    char *text = read_message(name, &len);
    char *copy = malloc(len);
    memcpy(copy, text, len);
    scan_t scan;
    bool accepted = json_scan(copy, len, &scan) == SCAN_OK;
    if (*name != 'i' && !CHECK_INT(accepted, *name == 'y')) fprintf(stderr, "  of: %s\n", name);
    /* On the wire a refused text stays refused, and an accepted one needs to be one line. */
    bool line = accepted_as_line(text, len);
    bool one = !memchr(text, '\n', len) || strspn(text + strcspn(text, "\n"), "\n") == len - strcspn(text, "\n");
    if (!CHECK(line == accepted || (!one && !line))) fprintf(stderr, "  of: %s\n", name);
    free(copy);
    free(text);
}

int main(void) {
    DIR *folder = opendir(SUITE);
    if (!folder) {
        printf("SKIP: there is no folder %s\n", SUITE);
        return 0;
    }
    int counts[256] = {0};
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t len = strlen(entry->d_name);
        if (len < 6 || entry->d_name[1] != '_' || strcmp(entry->d_name + len - 5, ".json") != 0) continue;
        counts[(unsigned char)*entry->d_name]++;
        check_file(entry->d_name);
    }
    closedir(folder);
    CHECK(counts['y'] > 90 && counts['n'] > 180 && counts['i'] > 30);
    return check_result();
}
