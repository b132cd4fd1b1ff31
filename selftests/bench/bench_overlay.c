// SPDX-License-Identifier: GPL-2.0
/*
 * What an exchange costs through overlayfs, over the same exchange in the upper layer: by turns in
 * small batches, as bench_ioctl.  What the disk gets is that of durable exchanges.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "cost.h"

#define BATCHES	50
#define BATCH	20
#define GOAL	1.05

enum side { BELOW, OVERLAY, SIDES };

static const char * const folders[SIDES] = { "upper", "merged" };

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values)
{
	qsort(values, BATCHES, sizeof(*values), compare);
	return (values[BATCHES / 2 - 1] + values[BATCHES / 2]) / 2;
}

static struct exchrange_range open_pair(enum side side, uint64_t flags)
{
	static char content[64 * 1024];
	struct exchrange_range range = { .length = sizeof(content), .flags = flags };
	int *fds[] = { &range.file1_fd, &range.file2_fd }, i;
	char path[256];

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/bench_overlay/%s/%d%d", mount_point, folders[side],
			 side, i);
		memset(content, 'a' + i, sizeof(content));
		*fds[i] = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (*fds[i] < 0 || write(*fds[i], content, sizeof(content)) != sizeof(content) ||
		    fsync(*fds[i])) {
			perror(path);
			exit(1);
		}
	}
	return range;
}

static void exchange(const struct exchrange_range *range)
{
	int error = device_exchange(range);

	if (error) {
		fprintf(stderr, "exchange: %s\n", strerror(error));
		exit(1);
	}
}

/* Thousands of instructions, or microseconds, of a call. */
static double time_batch(const struct exchrange_range *range)
{
	struct moment begin = read_clock();
	int i;

	for (i = 0; i < BATCH; i++)
		exchange(range);
	return spent_since(&begin) / 1e3 / BATCH;
}

static void measure_time(const char *name, uint64_t flags)
{
	static double times[SIDES][BATCHES], ratios[BATCHES];
	struct exchrange_range ranges[SIDES];
	int side, i;

	for (side = 0; side < SIDES; side++)
		ranges[side] = open_pair(side, flags);
	for (i = 0; i < BATCHES; i++) {
		for (side = 0; side < SIDES; side++)
			times[side ^ (i & 1)][i] = time_batch(&ranges[side ^ (i & 1)]);
		ratios[i] = times[OVERLAY][i] / times[BELOW][i];
	}
	printf("%-28s overlay %9.2f %s, below %9.2f, ratio %.3f (goal: at most %.2f)\n", name,
	       median(times[OVERLAY]), counts_instructions() ? "k instructions" : "us",
	       median(times[BELOW]), median(ratios), GOAL);
	for (side = 0; side < SIDES; side++) {
		close(ranges[side].file1_fd);
		close(ranges[side].file2_fd);
	}
}

static void measure_writes(const char *disk)
{
	int side, i;

	for (side = 0; side < SIDES; side++) {
		struct exchrange_range range = open_pair(side, EXCHRANGE_DSYNC);
		struct cost before, cost;

		sync();
		before = read_cost(disk);
		for (i = 0; i < BATCH; i++)
			exchange(&range);
		cost = cost_since(&before, disk);
		printf("durable, %-8s %6.2f writes, %6.2f sectors, %6.2f flushes\n", folders[side],
		       cost.writes / BATCH, cost.sectors / BATCH, cost.flushes / BATCH);
		close(range.file1_fd);
		close(range.file2_fd);
	}
}

int main(int argc, char **argv)
{
	start(argc, argv);
	if (run("modprobe overlay; mkdir -p %s/bench_overlay && cd %s/bench_overlay && mkdir -p lower upper work merged"
		" && mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged",
		mount_point, mount_point))
		return 4;
	measure_time("exchange of one extent", 0);
	measure_time("the same with TO_EOF", EXCHRANGE_TO_EOF);
	measure_time("dry run", EXCHRANGE_DRY_RUN);
	measure_time("durable", EXCHRANGE_DSYNC);
	measure_writes(getenv(is_btrfs() ? "BTRFS_DEV" : "XFS_DEV"));
	run("umount %s/bench_overlay/merged", mount_point);
	return 0;
}
