// SPDX-License-Identifier: GPL-2.0
/*
 * What only one transaction on XFS promises: it stays inside what it reserved, changes
 * reverse mappings in place where it may and nowhere else, refuses what does not fit into
 * the log, and counts quotas as a quotacheck does.  Run with one CPU, for the trace
 * events' sake.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define TRACING	"/sys/kernel/tracing"

/* Of an exchange: what it might take, and what it took. */
struct use {
	uint64_t	pieces;
	uint64_t	replaced[2];		/* records, where they were */
	uint64_t	rmaps, rmaps_in_place;	/* that might change so, and that did */
	uint64_t	log_bytes, log_used;
	uint64_t	blocks, blocks_used;
	int		forks;			/* whole data forks changed places */
};

static struct use parse(const char *trace)
{
	const char *plan = strstr(trace, "exchrange_xfs_plan:");
	const char *done = strstr(trace, "exchrange_xfs_transaction:");
	struct use use = { };

	assert_non_null(plan);
	assert_non_null(done);
	assert_int_equal(sscanf(strstr(plan, " pieces "), " pieces %" SCNu64,
				&use.pieces), 1);
	assert_int_equal(sscanf(strstr(plan, " rmaps "), " rmaps %" SCNu64,
				&use.rmaps), 1);
	assert_int_equal(sscanf(strstr(plan, " replaced "),
				" replaced %" SCNu64 " %" SCNu64,
				&use.replaced[0], &use.replaced[1]), 2);
	/* Of the last plan: what was not to be had by forks goes by pieces. */
	for (; plan; plan = strstr(plan + 1, "exchrange_xfs_plan:")) {
		assert_non_null(strstr(plan, " forks "));
		assert_int_equal(sscanf(strstr(plan, " forks "), " forks %d", &use.forks), 1);
	}
	assert_int_equal(sscanf(strstr(done, " rmaps_in_place "),
				" rmaps_in_place %" SCNu64, &use.rmaps_in_place), 1);
	assert_int_equal(sscanf(strstr(done, " log "),
				" log %" SCNu64 " used %" SCNu64 " blocks %" SCNu64
				" used %" SCNu64, &use.log_bytes, &use.log_used,
				&use.blocks, &use.blocks_used), 4);
	return use;
}

static void begin_tracing(void)
{
	assert_int_equal(run("echo >" TRACING "/trace && echo 1 >" TRACING
			     "/events/exchrange/enable"), 0);
}

static struct use end_tracing(void)
{
	struct outcome outcome;
	struct use use;

	assert_int_equal(run("echo 0 >" TRACING "/events/exchrange/enable"), 0);
	outcome = run_and_keep("cat " TRACING "/trace");
	use = parse(outcome.out);
	drop_outcome(&outcome);
	return use;
}

static struct use exchange_traced(const struct exchrange_range *range)
{
	begin_tracing();
	assert_int_equal(device_exchange(range), 0);
	return end_tracing();
}

#define MOST_OF_A_TOOTH	4

/* Of every @stride blocks of a file @width, from the block @first of these on. */
static int make_teeth(const char *name, unsigned int teeth, unsigned int seed,
		      unsigned int stride, unsigned int first, unsigned int width)
{
	static const struct file_spec empty = { SHAPE_PLAIN, 0 };
	uint8_t bytes[MOST_OF_A_TOOTH * BLOCK];
	int fd = make_file(name, empty, seed);
	unsigned int i;

	memset(bytes, seed, sizeof(bytes));
	assert_int_equal(ftruncate(fd, (uint64_t)stride * teeth * BLOCK), 0);
	for (i = 0; i < teeth; i++)
		assert_int_equal(pwrite(fd, bytes, width * BLOCK,
					((uint64_t)stride * i + first) * BLOCK),
				 width * BLOCK);
	assert_int_equal(fsync(fd), 0);
	return fd;
}

/* Of the pieces, whose reverse mappings change in place. */
enum in_place {
	NONE,		/* nor might they, as far as the block maps tell */
	SOME,
	MOST,		/* what a scattered file has side by side goes another way */
	ALL,
};

static const struct row {
	const char		*name;
	struct file_spec	spec[2];
	unsigned int		teeth;		/* file1 is a comb */
	uint64_t		flags;
	enum in_place		in_place;
	bool			two_ags;	/* the files' blocks are in two AGs */
	bool			cloned;		/* file2, before */
	bool			part;		/* all but the first block of both */
} rows[] = {
	{ "whole files of an extent",
	  { { SHAPE_PLAIN, 64 * BLOCK }, { SHAPE_PLAIN, 64 * BLOCK } },
	  0, EXCHRANGE_TO_EOF, ALL },
	{ "the same in two AGs",
	  { { SHAPE_PLAIN, 64 * BLOCK }, { SHAPE_PLAIN, 64 * BLOCK } },
	  0, EXCHRANGE_TO_EOF, ALL, .two_ags = true },
	{ "a file that was cloned",
	  { { SHAPE_PLAIN, 64 * BLOCK }, { SHAPE_PLAIN, 64 * BLOCK } },
	  0, EXCHRANGE_TO_EOF, NONE, .cloned = true },
	{ "1,000 extents, whole",
	  { { SHAPE_SCATTERED, 1000 * BLOCK }, { SHAPE_SCATTERED, 1000 * BLOCK } },
	  0, EXCHRANGE_TO_EOF, ALL },
	{ "1,000 extents, whole, in two AGs",
	  { { SHAPE_SCATTERED, 1000 * BLOCK }, { SHAPE_SCATTERED, 1000 * BLOCK } },
	  0, EXCHRANGE_TO_EOF, ALL, .two_ags = true },
	{ "1,000 extents with one, whole",
	  { { SHAPE_SCATTERED, 1000 * BLOCK }, { SHAPE_PLAIN, 1000 * BLOCK } },
	  0, EXCHRANGE_TO_EOF, ALL },
	{ "1,000 extents with a hole and preallocation, whole",
	  { { SHAPE_SCATTERED, 1000 * BLOCK }, { SHAPE_PREALLOCATED, 500 * BLOCK } },
	  0, EXCHRANGE_TO_EOF, ALL },
	{ "1,000 extents with others",
	  { { SHAPE_SCATTERED, 1000 * BLOCK }, { SHAPE_SCATTERED, 1000 * BLOCK } },
	  0, EXCHRANGE_TO_EOF, MOST, .part = true },
	{ "1,000 extents with others, in two AGs",
	  { { SHAPE_SCATTERED, 1000 * BLOCK }, { SHAPE_SCATTERED, 1000 * BLOCK } },
	  0, EXCHRANGE_TO_EOF, MOST, .two_ags = true, .part = true },
	{ "1,000 extents with one",
	  { { SHAPE_SCATTERED, 1000 * BLOCK }, { SHAPE_PLAIN, 1000 * BLOCK } },
	  0, EXCHRANGE_TO_EOF, NONE, .part = true },
	{ "1,000 extents with a hole and preallocation",
	  { { SHAPE_SCATTERED, 1000 * BLOCK }, { SHAPE_PREALLOCATED, 500 * BLOCK } },
	  0, EXCHRANGE_TO_EOF, SOME, .part = true },
	{ "16 pages out of one extent, and back to their neighbours",
	  { { }, { SHAPE_PLAIN, 64 * BLOCK } }, 16, EXCHRANGE_FILE1_WRITTEN, NONE },
	{ "400 pages out of one extent, and back to their neighbours",
	  { { }, { SHAPE_PLAIN, 900 * BLOCK } }, 400, EXCHRANGE_FILE1_WRITTEN, NONE },
	{ "a page out of 1,000 extents",
	  { { }, { SHAPE_SCATTERED, 1000 * BLOCK } }, 1, EXCHRANGE_FILE1_WRITTEN, MOST },
	{ "4 pages out of 1,000 extents",
	  { { }, { SHAPE_SCATTERED, 1000 * BLOCK } }, 4, EXCHRANGE_FILE1_WRITTEN, MOST },
	{ "16 pages out of 1,000 extents",
	  { { }, { SHAPE_SCATTERED, 1000 * BLOCK } }, 16, EXCHRANGE_FILE1_WRITTEN, MOST },
	{ "64 pages out of 1,000 extents",
	  { { }, { SHAPE_SCATTERED, 1000 * BLOCK } }, 64, EXCHRANGE_FILE1_WRITTEN, MOST },
	{ "400 pages out of 1,000 extents",
	  { { }, { SHAPE_SCATTERED, 1000 * BLOCK } }, 400, EXCHRANGE_FILE1_WRITTEN,
	  MOST },
};

static bool has_rmapbt(void)
{
	return run("xfs_info %s | grep -q rmapbt=1", mount_point) == 0;
}

static void assert_in_place(const struct use *use, enum in_place in_place)
{
	if (!has_rmapbt() || in_place == NONE) {
		assert_int_equal(use->rmaps, 0);
		assert_int_equal(use->rmaps_in_place, 0);
	} else if (in_place != ALL) {
		assert_true(use->rmaps_in_place <= use->rmaps);
		assert_true(use->rmaps_in_place >
			    (in_place == MOST ? use->pieces / 10 * 6 : 0));
	} else {
		assert_int_equal(use->rmaps_in_place, use->pieces);
	}
}

/*
 * What follows the transaction needs as much of the log, however small that is: the reverse
 * mappings of two pieces (590 KiB), or sixteen blocks of a map that are freed (1,170 KiB).  XFS
 * itself reserves twice 290 KiB for a truncation.
 */
#define NEXT_STEP	(1280 * 1024)

/* Too much makes others wait for the log, or does not fit into it. */
static void assert_little_more(const struct use *use)
{
	/* Nothing is deferred: no reverse mapping, no block of a map. */
	bool in_one = use->forks ||
		      (use->replaced[0] == use->pieces && use->replaced[1] == use->pieces &&
		       (!has_rmapbt() || use->rmaps_in_place == use->pieces));

	if (in_one || use->log_bytes > NEXT_STEP)
		assert_true(use->log_bytes <= 8 * use->log_used);
}

static void assert_inside(const struct use *use, const char *name)
{
	print_message("# %s: %" PRIu64 " pieces, %" PRIu64 " of %" PRIu64
		      " in place, log %" PRIu64 " of %" PRIu64 " bytes, %" PRIu64
		      " of %" PRIu64 " blocks\n", name, use->pieces,
		      use->rmaps_in_place, use->rmaps, use->log_used, use->log_bytes,
		      use->blocks_used, use->blocks);
	assert_true(use->pieces > 0);
	assert_true(use->log_used > 0 && use->log_used <= use->log_bytes);
	assert_true(use->blocks_used <= use->blocks);
}

/* Without the files. */
static struct exchrange_range range_of(const struct row *row)
{
	uint64_t offset = row->part ? BLOCK : 0;

	return (struct exchrange_range) {
		.file1_offset	= offset,
		.file2_offset	= offset,
		.length		= 2ull * row->teeth * BLOCK,
		.flags		= row->flags,
	};
}

/* What XFS has in two directories it keeps apart. */
static void make_row(const struct row *row, struct exchrange_range *range)
{
	static const char * const folders[] = { "first", "second" };
	char name[2][32];
	int i;

	for (i = 0; i < 2; i++) {
		const char *folder = folders[row->two_ags ? i : 0];

		run("mkdir -p %s/%s", mount_point, folder);
		snprintf(name[i], sizeof(name[i]), "%s/file%d", folder, i + 1);
	}
	range->file1_fd = row->teeth ? make_comb(name[0], row->teeth, 'c') :
				       make_file(name[0], row->spec[0], 1);
	range->file2_fd = make_file(name[1], row->spec[1], 2);
	if (row->cloned)
		assert_int_equal(run("cp --reflink=always %s %s", path_of(name[1]),
				     path_of("clone")), 0);
}

/* Of the first extent. */
static unsigned int ag_of(int fd)
{
	struct outcome outcome =
		run_and_keep("xfs_bmap -v /proc/%d/fd/%d | awk '$3 ~ /\\.\\./ { print $4; exit }'",
			     getpid(), fd);
	unsigned int ag = 0;

	assert_int_equal(sscanf(outcome.out, "%u", &ag), 1);
	drop_outcome(&outcome);
	return ag;
}

/* Whole files do; clones where the owners of their blocks are in no rmapbt. */
static bool goes_by_forks(const struct row *row)
{
	return row->flags == EXCHRANGE_TO_EOF && !row->part &&
	       !(row->cloned && has_rmapbt());
}

/* Twice: the second time the pieces are records of their own. */
static void test_row(void **state)
{
	const struct row *row = *state;
	struct exchrange_range range = range_of(row);
	struct picture model[2], after[2];
	struct use use;
	int i, side;

	enter_scratch(kind->mkfs, "defaults");
	make_row(row, &range);
	assert_int_equal(ag_of(range.file1_fd) != ag_of(range.file2_fd), row->two_ags);
	model[0] = take_picture(range.file1_fd);
	model[1] = take_picture(range.file2_fd);
	for (i = 0; i < 2; i++) {
		use = exchange_traced(&range);
		assert_inside(&use, row->name);
		assert_little_more(&use);
		assert_in_place(&use, row->in_place);
		assert_int_equal(use.forks, goes_by_forks(row));
		(row->flags & EXCHRANGE_FILE1_WRITTEN ? model_exchange_written :
							model_exchange)
			(&model[0], &model[1], range.file1_offset, range.file2_offset,
			 range.length, row->flags);
		assert_int_equal(run("sync && echo 3 >/proc/sys/vm/drop_caches"), 0);
		for (side = 0; side < 2; side++) {
			after[side] = take_picture(side ? range.file2_fd : range.file1_fd);
			assert_true(same_bytes(&model[side], &after[side]));
			assert_true(same_blocks(&model[side], &after[side]));
			drop_picture(&after[side]);
		}
	}
	drop_picture(&model[0]);
	drop_picture(&model[1]);
	close(range.file1_fd);
	close(range.file2_fd);
	/* And xfs_repair -n finds nothing. */
	leave_scratch();
}

/* --- vectors ------------------------------------------------------------------------- */

#define MOST_PAIRS	2000u
#define MOST_FILES	8u

struct list {
	struct exchrange_pair	pairs[MOST_PAIRS];
	uint32_t		count;
	int			fd[MOST_FILES];
	unsigned int		files;
};

static void make_listed(struct list *list, const struct file_spec *specs, unsigned int files)
{
	char name[16];
	unsigned int i;

	list->files = files;
	list->count = 0;
	for (i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "listed%u", i);
		list->fd[i] = make_file(name, specs[i], i + 1);
	}
}

/* Reused slots, and pages all over a file, in the order of the slots. */
static void make_slots(struct list *list, unsigned int slots, enum shape shape)
{
	const struct file_spec specs[] = {
		{ SHAPE_PLAIN, slots * BLOCK }, { shape, 1000 * BLOCK },
	};
	unsigned int i;

	make_listed(list, specs, COUNT(specs));
	for (i = 0; i < slots; i++)
		list->pairs[list->count++] =
			block_pair(list->fd[0], i, list->fd[1], i * 617 % 1000);
}

static void sixteen_slots(struct list *list)
{
	make_slots(list, 16, SHAPE_PLAIN);
}

static void slots_in_an_extent(struct list *list)
{
	make_slots(list, 400, SHAPE_PLAIN);
}

static void slots_in_many_extents(struct list *list)
{
	make_slots(list, 400, SHAPE_SCATTERED);
}

/* Each record becomes as many as it has blocks, and they join again. */
static void backwards(struct list *list)
{
	const struct file_spec specs[] = {
		{ SHAPE_PLAIN, 1000 * BLOCK }, { SHAPE_PLAIN, 1000 * BLOCK },
	};
	unsigned int i;

	make_listed(list, specs, COUNT(specs));
	for (i = 0; i < 1000; i++)
		list->pairs[list->count++] =
			block_pair(list->fd[0], i, list->fd[1], 999 - i);
}

static void shuffle(unsigned int *places, unsigned int count)
{
	unsigned int i, j, other;

	for (i = 0; i < count; i++)
		places[i] = i;
	for (i = count - 1; i > 0; i--) {
		j = random() % (i + 1);
		other = places[i];
		places[i] = places[j];
		places[j] = other;
	}
}

/* Any block with any one of another file. */
static void at_random(struct list *list)
{
	static const struct file_spec specs[MOST_FILES] = {
		{ SHAPE_PLAIN, 300 * BLOCK }, { SHAPE_HOLES, 300 * BLOCK },
		{ SHAPE_SCATTERED, 300 * BLOCK }, { SHAPE_PREALLOCATED, 300 * BLOCK },
		{ SHAPE_PLAIN, 300 * BLOCK }, { SHAPE_SCATTERED, 300 * BLOCK },
		{ SHAPE_PLAIN, 300 * BLOCK }, { SHAPE_HOLES, 300 * BLOCK },
	};
	unsigned int place[300 * MOST_FILES], i;

	make_listed(list, specs, MOST_FILES);
	shuffle(place, COUNT(place));
	for (i = 0; i + 1 < COUNT(place); i += 2)
		if (place[i] / 300 != place[i + 1] / 300)
			list->pairs[list->count++] =
				block_pair(list->fd[place[i] / 300], place[i] % 300,
					   list->fd[place[i + 1] / 300], place[i + 1] % 300);
}

/* What is not known of a piece that has both sides in a file: it may need all that it can. */
static void in_one_file(struct list *list)
{
	static const struct file_spec spec = { SHAPE_SCATTERED, 300 * BLOCK };
	unsigned int place[300], i;

	make_listed(list, &spec, 1);
	shuffle(place, COUNT(place));
	for (i = 0; i < 20; i++)
		list->pairs[list->count++] = block_pair(list->fd[0], place[2 * i],
							list->fd[0], place[2 * i + 1]);
}

static int listed(const struct list *list, int fd)
{
	int i = 0;

	while (list->fd[i] != fd)
		i++;
	return i;
}

static void assert_model(const struct list *list, const struct picture *model)
{
	unsigned int i;

	assert_int_equal(run("sync && echo 3 >/proc/sys/vm/drop_caches"), 0);
	for (i = 0; i < list->files; i++) {
		struct picture now = take_picture(list->fd[i]);

		if (!same_bytes(&now, &model[i]) || !same_blocks(&now, &model[i]))
			fail_msg("file %u is not what the model says", i);
		drop_picture(&now);
	}
}

/* Some of these reserve as much as half of the log that a small disk has, or more: E2BIG. */
#define MKFS_LARGE_LOG	"mkfs.xfs -q -f $XFS_MKFS -l size=128m"

/* The second time the pieces are records of their own; and files are as they were. */
static void try_list(const char *name, void (*make)(struct list *list),
		     unsigned int times)
{
	struct list *list = calloc(1, sizeof(*list));
	struct picture model[MOST_FILES];
	unsigned int round, i;
	struct use use;

	assert_non_null(list);
	enter_scratch(MKFS_LARGE_LOG, "defaults");
	make(list);
	for (i = 0; i < list->files; i++)
		model[i] = take_picture(list->fd[i]);
	for (round = 0; round < 3; round++) {
		begin_tracing();
		assert_int_equal(exchange_list(list->pairs, list->count, 0).error, 0);
		use = end_tracing();
		assert_inside(&use, name);
		if (use.log_bytes > NEXT_STEP && times)
			assert_true(use.log_bytes <= times * use.log_used);
		for (i = 0; i < list->count; i++) {
			const struct exchrange_pair *pair = &list->pairs[i];

			model_exchange(&model[listed(list, pair->file1_fd)],
				       &model[listed(list, pair->file2_fd)],
				       pair->file1_offset, pair->file2_offset,
				       pair->length, 0);
		}
		assert_model(list, model);
	}
	for (i = 0; i < list->files; i++) {
		drop_picture(&model[i]);
		close(list->fd[i]);
	}
	free(list);
	/* And xfs_repair -n finds nothing. */
	leave_scratch();
}

static void test_vectors(void **state)
{
	static const struct {
		const char	*name;
		void		(*make)(struct list *list);
		unsigned int	times;	/* what it uses it may reserve; 0: any */
	} forms[] = {
		{ "a vector of 16 slots and pages of one extent", sixteen_slots, 8 },
		{ "a vector of 400 slots and pages of one extent", slots_in_an_extent, 8 },
		{ "a vector of 400 slots and pages of 1,000 extents", slots_in_many_extents, 8 },
		{ "a vector of 1,000 blocks, backwards", backwards, 8 },
		{ "a vector of 1,000 pairs in eight files at random", at_random, 16 },
		{ "a vector of 20 pairs in one file", in_one_file, 0 },
	};
	unsigned int i;

	(void)state;
	srandom(11);
	for (i = 0; i < COUNT(forms); i++)
		try_list(forms[i].name, forms[i].make, forms[i].times);
}

#define CHUNK	(16ull * 1024 * 1024)

/* Takes @size bytes more of the file system; in which AG, or -1 where there are no more. */
static int take(const char *name, uint64_t size, uint64_t ag_bytes)
{
	int fd = open_path(path_of(name), O_RDWR | O_CREAT), ag = -1;

	if (fallocate(fd, 0, 0, size) == 0)
		ag = disk_place_of(fd) / ag_bytes;
	close(fd);
	return ag;
}

/* All but two chunks of AG @free. */
static void fill_but(int free)
{
	uint64_t ag_bytes = bytes_of_ag();
	unsigned int there[2] = { }, count = 0, i;
	char name[32];
	int ag = 0;

	for (i = 0; ag >= 0; i++) {
		snprintf(name, sizeof(name), "fill%u", i);
		ag = take(name, CHUNK, ag_bytes);
		if (ag == free && count < COUNT(there))
			there[count++] = i;
	}
	take_rest_of_scratch();
	assert_int_equal(count, COUNT(there));
	for (i = 0; i < COUNT(there); i++) {
		snprintf(name, sizeof(name), "fill%u", there[i]);
		assert_int_equal(unlink(path_of(name)), 0);
	}
	assert_int_equal(run("sync -f " SCRATCH), 0);
}

/*
 * The maps grow, by blocks of the one AG that has the space: before or behind those of the
 * files, which are full, and where reverse mappings change in place.
 */
static void exchange_with_space_in(int ag, const struct row *row)
{
	struct exchrange_range range = range_of(row);
	struct use use;
	int i;

	enter_scratch(kind->mkfs, "defaults");
	make_row(row, &range);
	fill_but(ag);
	for (i = 0; i < 2; i++) {
		use = exchange_traced(&range);
		assert_inside(&use, row->name);
		if (i == 0) {
			assert_true(use.blocks_used > 0);
			assert_int_equal(use.rmaps > 0,
					 has_rmapbt() && row->in_place != NONE);
		}
	}
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

static void test_space_in_one_ag(void **state)
{
	static const struct row growing[] = {
		{ "pages out of one extent",
		  { { }, { SHAPE_PLAIN, 900 * BLOCK } }, 300,
		  EXCHRANGE_FILE1_WRITTEN, NONE },
		{ "scattered files of two sizes",
		  { { SHAPE_SCATTERED, 1000 * BLOCK }, { SHAPE_PREALLOCATED, 500 * BLOCK } },
		  0, EXCHRANGE_TO_EOF, SOME, .two_ags = true, .part = true },
	};
	unsigned int i, ag;

	(void)state;
	for (i = 0; i < COUNT(growing); i++)
		for (ag = 0; ag < 4; ag += test_share())
			exchange_with_space_in((ag + i) % 4, &growing[i]);
}

/* 16 blocks in each AG, beside what an AG keeps for itself: XFS has a directory in each. */
static void leave_little_space(void)
{
	uint64_t ag_bytes = bytes_of_ag();
	bool ags[4] = { };
	char name[32];
	int i;

	for (i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "little%d", i);
		assert_int_equal(mkdir(path_of(name), 0700), 0);
		strcat(name, "/file");
		ags[take(name, 16 * BLOCK, ag_bytes)] = true;
	}
	assert_true(ags[0] && ags[1] && ags[2] && ags[3]);
	take_rest_of_scratch();
	assert_int_equal(run("rm " SCRATCH "/little*/file && sync -f " SCRATCH), 0);
}

/* Together enough, but in no AG: the maps of an exchange grow in one. */
static void test_no_ag_with_enough_space(void **state)
{
	static const struct row row = {
		.spec	= { { }, { SHAPE_PLAIN, 900 * BLOCK } },
		.teeth	= 300,
	};
	struct exchrange_range range = {
		.length		= 2ull * row.teeth * BLOCK,
		.flags		= EXCHRANGE_FILE1_WRITTEN,
	};
	struct picture before[2];

	(void)state;
	enter_scratch(kind->mkfs, "defaults");
	make_row(&row, &range);
	leave_little_space();
	before[0] = take_picture(range.file1_fd);
	before[1] = take_picture(range.file2_fd);
	assert_int_equal(device_exchange(&range), ENOSPC);
	assert_unchanged(&before[0], range.file1_fd);
	assert_unchanged(&before[1], range.file2_fd);
	/* XFS has not got to it yet. */
	assert_int_equal(unlink(path_of("rest")), 0);
	assert_int_equal(device_exchange(&range), 0);
	drop_picture(&before[0]);
	drop_picture(&before[1]);
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

/* Two files of 3 GiB: each has a record of the block map and a half, which XFS continues. */
static void make_long_files(struct exchrange_range *range)
{
	assert_int_equal(run("truncate -s 8G %s/disk && mkfs.xfs -q -f $XFS_PLAIN -b size=1024 -d agcount=2 -m rmapbt=1 %s/disk",
			     mount_point, mount_point), 0);
	assert_int_equal(run("mkdir -p " SCRATCH " && mount -o loop %s/disk " SCRATCH,
			     mount_point), 0);
	assert_int_equal(run("cd " SCRATCH " && mkdir first second && fallocate -l 3G first/file"
			     " && fallocate -l 3G second/file && sync"), 0);
	range->file1_fd = open_path(SCRATCH "/first/file", O_RDWR);
	range->file2_fd = open_path(SCRATCH "/second/file", O_RDWR);
}

/*
 * The rmapbt has one record where the block map needs two: neither can change in place,
 * which only the rmapbt tells.
 */
static void test_longer_reverse_mappings(void **state)
{
	struct exchrange_range range = { .length = 3ull * 1024 * 1024 * 1024 - 1024 };
	struct use use;
	int i;

	(void)state;
	/* The debug kernel has no loop devices. */
	if (!has_rmapbt() || run("modprobe loop"))
		skip();
	make_long_files(&range);
	/* But that of a whole file gets another owner. */
	for (i = 0; i < 2; i++) {
		struct exchrange_range whole = range;

		whole.length = 0;
		whole.flags = EXCHRANGE_TO_EOF;
		use = exchange_traced(&whole);
		assert_inside(&use, "files of 3 GiB, whole");
		assert_int_equal(use.forks, 1);
		assert_int_equal(use.rmaps_in_place, use.pieces);
	}
	for (i = 0; i < 2; i++) {
		use = exchange_traced(&range);
		assert_inside(&use, "files of 3 GiB");
		assert_true(use.rmaps > 0);
		assert_int_equal(use.rmaps_in_place, 0);
	}
	close(range.file1_fd);
	close(range.file2_fd);
	assert_int_equal(run("umount " SCRATCH " && xfs_repair -n -f %s/disk && rm %s/disk",
			     mount_point, mount_point), 0);
}

/* Until it is stopped: space is taken and given back where @row has its files. */
static void keep_allocating(const struct row *row)
{
	int fd[2] = {
		open_path(path_of("first/space"), O_RDWR | O_CREAT),
		open_path(path_of(row->two_ags ? "second/space" : "first/space2"),
			  O_RDWR | O_CREAT),
	};
	unsigned int i;

	for (i = 0;; i++)
		if (fallocate(fd[i % 2], 0, i % 64 * BLOCK, 64 * BLOCK) ||
		    ftruncate(fd[!(i % 2)], 0))
			_exit(1);
}

/* So often that it ends as it began. */
static void exchange_often(const struct exchrange_range *range)
{
	unsigned int i;

	for (i = 0; i < 50; i++)
		if (device_exchange(range))
			_exit(1);
	_exit(0);
}

/* A pair that a process of its own exchanges. */
struct pair {
	struct exchrange_range	range;
	struct picture		before[2];
	pid_t			process;
};

static void begin_pair(struct pair *pair, const struct row *row)
{
	pair->range = range_of(row);
	make_row(row, &pair->range);
	/* The files of each pair keep their blocks: their names go. */
	assert_int_equal(run("rm " SCRATCH "/first/file1 " SCRATCH "/%s/file2",
			     row->two_ags ? "second" : "first"), 0);
	pair->before[0] = take_picture(pair->range.file1_fd);
	pair->before[1] = take_picture(pair->range.file2_fd);
}

static void turn_round(struct pair *pair)
{
	const struct picture before = pair->before[0];
	int fd = pair->range.file1_fd;

	pair->range.file1_fd = pair->range.file2_fd;
	pair->range.file2_fd = fd;
	pair->before[0] = pair->before[1];
	pair->before[1] = before;
}

static void end_pair(struct pair *pair)
{
	int fd[2] = { pair->range.file1_fd, pair->range.file2_fd };
	struct picture after;
	int i, status;

	assert_int_equal(waitpid(pair->process, &status, 0), pair->process);
	assert_int_equal(status, 0);
	for (i = 0; i < 2; i++) {
		after = take_picture(fd[i]);
		assert_true(same_bytes(&pair->before[i], &after));
		assert_true(same_blocks(&pair->before[i], &after));
		drop_picture(&after);
		drop_picture(&pair->before[i]);
		close(fd[i]);
	}
}

static void exchange_at_once(const struct row *row)
{
	struct pair pairs[5] = { };
	size_t i;
	int status;
	pid_t other;

	enter_scratch(kind->mkfs, "defaults");
	for (i = 0; i < COUNT(pairs); i++) {
		begin_pair(&pairs[i], row);
		/* Where the sides are alike, in both directions. */
		if (row->two_ags && i % 2)
			turn_round(&pairs[i]);
		pairs[i].process = fork();
		if (pairs[i].process == 0)
			exchange_often(&pairs[i].range);
	}
	other = fork();
	if (other == 0)
		keep_allocating(row);
	for (i = 0; i < COUNT(pairs); i++)
		end_pair(&pairs[i]);
	assert_int_equal(waitpid(other, &status, WNOHANG), 0);
	kill(other, SIGKILL);
	waitpid(other, &status, 0);
	leave_scratch();
}

/* Each locks both AGs, and so does each allocation that finds the first one full. */
static void test_at_once_in_two_ags(void **state)
{
	static const struct row row = {
		.spec		= { { SHAPE_SCATTERED, 100 * BLOCK },
				    { SHAPE_SCATTERED, 100 * BLOCK } },
		.flags		= EXCHRANGE_TO_EOF,
		.two_ags	= true,
	};
	struct row part = row;

	(void)state;
	exchange_at_once(&row);
	part.part = true;
	exchange_at_once(&part);
}

/* Each map needs a block from the same AG, and then has no more use for it. */
static void test_at_once_in_one_ag(void **state)
{
	static const struct row row = {
		.spec		= { { }, { SHAPE_PLAIN, 120 * BLOCK } },
		.teeth		= 40,
		.flags		= EXCHRANGE_FILE1_WRITTEN,
	};

	(void)state;
	exchange_at_once(&row);
}

/* Records of two files, none of which has the borders of the other's: three pieces a tooth. */
static struct exchrange_range make_unaligned(unsigned int teeth)
{
	/* The last block stays. */
	return (struct exchrange_range) {
		.file1_fd	= make_teeth("file1", teeth, 'a', 3, 0, 2),
		.file2_fd	= make_teeth("file2", teeth, 'b', 3, 1, 2),
		.length		= (3ull * teeth - 1) * BLOCK,
	};
}

static void exchange_and_compare(const struct exchrange_range *range, const char *name)
{
	struct picture model[2] = {
		take_picture(range->file1_fd), take_picture(range->file2_fd),
	};
	int fds[2] = { range->file1_fd, range->file2_fd }, i;
	struct picture after;
	struct use use = exchange_traced(range);

	assert_inside(&use, name);
	model_exchange(&model[0], &model[1], range->file1_offset, range->file2_offset,
		       range->length, range->flags);
	for (i = 0; i < 2; i++) {
		after = take_picture(fds[i]);
		assert_true(same_bytes(&model[i], &after));
		assert_true(same_blocks(&model[i], &after));
		drop_picture(&after);
		drop_picture(&model[i]);
	}
}

static void exchange_unaligned(unsigned int teeth)
{
	struct exchrange_range range;
	int i;

	enter_scratch(kind->mkfs, "defaults");
	range = make_unaligned(teeth);
	for (i = 0; i < 2; i++)
		exchange_and_compare(&range, "records that do not line up");
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

static void test_900_unaligned_pieces(void **state)
{
	(void)state;
	exchange_unaligned(300);
}

static void test_10000_unaligned_pieces(void **state)
{
	(void)state;
	exchange_unaligned(3334);
}

/* Reverse mappings that the intents of an exchange update: most in one, and of how many. */
static void count_updates(const struct exchrange_range *range, unsigned int *most,
			  unsigned int *intents)
{
	struct outcome outcome;
	const char *line;

	assert_int_equal(run("echo >" TRACING "/trace && echo 1 >" TRACING
			     "/events/xfs/xfs_defer_create_intent/enable"), 0);
	assert_int_equal(device_exchange(range), 0);
	assert_int_equal(run("echo 0 >" TRACING
			     "/events/xfs/xfs_defer_create_intent/enable"), 0);
	outcome = run_and_keep("grep xfs_defer_create_intent: " TRACING "/trace");
	*most = *intents = 0;
	for (line = outcome.out; (line = strstr(line, " nr ")); line++) {
		unsigned int count;

		assert_int_equal(sscanf(line, " nr %u", &count), 1);
		*most = count > *most ? count : *most;
		/* A barrier is one of nothing. */
		*intents += count > 0;
	}
	drop_outcome(&outcome);
}

/*
 * XFS fills the AGFL once for all that an intent updates, up to 16 reverse mappings: an intent of
 * ours has those of two pieces, up to four each, on kernels without barriers between intents too.
 */
static void test_intents_of_few_updates(void **state)
{
	unsigned int most, intents, teeth = 20;
	struct exchrange_range range;

	(void)state;
	if (!has_rmapbt())
		skip();
	enter_scratch(kind->mkfs, "defaults");
	range = make_unaligned(teeth);
	count_updates(&range, &most, &intents);
	print_message("# %u intents, of at most %u updates\n", intents, most);
	assert_uint_in_range(most, 4, 8);
	assert_true(intents >= 3 * teeth / 2 - 1);
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

/* All but the first block: a save of a file that is in pieces. */
static void exchange_with_one_extent(unsigned int extents)
{
	struct exchrange_range range = {
		.file1_offset	= BLOCK,
		.file2_offset	= BLOCK,
		.flags		= EXCHRANGE_TO_EOF,
	};
	int i;

	enter_scratch(kind->mkfs, "defaults");
	range.file1_fd = make_file("file1", (struct file_spec) { SHAPE_SCATTERED, extents * BLOCK }, 1);
	range.file2_fd = make_file("file2", (struct file_spec) { SHAPE_PLAIN, extents * BLOCK }, 2);
	for (i = 0; i < 2; i++)
		exchange_and_compare(&range, "extents with one");
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

static void test_300_extents_with_one(void **state)
{
	(void)state;
	exchange_with_one_extent(300);
}

static void test_3000_extents_with_one(void **state)
{
	(void)state;
	exchange_with_one_extent(3000);
}

/* Each goes by intents, and none is told that the log has no room since others use it. */
static void test_large_ones_at_once(void **state)
{
	static const struct row row = {
		.spec		= { { SHAPE_SCATTERED, 900 * BLOCK },
				    { SHAPE_PLAIN, 900 * BLOCK } },
		.flags		= EXCHRANGE_TO_EOF,
		.part		= true,
	};

	(void)state;
	exchange_at_once(&row);
}

#define TOO_MANY	20000

/* A file of preallocated blocks: in one extent, or a few. */
static int make_preallocation(const char *name, uint64_t size)
{
	static const struct file_spec empty = { SHAPE_PLAIN, 0 };
	int fd = make_file(name, empty, 0);

	assert_int_equal(fallocate(fd, 0, 0, size), 0);
	assert_int_equal(fsync(fd), 0);
	return fd;
}

/* What mkfs.xfs has made until 2022, and makes for xfstests alone since. */
#define MKFS_SMALL_LOG	"TEST_DIR=y TEST_DEV=y QA_CHECK_FS=y mkfs.xfs -q -f $XFS_MKFS -l size=16m"

/* On a small log; each piece cuts an extent in two. */
static void test_more_than_the_log_holds(void **state)
{
	struct exchrange_range range = {
		.length		= 2ull * TOO_MANY * BLOCK,
		.flags		= EXCHRANGE_FILE1_WRITTEN,
	};
	unsigned int extents;
	struct stat before, after;

	(void)state;
	enter_scratch(MKFS_SMALL_LOG, "defaults");
	range.file1_fd = make_comb("file1", TOO_MANY, 'c');
	range.file2_fd = make_preallocation("file2", range.length);
	extents = count_extents(range.file2_fd);
	assert_int_equal(fstat(range.file2_fd, &before), 0);
	assert_int_equal(device_exchange(&range), E2BIG);
	range.flags |= EXCHRANGE_DRY_RUN;
	assert_int_equal(device_exchange(&range), E2BIG);
	assert_int_equal(fstat(range.file2_fd, &after), 0);
	assert_int_equal(count_extents(range.file2_fd), extents);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(after.st_mtim));
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof(after.st_ctim));

	range.flags = EXCHRANGE_FILE1_WRITTEN;
	range.length = 100 * BLOCK;
	assert_int_equal(device_exchange(&range), 0);
	assert_true(count_extents(range.file2_fd) >= 50);
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

/* Whole, and then all but the first block. */
static void test_10000_extents(void **state)
{
	struct exchrange_range range = {
		.file1_fd	= make_comb("file1", 10000, 'a'),
		.file2_fd	= make_comb("file2", 10000, 'b'),
		.flags		= EXCHRANGE_TO_EOF,
	};

	(void)state;
	assert_true(count_extents(range.file1_fd) >= 10000);
	exchange_and_compare(&range, "10,000 extents, whole");
	range.file1_offset = 2 * BLOCK;
	range.file2_offset = 2 * BLOCK;
	exchange_and_compare(&range, "10,000 extents");
	close(range.file1_fd);
	close(range.file2_fd);
}

/* --- whole files, by their data forks ------------------------------------------------ */

/* As make_comb(), but of preallocated blocks: twice as many pieces. */
static int make_punched(const char *name, unsigned int extents)
{
	static const struct file_spec empty = { SHAPE_PLAIN, 0 };
	uint64_t size = 2ull * extents * BLOCK;
	int fd = make_file(name, empty, 0);
	unsigned int i;

	assert_int_equal(fallocate(fd, 0, 0, size), 0);
	for (i = 0; i < extents; i++)
		assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   2ull * i * BLOCK, BLOCK), 0);
	assert_int_equal(fsync(fd), 0);
	return fd;
}

/* Of all that FIEMAP says of a file: where its extents are, in it and on the disk. */
static uint64_t hash_map(int fd)
{
	static struct {
		struct fiemap		map;
		struct fiemap_extent	extent[1000];
	} query;
	const struct fiemap_extent *last;
	uint64_t hash = 14695981039346656037ull, offset = 0;
	unsigned int i;

	do {
		query.map = (struct fiemap) {
			.fm_start	= offset,
			.fm_length	= FIEMAP_MAX_OFFSET - offset,
			.fm_extent_count = COUNT(query.extent),
		};
		assert_int_equal(ioctl(fd, FS_IOC_FIEMAP, &query), 0);
		for (i = 0; i < query.map.fm_mapped_extents; i++) {
			const struct fiemap_extent *extent = &query.extent[i];

			hash = (hash ^ extent->fe_logical) * 1099511628211ull;
			hash = (hash ^ extent->fe_physical) * 1099511628211ull;
			hash = (hash ^ extent->fe_length) * 1099511628211ull;
		}
		assert_true(i > 0);
		last = &query.extent[i - 1];
		offset = last->fe_logical + last->fe_length;
	} while (!(last->fe_flags & FIEMAP_EXTENT_LAST));
	return hash;
}

/* So many that their contents would not fit into memory: by their maps. */
static void test_many_extents_with_few(void **state)
{
	unsigned int extents = 100000 / test_share(), i;
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	uint64_t hash1, hash2, hash;
	struct use use;

	(void)state;
	enter_scratch(kind->mkfs, "defaults");
	range.file1_fd = make_punched("file1", extents);
	range.file2_fd = make_punched("file2", extents / 3);
	assert_true(count_extents(range.file1_fd) >= extents);
	hash1 = hash_map(range.file1_fd);
	hash2 = hash_map(range.file2_fd);
	for (i = 0; i < 3; i++) {
		use = exchange_traced(&range);
		assert_inside(&use, "many preallocated blocks");
		assert_int_equal(use.forks, 1);
		hash = hash1;
		hash1 = hash2;
		hash2 = hash;
		assert_true(hash_map(range.file1_fd) == hash1);
		assert_true(hash_map(range.file2_fd) == hash2);
	}
	assert_int_equal(lseek(range.file1_fd, 0, SEEK_END), 2ull * (extents / 3) * BLOCK);
	assert_int_equal(lseek(range.file2_fd, 0, SEEK_END), 2ull * extents * BLOCK);
	/* As they are on the disk. */
	close(range.file1_fd);
	close(range.file2_fd);
	assert_int_equal(run("umount " SCRATCH " && mount $SCRATCH_DEV1 " SCRATCH), 0);
	range.file1_fd = open_path(path_of("file1"), O_RDWR);
	range.file2_fd = open_path(path_of("file2"), O_RDWR);
	assert_true(hash_map(range.file1_fd) == hash1);
	assert_true(hash_map(range.file2_fd) == hash2);
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

/* Bytes of an extended attribute, which leave less room for the map in the inode. */
static void set_attribute(int fd, size_t size)
{
	char value[512] = { };

	assert_int_equal(fsetxattr(fd, "user.size", value, size, 0), 0);
}

/* What the files are made of, as records in the inode or as a tree. */
static const struct file_spec forms[] = {
	{ SHAPE_PLAIN, 0 },
	{ SHAPE_PLAIN, 3 * BLOCK + 5 },
	{ SHAPE_HOLES, 20 * BLOCK },
	{ SHAPE_PREALLOCATED, 300 * BLOCK + 1 },
	{ SHAPE_SCATTERED, 60 * BLOCK },
	{ SHAPE_SCATTERED, 400 * BLOCK },
	{ SHAPE_SCATTERED, 900 * BLOCK + 9 },
};

/* That the tree of @fd is its own: it is cut, grows and loses blocks. */
static void change_map(int fd, struct picture *model)
{
	uint8_t bytes[BLOCK];
	uint64_t i, blocks = model->size / BLOCK;

	memset(bytes, 'n', sizeof(bytes));
	for (i = 0; i + 1 < blocks; i += 7) {
		if (i % 2) {
			assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE |
						   FALLOC_FL_KEEP_SIZE, i * BLOCK, BLOCK), 0);
			memset(model->bytes + i * BLOCK, 0, BLOCK);
			model->blocks[i] = '.';
		} else {
			assert_int_equal(pwrite(fd, bytes, BLOCK, i * BLOCK), BLOCK);
			memset(model->bytes + i * BLOCK, 'n', BLOCK);
			model->blocks[i] = 'd';
		}
	}
	assert_int_equal(fsync(fd), 0);
}

static void assert_are(const int *fds, struct picture *model)
{
	struct picture after;
	int i;

	assert_int_equal(run("sync && echo 3 >/proc/sys/vm/drop_caches"), 0);
	for (i = 0; i < 2; i++) {
		after = take_picture(fds[i]);
		assert_int_equal(after.size, model[i].size);
		assert_true(same_bytes(&model[i], &after));
		assert_true(same_blocks(&model[i], &after));
		drop_picture(&after);
	}
}

static void exchange_forms(const struct file_spec *form1, const struct file_spec *form2,
			   size_t attribute)
{
	struct exchrange_range range = {
		.file1_fd	= make_file("file1", *form1, 1),
		.file2_fd	= make_file("file2", *form2, 2),
		.flags		= EXCHRANGE_TO_EOF,
	};
	int fds[2] = { range.file1_fd, range.file2_fd }, i, forks = 0;
	struct picture model[2];
	struct use use;

	if (attribute)
		set_attribute(range.file2_fd, attribute);
	for (i = 0; i < 2; i++)
		model[i] = take_picture(fds[i]);
	for (i = 0; i < 3; i++) {
		use = exchange_traced(&range);
		assert_true(use.log_used <= use.log_bytes && use.blocks_used <= use.blocks);
		forks += use.forks;
		model_exchange(&model[0], &model[1], 0, 0, range.length, range.flags);
		assert_are(fds, model);
		change_map(fds[i % 2], &model[i % 2]);
		assert_are(fds, model);
	}
	/* Whether the map fits beside the attribute. */
	if (!attribute)
		assert_int_equal(forks, 3);
	for (i = 0; i < 2; i++) {
		drop_picture(&model[i]);
		close(fds[i]);
	}
}

static void test_forks_of_all_forms(void **state)
{
	static const size_t attributes[] = { 0, 60, 250 };
	size_t i, j, k, number = 0;

	(void)state;
	enter_scratch(kind->mkfs, "defaults");
	for (i = 0; i < COUNT(forms); i++)
		for (j = 0; j < COUNT(forms); j++)
			for (k = 0; k < COUNT(attributes); k++)
				if ((forms[i].size || forms[j].size) &&
				    number++ % test_share() == 0)
					exchange_forms(&forms[i], &forms[j], attributes[k]);
	leave_scratch();
}

/* Equal sizes, told as a length, are whole files; not with something behind the end. */
static void test_forks_by_length(void **state)
{
	static const struct file_spec spec = { SHAPE_SCATTERED, 100 * BLOCK + 7 };
	struct exchrange_range range = { .length = spec.size };
	struct stat stat1, stat2;
	struct use use;

	(void)state;
	enter_scratch(kind->mkfs, "defaults");
	range.file1_fd = make_file("file1", spec, 1);
	range.file2_fd = make_file("file2", spec, 2);
	use = exchange_traced(&range);
	assert_int_equal(use.forks, 1);
	range.length -= 7 + BLOCK;
	use = exchange_traced(&range);
	assert_int_equal(use.forks, 0);
	range.length = spec.size;
	assert_int_equal(fallocate(range.file2_fd, FALLOC_FL_KEEP_SIZE,
				   200 * BLOCK, 10 * BLOCK), 0);
	use = exchange_traced(&range);
	assert_int_equal(use.forks, 0);
	/* A user's preallocation stays with its file. */
	range.flags = EXCHRANGE_TO_EOF;
	use = exchange_traced(&range);
	assert_int_equal(use.forks, 0);
	assert_int_equal(fstat(range.file1_fd, &stat1), 0);
	assert_int_equal(fstat(range.file2_fd, &stat2), 0);
	assert_int_equal(stat2.st_blocks - stat1.st_blocks, 10 * BLOCK / 512);
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

/* A block of a map's tree has a header, and records of 16 bytes. */
#define LEAF_RECORDS(block_size)	(((block_size) - 72) / 16)

/* file2 gets a record more than so many full leaves hold; returns the blocks that took. */
static uint64_t exchange_behind_full_leaves(unsigned int leaves)
{
	static const struct file_spec page = { SHAPE_PLAIN, BLOCK };
	struct exchrange_range range = { .length = BLOCK };
	struct statvfs vfs;
	struct use use;
	unsigned int leaf;

	enter_scratch(kind->mkfs, "defaults");
	assert_int_equal(statvfs(SCRATCH, &vfs), 0);
	leaf = LEAF_RECORDS(vfs.f_bsize);
	range.file1_fd = make_file("file1", page, 1);
	range.file2_fd = make_comb("file2", leaves * leaf - leaf / 2, 'c');
	/* A hole in a leaf that has full ones on both sides. */
	range.file2_offset = (2ull * (leaves / 2) * leaf + 1) * BLOCK;
	use = exchange_traced(&range);
	assert_inside(&use, "a root without room");
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
	return use.blocks_used;
}

/*
 * One record more takes a block for the leaf and, where the root of the map's tree is full,
 * another for what was the root.  In an inode of 512 bytes there is room for 20 leaves, or
 * for 11 where Linux keeps the rest for a security module's attribute.
 */
static void test_root_without_room(void **state)
{
	uint64_t blocks11 = exchange_behind_full_leaves(11);
	uint64_t blocks20 = exchange_behind_full_leaves(20);

	(void)state;
	assert_int_equal(blocks11 + blocks20, 3);
}

#define SMALL_BLOCK	1024ull
#define MOST_TEETH	(20 * LEAF_RECORDS(SMALL_BLOCK))

/* Every second block of a file, and what it reads as. */
struct small_comb {
	int	fd;
	uint8_t	bytes[2 * MOST_TEETH * SMALL_BLOCK];
};

static struct small_comb *make_small_comb(const char *name, unsigned int teeth,
					  uint8_t byte)
{
	struct small_comb *comb = calloc(1, sizeof(*comb));
	unsigned int i;

	assert_non_null(comb);
	comb->fd = make_file(name, (struct file_spec) { }, 0);
	assert_int_equal(ftruncate(comb->fd, sizeof(comb->bytes)), 0);
	for (i = 0; i < teeth; i++) {
		uint64_t offset = 2 * i * SMALL_BLOCK;

		memset(comb->bytes + offset, byte, SMALL_BLOCK);
		assert_int_equal(pwrite(comb->fd, comb->bytes + offset, SMALL_BLOCK,
					offset), SMALL_BLOCK);
	}
	assert_int_equal(fsync(comb->fd), 0);
	return comb;
}

static void end_small_comb(struct small_comb *comb)
{
	uint8_t *bytes = malloc(sizeof(comb->bytes));

	assert_non_null(bytes);
	assert_int_equal(posix_fadvise(comb->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	assert_int_equal(pread(comb->fd, bytes, sizeof(comb->bytes), 0),
			 sizeof(comb->bytes));
	assert_memory_equal(comb->bytes, bytes, sizeof(comb->bytes));
	free(bytes);
	close(comb->fd);
	free(comb);
}

/* Mostly a block or two, into a hole or beside one. */
static void exchange_somewhere(struct small_comb *comb1, struct small_comb *comb2,
			       unsigned int *seed)
{
	uint64_t blocks = rand_r(seed) % 8 ? 1 + rand_r(seed) % 2 :
					     1 + rand_r(seed) % 60;
	uint64_t places = 2 * MOST_TEETH - blocks;
	struct exchrange_range range = {
		.file1_fd	= comb1->fd,
		.file1_offset	= rand_r(seed) % places * SMALL_BLOCK,
		.file2_fd	= comb2->fd,
		.file2_offset	= rand_r(seed) % places * SMALL_BLOCK,
		.length		= blocks * SMALL_BLOCK,
	};
	struct use use;
	uint64_t i;

	use = exchange_traced(&range);
	assert_true(use.log_used <= use.log_bytes && use.blocks_used <= use.blocks);
	for (i = 0; i < range.length; i++) {
		uint8_t *byte1 = &comb1->bytes[range.file1_offset + i];
		uint8_t *byte2 = &comb2->bytes[range.file2_offset + i];
		uint8_t byte = *byte1;

		*byte1 = *byte2;
		*byte2 = byte;
	}
}

/*
 * Small blocks make high trees, here with roots that are full or soon will be.  One that took
 * a block more than was reserved for it would shut the file system down.
 */
static void test_trees_at_random(void **state)
{
	unsigned int seed = time(NULL), i, j;

	(void)state;
	print_message("# seed %u\n", seed);
	enter_scratch("mkfs.xfs -q -f $XFS_MKFS -b size=1024", "defaults");
	for (i = 0; i < 4 + 20 / test_share(); i++) {
		unsigned int leaves = i % 4 ? 11 : 20;
		unsigned int teeth = leaves * LEAF_RECORDS(SMALL_BLOCK) -
				     rand_r(&seed) % LEAF_RECORDS(SMALL_BLOCK);
		struct small_comb *comb1 = make_small_comb("file1", teeth, 1 + i);
		struct small_comb *comb2 = make_small_comb("file2", teeth, 101 + i);

		for (j = 0; j < 20; j++)
			exchange_somewhere(comb1, comb2, &seed);
		end_small_comb(comb1);
		end_small_comb(comb2);
	}
	leave_scratch();
}

/*
 * What stays behind the new end of a clone is the other file's too: a write there must not
 * reach it.
 */
static void test_a_clone_that_was_cut(void **state)
{
	static const struct file_spec large = { SHAPE_PLAIN, 16 * BLOCK };
	static const struct file_spec small = { SHAPE_PLAIN, BLOCK };
	int origin = make_file("origin", large, 1);
	struct exchrange_range range = {
		.file1_fd	= make_file("small", small, 2),
		.file2_fd	= make_file("clone", (struct file_spec) { }, 3),
		.flags		= EXCHRANGE_TO_EOF | EXCHRANGE_FILE1_WRITTEN,
	};
	struct picture before = take_picture(origin);
	uint8_t bytes[8 * BLOCK];

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(ioctl(range.file2_fd, FICLONE, origin), 0);
	assert_int_equal(fallocate(range.file2_fd, FALLOC_FL_KEEP_SIZE,
				   16 * BLOCK, BLOCK), 0);
	assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(pwrite(range.file2_fd, bytes, sizeof(bytes), BLOCK),
			 sizeof(bytes));
	assert_int_equal(fsync(range.file2_fd), 0);
	assert_int_equal(run("sync && echo 3 >/proc/sys/vm/drop_caches"), 0);
	assert_unchanged(&before, origin);
	drop_picture(&before);
	close(origin);
	close(range.file1_fd);
	close(range.file2_fd);
}

/* What the quotas of users, groups and projects say, without what differs by a mount. */
static struct outcome report_quotas(void)
{
	struct outcome outcome = run_and_keep(
		"sync && for of in u g p; do xfs_quota -x -c \"report -$of -b -i -n -N\" " SCRATCH
		"; done | awk '{ print $1, $2, $6 }'");

	assert_int_equal(outcome.status, 0);
	return outcome;
}

/* Of 1,600 extents two in five go again: their tree keeps blocks that need not be. */
static int make_loose_tree(const char *name)
{
	int fd = make_comb(name, 1600, 'a');
	unsigned int i;

	for (i = 0; i < 1600; i++)
		if (i % 5 < 2)
			assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE |
						   FALLOC_FL_KEEP_SIZE,
						   2 * i * BLOCK, BLOCK), 0);
	assert_true(count_extents(fd) >= 960);
	return fd;
}

/* A large file and a small one, which count for these. */
static struct exchrange_range make_charged(unsigned int owner1, unsigned int owner2)
{
	static const struct file_spec small = { SHAPE_PLAIN, 3 * BLOCK };
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };

	enter_scratch(kind->mkfs, "uquota,gquota,pquota");
	range.file1_fd = make_loose_tree("large");
	range.file2_fd = make_file("small", small, 2);
	assert_int_equal(fchown(range.file1_fd, owner1, owner1 + 1), 0);
	assert_int_equal(fchown(range.file2_fd, owner2, owner2 + 1), 0);
	assert_int_equal(run("xfs_io -c 'chproj %u' " SCRATCH "/large"
			     " && xfs_io -c 'chproj %u' " SCRATCH "/small",
			     owner1 + 2, owner2 + 2), 0);
	return range;
}

/* Mounted once without quotas, they are counted anew, and are as before, with @line. */
static void assert_counted(const char *line)
{
	struct outcome counted = report_quotas(), checked;

	assert_non_null(strstr(counted.out, line));
	assert_int_equal(run("umount " SCRATCH " && mount $SCRATCH_DEV1 " SCRATCH
			     " && umount " SCRATCH
			     " && mount -o uquota,gquota,pquota $SCRATCH_DEV1 " SCRATCH), 0);
	checked = report_quotas();
	assert_string_equal(counted.out, checked.out);
	drop_outcome(&counted);
	drop_outcome(&checked);
	leave_scratch();
}

static void test_quotas_are_those_of_a_quotacheck(void **state)
{
	struct exchrange_range range = make_charged(1000, 2000);

	(void)state;
	assert_int_equal(device_exchange(&range), 0);
	close(range.file1_fd);
	close(range.file2_fd);
	assert_counted("#2000 38");
}

/* What both count for has as much as before: no limit of it is in the way. */
static void test_limit_of_a_group_of_both(void **state)
{
	struct exchrange_range range = make_charged(1000, 2000);

	(void)state;
	assert_int_equal(fchown(range.file1_fd, -1, 3000), 0);
	assert_int_equal(fchown(range.file2_fd, -1, 3000), 0);
	assert_int_equal(run("sync && xfs_quota -x -c 'limit -g bhard=4m 3000' " SCRATCH), 0);
	assert_int_equal(device_exchange(&range), 0);
	close(range.file1_fd);
	close(range.file2_fd);
	assert_counted("#3000 38");
}

/* New contents that are shorter: the staging file grows by a hole, which takes no space. */
static void test_a_hole_at_the_limit(void **state)
{
	struct exchrange_range range = {
		.flags	= EXCHRANGE_TO_EOF | EXCHRANGE_FILE1_WRITTEN,
	};

	(void)state;
	enter_scratch(kind->mkfs, "uquota");
	range.file1_fd = make_file("staging", (struct file_spec) { SHAPE_PLAIN, 2 * BLOCK }, 1);
	range.file2_fd = make_file("file", (struct file_spec) { SHAPE_PLAIN, 10 * BLOCK }, 2);
	assert_int_equal(fchown(range.file1_fd, 1000, -1), 0);
	assert_int_equal(fchown(range.file2_fd, 1000, -1), 0);
	assert_int_equal(run("sync && xfs_quota -x -c 'limit bhard=48k 1000' " SCRATCH), 0);
	assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(lseek(range.file1_fd, 0, SEEK_END), 10 * BLOCK);
	assert_int_equal(lseek(range.file2_fd, 0, SEEK_END), 2 * BLOCK);
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

/* --- a staging file of slots ---------------------------------------------------------- */

#define SLOTS	16u
#define TEETH	1000u

/* Extents that XFS has allocated and freed on SCRATCH since it was mounted, of its own count. */
struct allocations {
	uint64_t	allocated, freed;
};

static struct allocations read_allocations(void)
{
	struct outcome outcome =
		run_and_keep("grep extent_alloc /sys/fs/xfs/$(basename $SCRATCH_DEV1)/stats/stats");
	struct allocations allocations = { };

	assert_int_equal(sscanf(outcome.out, "extent_alloc %" SCNu64 " %*u %" SCNu64,
				&allocations.allocated, &allocations.freed), 2);
	drop_outcome(&outcome);
	return allocations;
}

/* Other pages at each commit, far apart, so that no two of their blocks continue each other. */
static void commit_slots(int slots, int target, unsigned int round)
{
	struct exchrange_pair pairs[SLOTS] = { };
	struct exchrange_vector vector = {
		.pairs		= (uintptr_t)pairs,
		.count		= SLOTS,
		.pair_size	= sizeof(pairs[0]),
		.flags		= EXCHRANGE_DSYNC,
	};
	uint8_t bytes[BLOCK];
	unsigned int i;

	for (i = 0; i < SLOTS; i++) {
		memset(bytes, 16 * round + i + 1, sizeof(bytes));
		assert_int_equal(pwrite(slots, bytes, BLOCK, (off_t)i * BLOCK), BLOCK);
		pairs[i] = (struct exchrange_pair) {
			.file1_fd	= slots,
			.file2_fd	= target,
			.file1_offset	= (uint64_t)i * BLOCK,
			.file2_offset	= 2ull * ((37 * i + 3 * round) % TEETH) * BLOCK,
			.length		= BLOCK,
		};
	}
	assert_int_equal(exchrange_exchange_vector(device, &vector), 0);
	for (i = 0; i < SLOTS; i++) {
		assert_int_equal(pread(target, bytes, BLOCK, pairs[i].file2_offset), BLOCK);
		assert_int_equal(bytes[BLOCK - 1], (uint8_t)(16 * round + i + 1));
	}
}

/* The first commit cuts the slots' one extent; from then on blocks change places, no more. */
static void test_slots_allocate_nothing(void **state)
{
	struct allocations new, before, after;
	unsigned int round;
	int slots, target;

	(void)state;
	enter_scratch(kind->mkfs, "defaults");
	target = make_comb("target", TEETH, 't');
	new = read_allocations();
	slots = make_file("slots", (struct file_spec) { SHAPE_PLAIN, SLOTS * BLOCK }, 1);
	commit_slots(slots, target, 0);
	before = read_allocations();
	assert_true(before.allocated > new.allocated);
	for (round = 1; round < 10; round++)
		commit_slots(slots, target, round);
	assert_int_equal(run("sync"), 0);
	after = read_allocations();
	assert_int_equal(after.allocated, before.allocated);
	assert_int_equal(after.freed, before.freed);
	close(slots);
	close(target);
	leave_scratch();
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_space_in_one_ag),
		cmocka_unit_test(test_no_ag_with_enough_space),
		cmocka_unit_test(test_longer_reverse_mappings),
		cmocka_unit_test(test_at_once_in_two_ags),
		cmocka_unit_test(test_at_once_in_one_ag),
		cmocka_unit_test(test_900_unaligned_pieces),
		cmocka_unit_test(test_10000_unaligned_pieces),
		cmocka_unit_test(test_intents_of_few_updates),
		cmocka_unit_test(test_300_extents_with_one),
		cmocka_unit_test(test_3000_extents_with_one),
		cmocka_unit_test(test_large_ones_at_once),
		cmocka_unit_test(test_more_than_the_log_holds),
		cmocka_unit_test(test_10000_extents),
		cmocka_unit_test(test_many_extents_with_few),
		cmocka_unit_test(test_forks_of_all_forms),
		cmocka_unit_test(test_forks_by_length),
		cmocka_unit_test(test_root_without_room),
		cmocka_unit_test(test_trees_at_random),
		cmocka_unit_test(test_a_clone_that_was_cut),
		cmocka_unit_test(test_quotas_are_those_of_a_quotacheck),
		cmocka_unit_test(test_limit_of_a_group_of_both),
		cmocka_unit_test(test_a_hole_at_the_limit),
		cmocka_unit_test(test_slots_allocate_nothing),
	};
	static const struct table table = {
		.group		= "inside its reservation",
		.rows		= rows,
		.row_size	= sizeof(rows[0]),
		.row_count	= COUNT(rows),
		.test		= test_row,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	if (kind->backend != EXCHRANGE_BACKEND_XFS_TRANSACTION) {
		fprintf(stderr, "%s is not an XFS without exchange\n", mount_point);
		return 1;
	}
	return run_table(&table);
}
