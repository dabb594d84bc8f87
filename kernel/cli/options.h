/*
 * options.h - what the command line asks for.
 *
 * Nothing is opened or read here.
 */
#ifndef STDIO_BUS_CLI_OPTIONS_H
#define STDIO_BUS_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_GO_ON (-1)

typedef struct options {
    const char *config_path, *token_file;
    int config_fd; /* -1: none */
    int mode;      /* STDIO_BUS_LISTEN_* */
    char *tcp_host;
    uint16_t tcp_port;
    const char *unix_path;
    bool tagged, check;
    int log_level;
} options_t;

/* OPTIONS_GO_ON, or the exit status: what there was to say has been said. */
int options_parse(int argc, char **argv, options_t *out);

#endif
