/* fuzz_config.c - any document is refused with a sentence or accepted, and an accepted one
 * gives the same configuration a second time, with white space behind it.  The input is the
 * document. */
#include "config.h"
#include "fake_sys.h"
#include "fuzz.h"
#include "stdio_bus.h"
#include "utf8.h"

static bool same_text(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_list(char **a, char **b) {
    for (; *a && *b; a++, b++)
        if (strcmp(*a, *b) != 0) return false;
    return *a == *b;
}

static void check_same(const config_t *a, const config_t *b) {
    HOLDS(a->pool_count == b->pool_count && same_text(a->token, b->token));
    HOLDS(memcmp(&a->limits, &b->limits, sizeof a->limits) == 0);
    for (size_t i = 0; i < a->pool_count; i++) {
        const config_pool_t *p = &a->pools[i], *q = &b->pools[i];
        HOLDS(same_text(p->id, q->id) && same_text(p->command, q->command) && same_text(p->cwd, q->cwd));
        HOLDS(same_list(p->args, q->args) && same_list(p->env, q->env) && p->inherit_env == q->inherit_env);
        HOLDS(p->instances == q->instances && p->max_in_flight == q->max_in_flight && p->max_queue == q->max_queue);
        HOLDS(p->startup_timeout_sec == q->startup_timeout_sec && p->profile == q->profile);
        const config_handshake_t *g = &p->handshake, *h = &q->handshake;
        HOLDS(same_text(g->method, h->method) && same_text(g->params, h->params));
        HOLDS(same_text(g->notification_method, h->notification_method));
        HOLDS(same_text(g->notification_params, h->notification_params) && g->no_notification == h->no_notification);
    }
}

/* What the rooms above count on. */
static void check_usable(const config_t *config) {
    HOLDS(config->pool_count > 0 && config_queue_size(&config->limits) > (size_t)config->limits.max_input_buffer);
    for (size_t i = 0; i < config->pool_count; i++) {
        const config_pool_t *pool = &config->pools[i];
        HOLDS(*pool->id && *pool->command && pool->profile && pool->instances >= 1 && pool->max_queue >= 0);
        for (size_t k = 0; k < i; k++) HOLDS(strcmp(pool->id, config->pools[k].id) != 0);
    }
}

/* A sentence that fits, valid UTF-8. */
static void check_error(const char *error) {
    const char *end = memchr(error, '\0', CONFIG_ERROR_SIZE);
    HOLDS(end && end > error);
    for (const char *at = error; at < end;) {
        size_t step = (unsigned char)*at < 0x80 ? 1 : utf8_sequence(at, end);
        HOLDS(step > 0);
        at += step;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    config_t config, again;
    char error[CONFIG_ERROR_SIZE] = "";
    char *text = fuzz_copy(data, size);
    int code = config_parse(text, size, &config, error);
    if (code == STDIO_BUS_OK) {
        char *spaced = malloc(size + 2);
        HOLDS(spaced != NULL);
        memcpy(spaced, data, size);
        memcpy(spaced + size, "\t\n", 2);
        check_usable(&config);
        HOLDS(config_parse(spaced, size + 2, &again, error) == STDIO_BUS_OK);
        free(spaced); /* the text is not needed afterwards */
        check_same(&config, &again);
        config_free(&again);
        config_free(&config);
    } else {
        HOLDS(code == STDIO_BUS_ERR_CONFIG);
        check_error(error);
    }
    free(text);
    HOLDS(fake_sys_live_allocations() == 0);
    return 0;
}
