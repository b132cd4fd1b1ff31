// SPDX-License-Identifier: GPL-2.0
/*
 * No room for the metadata, and quota reached: an error, both files as they were,
 * and the file system goes on.  On a file system of its own that is made full.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common.h"

#define EXTENTS	2000ull

/* Takes all the space there is, down to the last block that can be had. */
static void fill_with_data(void)
{
	int fd = open(SCRATCH "/filler", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	uint64_t end = 0, step;

	assert_true(fd >= 0);
	for (step = 64 * 1024 * 1024; step >= BLOCK; step /= 2)
		while (fallocate(fd, 0, end, step) == 0)
			end += step;
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

/* btrfs keeps metadata apart: empty files, with an attribute so large each. */
static void fill_with_attributes(size_t size, int times)
{
	char path[64], value[15000] = "metadata";
	static int number;
	int fd, failed = 0;

	while (failed < times) {
		snprintf(path, sizeof(path), SCRATCH "/small/%d", number++);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || fsetxattr(fd, "user.large", value, size, 0)) {
			assert_int_equal(errno, ENOSPC);
			failed++;
			sync();
		} else {
			failed = 0;
		}
		if (fd >= 0)
			close(fd);
	}
}

/* Almost a leaf each, then what these leave; and what a commit frees is filled too. */
static void fill_with_metadata(void)
{
	assert_int_equal(mkdir(SCRATCH "/small", 0700), 0);
	fill_with_attributes(15000, 1);
	fill_with_attributes(3000, 10);
}

static int try_exchange(void *argument)
{
	return device_exchange(argument);
}

static int try_xfs_exchange(void *argument)
{
	return xfs_exchange(argument);
}

static mode_t mode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_mode & 07777;
}

/*
 * The call fails with the error, for XFS's own ioctl too, and changes nothing, not even the
 * set-id bits, which an exchange takes away.
 */
static void assert_refused(struct exchrange_range *range, int error)
{
	struct picture before1, before2;

	assert_int_equal(fchmod(range->file1_fd, 04755), 0);
	assert_int_equal(fchmod(range->file2_fd, 04755), 0);
	before1 = take_picture(range->file1_fd);
	before2 = take_picture(range->file2_fd);

	assert_int_equal(as_nobody(try_exchange, range), error);
	assert_int_equal(mode_of(range->file1_fd), 04755);
	assert_int_equal(mode_of(range->file2_fd), 04755);
	assert_unchanged(&before1, range->file1_fd);
	assert_unchanged(&before2, range->file2_fd);
	if (has_reference())
		assert_int_equal(as_nobody(try_xfs_exchange, range), error);
	drop_picture(&before1);
	drop_picture(&before2);
}

/*
 * Many extents against one: the block map of file2 has to grow.  All but the last block: whole
 * files change places on XFS without taking any.
 */
static void test_full_file_system_is_enospc(void **state)
{
	const struct file_spec scattered = { SHAPE_SCATTERED, (EXTENTS + 1) * BLOCK };
	const struct file_spec plain = { SHAPE_PLAIN, (EXTENTS + 1) * BLOCK };
	struct exchrange_range range = { .length = EXTENTS * BLOCK };

	(void)state;
	enter_scratch(kind->mkfs_small, "defaults");
	range.file1_fd = make_file("scattered", scattered, 1);
	range.file2_fd = make_file("plain", plain, 2);
	fill_with_data();
	if (is_btrfs())
		fill_with_metadata();
	assert_refused(&range, ENOSPC);

	/* With the space back it works: nothing was shut down. */
	assert_int_equal(run("rm -rf " SCRATCH "/filler " SCRATCH "/small && sync"),
			 0);
	assert_int_equal(as_nobody(try_exchange, &range), 0);
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

/* Two files whose space is charged to two accounts. */
static struct exchrange_range make_accounts(struct file_spec large,
					    struct file_spec small)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };

	if (is_btrfs()) {
		enter_scratch(kind->mkfs, "defaults");
		assert_int_equal(run("cd " SCRATCH " && btrfs -q quota enable . && btrfs -q subvolume create rich"
				     " && btrfs -q subvolume create poor && btrfs -q quota rescan -w ."), 0);
		range.file1_fd = make_file("rich/large", large, 1);
		range.file2_fd = make_file("poor/small", small, 2);
	} else {
		enter_scratch(kind->mkfs, "uquota");
		range.file1_fd = make_file("large", large, 1);
		range.file2_fd = make_file("small", small, 2);
		assert_int_equal(fchown(range.file1_fd, 1000, 1000), 0);
	}
	return range;
}

/* How much the account of the small file may have; "none" for no limit. */
static void set_limit(const char *limit)
{
	if (is_btrfs())
		assert_int_equal(run("sync " SCRATCH " && btrfs -q qgroup limit %s " SCRATCH "/poor",
				     limit), 0);
	else
		assert_int_equal(run("xfs_quota -x -c 'limit -u bhard=%s %d' " SCRATCH,
				     strcmp(limit, "none") ? limit : "0",
				     NOBODY), 0);
}

/* --- vectors: what one pair has no room for none gets -------------------------------- */

#define PAIRS	2

static int try_vector(void *argument)
{
	return exchange_list(argument, PAIRS, 0).error;
}

static void assert_vector_refused(struct exchrange_pair *pairs, int error)
{
	struct picture before[PAIRS][2];
	int i;

	for (i = 0; i < PAIRS; i++) {
		assert_int_equal(fchmod(pairs[i].file1_fd, 04755), 0);
		before[i][0] = take_picture(pairs[i].file1_fd);
		before[i][1] = take_picture(pairs[i].file2_fd);
	}
	assert_int_equal(as_nobody(try_vector, pairs), error);
	for (i = 0; i < PAIRS; i++) {
		assert_int_equal(mode_of(pairs[i].file1_fd), 04755);
		assert_unchanged(&before[i][0], pairs[i].file1_fd);
		assert_unchanged(&before[i][1], pairs[i].file2_fd);
		drop_picture(&before[i][0]);
		drop_picture(&before[i][1]);
	}
}

static void close_pairs(const struct exchrange_pair *pairs)
{
	int i;

	for (i = 0; i < PAIRS; i++) {
		close(pairs[i].file1_fd);
		close(pairs[i].file2_fd);
	}
}

static void test_vector_on_full_file_system_is_enospc(void **state)
{
	const struct file_spec scattered = { SHAPE_SCATTERED, (EXTENTS + 1) * BLOCK };
	const struct file_spec plain = { SHAPE_PLAIN, (EXTENTS + 1) * BLOCK };
	const struct file_spec small = { SHAPE_PLAIN, 4 * BLOCK };
	struct exchrange_pair pairs[PAIRS] = {
		{ .length = BLOCK },
		{ .length = EXTENTS * BLOCK },
	};

	(void)state;
	enter_scratch(kind->mkfs_small, "defaults");
	pairs[0].file1_fd = make_file("small1", small, 1);
	pairs[0].file2_fd = make_file("small2", small, 2);
	pairs[1].file1_fd = make_file("scattered", scattered, 3);
	pairs[1].file2_fd = make_file("plain", plain, 4);
	fill_with_data();
	if (is_btrfs())
		fill_with_metadata();
	assert_vector_refused(pairs, ENOSPC);
	assert_int_equal(run("rm -rf " SCRATCH "/filler " SCRATCH "/small && sync"),
			 0);
	assert_int_equal(as_nobody(try_vector, pairs), 0);
	close_pairs(pairs);
	leave_scratch();
}

/* An account gains by one pair and loses less by the other: both together count. */
static void test_vector_counts_all_pairs_for_quota(void **state)
{
	const struct file_spec large = { SHAPE_PLAIN, 1024 * BLOCK };
	const struct file_spec middle = { SHAPE_PLAIN, 512 * BLOCK };
	const struct file_spec small = { SHAPE_PLAIN, BLOCK };
	struct exchrange_range range = make_accounts(large, small);
	struct exchrange_pair pairs[PAIRS] = {
		{
			.file1_fd = make_file(is_btrfs() ? "rich/other" : "other", small, 3),
			.file2_fd = make_file(is_btrfs() ? "poor/middle" : "middle", middle, 4),
			.flags = EXCHRANGE_TO_EOF,
		}, {
			.file1_fd = range.file1_fd,
			.file2_fd = range.file2_fd,
			.flags = EXCHRANGE_TO_EOF,
		},
	};

	(void)state;
	if (!is_btrfs())
		assert_int_equal(fchown(pairs[0].file1_fd, 1000, 1000), 0);
	set_limit("3m");
	assert_vector_refused(pairs, EDQUOT);
	/* More than both together come to, and less than the larger alone would. */
	set_limit("5m");
	assert_int_equal(as_nobody(try_vector, pairs), 0);
	if (!is_btrfs())
		assert_int_equal(run("test $(xfs_quota -x -c 'quota -u -N -b %d' " SCRATCH
				     " | awk '{print $2}') = 4100", NOBODY), 0);
	close_pairs(pairs);
	leave_scratch();
}

/* More owners than one of XFS's transactions can count for: nothing changes for any. */
static void test_vector_of_too_many_owners(void **state)
{
	const struct file_spec small = { SHAPE_PLAIN, 4 * BLOCK }, large = { SHAPE_PLAIN, 9 * BLOCK };
	const unsigned int owners = kernel_has_own_exchange() ? 5 : 2;
	struct exchrange_pair pairs[3];
	struct picture before[2 * COUNT(pairs)];
	int fd[2 * COUNT(pairs)];
	char name[16];
	unsigned int i;

	(void)state;
	if (is_btrfs())
		skip();
	enter_scratch(kind->mkfs, "uquota,gquota");
	for (i = 0; i < COUNT(fd); i++) {
		snprintf(name, sizeof(name), "owner%u", i);
		fd[i] = make_file(name, i % 2 ? small : large, i);
		/* One more than there may be. */
		assert_int_equal(fchown(fd[i], 1000 + i % (owners + 1), 1000), 0);
		before[i] = take_picture(fd[i]);
	}
	for (i = 0; i < COUNT(pairs); i++)
		pairs[i] = (struct exchrange_pair) {
			.file1_fd = fd[2 * i], .file2_fd = fd[2 * i + 1],
			.flags = EXCHRANGE_TO_EOF,
		};
	assert_int_equal(exchange_list(pairs, COUNT(pairs), EXCHRANGE_DRY_RUN).error, E2BIG);
	assert_int_equal(exchange_list(pairs, COUNT(pairs), 0).error, E2BIG);
	for (i = 0; i < COUNT(fd); i++) {
		assert_unchanged(&before[i], fd[i]);
		drop_picture(&before[i]);
	}
	/* And as many as there may be, whose blocks are counted right: leave_scratch() looks. */
	for (i = 0; i < COUNT(fd); i++)
		assert_int_equal(fchown(fd[i], 1000 + i % owners, 1000 + i % owners), 0);
	assert_int_equal(exchange_list(pairs, COUNT(pairs), 0).error, 0);
	for (i = 0; i < owners; i++)
		assert_int_equal(run("test $(xfs_quota -x -c 'quota -u -N -b %u' " SCRATCH
				     " | awk '{print $2}') ="
				     " $(du -kc $(find " SCRATCH " -uid %u) | awk 'END { print $1 }')",
				     1000 + i, 1000 + i), 0);
	for (i = 0; i < COUNT(fd); i++)
		close(fd[i]);
	leave_scratch();
}

/* No inode on the disk says that it may have preallocated extents. */
static void assert_no_mark(void)
{
	unmount_scratch();
	assert_int_equal(run("! btrfs inspect-internal dump-tree $SCRATCH_DEV1"
			     " | grep 'flags 0x.*PREALLOC'"), 0);
	check_scratch();
}

/*
 * A small file, inline in btrfs, is rewritten before quota refuses the exchange: with the
 * mark of a preallocated one it would never be compressed again.
 */
static void test_refused_exchange_leaves_no_mark(void **state)
{
	const struct file_spec large = { SHAPE_PLAIN, 4096 * BLOCK };
	const struct file_spec small = { SHAPE_PLAIN, 100 };
	struct exchrange_range range;
	int fd;

	(void)state;
	if (!is_btrfs())
		skip();
	range = make_accounts(large, small);
	fd = range.file1_fd;
	range.file1_fd = range.file2_fd;
	range.file2_fd = fd;
	range.flags = EXCHRANGE_TO_EOF | EXCHRANGE_FILE1_WRITTEN;
	set_limit("4m");
	assert_refused(&range, EDQUOT);
	close(range.file1_fd);
	close(range.file2_fd);
	assert_no_mark();
	leave_scratch();
}

/* A larger file of another account, into one whose account has a limit below that. */
static void test_quota_reached_is_edquot(void **state)
{
	const struct file_spec large = { SHAPE_PLAIN, 1024 * BLOCK };
	const struct file_spec small = { SHAPE_PLAIN, BLOCK };
	struct exchrange_range range = make_accounts(large, small);

	(void)state;
	set_limit("1m");
	assert_refused(&range, EDQUOT);
	set_limit("none");
	assert_int_equal(as_nobody(try_exchange, &range), 0);
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_file_system_is_enospc),
		cmocka_unit_test(test_quota_reached_is_edquot),
		cmocka_unit_test(test_refused_exchange_leaves_no_mark),
		cmocka_unit_test(test_vector_on_full_file_system_is_enospc),
		cmocka_unit_test(test_vector_counts_all_pairs_for_quota),
		cmocka_unit_test(test_vector_of_too_many_owners),
	};

	start(argc, argv);
	return run_as_ktap("space", tests, NULL, NULL);
}
