/*
 * error.h - the JSON-RPC errors that the bus makes itself, in one table.
 *
 * The codes that functions return stand in the public header (stdio_bus_code_t);
 * nothing here allocates or formats.
 */
#ifndef STDIO_BUS_ERROR_H
#define STDIO_BUS_ERROR_H

/* name, JSON-RPC code, the word in error.data.reason.  -3208x is clear of the codes
 * that the MCP and LSP specifications use. */
#define RPC_ERRORS(X)                                     \
    X(RPC_PARSE_ERROR, -32700, "parse_error")             \
    X(RPC_INVALID_REQUEST, -32600, "invalid_request")     \
    X(RPC_METHOD_NOT_FOUND, -32601, "method_not_found")   \
    X(RPC_UNKNOWN_POOL, -32081, "unknown_pool")           \
    X(RPC_POOL_UNAVAILABLE, -32082, "pool_unavailable")   \
    X(RPC_WORKER_EXITED, -32083, "worker_exited")         \
    X(RPC_OVERLOADED, -32084, "overloaded")               \
    X(RPC_STOPPING, -32085, "stopping")                   \
    X(RPC_ANSWER_TOO_LONG, -32086, "answer_too_long")     \
    X(RPC_CANCELLED, -32087, "cancelled")                 \
    X(RPC_ANSWER_INVALID, -32088, "answer_invalid")

typedef enum rpc_error {
#define X(name, code, reason) name,
    RPC_ERRORS(X)
#undef X
} rpc_error_t;

int rpc_error_code(rpc_error_t error);
const char *rpc_error_reason(rpc_error_t error); /* static */

#endif
