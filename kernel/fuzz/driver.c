/*
 * driver.c - runs a fuzz target where there is no libFuzzer: first every file of its corpus,
 * then, for as long as asked, mutations of them from a seed.
 *
 * It does not watch coverage: what it finds, it finds by the corpus and the dictionary.
 *
 *   fuzz_NAME [-seconds=N] [-seed=N] [-dict=FILE] [-crash=FILE] FOLDER...
 *
 * An input that ends the program, or takes longer than 20 s, is left in the file of -crash.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

#define INPUT_MAX 4096
#define CORPUS_MAX 4096
#define WORDS_MAX 256
#define PATIENCE_SEC 20

typedef struct bytes {
    uint8_t *data;
    size_t len;
} bytes_t;

static bytes_t corpus[CORPUS_MAX], words[WORDS_MAX];
static size_t corpus_count, word_count;
static bytes_t current;
static const char *crash_file = "crash";
static unsigned long long state;

/* Only what a signal handler may do. */
static void keep_input(int number) {
    int fd = open(crash_file, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd >= 0 && write(fd, current.data, current.len) == (ssize_t)current.len) close(fd);
    signal(number, SIG_DFL);
    raise(number);
}

static void run(const uint8_t *data, size_t len) {
    current = (bytes_t){(uint8_t *)fuzz_copy(data, len), len};
    alarm(PATIENCE_SEC);
    LLVMFuzzerTestOneInput(current.data, len);
    alarm(0);
    free(current.data);
}

static bytes_t read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    HOLDS(file != NULL);
    HOLDS(fseek(file, 0, SEEK_END) == 0);
    bytes_t out = {.len = (size_t)ftell(file)};
    rewind(file);
    out.data = malloc(out.len + 1);
    HOLDS(out.data && fread(out.data, 1, out.len, file) == out.len);
    out.data[out.len] = '\0';
    fclose(file);
    return out;
}

static void read_folder(const char *folder) {
    struct dirent **names;
    int count = scandir(folder, &names, NULL, alphasort); /* the same order everywhere */
    HOLDS(count >= 0);
    for (int i = 0; i < count; i++) {
        char path[1024];
        HOLDS(snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name) < (int)sizeof path);
        HOLDS(corpus_count < CORPUS_MAX);
        if (*names[i]->d_name != '.') corpus[corpus_count++] = read_file(path);
        free(names[i]);
    }
    free(names);
}

/* libFuzzer's format: one "word" on a line, with \\, \" and \xAB. */
static void read_dictionary(const char *path) {
    bytes_t file = read_file(path);
    for (char *line = strtok((char *)file.data, "\n"); line; line = strtok(NULL, "\n")) {
        if (*line != '"') continue;
        HOLDS(word_count < WORDS_MAX);
        bytes_t *word = &words[word_count++];
        word->data = (uint8_t *)fuzz_copy(line, strlen(line));
        for (char *at = line + 1; *at && *at != '"'; at++) {
            unsigned byte = (unsigned char)*at;
            if (*at == '\\' && at[1] == 'x' && sscanf(at + 2, "%2x", &byte) == 1) at += 3;
            else if (*at == '\\') byte = (unsigned char)*++at;
            word->data[word->len++] = (uint8_t)byte;
        }
    }
    free(file.data);
}

static size_t pick(size_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return below ? (size_t)(state >> 33) % below : 0;
}

/* Puts bytes in place of `cut` others; leaves the input alone when it would grow too large. */
static void exchange(uint8_t *data, size_t *len, size_t at, size_t cut, const uint8_t *with, size_t with_len) {
    uint8_t copy[INPUT_MAX];
    if (*len - cut + with_len > INPUT_MAX) return;
    memcpy(copy, with, with_len); /* it may be a part of the input itself */
    memmove(data + at + with_len, data + at + cut, *len - at - cut);
    memcpy(data + at, copy, with_len);
    *len = *len - cut + with_len;
}

static void mutate(uint8_t *data, size_t *len) {
    size_t at = pick(*len + 1), left = *len - at, span = pick(left < 32 ? left + 1 : 33);
    const bytes_t *other = &corpus[pick(corpus_count)];
    const uint8_t byte = (uint8_t)pick(256);
    size_t from = pick(other->len + 1), some = pick(other->len - from + 1);
    switch (pick(8)) {
    case 0: if (left) data[at] ^= (uint8_t)(1u << pick(8)); break;
    case 1: exchange(data, len, at, left > 0, &byte, 1); break;
    case 2: exchange(data, len, at, 0, &byte, 1); break;
    case 3: exchange(data, len, at, span, &byte, 0); break;
    case 4: exchange(data, len, pick(*len + 1), 0, data + at, span); break;
    case 5: exchange(data, len, at, span, other->data + from, some < INPUT_MAX ? some : INPUT_MAX); break;
    default:
        if (!word_count) break;
        other = &words[pick(word_count)];
        exchange(data, len, at, pick(2) ? 0 : span, other->data, other->len);
    }
}

static unsigned long fuzz(time_t end) {
    unsigned long runs = 0;
    uint8_t data[INPUT_MAX];
    for (; time(NULL) < end; runs++) {
        const bytes_t *from = &corpus[pick(corpus_count)];
        size_t len = from->len < INPUT_MAX ? from->len : INPUT_MAX;
        memcpy(data, from->data, len);
        for (size_t left = 1 + pick(6); left; left--) mutate(data, &len);
        run(data, len);
    }
    return runs;
}

int main(int argc, char **argv) {
    static const int deadly[] = {SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGSEGV};
    long seconds = 0;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-seconds=", 9) == 0) seconds = atol(argv[i] + 9);
        else if (strncmp(argv[i], "-seed=", 6) == 0) state = strtoull(argv[i] + 6, NULL, 10);
        else if (strncmp(argv[i], "-dict=", 6) == 0) read_dictionary(argv[i] + 6);
        else if (strncmp(argv[i], "-crash=", 7) == 0) crash_file = argv[i] + 7;
        else read_folder(argv[i]);
    }
    HOLDS(corpus_count > 0);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) signal(deadly[i], keep_input);
    for (size_t i = 0; i < corpus_count; i++) run(corpus[i].data, corpus[i].len);
    unsigned long runs = fuzz(time(NULL) + seconds);
    printf("%zu files of the corpus, %lu mutations\n", corpus_count, runs);
    for (size_t i = 0; i < corpus_count; i++) free(corpus[i].data);
    for (size_t i = 0; i < word_count; i++) free(words[i].data);
    return 0;
}
