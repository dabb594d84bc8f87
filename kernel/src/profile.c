/* profile.c - see profile.h. */
#include "profile.h"

#include <string.h>

#include "stdio_bus.h"

/*
 * mcp: the stateful era of the Model Context Protocol (revisions 2024-11-05 to
 * 2025-11-25): lifecycle, progress and cancellation as its "Base Protocol" pages say.
 * Clients of the later, stateless era probe with server/discover and wait long on
 * silence, so the bus refuses it at once.
 *
 * mcp-stateless: its revision 2026-07-28, as the "Subscriptions", "Cancellation" and
 * "Multi Round-Trip Requests" pages say.  There is no handshake, servers ask nothing, and
 * who cancels a request of a subscription may be the server.
 *
 * acp: version 1 of the Agent Client Protocol, as its "Session Setup", "Prompt Turn" and
 * "Cancellation" pages say: the agent makes up the names of sessions, and a cancelled prompt,
 * or any other request, still answers.
 */
static const profile_t PROFILES[] = {
    {.name = "stdiobus", .host_ids = true, .session_field = FIELD_SESSION_ID},
    {.name = "jsonrpc", .clean = true, .put_back = true, .session_field = FIELD_SESSION_ID},
    {
        .name = "mcp",
        .clean = true,
        .session_field = FIELD_SESSION_ID,
        .progress_tokens = true,
        .cancel_method = "notifications/cancelled",
        .refused_method = "server/discover",
        .handshake_method = "initialize",
        .handshake_params = "{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},"
                            "\"clientInfo\":{\"name\":\"stdiobus\",\"version\":\"" STDIO_BUS_VERSION "\"}}",
        .handshake_notification = "notifications/initialized",
    },
    {
        .name = "mcp-stateless",
        .clean = true,
        .session_field = FIELD_SESSION_ID,
        .progress_tokens = true,
        .subscriptions = true,
        .request_states = true,
        .cancel_method = "notifications/cancelled",
    },
    {
        .name = "acp",
        .clean = true,
        .session_field = FIELD_PARAMS_SESSION_ID,
        .request_cancel_method = "$/cancel_request",
        .session_makers = {"session/new", "session/load", "session/fork"},
        .prompt_method = "session/prompt",
        .prompt_cancel_method = "session/cancel",
        .handshake_method = "initialize",
        .handshake_params = "{\"protocolVersion\":1,\"clientCapabilities\":{}}",
    },
};

const profile_t *profile_find(const char *name, size_t len) {
    for (size_t i = 0; i < sizeof PROFILES / sizeof *PROFILES; i++)
        if (strlen(PROFILES[i].name) == len && memcmp(PROFILES[i].name, name, len) == 0) return &PROFILES[i];
    return NULL;
}

const char *profile_names(void) {
    return "stdiobus, jsonrpc, mcp, mcp-stateless, acp";
}
