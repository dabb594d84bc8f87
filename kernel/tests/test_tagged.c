/* test_tagged.c - the program's status line, when the status grows between two looks at it. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "stdio_bus.h"

static int looks; /* at the status, which is longer each time for as long as `growing` */
static int growing;

static int growing_status(const stdio_bus_t *bus, char *out, size_t capacity) {
    (void)bus;
    int digits = ++looks < growing ? looks : growing;
    return snprintf(out, capacity, "{\"uptime_ms\":%.*s}", digits, "1234567890");
}

#define stdio_bus_get_status growing_status
#include "../cli/log.c"
#include "../cli/output.c"
#include "../cli/tagged.c"

int main(void) {
    stdio_bus_options_t options = {.config_json = "{\"pools\":[{\"id\":\"p\",\"command\":\"c\"}]}"};
    stdio_bus_t *bus = stdio_bus_create(&options);
    REQUIRE(bus);
    for (growing = 1; growing <= 4; growing++) {
        char expected[128];
        tagged_status_t status = {.workers_changed = true};
        output_t out = {0};
        looks = 0;
        CHECK_INT(tagged_write_status(&status, &out, bus), -1);
        snprintf(expected, sizeof expected,
                 "0 0 {\"jsonrpc\":\"2.0\",\"method\":\"stdio_bus/status\",\"params\":{\"uptime_ms\":%.*s}}\n", growing,
                 "1234567890");
        CHECK_INT(out.len, strlen(expected));
        CHECK(out.len == strlen(expected) && memcmp(out.data, expected, out.len) == 0);
        output_free(&out);
    }
    stdio_bus_destroy(bus);
    return check_result();
}
