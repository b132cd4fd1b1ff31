/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an operation costs: time, and what the disk gets until it returns.
 */
#ifndef SELFTESTS_COST_H
#define SELFTESTS_COST_H

struct cost {
	double	writes;		/* requests; an empty flush counts as one */
	double	sectors;	/* of 512 bytes, written */
	double	flushes;
	double	ms;
};

/* What the disk @device, as /dev/vdb, has got up to now, and the clock. */
struct cost read_cost(const char *device);
struct cost cost_since(const struct cost *before, const char *device);
/* Member by member. */
struct cost median_cost(const struct cost *costs, unsigned int count);

#endif /* SELFTESTS_COST_H */
