/*
 * fake_sys.h - the seam of sys.h under the control of a test: real calls that can be
 * made to fail one by one, counted, with a clock that can be set forward.
 */
#ifndef STDIO_BUS_TEST_FAKE_SYS_H
#define STDIO_BUS_TEST_FAKE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At the beginning of a test: notes the open descriptors. */
void fake_sys_begin(void);
/* At its end: CHECKs that all memory is freed, all descriptors are closed and no child
 * process is left. */
void fake_sys_end(void);

/* The n-th allocation, the n-th call that can fail, from now on (1: the next) fails once;
 * 0: none. */
void fake_sys_fail_allocation(long n);
void fake_sys_fail_call(long n);
/* From now on all allocations fail, or none. */
void fake_sys_no_memory(bool none);
/* Whether what was asked for has failed by now. */
bool fake_sys_has_failed(void);

/* The next `call` ("sys_read", "sys_send", ...) fails with that errno; several of these
 * may be under way. */
void fake_sys_fail_with(const char *call, int error);
/* From now on one read, write or send moves at most so many bytes; 0: no such limit. */
void fake_sys_move_at_most(size_t bytes);
/* From now on the user at the other end of a Unix connection is another one. */
void fake_sys_foreign_peer(bool foreign);
/* From now on no child can be killed, as if all ran as another user. */
void fake_sys_unkillable(bool children);

long fake_sys_live_allocations(void);
size_t fake_sys_live_bytes(void); /* that were asked for, as far as the allocator can tell */
int fake_sys_open_descriptors(void);

/* Puts something that cannot do its work behind a descriptor, an epoll's say; and the
 * right thing back.  One at a time. */
void fake_sys_break(int fd);
void fake_sys_mend(int fd);

/* sys_now_ms is that much later from now on; timers that are due run in the next turn. */
void fake_sys_advance(uint64_t ms);

#endif
