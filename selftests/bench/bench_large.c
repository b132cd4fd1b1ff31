// SPDX-License-Identifier: GPL-2.0
/*
 * bench_large MOUNTPOINT [EXTENTS...]: whether a durable commit of a few pages costs more in a
 * large file.  By one vector with DSYNC, 16 pages of a staging file that nobody can name are
 * exchanged with pages at random places of files of so many extents each, by default 1,000 and
 * 1,000,000.  Beside it, pages are written at such places and synced: blocks of the file's
 * tree are copied for these, too.  Prints medians of the time, or of the instructions.
 *
 * The file is made of clones of its first extents: its block map is as large as another one's
 * of so many extents, and the disk need not be.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common.h"
#include "cost.h"

#define ROUNDS		31
#define PAGES		16u
#define WRITTEN		500u	/* extents; all others are their clones */

static const char * const default_counts[] = { "1000", "1000000" };

static void write_page(int fd, uint64_t page, unsigned int content)
{
	uint8_t bytes[BLOCK];

	memset(bytes, content, sizeof(bytes));
	if (pwrite(fd, bytes, BLOCK, page * BLOCK) != BLOCK)
		err(1, "pwrite");
}

/* Each on its way to the disk before its neighbour is written, and from back to front. */
static void write_extents(int fd)
{
	uint64_t page = WRITTEN;

	while (page--) {
		write_page(fd, page, 'x');
		if (sync_file_range(fd, page * BLOCK, BLOCK, SYNC_FILE_RANGE_WAIT_BEFORE |
				    SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER))
			err(1, "sync_file_range");
	}
}

/* Twice as many, as long as that is not more than @extents. */
static void clone_extents(int fd, uint64_t extents)
{
	uint64_t have = WRITTEN;

	while (have < extents) {
		uint64_t more = extents - have < have ? extents - have : have;
		struct file_clone_range range = {
			.src_fd		= fd,
			.src_length	= more * BLOCK,
			.dest_offset	= have * BLOCK,
		};

		if (ioctl(fd, FICLONERANGE, &range))
			err(1, "FICLONERANGE");
		have += more;
	}
}

static int make_large(const char *name, uint64_t extents)
{
	int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		err(1, "%s", name);
	write_extents(fd);
	clone_extents(fd, extents);
	if (syncfs(fd))
		err(1, "syncfs");
	return fd;
}

/* One in each of as many parts of the file, and so no two the same. */
static uint64_t random_place(uint64_t extents, unsigned int i, unsigned int *random)
{
	return extents / PAGES * i + rand_r(random) % (extents / PAGES);
}

/* What fdatasync takes; a crash leaves some of the pages. */
static double write_in_place(int file, uint64_t extents, unsigned int *random)
{
	struct moment begin;
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		write_page(file, random_place(extents, i, random), rand_r(random));
	begin = read_clock();
	if (fdatasync(file))
		err(1, "fdatasync");
	return spent_since(&begin) / 1e6;
}

static double commit(int staging, int file, uint64_t extents, unsigned int *random)
{
	struct exchrange_pair pairs[PAGES] = { };
	struct exchrange_vector vector = {
		.pairs		= (uintptr_t)pairs,
		.count		= PAGES,
		.pair_size	= sizeof(pairs[0]),
		.flags		= EXCHRANGE_DSYNC,
	};
	struct moment begin;
	unsigned int i;

	for (i = 0; i < PAGES; i++) {
		write_page(staging, i, rand_r(random));
		pairs[i] = (struct exchrange_pair) {
			.file1_fd	= staging,
			.file2_fd	= file,
			.file1_offset	= i * BLOCK,
			.file2_offset	= random_place(extents, i, random) * BLOCK,
			.length		= BLOCK,
		};
	}
	begin = read_clock();
	if (exchrange_exchange_vector(device, &vector))
		err(1, "pair %u", vector.refused);
	return spent_since(&begin) / 1e6;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct costs {
	double	commit, in_place;	/* medians */
};

/* By turns; the first ones after a mount read what the others find. */
static struct costs measure(uint64_t extents)
{
	int file = make_large("large", extents);
	int staging = open(mount_point, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	double commits[ROUNDS], in_place[ROUNDS];
	unsigned int random = 1, i;

	if (staging < 0)
		err(1, "O_TMPFILE");
	commit(staging, file, extents, &random);
	write_in_place(file, extents, &random);
	for (i = 0; i < ROUNDS; i++) {
		commits[i] = commit(staging, file, extents, &random);
		in_place[i] = write_in_place(file, extents, &random);
	}
	qsort(commits, ROUNDS, sizeof(commits[0]), compare);
	qsort(in_place, ROUNDS, sizeof(in_place[0]), compare);
	close(staging);
	close(file);
	unlink(path_of("large"));
	return (struct costs) { commits[ROUNDS / 2], in_place[ROUNDS / 2] };
}

int main(int argc, char **argv)
{
	const char * const *counts = argc > 2 ? (const char * const *)argv + 2 : default_counts;
	int count = argc > 2 ? argc - 2 : (int)COUNT(default_counts), i;
	struct costs first = { }, costs;

	start(2, argv);
	for (i = 0; i < count; i++) {
		uint64_t extents = strtoull(counts[i], NULL, 0);

		if (extents < WRITTEN)
			errx(2, "%s: at least %u", counts[i], WRITTEN);
		costs = measure(extents);
		if (!i)
			first = costs;
		printf("%8llu extents: %u pages, %s: exchanged %.2f (ratio %.2f), in place %.2f (ratio %.2f)\n",
		       (unsigned long long)extents, PAGES, cost_unit(), costs.commit,
		       costs.commit / first.commit, costs.in_place,
		       costs.in_place / first.in_place);
		fflush(stdout);
	}
	return 0;
}
