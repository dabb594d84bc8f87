/* configured.c - see configured.h. */
#include "configured.h"

#include <stdio.h>
#include <string.h>

#include "check.h"

const char *quoted(const char *text) {
    static char out[4][8192];
    static int next;
    char *to = out[next++ % 4];
    REQUIRE(strlen(text) < sizeof out[0]);
    strcpy(to, text);
    for (char *c = to; *c; c++)
        if (*c == '\'') *c = '"';
    return to;
}

void configured(config_t *config, const char *text) {
    char error[CONFIG_ERROR_SIZE] = "";
    const char *json = quoted(text);
    if (config_parse(json, strlen(json), config, error) != 0) fprintf(stderr, "%s\n", error);
    REQUIRE(!*error);
}
