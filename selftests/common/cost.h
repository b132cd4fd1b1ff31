/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an operation costs: time, and what the disk gets until it returns.  In a guest of
 * `selftests/guest/run --icount` a nanosecond is an instruction, of whatever the kernel and
 * the programs do meanwhile; that the processor sleeps, waiting for the disk, does not count.
 */
#ifndef SELFTESTS_COST_H
#define SELFTESTS_COST_H

#include <stdbool.h>

bool counts_instructions(void);

/* The clock, and how long the processor has slept: 0 where that is not counted.  Nanoseconds. */
struct moment {
	double	clock;
	double	slept;
};

struct moment read_clock(void);
/* Nanoseconds, or instructions. */
double spent_since(const struct moment *begin);

struct cost {
	double	writes;		/* requests; where instructions are counted, with data */
	double	sectors;	/* of 512 bytes, written */
	double	flushes;
	double	ms;		/* or millions of instructions */
	struct moment begin;	/* of read_cost() */
};

/* What the disk @device, as /dev/vdb, has got up to now, and the clock. */
struct cost read_cost(const char *device);
struct cost cost_since(const struct cost *before, const char *device);
/* Member by member. */
struct cost median_cost(const struct cost *costs, unsigned int count);

/* For a line that says ms: what they are. */
const char *cost_unit(void);

#endif /* SELFTESTS_COST_H */
