/*
 * input.h - what the program reads before it runs: a configuration from a descriptor, the token.
 */
#ifndef STDIO_BUS_CLI_INPUT_H
#define STDIO_BUS_CLI_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "stdio_bus.h"

typedef struct input {
    char *text;       /* the configuration, terminated; freed by input_free */
    char *rest;       /* what was read behind its line, inside `text`: it belongs to the stream */
    size_t rest_len;
} input_t;

/* Reads a configuration to the end of the descriptor; with `line`, to the end of its first
 * line or a little further.  False: reported. */
bool input_read_config(input_t *input, int fd, bool line);
void input_free(input_t *input);

/* Gives the bus the token of the file; without one that of the environment, if there is one and clients
 * connect.  False: reported. */
bool input_set_token(stdio_bus_t *bus, const char *path, bool listening);

#endif
