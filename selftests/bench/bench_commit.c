// SPDX-License-Identifier: GPL-2.0
/*
 * bench_commit MOUNTPOINT [0|1|10 [FORM]]: durable commits on XFS, each way by turns on files
 * of the same form: one transaction of the module's, XFS's own ioctl, and what a database
 * does without either, a double write (all pages to a log, fdatasync, each to its place,
 * fdatasync).  Without and with an rmapbt; FORM is whole, fragmented or fresh.
 *
 * 1 to 256 pages scattered over a file of 64 MiB, which has an extent a page or is of one.
 * The pages are written to a staging file, and that is exchanged for the file with
 * FILE1_WRITTEN and DSYNC.  The staging file is a new one for each commit, which hits other
 * pages each time, or the one of the commit before, which hit the same.  Beside these, an
 * fsync of the staging file and no exchange: what a commit cannot do without.  Then whole
 * files of many extents, with TO_EOF and DSYNC.
 *
 * Prints medians: the time and the flushes until the commit is durable; the KiB that are
 * written until then and by a sync after it, since XFS's own ioctl leaves most of its chain
 * of transactions to that; and how many times faster than XFS's own the transaction is, and
 * how much of what a double write writes it writes.  Before each line all is written back
 * and mounted anew: XFS logs a block with all that has changed since it was written back.
 * The file systems are on $SCRATCH_DEV1.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "cost.h"

#define ROUNDS		9
#define PAGES		(64u * 1024 * 1024 / BLOCK)
#define STRIDE		8
#define MOST		256

enum { OURS, XFS_OWN, DOUBLE_WRITE, NO_EXCHANGE, WAYS };

static const char * const targets[WAYS] = { "target1", "target2", "target3", "target4" };
static const char * const stagings[WAYS] = {
	"staging1", "staging2", "staging3", "staging4",
};
static const unsigned int page_counts[] = { 1, 4, 16, 64, MOST };
static const unsigned int extent_counts[] = { 1000, 5000, 10000 };

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
	assert_int_equal(run("umount " SCRATCH " && mount $SCRATCH_DEV1 " SCRATCH), 0);
}

static void make_files(bool fragmented)
{
	static const struct file_spec log = { SHAPE_PLAIN, (MOST + 1) * BLOCK };
	int way, target;

	for (way = 0; way < WAYS; way++) {
		target = open_new(targets[way], PAGES);
		if (fragmented)
			write_fragmented(&target, 1, PAGES);
		else
			write_every(target, 0, 1, PAGES);
		close(target);
	}
	close(make_file("log", log, 1));
}

static void open_files(struct files *files)
{
	int way;

	mount_anew();
	for (way = 0; way < WAYS; way++) {
		files[way].target = open_path(path_of(targets[way]), O_RDWR);
		files[way].log = open_path(path_of("log"), O_RDWR);
		files[way].staging = open_path(path_of(stagings[way]), O_RDWR);
	}
}

static void make_stagings(struct files *files)
{
	int way;

	for (way = 0; way < WAYS; way++) {
		close(open_new(stagings[way], PAGES));
		shuffle(&files[way]);
	}
}

static void close_files(const struct files *files)
{
	int way;

	for (way = 0; way < WAYS; way++) {
		close(files[way].target);
		close(files[way].log);
		close(files[way].staging);
	}
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
	for (i = 0; i < count; i++)
		write_page(files->target, pages[i]);
	if (fdatasync(files->target))
		err(1, "fdatasync");
}

static void write_and_exchange(const struct files *files, const unsigned int *pages,
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
	if (way == NO_EXCHANGE) {
		if (fsync(files->staging))
			err(1, "fsync");
		return;
	}
	error = way == OURS ? device_exchange(&range) : xfs_exchange(&range);
	if (error)
		errx(1, "exchange: %s", strerror(error));
}

/* What is in the log's buffer still counts, but for the time. */
static struct cost cost_of(const struct cost *before, int fd)
{
	struct cost cost = cost_since(before, disk()), all;

	if (syncfs(fd))
		err(1, "syncfs");
	all = cost_since(before, disk());
	cost.sectors = all.sectors;
	return cost;
}

static struct cost commit_pages(struct files *files, unsigned int count, int way,
				bool reused)
{
	const unsigned int *pages = &files->order[files->next];
	struct cost before;

	if (!reused) {
		files->next += count;
		if (ftruncate(files->staging, 0) ||
		    ftruncate(files->staging, (off_t)PAGES * BLOCK))
			err(1, "ftruncate");
	}
	if (syncfs(files->target))
		err(1, "syncfs");
	before = read_cost(disk());
	if (way == DOUBLE_WRITE)
		double_write(files, pages, count);
	else
		write_and_exchange(files, pages, count, way);
	return cost_of(&before, files->target);
}

static void print_costs(const char *what, struct cost costs[WAYS][ROUNDS],
			unsigned int rounds, int ways)
{
	static const char * const names[] = {
		"transaction", "XFS's own", "double write", "fsync alone",
	};
	struct cost middle[WAYS] = { };
	int way;

	printf("%s:", what);
	for (way = 0; way < ways; way++) {
		middle[way] = median_cost(costs[way], rounds);
		printf(" %s %.1f ms %.0f KiB %.0f flushes,", names[way],
		       middle[way].ms, middle[way].sectors / 2,
		       middle[way].flushes);
	}
	printf(" %.1f times faster than XFS's own", middle[XFS_OWN].ms / middle[OURS].ms);
	if (ways == WAYS)
		printf(" and %.1f at most, %.2f of a double write's KiB",
		       middle[XFS_OWN].ms / middle[NO_EXCHANGE].ms,
		       middle[OURS].sectors / middle[DOUBLE_WRITE].sectors);
	putchar('\n');
	fflush(stdout);
}

static void measure_pages(struct files *files, const char *form, unsigned int count,
			  bool reused)
{
	struct cost costs[WAYS][ROUNDS];
	char what[128];
	int round, way;

	make_stagings(files);
	open_files(files);
	if (reused) {
		/* The first one writes its pages for the first time. */
		for (way = 0; way < WAYS; way++)
			commit_pages(&files[way], count, way, reused);
		close_files(files);
		open_files(files);
	}
	for (round = 0; round < ROUNDS; round++)
		for (way = 0; way < WAYS; way++)
			costs[way][round] = commit_pages(&files[way], count, way,
							 reused);
	close_files(files);
	snprintf(what, sizeof(what), "%s, %s, %u pages", form,
		 reused ? "reused staging" : "new staging", count);
	print_costs(what, costs, ROUNDS, WAYS);
}

static void measure_target(int rmapbt, bool fragmented)
{
	static struct files files[WAYS];
	char form[64];
	unsigned int i;

	snprintf(form, sizeof(form), "rmapbt=%d, %s", rmapbt,
		 fragmented ? "fragmented" : "fresh");
	for (i = 0; i < 2 * COUNT(page_counts); i++) {
		/* What is fragmented stays so. */
		if (i == 0 || !fragmented)
			make_files(fragmented);
		measure_pages(files, form, page_counts[i / 2], i % 2);
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
	error = way == OURS ? device_exchange(&range) : xfs_exchange(&range);
	if (error)
		errx(1, "exchange: %s", strerror(error));
	return cost_of(&before, fds[0]);
}

static void measure_whole(int rmapbt, unsigned int extents)
{
	int fds[2] = { open_new("first", extents), open_new("second", extents) };
	const int rounds = 3;
	struct cost costs[WAYS][ROUNDS];
	char what[128];
	int round, way;

	write_fragmented(fds, 2, extents);
	close(fds[0]);
	close(fds[1]);
	mount_anew();
	fds[0] = open_path(path_of("first"), O_RDWR);
	fds[1] = open_path(path_of("second"), O_RDWR);
	for (round = 0; round < rounds; round++)
		for (way = 0; way < DOUBLE_WRITE; way++)
			costs[way][round] = exchange_whole(fds, way);
	snprintf(what, sizeof(what), "rmapbt=%d, whole files of %u extents", rmapbt,
		 extents);
	print_costs(what, costs, rounds, DOUBLE_WRITE);
	close(fds[0]);
	close(fds[1]);
}

static void measure(int rmapbt, const char *form)
{
	char mkfs[128];
	size_t i;

	snprintf(mkfs, sizeof(mkfs), "mkfs.xfs -q -f -i exchange=1 -m rmapbt=%d", rmapbt);
	enter_scratch(mkfs, "defaults");
	for (i = 0; i < COUNT(extent_counts) && strstr(form, "whole"); i++)
		measure_whole(rmapbt, extent_counts[i]);
	if (strstr(form, "fragmented"))
		measure_target(rmapbt, true);
	if (strstr(form, "fresh"))
		measure_target(rmapbt, false);
	leave_scratch();
}

int main(int argc, char **argv)
{
	const char *rmapbt = argc > 2 ? argv[2] : "10";
	const char *form = argc > 3 ? argv[3] : "whole fragmented fresh";

	start(2, argv);
	prefer_transaction(true);
	for (; *rmapbt; rmapbt++)
		measure(*rmapbt - '0', form);
	prefer_transaction(false);
	return 0;
}
