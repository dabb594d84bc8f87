/* client.c - see client.h. */
#include "client.h"

void client_init(client_t *client, int32_t id, pool_t *default_pool, size_t max_line) {
    *client = (client_t){.id = id, .default_pool = default_pool};
    list_init(&client->pending);
    list_init(&client->waiting);
    list_init(&client->sessions);
    list_init(&client->idle);
    line_reader_init(&client->lines, max_line, CLIENT_LINE_KEEP);
    buffer_init(&client->later, SIZE_MAX / 2);
}

void client_free(client_t *client) {
    line_reader_free(&client->lines);
    buffer_free(&client->later);
}
