/*
 * host.h - the bus at work: stdin, stdout and signals until the end.
 *
 * The process's own stdin and stdout are the host client, unless clients connect over a
 * listener; then they carry nothing.
 */
#ifndef STDIO_BUS_CLI_HOST_H
#define STDIO_BUS_CLI_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"
#include "output.h"
#include "stdio_bus.h"
#include "tagged.h"

typedef struct host {
    stdio_bus_t *bus;
    output_t out;
    bool tagged;
    bool listening; /* clients connect; nobody is the host client */
    bool stdin_open;
    bool left; /* nobody reads stdout any more */
    int refusal;    /* why there is no bus, one of STDIO_BUS_ERR_* */
    int signals;    /* taken: the first one asks to end, a second one at once */
    bool started;   /* some worker has been ready once */
    uint64_t rests_until; /* the bus, while too much waits for the host and a stop runs out; as now_ms */
    tagged_input_t input;
    tagged_status_t status;
} host_t;

/* Makes the bus; config_json is NULL when the options name a file.  EXIT_OK, or the exit status of what has
 * been reported. */
int host_open(host_t *host, const options_t *options, const char *config_json);
/* Runs until the end of stdin or a signal.  `first` are bytes of stdin that were read
 * already; they are changed.  Returns the exit status. */
int host_run(host_t *host, char *first, size_t len);
void host_close(host_t *host);

#endif
