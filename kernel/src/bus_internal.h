/*
 * bus_internal.h - a bus: the rooms it joins.
 */
#ifndef STDIO_BUS_BUS_INTERNAL_H
#define STDIO_BUS_BUS_INTERNAL_H

#include "client.h"
#include "config.h"
#include "listener.h"
#include "loop.h"
#include "router.h"
#include "stdio_bus.h"
#include "supervisor.h"

/* Lines on their way to the host: texts and records, side by side. */
typedef struct delivery {
    buffer_t text;
    buffer_t records; /* stdio_bus_line_t */
} delivery_t;

struct stdio_bus {
    stdio_bus_options_t options; /* its strings are copies of ours */
    stdio_bus_on_batch_fn on_batch;
    stdio_bus_on_worker_event_fn on_worker_event;
    config_t config;
    pool_t *pools;
    loop_t *loop;
    router_t router;
    supervisor_t supervisor;
    listener_t listener;
    stdio_bus_state_t state;
    bool busy; /* inside step or a call that brings work in: callbacks may add some, which is sent out there */
    client_t *host; /* the first of router.clients */
    int32_t next_client_id;
    size_t lost;           /* messages for the host, since that was told last */
    delivery_t collecting; /* filled now */
    delivery_t delivering; /* in the host's hands; callbacks may cause further lines */
};

#endif
