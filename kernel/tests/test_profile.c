/* test_profile.c - the table of profiles: names, and what each one has. */
#include <string.h>

#include "check.h"
#include "json_scan.h"
#include "profile.h"

static const profile_t *find(const char *name) {
    return profile_find(name, strlen(name));
}

static void check_json_object(const char *text) {
    scan_t scan;
    CHECK_INT(json_scan(text, strlen(text), &scan), SCAN_OK);
}

int main(void) {
    CHECK(find("stdiobu") == NULL);
    CHECK(find("stdiobuss") == NULL);
    CHECK(find("") == NULL);
    CHECK(find("MCP") == NULL);

    const profile_t *own = find("stdiobus"), *plain = find("jsonrpc"), *mcp = find("mcp"), *acp = find("acp"), *stateless = find("mcp-stateless");
    REQUIRE(own && plain && mcp && acp && stateless);
    CHECK(own->host_ids && !own->clean && !own->put_back && !own->handshake_method && !own->cancel_method);
    CHECK(plain->clean && plain->put_back && !plain->host_ids && !plain->handshake_method && !plain->cancel_method);
    CHECK(mcp->clean && mcp->progress_tokens && !mcp->host_ids && !mcp->put_back);
    CHECK_STR(mcp->cancel_method, "notifications/cancelled");
    CHECK_STR(mcp->refused_method, "server/discover");
    CHECK_STR(mcp->handshake_method, "initialize");
    CHECK_STR(mcp->handshake_notification, "notifications/initialized");
    check_json_object(mcp->handshake_params);

    CHECK(acp->clean && !acp->host_ids && !acp->put_back && !acp->progress_tokens && !acp->cancel_method);
    CHECK_INT(acp->session_field, FIELD_PARAMS_SESSION_ID);
    CHECK_STR(acp->prompt_cancel_method, "session/cancel");
    CHECK_STR(acp->request_cancel_method, "$/cancel_request");
    CHECK(!own->request_cancel_method && !mcp->request_cancel_method);
    CHECK_STR(acp->handshake_method, "initialize");
    CHECK(!acp->handshake_notification);
    check_json_object(acp->handshake_params);
    CHECK(profile_shows_sessions(own) && profile_shows_sessions(acp));
    CHECK(!profile_shows_sessions(plain) && !profile_shows_sessions(mcp));

    CHECK(stateless->clean && stateless->progress_tokens && stateless->subscriptions && stateless->request_states);
    CHECK(!stateless->handshake_method && !stateless->refused_method);
    CHECK_STR(stateless->cancel_method, "notifications/cancelled");
    CHECK(!mcp->subscriptions && !mcp->request_states);

    /* The list of names is that of the table. */
    char names[256];
    REQUIRE(strlen(profile_names()) < sizeof names);
    strcpy(names, profile_names());
    int count = 0;
    for (char *name = strtok(names, ", "); name; name = strtok(NULL, ", "), count++) {
        REQUIRE(find(name) != NULL);
        CHECK_STR(find(name)->name, name);
    }
    CHECK_INT(count, 5);
    return check_result();
}
