/*
 * config.h - the configuration document, checked and in C form.
 *
 * Every mistake is one sentence that names the field; a document with a mistake
 * yields nothing.
 */
#ifndef STDIO_BUS_CONFIG_H
#define STDIO_BUS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "profile.h"

/* All memory belongs to the config_t. */
typedef struct config_handshake {
    char *method;              /* of the request; NULL: no handshake */
    char *params;              /* JSON text, or NULL */
    bool no_notification;      /* configured so, by null */
    char *notification_method; /* NULL: none */
    char *notification_params; /* JSON text, or NULL */
} config_handshake_t;

typedef struct config_pool {
    char *id;
    char *command; /* NULL: a pool of embedded workers alone */
    bool embedded;
    char **args; /* behind the command's own name; ends with NULL */
    char **env;  /* "NAME=value" sets, "NAME" drops; ends with NULL */
    char *cwd;   /* NULL: the bus's own */
    bool inherit_env;
    int64_t instances; /* processes to keep running; 0 in an embedded pool */
    int64_t max_in_flight; /* 0: no cap */
    int64_t max_queue;
    int64_t startup_timeout_sec;
    const profile_t *profile;
    config_handshake_t handshake;
} config_pool_t;

typedef struct config_limits {
    int64_t max_input_buffer;
    int64_t max_output_queue;
    int64_t max_restarts;
    int64_t restart_window_sec;
    int64_t drain_timeout_sec;
    int64_t backpressure_timeout_sec;
    int64_t max_clients;
    int64_t max_sessions;
} config_limits_t;

typedef struct config {
    config_pool_t *pools;
    size_t pool_count;
    config_limits_t limits;
    char *token; /* what external clients must say first; NULL: none */
    struct config_block *blocks; /* the memory behind all of the above */
} config_t;

/* Bytes that may wait for one worker or client: max_output_queue, but at least one message
 * of the largest size. */
size_t config_queue_size(const config_limits_t *limits);

#define CONFIG_MAX_INSTANCES 1024
#define CONFIG_ERROR_SIZE 512
#define CONFIG_MAX_FILE (64u * 1024 * 1024)

/* 0, STDIO_BUS_ERR_CONFIG with a sentence in `error`, or STDIO_BUS_ERR_BUFFER without
 * memory.  The text is not needed afterwards. */
int config_parse(const char *text, size_t len, config_t *out, char error[CONFIG_ERROR_SIZE]);
int config_read(const char *path, config_t *out, char error[CONFIG_ERROR_SIZE]);
void config_free(config_t *config);

#endif
