// SPDX-License-Identifier: GPL-2.0
/*
 * bench_commit MOUNTPOINT [FORMS [RMAPBT [EXCHANGE]]]: what durable commits cost, each way by
 * turns on files of the same form, on a file system like that of MOUNTPOINT on $SCRATCH_DEV1.
 *
 * A commit is of 1 to 256 pages, scattered over a file of 64 MiB that has an extent a page
 * (FORMS has "fragmented") or is of one (it has "fresh"); other pages each time.
 *
 *	slots		the pages are written to a staging file that has a place for each, and
 *			change places with those of the file: one vector with DSYNC.  The next
 *			commit overwrites what came back
 *	fsync alone	the same without an exchange: what a commit cannot do without
 *	double write	all pages to a log, fdatasync, each to its place, fdatasync
 *	new staging	a new, sparse staging file, which is exchanged for the file with
 *			FILE1_WRITTEN and DSYNC: in one transaction
 *	XFS's own	the same with XFS's own ioctl, where the file system has it
 *	in place	on btrfs: the pages to their places, fdatasync; a crash leaves some of them
 *
 * Each cell has medians: write requests, KiB, flushes, and the time, or instructions
 * (`selftests/guest/run --icount`).  The KiB are those until the commit is durable; on XFS with those
 * of a sync after it, since XFS's own ioctl leaves most of its chain of transactions to that.
 * What follows: of slots, the KiB in those of a double write; the time above the fsync alone,
 * for a page; and how many extents of data XFS has allocated and freed in all commits, by its
 * own counters.
 *
 * Then whole files of many extents (FORMS has "whole"), with TO_EOF and DSYNC.
 *
 * Before each line all is written back and mounted anew: XFS logs a block with all that has
 * changed since it was written back; with $BENCH_MOUNT_OPTIONS, if set.  RMAPBT, EXCHANGE: "0",
 * "1", or "10" for both.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "cost.h"

#define ROUNDS		5
#define PAGES		(64u * 1024 * 1024 / BLOCK)
#define STRIDE		8
#define MOST		256

enum { SLOTS, FSYNC_ALONE, DOUBLE_WRITE, NEW_STAGING, XFS_OWN, IN_PLACE, WAYS };

static const char * const names[WAYS] = {
	"slots", "fsync alone", "double write", "new staging", "XFS's own",
	"in place",
};

static const unsigned int page_counts[] = { 1, 4, 16, 64, MOST };
static const unsigned int extent_counts[] = { 1000, 10000 };

/* The file system has XFS's own ioctl. */
static bool has_own;

/* What a way commits to: each has its own, since what one logs the next would log again. */
struct files {
	int		target, staging, log;
	unsigned int	order[PAGES];		/* of the pages, at random */
	unsigned int	next;			/* in order */
};

static const char *disk(void)
{
	return getenv("SCRATCH_DEV1");
}

static bool is_there(int way)
{
	if (way == IN_PLACE)
		return is_btrfs();
	return way != XFS_OWN || has_own;
}

static void prefer_transaction(bool yes)
{
	assert_int_equal(run("echo %c >/sys/module/exchrange/parameters/xfs_transaction_first",
			     yes ? 'Y' : 'N'), 0);
}

static void write_page(int fd, unsigned int page)
{
	static uint8_t bytes[BLOCK];

	/* Not the same twice. */
	bytes[page % BLOCK]++;
	if (pwrite(fd, bytes, BLOCK, (off_t)page * BLOCK) != BLOCK)
		err(1, "pwrite");
}

static int open_new(const char *name, unsigned int pages)
{
	int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)pages * BLOCK))
		err(1, "%s", name);
	return fd;
}

static void write_every(int fd, unsigned int first, unsigned int stride,
			unsigned int pages)
{
	unsigned int i;

	for (i = first; i < pages; i += stride)
		write_page(fd, i);
	if (fsync(fd))
		err(1, "fsync");
}

/* What lies side by side in the files was not allocated side by side. */
static void write_fragmented(const int *fds, unsigned int count, unsigned int pages)
{
	unsigned int first, i;

	for (first = 0; first < STRIDE; first++)
		for (i = 0; i < count; i++)
			write_every(fds[i], first, STRIDE, pages);
	for (i = 0; i < count; i++)
		if (count_extents(fds[i]) < pages / 10 * 9)
			errx(1, "%u extents of %u", count_extents(fds[i]), pages);
}

/* --- what XFS allocates --------------------------------------------------------------- */

struct allocations {
	double	allocated, freed;	/* extents of data */
};

/*
 * Blocks of block maps are allocated and freed like data, and counted as theirs, too.  All of
 * the mount's files.
 */
static struct allocations read_allocations(void)
{
	double extents[4] = { 0 }, map[15] = { 0 };
	char path[64], name[32];
	double *values;
	FILE *file;
	int i;

	snprintf(path, sizeof(path), "/sys/fs/xfs/%s/stats/stats", strrchr(disk(), '/') + 1);
	file = fopen(path, "re");
	if (!file)
		err(1, "%s", path);
	while (fscanf(file, "%31s", name) == 1) {
		values = !strcmp(name, "extent_alloc") ? extents :
			 !strcmp(name, "bmbt2") ? map : NULL;
		for (i = 0; values && i < (values == map ? 15 : 4); i++)
			if (fscanf(file, "%lf", &values[i]) != 1)
				errx(1, "%s: fewer numbers than Linux has", path);
	}
	fclose(file);
	return (struct allocations) {
		.allocated	= extents[0] - map[12],
		.freed		= extents[2] - map[13],
	};
}

/* --- scattered pages ------------------------------------------------------------------ */

static void shuffle(struct files *files)
{
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		files->order[i] = i;
	for (i = PAGES - 1; i > 0; i--) {
		unsigned int other = rand() % (i + 1), page = files->order[i];

		files->order[i] = files->order[other];
		files->order[other] = page;
	}
	files->next = 0;
}

static void mount_anew(void)
{
	assert_int_equal(run("umount " SCRATCH " && mount -o ${BENCH_MOUNT_OPTIONS:-defaults} $SCRATCH_DEV1 " SCRATCH), 0);
}

/* A way's own file; good until sixteen more were asked for. */
static const char *path_for(const char *what, int way)
{
	char name[32];

	snprintf(name, sizeof(name), "%s%d", what, way);
	return path_of(name);
}

static void make_target(int way, bool fragmented)
{
	int target = open(path_for("target", way), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (target < 0 || ftruncate(target, (off_t)PAGES * BLOCK))
		err(1, "target");
	if (fragmented)
		write_fragmented(&target, 1, PAGES);
	else
		write_every(target, 0, 1, PAGES);
	close(target);
}

static void make_targets(bool fragmented)
{
	static const struct file_spec log = { SHAPE_PLAIN, (MOST + 1) * BLOCK };
	int way;

	for (way = 0; way < WAYS; way++)
		if (is_there(way))
			make_target(way, fragmented);
	close(make_file("log", log, 1));
}

/* Slots are there; what is new each time is sparse, and as large as the file. */
static void make_stagings(struct files *files, unsigned int count)
{
	int way;

	for (way = 0; way < WAYS; way++) {
		bool slots = way == SLOTS || way == FSYNC_ALONE;
		unsigned int pages = slots ? count : PAGES;
		int fd = open(path_for("staging", way),
			      O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		if (fd < 0 || ftruncate(fd, (off_t)pages * BLOCK))
			err(1, "staging");
		if (slots)
			write_every(fd, 0, 1, pages);
		close(fd);
		shuffle(&files[way]);
	}
}

static void open_files(struct files *files)
{
	int way;

	mount_anew();
	for (way = 0; way < WAYS; way++) {
		if (!is_there(way))
			continue;
		files[way].target = open_path(path_for("target", way), O_RDWR);
		files[way].staging = open_path(path_for("staging", way), O_RDWR);
		files[way].log = open_path(path_of("log"), O_RDWR);
	}
}

static void close_files(const struct files *files)
{
	int way;

	for (way = 0; way < WAYS; way++) {
		if (!is_there(way))
			continue;
		close(files[way].target);
		close(files[way].log);
		close(files[way].staging);
	}
}

static void write_in_place(const struct files *files, const unsigned int *pages,
			   unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		write_page(files->target, pages[i]);
	if (fdatasync(files->target))
		err(1, "fdatasync");
}

static void double_write(const struct files *files, const unsigned int *pages,
			 unsigned int count)
{
	unsigned int i;

	/* A page that says where the others belong. */
	for (i = 0; i <= count; i++)
		write_page(files->log, i);
	if (fdatasync(files->log))
		err(1, "fdatasync");
	write_in_place(files, pages, count);
}

static void exchange_slots(const struct files *files, const unsigned int *pages,
			   unsigned int count)
{
	struct exchrange_pair pairs[MOST] = { };
	struct exchrange_vector vector = {
		.pairs		= (uintptr_t)pairs,
		.count		= count,
		.pair_size	= sizeof(pairs[0]),
		.flags		= EXCHRANGE_DSYNC,
	};
	unsigned int i;

	for (i = 0; i < count; i++)
		pairs[i] = (struct exchrange_pair) {
			.file1_fd	= files->staging,
			.file2_fd	= files->target,
			.file1_offset	= (uint64_t)i * BLOCK,
			.file2_offset	= (uint64_t)pages[i] * BLOCK,
			.length		= BLOCK,
		};
	if (exchrange_exchange_vector(device, &vector))
		err(1, "pair %u", vector.refused);
}

static void commit_by_slots(const struct files *files, const unsigned int *pages,
			    unsigned int count, bool exchange)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		write_page(files->staging, i);
	if (exchange)
		exchange_slots(files, pages, count);
	else if (fsync(files->staging))
		err(1, "fsync");
}

static void commit_by_new_staging(const struct files *files, const unsigned int *pages,
				  unsigned int count, int way)
{
	struct exchrange_range range = {
		.file1_fd	= files->staging,
		.file2_fd	= files->target,
		.length		= (uint64_t)PAGES * BLOCK,
		.flags		= EXCHRANGE_FILE1_WRITTEN | EXCHRANGE_DSYNC,
	};
	unsigned int i;
	int error;

	for (i = 0; i < count; i++)
		write_page(files->staging, pages[i]);
	error = way == NEW_STAGING ? device_exchange(&range) : xfs_exchange(&range);
	if (error)
		errx(1, "exchange: %s", strerror(error));
}

static void commit(const struct files *files, const unsigned int *pages, unsigned int count,
		   int way, bool first)
{
	switch (way) {
	case SLOTS:
		commit_by_slots(files, pages, count, true);
		break;
	case FSYNC_ALONE:
		/* The first one has it write where slots are. */
		commit_by_slots(files, pages, count, first);
		break;
	case DOUBLE_WRITE:
		double_write(files, pages, count);
		break;
	case IN_PLACE:
		write_in_place(files, pages, count);
		break;
	default:
		commit_by_new_staging(files, pages, count, way);
	}
}

/* What is in the log's buffer still counts, but for the time; btrfs's log has no buffer. */
static struct cost cost_of(const struct cost *before, int fd)
{
	struct cost cost = cost_since(before, disk()), all;

	if (syncfs(fd))
		err(1, "syncfs");
	all = cost_since(before, disk());
	if (!is_btrfs())
		cost.sectors = all.sectors;
	return cost;
}

static struct cost commit_pages(struct files *files, unsigned int count, int way, bool first)
{
	const unsigned int *pages = &files->order[files->next];
	struct cost before;

	files->next += count;
	if (way == NEW_STAGING || way == XFS_OWN)
		if (ftruncate(files->staging, 0) ||
		    ftruncate(files->staging, (off_t)PAGES * BLOCK))
			err(1, "ftruncate");
	if (syncfs(files->target))
		err(1, "syncfs");
	before = read_cost(disk());
	commit(files, pages, count, way, first);
	return cost_of(&before, files->target);
}

static void print_header(void)
{
	int way;

	printf("\nEach cell: writes, KiB, flushes, %s.\n\n| file system | pages |", cost_unit());
	for (way = 0; way < WAYS; way++)
		if (is_there(way))
			printf(" %s |", names[way]);
	printf(" KiB of a double write's | %s a page above the fsync |",
	       counts_instructions() ? "instructions" : "ns");
	if (!is_btrfs())
		printf(" extents of data: allocated, freed |");
	printf("\n|%s", is_btrfs() ? " --- |" : " --- | --- |");
	for (way = 0; way < WAYS + 3; way++)
		if (way >= WAYS || is_there(way))
			printf(" --- |");
	putchar('\n');
}

static void print_cell(const struct cost *cost)
{
	printf(" %.0f, %.0f, %.0f, %.3g |", cost->writes, cost->sectors / 2, cost->flushes,
	       cost->ms);
}

static void print_line(const char *form, unsigned int count, struct cost costs[WAYS][ROUNDS],
		       const struct allocations *allocations)
{
	struct cost middle[WAYS] = { };
	int way;

	printf("| %s | %u |", form, count);
	for (way = 0; way < WAYS; way++) {
		if (!is_there(way))
			continue;
		middle[way] = median_cost(costs[way], ROUNDS);
		print_cell(&middle[way]);
	}
	printf(" %.2f | %.0f |", middle[SLOTS].sectors / middle[DOUBLE_WRITE].sectors,
	       (middle[SLOTS].ms - middle[FSYNC_ALONE].ms) * 1e6 / count);
	if (!is_btrfs())
		printf(" %.0f, %.0f |", allocations->allocated, allocations->freed);
	putchar('\n');
	fflush(stdout);
}

/* A commit more of @way; of slots, what XFS allocates is added to @allocations. */
static struct cost commit_and_count(struct files *files, unsigned int count, int way,
				    struct allocations *allocations)
{
	struct allocations before, after;
	struct cost cost;

	if (way != SLOTS || is_btrfs())
		return commit_pages(files, count, way, false);
	before = read_allocations();
	cost = commit_pages(files, count, way, false);
	after = read_allocations();
	allocations->allocated += after.allocated - before.allocated;
	allocations->freed += after.freed - before.freed;
	return cost;
}

/*
 * A database's staging file has no name.  On btrfs that matters, once it is committed: what is
 * gone after a crash need not be logged.
 */
static void take_names(void)
{
	if (is_btrfs() && (unlink(path_for("staging", SLOTS)) ||
			   unlink(path_for("staging", NEW_STAGING)) || run("sync")))
		err(1, "staging");
}

static void measure_pages(struct files *files, const char *form, unsigned int count)
{
	struct allocations allocations = { };
	struct cost costs[WAYS][ROUNDS];
	int round, way;

	make_stagings(files, count);
	open_files(files);
	for (way = 0; way < WAYS; way++)
		if (is_there(way))
			commit_pages(&files[way], count, way, true);
	close_files(files);
	open_files(files);
	take_names();
	for (round = 0; round < ROUNDS; round++)
		for (way = 0; way < WAYS; way++)
			if (is_there(way))
				costs[way][round] = commit_and_count(&files[way], count, way,
								     &allocations);
	close_files(files);
	print_line(form, count, costs, &allocations);
}

static void measure_target(const char *name, bool fragmented)
{
	static struct files files[WAYS];
	char form[64];
	unsigned int i;

	snprintf(form, sizeof(form), "%s, %s", name, fragmented ? "fragmented" : "fresh");
	for (i = 0; i < COUNT(page_counts); i++) {
		/* What is fragmented stays so. */
		if (i == 0 || !fragmented)
			make_targets(fragmented);
		measure_pages(files, form, page_counts[i]);
	}
}

/* --- whole files ---------------------------------------------------------------------- */

static struct cost exchange_whole(const int fds[2], int way)
{
	struct exchrange_range range = {
		.file1_fd	= fds[0],
		.file2_fd	= fds[1],
		.flags		= EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC,
	};
	struct cost before;
	int error;

	if (syncfs(fds[0]))
		err(1, "syncfs");
	before = read_cost(disk());
	error = way == XFS_OWN ? xfs_exchange(&range) : device_exchange(&range);
	if (error)
		errx(1, "exchange: %s", strerror(error));
	return cost_of(&before, fds[0]);
}

static void measure_whole(const char *name, unsigned int extents)
{
	int fds[2] = { open_new("first", extents), open_new("second", extents) };
	const int rounds = 3;
	struct cost ours[ROUNDS], its[ROUNDS], middle;
	int round;

	write_fragmented(fds, 2, extents);
	close(fds[0]);
	close(fds[1]);
	mount_anew();
	fds[0] = open_path(path_of("first"), O_RDWR);
	fds[1] = open_path(path_of("second"), O_RDWR);
	for (round = 0; round < rounds; round++) {
		ours[round] = exchange_whole(fds, SLOTS);
		if (has_own)
			its[round] = exchange_whole(fds, XFS_OWN);
	}
	close(fds[0]);
	close(fds[1]);
	middle = median_cost(ours, rounds);
	printf("| %s | %u |", name, extents);
	print_cell(&middle);
	printf(" %.0f |", middle.ms * 1e6 / (2.0 * extents));
	if (has_own) {
		middle = median_cost(its, rounds);
		print_cell(&middle);
		printf(" %.0f |", middle.ms * 1e6 / (2.0 * extents));
	}
	putchar('\n');
	fflush(stdout);
}

static void measure_all_whole(const char *name)
{
	size_t i;

	printf("\n| file system | extents of each file | whole files | %s an extent of both |%s\n",
	       counts_instructions() ? "instructions" : "ns",
	       has_own ? " XFS's own | the same |" : "");
	printf("| --- | --- | --- | --- |%s\n", has_own ? " --- | --- |" : "");
	for (i = 0; i < COUNT(extent_counts); i++)
		measure_whole(name, extent_counts[i]);
}

static void measure(const char *name, const char *mkfs, const char *forms)
{
	enter_scratch(mkfs, "defaults");
	if (strstr(forms, "whole"))
		measure_all_whole(name);
	if (strstr(forms, "fragmented") || strstr(forms, "fresh"))
		print_header();
	if (strstr(forms, "fragmented"))
		measure_target(name, true);
	if (strstr(forms, "fresh"))
		measure_target(name, false);
	leave_scratch();
}

static void measure_xfs(const char *forms, char rmapbt, char exchange)
{
	char name[64], mkfs[128];

	has_own = exchange == '1';
	snprintf(name, sizeof(name), "XFS, rmapbt=%c, exchange=%c", rmapbt, exchange);
	snprintf(mkfs, sizeof(mkfs), "mkfs.xfs -q -f -i exchange=%c -m rmapbt=%c", exchange,
		 rmapbt);
	measure(name, mkfs, forms);
}

int main(int argc, char **argv)
{
	const char *forms = argc > 2 ? argv[2] : "whole fragmented fresh";
	const char *rmapbt = argc > 3 ? argv[3] : "10";
	const char *exchange;

	start(2, argv);
	if (is_btrfs()) {
		measure("btrfs", "mkfs.btrfs -q -f", forms);
		return 0;
	}
	prefer_transaction(true);
	for (; *rmapbt; rmapbt++)
		for (exchange = argc > 4 ? argv[4] : "1"; *exchange; exchange++)
			measure_xfs(forms, *rmapbt, *exchange);
	prefer_transaction(false);
	return 0;
}
