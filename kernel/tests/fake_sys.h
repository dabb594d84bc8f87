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

long fake_sys_live_allocations(void);
size_t fake_sys_live_bytes(void); /* that were asked for, as far as the allocator can tell */
int fake_sys_open_descriptors(void);

/* sys_now_ms is that much later from now on; timers that are due run in the next turn. */
void fake_sys_advance(uint64_t ms);

#endif
