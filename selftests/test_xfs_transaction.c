// SPDX-License-Identifier: GPL-2.0
/*
 * What only one transaction on XFS promises: it stays inside what it reserved, refuses what
 * does not fit into the log, and counts quotas as a quotacheck does.  Run with one CPU, for
 * the trace events' sake.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common.h"

#define TRACING	"/sys/kernel/tracing"

/* Of an exchange: what it might take, and what it took. */
struct use {
	uint64_t	pieces;
	uint64_t	log_bytes, log_used;
	uint64_t	blocks, blocks_used;
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
	assert_int_equal(sscanf(strstr(done, " log "),
				" log %" SCNu64 " used %" SCNu64 " blocks %" SCNu64
				" used %" SCNu64, &use.log_bytes, &use.log_used,
				&use.blocks, &use.blocks_used), 4);
	return use;
}

static struct use exchange_traced(const struct exchrange_range *range)
{
	struct outcome outcome;
	struct use use;

	assert_int_equal(run("echo >" TRACING "/trace && echo 1 >" TRACING
			     "/events/exchrange/enable"), 0);
	assert_int_equal(device_exchange(range), 0);
	assert_int_equal(run("echo 0 >" TRACING "/events/exchrange/enable"), 0);
	outcome = run_and_keep("cat " TRACING "/trace");
	use = parse(outcome.out);
	drop_outcome(&outcome);
	return use;
}

/* Every second block of a file, from its first on. */
static int make_comb(const char *name, unsigned int teeth, unsigned int seed)
{
	static const struct file_spec empty = { SHAPE_PLAIN, 0 };
	uint8_t bytes[BLOCK];
	int fd = make_file(name, empty, seed);
	unsigned int i;

	memset(bytes, seed, sizeof(bytes));
	assert_int_equal(ftruncate(fd, 2ull * teeth * BLOCK), 0);
	for (i = 0; i < teeth; i++)
		assert_int_equal(pwrite(fd, bytes, BLOCK, 2ull * i * BLOCK), BLOCK);
	assert_int_equal(fsync(fd), 0);
	return fd;
}

static const struct row {
	const char		*name;
	struct file_spec	spec[2];
	unsigned int		teeth;		/* file1 is a comb */
	uint64_t		flags;
} rows[] = {
	{ "whole files of an extent",
	  { { SHAPE_PLAIN, 64 * BLOCK }, { SHAPE_PLAIN, 64 * BLOCK } },
	  0, EXCHRANGE_TO_EOF },
	{ "1,000 extents with others",
	  { { SHAPE_SCATTERED, 1000 * BLOCK }, { SHAPE_SCATTERED, 1000 * BLOCK } },
	  0, EXCHRANGE_TO_EOF },
	{ "1,000 extents with one",
	  { { SHAPE_SCATTERED, 1000 * BLOCK }, { SHAPE_PLAIN, 1000 * BLOCK } },
	  0, EXCHRANGE_TO_EOF },
	{ "1,000 extents with a hole and preallocation",
	  { { SHAPE_SCATTERED, 1000 * BLOCK }, { SHAPE_PREALLOCATED, 500 * BLOCK } },
	  0, EXCHRANGE_TO_EOF },
	{ "16 pages out of one extent",
	  { { }, { SHAPE_PLAIN, 64 * BLOCK } }, 16, EXCHRANGE_FILE1_WRITTEN },
	{ "400 pages out of one extent",
	  { { }, { SHAPE_PLAIN, 900 * BLOCK } }, 400, EXCHRANGE_FILE1_WRITTEN },
	{ "400 pages out of 1,000 extents",
	  { { }, { SHAPE_SCATTERED, 1000 * BLOCK } }, 400, EXCHRANGE_FILE1_WRITTEN },
};

/* Twice: the second time the pieces are records of their own. */
static void test_row(void **state)
{
	const struct row *row = *state;
	struct exchrange_range range = {
		.file1_fd	= row->teeth ? make_comb("file1", row->teeth, 'c') :
					       make_file("file1", row->spec[0], 1),
		.file2_fd	= make_file("file2", row->spec[1], 2),
		.length		= 2ull * row->teeth * BLOCK,
		.flags		= row->flags,
	};
	struct use use;
	int i;

	for (i = 0; i < 2; i++) {
		use = exchange_traced(&range);
		print_message("# %s: %" PRIu64 " pieces, log %" PRIu64 " of %" PRIu64
			      " bytes, %" PRIu64 " of %" PRIu64 " blocks\n", row->name,
			      use.pieces, use.log_used, use.log_bytes,
			      use.blocks_used, use.blocks);
		assert_true(use.pieces > 0);
		assert_true(use.log_used > 0 && use.log_used <= use.log_bytes);
		assert_true(use.blocks_used <= use.blocks);
	}
	close(range.file1_fd);
	close(range.file2_fd);
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

static void test_10000_extents(void **state)
{
	struct exchrange_range range = {
		.file1_fd	= make_comb("file1", 10000, 'a'),
		.file2_fd	= make_comb("file2", 10000, 'b'),
		.flags		= EXCHRANGE_TO_EOF,
	};
	struct picture before = take_picture(range.file1_fd), after;

	(void)state;
	assert_true(count_extents(range.file1_fd) >= 10000);
	assert_int_equal(device_exchange(&range), 0);
	after = take_picture(range.file2_fd);
	assert_true(same_bytes(&before, &after));
	assert_true(same_blocks(&before, &after));
	drop_picture(&before);
	drop_picture(&after);
	close(range.file1_fd);
	close(range.file2_fd);
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

static void test_quotas_are_those_of_a_quotacheck(void **state)
{
	static const struct file_spec large = { SHAPE_SCATTERED, 700 * BLOCK };
	static const struct file_spec small = { SHAPE_PLAIN, 3 * BLOCK };
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	struct outcome counted, checked;

	(void)state;
	enter_scratch(kind->mkfs, "uquota,gquota,pquota");
	range.file1_fd = make_file("large", large, 1);
	range.file2_fd = make_file("small", small, 2);
	assert_int_equal(fchown(range.file1_fd, 1000, 1001), 0);
	assert_int_equal(fchown(range.file2_fd, 1002, 1003), 0);
	assert_int_equal(run("xfs_io -c 'chproj 7' " SCRATCH "/large"
			     " && xfs_io -c 'chproj 8' " SCRATCH "/small"), 0);
	assert_int_equal(device_exchange(&range), 0);
	close(range.file1_fd);
	close(range.file2_fd);
	counted = report_quotas();
	assert_non_null(strstr(counted.out, "#1002 28"));

	/* Without them for a mount, so that the next one counts anew. */
	assert_int_equal(run("umount " SCRATCH " && mount $SCRATCH_DEV1 " SCRATCH
			     " && umount " SCRATCH
			     " && mount -o uquota,gquota,pquota $SCRATCH_DEV1 " SCRATCH), 0);
	checked = report_quotas();
	assert_string_equal(counted.out, checked.out);
	drop_outcome(&counted);
	drop_outcome(&checked);
	leave_scratch();
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_more_than_the_log_holds),
		cmocka_unit_test(test_10000_extents),
		cmocka_unit_test(test_a_clone_that_was_cut),
		cmocka_unit_test(test_quotas_are_those_of_a_quotacheck),
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
