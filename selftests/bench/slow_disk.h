/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A disk of which each request takes as long as any other: a write of any size, a read, a flush, as many
 * at once as there are.  It is a null_blk in memory, with a cache that a flush writes back; a timer
 * completes a request.  It has no FUA: a write that must last is followed by a flush, as on the guest's other
 * disks.  Where reads take 2 ms the kernel would send it one write after the other (wbt_lat_usec): that would be
 * measured, and not what has to wait.  $SCRATCH_DEV1 is that disk then.
 */
#ifndef SELFTESTS_BENCH_SLOW_DISK_H
#define SELFTESTS_BENCH_SLOW_DISK_H

#include <stdlib.h>
#include <unistd.h>

#include "common.h"

#define SLOW_DISK	"/dev/nullb0"

static inline void remove_slow_disk(void)
{
	assert_int_equal(run("echo 0 >/sys/kernel/config/nullb/nullb0/power && rmdir /sys/kernel/config/nullb/nullb0"), 0);
}

static inline void make_slow_disk(unsigned int microseconds)
{
	/* One that a program before this one has left. */
	if (!access(SLOW_DISK, F_OK)) {
		run("umount " SCRATCH);
		remove_slow_disk();
	}
	assert_int_equal(run("modprobe null_blk nr_devices=0 && "
			     "{ mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config; } && "
			     "mkdir /sys/kernel/config/nullb/nullb0 && cd /sys/kernel/config/nullb/nullb0 && "
			     "echo 1024 >size && echo 1 >memory_backed && echo 64 >cache_size && "
			     "echo 2 >irqmode && echo %u >completion_nsec && { test ! -e fua || echo 0 >fua; } && echo 1 >power && "
			     "test \"$(cat completion_nsec irqmode power | tr '\\n' ' ')\" = '%u 2 1 ' && "
			     "grep -q 'write back' /sys/block/nullb0/queue/write_cache && "
			     "grep -qx 0 /sys/block/nullb0/queue/fua && "
			     "{ test ! -e /sys/block/nullb0/queue/wbt_lat_usec || echo 0 >/sys/block/nullb0/queue/wbt_lat_usec; }",
			     microseconds * 1000, microseconds * 1000), 0);
	assert_int_equal(setenv("SCRATCH_DEV1", SLOW_DISK, 1), 0);
}

#endif /* SELFTESTS_BENCH_SLOW_DISK_H */
