/*
 * script_worker.h - the worker of these tests: the test program run a second time, with
 * arguments.  What it does, the method of each request says:
 *
 *   echo          answers {"pid":PID}
 *   exit          writes "one" and "two" to stderr, exits with status 3
 *   kill          ends by SIGKILL
 *   hang          does not answer
 *   late          answers the request that hangs, then this one
 *   twice         answers twice
 *   noise         writes two lines that are no JSON, then answers
 *   long          answers with 3000 bytes, the id at their end
 *   longlost      writes 3000 bytes that are no answer
 *   last          answers without a newline and exits with status 0
 *   mute          closes its stdout and waits
 *   shut          closes its stdin and waits
 *   ask           asks the client (id "q"), answers when it has the answer
 *   errors        writes 100 lines to stderr, then answers
 *   deaf          answers; from then on neither SIGTERM nor the end of stdin ends it
 *   big           answers with the size of the request's line, in that many bytes
 *   grandchild    starts a child that holds stdout open, answers with its pid
 *
 * The first argument: "work", or "die" (status 5 at once), "silent" (answers nothing),
 * "refuse" (answers errors), "parting" (answers its first request and exits), "deaf"
 * (as the method, from the beginning).
 */
#ifndef STDIO_BUS_TEST_SCRIPT_WORKER_H
#define STDIO_BUS_TEST_SCRIPT_WORKER_H

int script_worker(int argc, char **argv); /* its exit status */

#endif
