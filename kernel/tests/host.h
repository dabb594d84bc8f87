/*
 * host.h - a program that embeds a bus, for tests: it keeps what the callbacks tell it and
 * steps until something is true.  In all texts ' stands for ", and SELF for this program,
 * whose arguments are those of script_worker.h.
 */
#ifndef STDIO_BUS_TEST_HOST_H
#define STDIO_BUS_TEST_HOST_H

#include "check.h"
#include "configured.h"
#include "stdio_bus.h"

typedef struct host {
    stdio_bus_t *bus;
    char events[2048];  /* " started:1 restarting:1 ..." since the last look */
    char reason[2048];  /* of the last event */
    char stderr_tail[8192];
    int exit_code, signal;
    char log[65536];
    char clients[1024]; /* external ones, " +1 -1 ..." since the last look */
    char error[1024];   /* the last one, "CODE: text" */
    int errors;
} host_t;

extern host_t host;

/* To be called first in main: with arguments, the program is a worker and ends here. */
void host_main(int argc, char **argv);

/* The text with SELF filled in; valid until the next call. */
const char *host_config(const char *config);
/* What the next bus listens on: STDIO_BUS_LISTEN_*, an address or a path. */
void host_listens(int mode, const char *where);
bool host_create(const char *config); /* batch delivery is on */
int host_open(const char *config);    /* creates, which must succeed, and starts */
/* Stops in order and destroys. */
void host_close(void);
void host_destroy(void); /* at once */

/* Steps until it is true; a failure after 30 s. */
#define UNTIL(condition)                                     \
    do {                                                     \
        host_begin();                                        \
        while (!(condition) && host_step()) {}               \
        CHECK(condition);                                    \
    } while (0)
void host_begin(void);
bool host_step(void);

int host_ingest(const char *format, ...) __attribute__((format(printf, 1, 2)));
void host_feed(int client, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The oldest message not taken yet (steps until there is one) and whose it was. */
const char *host_message(void);
#define HOST_GETS(pattern) CHECK_LIKE(host_message(), quoted(pattern))
int host_messages(void); /* how many wait to be taken */
extern int host_message_client, host_message_worker;

/* The events since the last look. */
const char *host_events(void);
const char *host_clients(void);
bool host_logged(const char *text);

#endif
