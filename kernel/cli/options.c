/*
 * options.c - see options.h.
 */
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "stdio_bus.h"

static const char USAGE[] =
    "usage: stdio_bus (--config PATH | --config-fd N) [--stdio | --tcp HOST:PORT | --unix PATH]\n"
    "                 [--token-file PATH] [--tagged] [--log-level LEVEL] [--check]\n"
    "       stdio_bus --version | --help\n"
    "\n"
    "Runs the worker pools of a configuration behind one stream of JSON-RPC lines.\n"
    "\n"
    "  --config PATH      the configuration, a JSON file\n"
    "  --config-fd N      the same from an open descriptor, to its end; from 0 with --stdio it is\n"
    "                     the first line of stdin, and the messages follow\n"
    "  --stdio            one client, on stdin and stdout (the default)\n"
    "  --tcp HOST:PORT    clients connect over TCP; port 0 is any free one, told in the log\n"
    "  --unix PATH        clients connect over a Unix socket\n"
    "  --token-file PATH  what clients must say first (stdio_bus/hello, params.token); else\n"
    "                     the environment's STDIO_BUS_TOKEN, else the configuration's token\n"
    "  --tagged           with --stdio: each line names its client and worker; worker events and status\n"
    "  --log-level LEVEL  debug, info (default), warning or error; the log goes to stderr\n"
    "  --check            check the configuration and exit\n"
    "\n"
    "Exit status: 0 orderly end, 1 internal failure, 2 usage, 3 configuration, 4 nothing could start.\n";

static int usage_error(const char *what, const char *argument) {
    fprintf(stderr, "stdio_bus: %s%s%s\n%s", what, argument ? ": " : "", argument ? argument : "", USAGE);
    return EXIT_USAGE;
}

static bool parse_number(const char *text, long max, long *out) {
    char *rest;
    *out = strtol(text, &rest, 10);
    return *text >= '0' && *text <= '9' && !*rest && *out <= max;
}

/* HOST:PORT, an IPv6 host in brackets. */
static bool parse_address(char *text, options_t *out) {
    char *colon = strrchr(text, ':');
    long port;
    if (!colon || !parse_number(colon + 1, UINT16_MAX, &port)) return false;
    size_t len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    text[len] = '\0'; /* the text is argv's, ours to change */
    out->tcp_host = text;
    out->tcp_port = (uint16_t)port;
    return len > 0;
}

/* An option with a value. */
static int take_value(options_t *out, const char *name, char *value) {
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    long number;
    if (strcmp(name, "--config") == 0) {
        out->config_path = value;
    } else if (strcmp(name, "--token-file") == 0) {
        out->token_file = value;
    } else if (strcmp(name, "--config-fd") == 0) {
        if (!parse_number(value, INT32_MAX, &number)) return usage_error("not a descriptor", value);
        out->config_fd = (int)number;
    } else if (strcmp(name, "--unix") == 0) {
        out->mode = STDIO_BUS_LISTEN_UNIX;
        out->unix_path = value;
    } else if (strcmp(name, "--tcp") == 0) {
        out->mode = STDIO_BUS_LISTEN_TCP;
        if (!parse_address(value, out)) return usage_error("not an address of the form HOST:PORT", value);
    } else {
        for (out->log_level = 0; out->log_level < 4; out->log_level++)
            if (strcmp(levels[out->log_level], value) == 0) return OPTIONS_GO_ON;
        return usage_error("unknown log level", value);
    }
    return OPTIONS_GO_ON;
}

static bool takes_value(const char *name) {
    static const char *const names[] = {"--config", "--config-fd", "--tcp", "--unix", "--token-file", "--log-level"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

int options_parse(int argc, char **argv, options_t *out) {
    int modes = 0;
    *out = (options_t){.config_fd = -1, .log_level = STDIO_BUS_LOG_INFO};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        modes += strcmp(name, "--stdio") == 0 || strcmp(name, "--tcp") == 0 || strcmp(name, "--unix") == 0;
        if (strcmp(name, "--stdio") == 0) continue;
        if (strcmp(name, "--tagged") == 0) {
            out->tagged = true;
        } else if (strcmp(name, "--check") == 0) {
            out->check = true;
        } else if (strcmp(name, "--version") == 0) {
            char text[64];
            snprintf(text, sizeof text, "stdio_bus %s (ABI %d)\n", stdio_bus_version(), stdio_bus_abi());
            return output_say(text);
        } else if (strcmp(name, "--help") == 0) {
            return output_say(USAGE);
        } else if (!takes_value(name)) {
            return usage_error("unknown argument", name);
        } else if (i + 1 == argc) {
            return usage_error("a value is missing after", name);
        } else {
            int status = take_value(out, name, argv[++i]);
            if (status != OPTIONS_GO_ON) return status;
        }
    }
    if (!out->config_path == (out->config_fd < 0)) return usage_error("give one of --config and --config-fd", NULL);
    if (modes > 1) return usage_error("give at most one of --stdio, --tcp and --unix", NULL);
    if (out->tagged && out->mode != STDIO_BUS_LISTEN_NONE) return usage_error("--tagged goes with --stdio", NULL);
    return OPTIONS_GO_ON;
}
