/* status.c - see status.h. */
#include "status.h"

#include <inttypes.h>
#include <string.h>

#include "sys.h"

static bool write_stats(const stdio_bus_t *bus, buffer_t *out) {
    stdio_bus_stats_t s;
    stdio_bus_get_stats(bus, &s);
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"messages_in", s.messages_in},         {"messages_out", s.messages_out},
        {"bytes_in", s.bytes_in},               {"bytes_out", s.bytes_out},
        {"worker_restarts", s.worker_restarts}, {"routing_errors", s.routing_errors},
        {"client_connects", s.client_connects}, {"client_disconnects", s.client_disconnects},
    };
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof numbers / sizeof *numbers; i++)
        ok = buffer_printf(out, "%s\"%s\":%" PRIu64, i ? "," : "", numbers[i].name, numbers[i].value);
    return ok;
}

static bool write_worker(const stdio_bus_worker_info_t *w, buffer_t *out) {
    return buffer_puts(out, "{\"pool\":") && buffer_json_string(out, w->pool, strlen(w->pool)) &&
           buffer_printf(out, ",\"id\":%" PRId32 ",\"pid\":%" PRId32 ",\"state\":\"%s\",\"in_flight\":%" PRId32, w->id,
                         w->pid, stdio_bus_worker_state_name(w->state), w->in_flight) &&
           buffer_printf(out, ",\"restarts\":%" PRIu64 ",\"uptime_ms\":%" PRIu64, w->restarts, w->uptime_ms) &&
           buffer_printf(out, ",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 "}", w->bytes_in, w->bytes_out);
}

static bool write_workers(const stdio_bus_t *bus, buffer_t *out) {
    int count = stdio_bus_get_workers(bus, NULL, 0);
    stdio_bus_worker_info_t *workers = sys_calloc((size_t)count + 1, sizeof *workers);
    bool ok = workers != NULL;
    if (ok) stdio_bus_get_workers(bus, workers, count);
    for (int i = 0; ok && i < count; i++) ok = (!i || buffer_puts(out, ",")) && write_worker(&workers[i], out);
    sys_free(workers);
    return ok;
}

bool status_write(const stdio_bus_t *bus, buffer_t *out) {
    size_t before = out->len;
    bool ok = buffer_printf(out, "{\"state\":%d,\"stats\":{", (int)stdio_bus_get_state(bus)) && write_stats(bus, out) &&
              buffer_printf(out, "},\"pending\":%d,\"sessions\":%d,\"clients\":%d,\"workers\":[",
                            stdio_bus_pending_count(bus), stdio_bus_session_count(bus), stdio_bus_client_count(bus)) &&
              write_workers(bus, out) && buffer_puts(out, "]}");
    if (!ok) buffer_truncate(out, before);
    return ok;
}
