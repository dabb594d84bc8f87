/*
 * log.h - the program's log on stderr, a line each.
 *
 * A log that nobody reads does not hold the bus up: lines that find no room are dropped, and
 * their number is logged when there is room again.
 */
#ifndef STDIO_BUS_CLI_LOG_H
#define STDIO_BUS_CLI_LOG_H

/* One line; the level is one of STDIO_BUS_LOG_*. */
void log_print(int level, const char *message);
/* The same for an error, as printf. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
