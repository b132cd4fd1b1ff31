// SPDX-License-Identifier: GPL-2.0
/*
 * What the device costs over XFS's own ioctl: the same calls both ways, by turns in
 * small batches, so that whatever else the machine does falls on both alike.
 * Prints the medians over the batches, and the median of the ratios of the two
 * batches that ran next to each other; the device's alone where XFS's is not there.
 * Where instructions are counted, fewer calls will do.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "cost.h"

#define FEWER	20

typedef int exchange_function(const struct exchrange_range *range);

/* The file system has XFS's own ioctl. */
static bool has_own;

struct plan {
	const char	*name;
	unsigned int	calls;		/* of each way, in all */
	unsigned int	batch;		/* calls in a row */
	double		goal;		/* at most */
};

/* Microseconds of a call, or thousands of instructions, over one batch. */
static double time_batch(exchange_function *exchange,
			 const struct exchrange_range *range, unsigned int batch)
{
	struct moment begin = read_clock();
	unsigned int i;

	for (i = 0; i < batch; i++) {
		int error = exchange(range);

		if (error) {
			fprintf(stderr, "exchange: %s\n", strerror(error));
			exit(1);
		}
	}
	return spent_since(&begin) / 1e3 / batch;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned int count)
{
	qsort(values, count, sizeof(*values), compare);
	return count % 2 ? values[count / 2] :
	       (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* By turns: who goes first changes too. */
static void time_both(const struct exchrange_range *range, unsigned int batch, bool its_first,
		      double *ours, double *its)
{
	if (its_first)
		*its = time_batch(xfs_exchange, range, batch);
	*ours = time_batch(device_exchange, range, batch);
	if (!its_first)
		*its = time_batch(xfs_exchange, range, batch);
}

static void print_result(const struct plan *plan, double ours, double its, double ratio)
{
	const char *unit = counts_instructions() ? "k instructions" : "us";

	printf("%-24s device %10.2f %s", plan->name, ours, unit);
	if (has_own)
		printf(", XFS %10.2f, ratio %.3f", its, ratio);
	if (has_own && plan->goal > 0)
		printf(" (goal: at most %.2f)", plan->goal);
	putchar('\n');
	fflush(stdout);
}

static void measure(const struct plan *plan, const struct exchrange_range *range)
{
	unsigned int calls = plan->calls / (counts_instructions() ? FEWER : 1);
	unsigned int batches = calls / plan->batch, i;
	double *ours = calloc(batches, sizeof(*ours));
	double *its = calloc(batches, sizeof(*its));
	double *ratios = calloc(batches, sizeof(*ratios));

	if (!ours || !its || !ratios)
		exit(1);
	for (i = 0; i < batches; i++) {
		if (has_own)
			time_both(range, plan->batch, i % 2, &ours[i], &its[i]);
		else
			ours[i] = time_batch(device_exchange, range, plan->batch);
		ratios[i] = ours[i] / its[i];
	}
	print_result(plan, median(ours, batches), median(its, batches),
		     median(ratios, batches));
	free(ours);
	free(its);
	free(ratios);
}

int main(int argc, char **argv)
{
	static const struct plan dry_run = {
		"dry run", 100000, 100, 1.10,
	};
	static const struct plan one_extent = {
		"exchange of one extent", 20000, 10, 1.02,
	};
	/* It takes what keeps a crash from cutting a file besides. */
	static const struct plan to_eof = {
		"the same with TO_EOF", 20000, 10,
	};
	static const struct file_spec plain = { SHAPE_PLAIN, 64 * 1024 };
	struct exchrange_range range = { .length = 64 * 1024 };

	start(argc, argv);
	range.file1_fd = make_file("bench1", plain, 1);
	range.file2_fd = make_file("bench2", plain, 2);

	range.flags = EXCHRANGE_DRY_RUN;
	has_own = !is_btrfs() && !xfs_exchange(&range);
	measure(&dry_run, &range);
	range.flags = 0;
	measure(&one_extent, &range);
	range.flags = EXCHRANGE_TO_EOF;
	measure(&to_eof, &range);
	return 0;
}
