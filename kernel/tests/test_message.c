/* test_message.c - removals, replacements and insertions; every result is scanned again. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "configured.h"
#include "message.h"

static const scan_field_t ROUTING[] = {FIELD_POOL, FIELD_SESSION_ID, FIELD_AGENT_ID, FIELD_EXT};

static const char *joined(const message_t *message) {
    static char out[1024];
    piece_t pieces[MESSAGE_MAX_PIECES];
    size_t count = message_pieces(message, pieces), len = 0;
    CHECK(count <= MESSAGE_MAX_PIECES);
    for (size_t i = 0; i < count; i++) {
        CHECK(pieces[i].len > 0);
        memcpy(out + len, pieces[i].text, pieces[i].len);
        len += pieces[i].len;
    }
    out[len] = '\0';
    scan_t scan;
    if (!CHECK_INT(json_scan(out, len, &scan), SCAN_OK)) fprintf(stderr, "  %s\n", out);
    return out;
}

static void scan(message_t *message, scan_t *out, const char *text) {
    CHECK_INT(json_scan(text, strlen(text), out), SCAN_OK);
    message_init(message, out, strlen(text));
}

static void test_untouched(void) {
    scan_t s;
    message_t m;
    scan(&m, &s, "{ \"id\" : 1 }");
    CHECK_STR(joined(&m), "{ \"id\" : 1 }");
}

static void test_remove(void) {
    static const char *const cases[][2] = {
        {"{'pool':1}", "{}"},
        {"{ 'pool' : 1 }", "{ }"},
        {"{'pool':1,'id':2}", "{'id':2}"},
        {"{'pool':1 , 'id':2}", "{'id':2}"},
        {"{'id':2,'pool':1}", "{'id':2}"},
        {"{'id':2 , 'pool':1 }", "{'id':2  }"},
        {"{'id':2,'pool':1,'x':3}", "{'id':2,'x':3}"},
        {"{'pool':1,'sessionId':2}", "{}"},
        {"{\t'pool':1\r\n,\n'sessionId':2 }", "{\t}"},
        {"{'pool':1,'sessionId':2,'agentId':3,'_ext':{'pool':4}}", "{}"},
        {"{'_ext':1,'agentId':2,'sessionId':3,'pool':4,'id':5}", "{'id':5}"},
        {"{'id':5,'_ext':1,'agentId':2,'sessionId':3,'pool':4}", "{'id':5}"},
        {"{'pool':1,'id':5,'sessionId':2}", "{'id':5}"},
        {"{'pool':1,'sessionId':2,'id':5,'agentId':3,'_ext':4}", "{'id':5}"},
        {"{'a':{'pool':1},'pool':2,'b':3,'_ext':4,'c':[{'_ext':5}]}", "{'a':{'pool':1},'b':3,'c':[{'_ext':5}]}"},
        {"{'p\\u006fol':1,'id':2}", "{'id':2}"},
        {"{'id':2}", "{'id':2}"},
        {"{}", "{}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scan_t s;
        message_t m;
        scan(&m, &s, quoted(cases[i][0]));
        message_remove(&m, ROUTING, 4);
        const char *result = joined(&m);
        /* White space around what is left is nobody's business. */
        char dense[2][256];
        const char *texts[2] = {result, quoted(cases[i][1])};
        for (int k = 0; k < 2; k++) {
            char *to = dense[k];
            for (const char *c = texts[k]; *c; c++)
                if (!strchr(" \t\r\n", *c)) *to++ = *c;
            *to = '\0';
        }
        CHECK_STR(dense[0], dense[1]);
    }
}

/* Every choice of members, in every order of four: what is left is what it should be. */
static void test_remove_every_subset(void) {
    static const char *const names[] = {"pool", "x", "sessionId", "y", "agentId", "_ext"};
    for (int order = 0; order < 6; order++)
        for (unsigned present = 0; present < 64; present++)
            for (int spaced = 0; spaced < 2; spaced++) {
                char text[256] = "{", expected[256] = "{";
                for (int i = 0; i < 6; i++) {
                    int n = (i + order) % 6;
                    char member[32];
                    if (!(present >> n & 1)) continue;
                    snprintf(member, sizeof member, "\"%s\":%d", names[n], n);
                    if (strlen(text) > 1) strcat(text, spaced ? " ,\t" : ",");
                    strcat(text, member);
                    if (n != 1 && n != 3) continue;
                    if (strlen(expected) > 1) strcat(expected, ",");
                    strcat(expected, member);
                }
                strcat(text, "}");
                strcat(expected, "}");
                scan_t s;
                message_t m;
                scan(&m, &s, text);
                message_remove(&m, ROUTING, 4);
                char dense[256], *to = dense;
                for (const char *c = joined(&m); *c; c++)
                    if (!strchr(" \t", *c)) *to++ = *c;
                *to = '\0';
                CHECK_STR(dense, expected);
            }
}

static void test_replace_and_insert(void) {
    scan_t s;
    message_t m;
    char text[512];
    strcpy(text, quoted(" {'pool':'p','id' : 'old','params':{'_meta':{'progressToken':'t'}},'_ext':{}} "));
    scan(&m, &s, text);
    message_replace(&m, FIELD_META_PROGRESS_TOKEN, "77", 2); /* in any order */
    message_remove(&m, ROUTING, 4);
    message_replace(&m, FIELD_ID, "12345", 5);
    CHECK_STR(joined(&m), quoted(" {'id' : 12345,'params':{'_meta':{'progressToken':77}}} "));

    strcpy(text, quoted(" { 'id':1,'result':{}}"));
    scan(&m, &s, text);
    message_replace(&m, FIELD_ID, "\"own\"", 5);
    message_insert(&m, "\"sessionId\":\"s\",", 16);
    CHECK_STR(joined(&m), quoted(" {'sessionId':'s', 'id':'own','result':{}}"));
}

int main(void) {
    test_untouched();
    test_remove();
    test_remove_every_subset();
    test_replace_and_insert();
    return check_result();
}
