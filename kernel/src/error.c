/* error.c - see error.h. */
#include "error.h"

int rpc_error_code(rpc_error_t error) {
    static const int codes[] = {
#define X(name, code, reason) code,
        RPC_ERRORS(X)
#undef X
    };
    return codes[error];
}

const char *rpc_error_reason(rpc_error_t error) {
    static const char *const reasons[] = {
#define X(name, code, reason) reason,
        RPC_ERRORS(X)
#undef X
    };
    return reasons[error];
}
