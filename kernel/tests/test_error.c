/* test_error.c - the codes and reasons that other programs rely on. */
#include "check.h"
#include "error.h"

int main(void) {
    static const struct {
        rpc_error_t error;
        int code;
        const char *reason;
    } cases[] = {
        {RPC_PARSE_ERROR, -32700, "parse_error"},
        {RPC_INVALID_REQUEST, -32600, "invalid_request"},
        {RPC_METHOD_NOT_FOUND, -32601, "method_not_found"},
        {RPC_UNKNOWN_POOL, -32081, "unknown_pool"},
        {RPC_POOL_UNAVAILABLE, -32082, "pool_unavailable"},
        {RPC_WORKER_EXITED, -32083, "worker_exited"},
        {RPC_OVERLOADED, -32084, "overloaded"},
        {RPC_STOPPING, -32085, "stopping"},
        {RPC_ANSWER_TOO_LONG, -32086, "answer_too_long"},
        {RPC_ANSWER_INVALID, -32088, "answer_invalid"},
        {RPC_CANCELLED, -32087, "cancelled"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_INT(rpc_error_code(cases[i].error), cases[i].code);
        CHECK_STR(rpc_error_reason(cases[i].error), cases[i].reason);
    }
    return check_result();
}
