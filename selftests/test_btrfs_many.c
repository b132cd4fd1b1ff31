// SPDX-License-Identifier: GPL-2.0
/*
 * Files of 1,000 and of 135,000 extents, or a share of these, each a block of its own on the disk:
 * every block changes hands.  Takes a file system of 8 GiB.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

#define STRIDE	8u

/* The word that fills block @i of the file with this seed. */
static uint64_t word_of(unsigned int seed, uint64_t i)
{
	return ((uint64_t)seed << 48) + i;
}

static void write_every(int fd, unsigned int seed, unsigned int first,
			unsigned int count)
{
	uint64_t words[BLOCK / 8];
	unsigned int i, j;

	for (i = first; i < count; i += STRIDE) {
		for (j = 0; j < COUNT(words); j++)
			words[j] = word_of(seed, i);
		assert_int_equal(pwrite(fd, words, BLOCK, (off_t)i * BLOCK),
				 BLOCK);
	}
	assert_int_equal(fsync(fd), 0);
}

static void make_holes(int fd[2], unsigned int count)
{
	static const struct file_spec empty = { SHAPE_PLAIN, 0 };
	int i;

	for (i = 0; i < 2; i++) {
		fd[i] = make_file(i ? "many2" : "many1", empty, 0);
		assert_int_equal(ftruncate(fd[i], (off_t)count * BLOCK), 0);
	}
}

/* Side by side in a file, and not on the disk: others were allocated in between. */
static void make_pair(int fd[2], unsigned int count)
{
	unsigned int first;
	int i;

	make_holes(fd, count);
	for (first = 0; first < STRIDE; first++)
		for (i = 0; i < 2; i++)
			write_every(fd[i], i + 1, first, count);
	for (i = 0; i < 2; i++)
		assert_true(count_extents(fd[i]) >= count / 10 * 9);
}

static void assert_block(const uint64_t words[BLOCK / 8], uint64_t word)
{
	assert_int_equal(words[0], word);
	assert_int_equal(words[BLOCK / 8 - 1], word);
}

/* Of each block the first word and the last. */
static void assert_blocks(int fd, unsigned int seed, uint64_t from, uint64_t to)
{
	static uint64_t chunk[256][BLOCK / 8];
	uint64_t i, count, j;

	for (i = from; i < to; i += count) {
		count = to - i < COUNT(chunk) ? to - i : COUNT(chunk);
		assert_int_equal(pread(fd, chunk, count * BLOCK, i * BLOCK),
				 count * BLOCK);
		for (j = 0; j < count; j++)
			assert_block(chunk[j], word_of(seed, i + j));
	}
}

static void exchange_many(unsigned int count)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	uint64_t third = count / 3;
	int fd[2];

	make_pair(fd, count);
	range.file1_fd = fd[0];
	range.file2_fd = fd[1];
	assert_int_equal(device_exchange(&range), 0);
	assert_blocks(fd[0], 2, 0, count);
	assert_blocks(fd[1], 1, 0, count);

	/* And the middle back. */
	range.flags = EXCHRANGE_DSYNC;
	range.file1_offset = third * BLOCK;
	range.file2_offset = third * BLOCK;
	range.length = third * BLOCK;
	assert_int_equal(device_exchange(&range), 0);
	assert_blocks(fd[0], 2, 0, third);
	assert_blocks(fd[0], 1, third, 2 * third);
	assert_blocks(fd[0], 2, 2 * third, count);
	assert_blocks(fd[1], 2, third, 2 * third);
	close(fd[0]);
	close(fd[1]);
	assert_int_equal(run("rm '%s' '%s' && sync", path_of("many1"),
			     path_of("many2")), 0);
}

static void test_1000(void **state)
{
	(void)state;
	exchange_many(1000);
}

/* All of them: more than is exchanged before references go to the extent tree. */
static void test_very_many(void **state)
{
	(void)state;
	exchange_many(135000 / test_share());
}

/* What btrfs keeps of references in memory, with what has the same size. */
static long count_references(void)
{
	struct outcome outcome =
		run_and_keep("cat /sys/kernel/slab/btrfs_delayed_ref_node/objects");
	long count = 0;

	assert_int_equal(sscanf(outcome.out, "%ld", &count), 1);
	drop_outcome(&outcome);
	return count;
}

static void make_comb_and_file(int fd[2], unsigned int count)
{
	unsigned int first;

	make_holes(fd, count);
	for (first = 0; first < STRIDE; first++) {
		if (first % 2 == 0)
			write_every(fd[0], 1, first, count);
		write_every(fd[1], 2, first, count);
	}
}

/* Every second block, as a database's pages: each a stretch of its own. */
static void test_very_many_written(void **state)
{
	struct exchrange_range range = { .flags = EXCHRANGE_FILE1_WRITTEN };
	uint64_t words[BLOCK / 8], count = 300000, i;
	long references;
	int fd[2];

	(void)state;
	/* A share of them stays in memory in any case: that is of their contents alone. */
	count /= test_share() * test_share();
	make_comb_and_file(fd, count);
	range.file1_fd = fd[0];
	range.file2_fd = fd[1];
	range.length = count * BLOCK;
	assert_int_equal(syncfs(fd[0]), 0);
	references = count_references();
	assert_int_equal(device_exchange(&range), 0);
	/* One is added and one is dropped for each of 300,000 extents. */
	references = count_references() - references;
	print_message("# %ld references more in memory\n", references);
	assert_true(references < 400000);
	for (i = 0; i < count; i++) {
		assert_int_equal(pread(fd[1], words, BLOCK, i * BLOCK), BLOCK);
		assert_block(words, word_of(i % 2 ? 2 : 1, i));
	}
	close(fd[0]);
	close(fd[1]);
	assert_int_equal(run("rm '%s' '%s' && sync", path_of("many1"),
			     path_of("many2")), 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_1000),
		cmocka_unit_test(test_very_many),
		cmocka_unit_test(test_very_many_written),
	};

	start(argc, argv);
	return cmocka_run_group_tests_name("many", tests, NULL, NULL);
}
