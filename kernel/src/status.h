/*
 * status.h - the state of a bus as one JSON object: the answer to stdio_bus/stats, and
 * what the program tells its host.
 */
#ifndef STDIO_BUS_STATUS_H
#define STDIO_BUS_STATUS_H

#include "buffer.h"
#include "stdio_bus.h"

/* Appends {"state", "stats", "pending", "sessions", "clients", "workers"}.  False: no
 * memory, and `out` is as before. */
bool status_write(const stdio_bus_t *bus, buffer_t *out);

#endif
