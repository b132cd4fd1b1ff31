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
#include <unistd.h>

#include "common.h"

#define SCRATCH	"/mnt/scratch"
#define EXTENTS	2000ull

/* A file system of the kind under test, as small as it may be. */
static void make_scratch(const char *mount_options)
{
	mkdir(SCRATCH, 0755);
	assert_int_equal(run("mkfs.xfs -q -f -i exchange=1 -d size=300m $SCRATCH_DEV1"), 0);
	assert_int_equal(run("mount -o '%s' $SCRATCH_DEV1 " SCRATCH,
			     mount_options), 0);
	assert_int_equal(chmod(SCRATCH, 0777), 0);
}

static void end_scratch(void)
{
	assert_int_equal(run("umount " SCRATCH), 0);
	assert_int_equal(run("xfs_repair -n $SCRATCH_DEV1"), 0);
}

/* Takes all the space there is, down to the last block that can be had. */
static void fill(void)
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

static int try_exchange(void *argument)
{
	return device_exchange(argument);
}

static int try_xfs_exchange(void *argument)
{
	return xfs_exchange(argument);
}

/* The call fails with the error, for XFS's own ioctl too, and changes nothing. */
static void assert_refused(struct exchrange_range *range, int error)
{
	struct picture before1 = take_picture(range->file1_fd);
	struct picture before2 = take_picture(range->file2_fd);

	assert_int_equal(as_nobody(try_exchange, range), error);
	assert_unchanged(&before1, range->file1_fd);
	assert_unchanged(&before2, range->file2_fd);
	assert_int_equal(as_nobody(try_xfs_exchange, range), error);
	drop_picture(&before1);
	drop_picture(&before2);
}

/* Many extents against one: the block map of file2 has to grow. */
static void test_full_file_system_is_enospc(void **state)
{
	const struct file_spec scattered = { SHAPE_SCATTERED, EXTENTS * BLOCK };
	const struct file_spec plain = { SHAPE_PLAIN, EXTENTS * BLOCK };
	const char *tested = mount_point;
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };

	(void)state;
	make_scratch("defaults");
	mount_point = SCRATCH;
	range.file1_fd = make_file("scattered", scattered, 1);
	range.file2_fd = make_file("plain", plain, 2);
	fill();
	assert_refused(&range, ENOSPC);

	/* With the space back it works: nothing was shut down. */
	assert_int_equal(unlink(SCRATCH "/filler"), 0);
	assert_int_equal(as_nobody(try_exchange, &range), 0);
	close(range.file1_fd);
	close(range.file2_fd);
	end_scratch();
	mount_point = tested;
}

/* A larger file of somebody else, into one whose owner has reached the limit. */
static void test_quota_reached_is_edquot(void **state)
{
	const struct file_spec large = { SHAPE_PLAIN, 1024 * BLOCK };
	const struct file_spec small = { SHAPE_PLAIN, BLOCK };
	const char *tested = mount_point;
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };

	(void)state;
	make_scratch("uquota");
	mount_point = SCRATCH;
	range.file1_fd = make_file("large", large, 1);
	range.file2_fd = make_file("small", small, 2);
	assert_int_equal(fchown(range.file1_fd, 1000, 1000), 0);
	assert_int_equal(run("xfs_quota -x -c 'limit -u bhard=16k %d' " SCRATCH,
			     NOBODY), 0);
	assert_refused(&range, EDQUOT);

	assert_int_equal(run("xfs_quota -x -c 'limit -u bhard=0 %d' " SCRATCH,
			     NOBODY), 0);
	assert_int_equal(as_nobody(try_exchange, &range), 0);
	close(range.file1_fd);
	close(range.file2_fd);
	end_scratch();
	mount_point = tested;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_file_system_is_enospc),
		cmocka_unit_test(test_quota_reached_is_edquot),
	};

	start(argc, argv);
	return cmocka_run_group_tests_name("space", tests, NULL, NULL);
}
