// SPDX-License-Identifier: GPL-2.0
/*
 * What files have behind their ends: space that was preallocated for an append, which XFS
 * may not have chosen a place for yet.  It stands in nobody's way, and a dry run leaves it.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

#define APPENDED	(80 * 1024u)
#define COMB		(64 * 1024 * 1024u)

static void fill_with(int fd, char letter, uint32_t from, uint32_t to)
{
	char *bytes = malloc(to - from);

	assert_non_null(bytes);
	memset(bytes, letter, to - from);
	assert_int_equal(pwrite(fd, bytes, to - from, from), to - from);
	free(bytes);
}

/*
 * No two free blocks are next to each other: XFS finds a place for the blocks of a file one
 * by one, and where a write preallocates many at once, those behind the end get none.  So
 * nothing may be kept free for trees, or for the last of all needs.
 */
static void enter_comb(void)
{
	int fd;
	uint32_t i;

	if (is_btrfs()) {
		enter_scratch(kind->mkfs_small, "defaults");
		return;
	}
	enter_scratch("mkfs.xfs -q -f $XFS_MKFS -d size=300m -m rmapbt=0,reflink=0,finobt=0 "
		      "-i sparse=0", "defaults");
	assert_int_equal(run("xfs_io -x -c 'resblks 1' " SCRATCH), 0);
	fd = open(SCRATCH "/comb", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fallocate(fd, 0, 0, COMB), 0);
	assert_int_equal(run("step=$((1 << 30)); i=0; while [ $step -ge 4096 ]; do "
			     "fallocate -l $step " SCRATCH "/filler.$i 2>/dev/null || "
			     "step=$((step / 2)); i=$((i + 1)); done"), 0);
	for (i = 0; i < COMB; i += 2 * BLOCK)
		assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   i, BLOCK), 0);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static int make_appended(const char *name, char letter)
{
	int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	fill_with(fd, letter, 0, 64 * 1024);
	assert_int_equal(fsync(fd), 0);
	fill_with(fd, letter, 64 * 1024, APPENDED);
	assert_int_equal(fsync(fd), 0);
	return fd;
}

static uint64_t space_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_blocks * 512ull;
}

static void assert_all(int fd, char letter, uint32_t size)
{
	char *bytes = malloc(size + 1);
	uint32_t i;

	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, size + 1, 0), size);
	for (i = 0; i < size; i++)
		assert_int_equal(bytes[i], letter);
	free(bytes);
}

/* @longer: which of the two files has been appended to, and is longer. */
static void exchange_appended(int longer)
{
	int fd[2];
	struct exchrange_range range = {
		.flags = EXCHRANGE_TO_EOF | EXCHRANGE_DRY_RUN,
	};
	uint64_t space;

	enter_comb();
	/* The longer one moves to where the other one has preallocated. */
	fd[longer] = make_appended("longer", 'l');
	fd[!longer] = make_appended("shorter", 's');
	fill_with(fd[longer], 'l', APPENDED, 2 * APPENDED);
	assert_int_equal(fsync(fd[longer]), 0);
	range.file1_fd = fd[0];
	range.file2_fd = fd[1];

	/* More than the file and a block for its map. */
	space = space_of(fd[!longer]);
	if (!is_btrfs())
		assert_true(space > APPENDED + 8 * BLOCK);
	assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(space_of(fd[!longer]), space);

	range.flags = EXCHRANGE_TO_EOF;
	assert_int_equal(device_exchange(&range), 0);
	assert_all(fd[longer], 's', APPENDED);
	assert_all(fd[!longer], 'l', 2 * APPENDED);
	close(fd[0]);
	close(fd[1]);
	leave_scratch();
}

static void test_file1_was_appended_to(void **state)
{
	(void)state;
	exchange_appended(0);
}

static void test_file2_was_appended_to(void **state)
{
	(void)state;
	exchange_appended(1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file1_was_appended_to),
		cmocka_unit_test(test_file2_was_appended_to),
	};

	start(argc, argv);
	return run_as_ktap("ends", tests, NULL, NULL);
}
