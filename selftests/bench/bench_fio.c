// SPDX-License-Identifier: GPL-2.0
/*
 * bench_fio MOUNTPOINT MICROSECONDS: batches of random pages by fio, with tools/fio, in place, and by a double
 * write, on a disk of which each request takes so long (slow_disk.h), with a file system like that
 * of MOUNTPOINT.  fio and its engine are in $FIO_PLACE, or in /share.
 *
 *	exchrange	a vector for each batch
 *	double write	a batch is written one after the other to a file of its own, and synced; then
 *			its pages are written in place, and synced: what a database does that
 *			must not tear a page
 *	in place	written and synced: pages of a batch may be there after a crash without the others
 *
 * All replay the same list of writes.  A line has for each batch the write requests, KiB and flushes, and how
 * many times as many batches a second ours makes, by fio's own time.
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "cost.h"
#include "slow_disk.h"

#define PAGES	2048u		/* of the file */
#define LIST	"/tmp/bench.iolog"
#define OUTPUT	"/tmp/bench.json"

struct manner {
	const char	*name;
	const char	*engine;
	bool		twice;
};

static const struct manner ways[] = {
	{ "exchrange",		"external:./exchrange.so" },
	{ "double write",	"psync", true },
	{ "in place",		"psync" },
};

struct batch {
	unsigned int	page;		/* bytes */
	unsigned int	pages;
	unsigned int	count;		/* of batches */
};

static const struct batch batches[] = {
	{ 4096, 1, 200 }, { 4096, 16, 100 }, { 4096, 64, 50 },
	{ 16384, 1, 200 }, { 16384, 16, 100 }, { 16384, 64, 50 },
};

struct result {
	double		ms;		/* each batch */
	struct cost	cost;		/* of all */
};

static const char *place;
static unsigned int disk_us;

/* Pages of a file, all written and on the disk. */
static void make_pages(const char *path, uint64_t size)
{
	assert_int_equal(run("head -c %" PRIu64 " /dev/zero >%s && sync %s", size, path, path), 0);
}

static void list_write(FILE *list, const char *path, uint64_t page, unsigned int size)
{
	fprintf(list, "%s write %" PRIu64 " %u\n", path, page * size, size);
}

/* @pages different ones of PAGES. */
static void list_batch(FILE *list, const struct batch *batch, const struct manner *way,
		       const char *file, const char *twice)
{
	bool chosen[PAGES] = { };
	unsigned int pages[PAGES], i;

	for (i = 0; i < batch->pages; i++) {
		do
			pages[i] = rand() % PAGES;
		while (chosen[pages[i]]);
		chosen[pages[i]] = true;
	}
	for (i = 0; i < batch->pages && way->twice; i++)
		list_write(list, twice, i, batch->page);
	if (way->twice)
		fprintf(list, "%s datasync 0 0\n", twice);
	for (i = 0; i < batch->pages; i++)
		list_write(list, file, pages[i], batch->page);
	fprintf(list, "%s datasync 0 0\n", file);
}

static void list_writes(const struct batch *batch, const struct manner *way, const char *file,
			const char *twice)
{
	FILE *list = fopen(LIST, "w");
	unsigned int i;

	assert_non_null(list);
	fprintf(list, "fio version 2 iolog\n%s add\n%s open\n", file, file);
	if (way->twice)
		fprintf(list, "%s add\n%s open\n", twice, twice);
	srand(1);
	for (i = 0; i < batch->count; i++)
		list_batch(list, batch, way, file, twice);
	fprintf(list, "%s close\n", file);
	if (way->twice)
		fprintf(list, "%s close\n", twice);
	assert_int_equal(fclose(list), 0);
}

/* Of the job, as fio prints it. */
static double read_runtime(void)
{
	struct outcome outcome = run_and_keep("sed -n 's/.*\"job_runtime\" : \\([0-9]*\\),.*/\\1/p' " OUTPUT);
	double ms = strtod(outcome.out, NULL);

	drop_outcome(&outcome);
	if (ms <= 0)
		errx(1, OUTPUT ": fio has no time");
	return ms;
}

static struct result measure_way(const struct batch *batch, const struct manner *way)
{
	const char *file = path_of("pages"), *twice = path_of("twice");
	struct result result;
	struct cost before;

	make_pages(file, (uint64_t)PAGES * batch->page);
	make_pages(twice, (uint64_t)batch->pages * batch->page);
	list_writes(batch, way, file, twice);
	assert_int_equal(run("sync; cd %s && ./fio --version >/dev/null", place), 0);
	before = read_cost(SLOW_DISK);
	assert_int_equal(run("cd %s && ./fio --name=batches --ioengine=%s --read_iolog=" LIST
			     " --output-format=json --output=" OUTPUT, place, way->engine), 0);
	result.cost = cost_since(&before, SLOW_DISK);
	result.ms = read_runtime() / batch->count;
	return result;
}

static void print_result(const char *name, const struct batch *batch, const struct manner *way,
			 const struct result *result, const struct result *ours)
{
	printf("| %s | %u µs | %u KiB | %u | %s | %.2f | %.1f | %.1f | %.2f |\n", name, disk_us,
	       batch->page / 1024, batch->pages, way->name, result->ms / ours->ms,
	       result->cost.writes / batch->count, result->cost.sectors / 2 / batch->count,
	       result->cost.flushes / batch->count);
	printf("# %.2f ms each\n", result->ms);
	fflush(stdout);
}

static void measure(const char *name, const char *mkfs)
{
	struct result ours = { }, result;
	unsigned int i, j;

	for (i = 0; i < COUNT(batches); i++) {
		for (j = 0; j < COUNT(ways); j++) {
			make_slow_disk(disk_us);
			enter_scratch(mkfs, "defaults");
			result = measure_way(&batches[i], &ways[j]);
			unmount_scratch();
			remove_slow_disk();
			if (j == 0)
				ours = result;
			print_result(name, &batches[i], &ways[j], &result, &ours);
		}
	}
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: bench_fio MOUNTPOINT MICROSECONDS\n");
		return 2;
	}
	start(2, argv);
	place = getenv("FIO_PLACE") ? getenv("FIO_PLACE") : "/share";
	disk_us = strtoul(argv[2], NULL, 10);
	printf("\n| file system | disk | page | pages of a batch | by | ours makes times as many a second | writes | KiB | flushes |\n");
	printf("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
	if (is_btrfs()) {
		measure("btrfs", "mkfs.btrfs -q -f");
		return 0;
	}
	measure("XFS, exchange=0", "mkfs.xfs -q -f -i exchange=0");
	return 0;
}
