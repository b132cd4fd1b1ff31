// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that swap one pair while others read it: a reader sees a block of one
 * file or of the other, never a mixture (on XFS all of it, if one call reads it), and at
 * the end the pair is whole, and swapped: the number of swaps is odd.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common.h"

#define BLOCKS	64u
#define SWAPPERS	8
#define SWAPS		60	/* by each, and one more by the first */
#define READERS		4

struct arena {
	int		fd[2];
	unsigned int	blocks;		/* of a read */
	atomic_bool	stop;
	atomic_bool	first;
	atomic_ullong	torn;		/* reads of a mixture */
	atomic_ullong	seen[2][2];	/* in each file, reads of 'a', of 'b' */
	atomic_ullong	failed;		/* exchanges and reads */
};

static void fill(int fd, char letter)
{
	char block[BLOCK];
	unsigned int i;

	memset(block, letter, sizeof(block));
	for (i = 0; i < BLOCKS; i++)
		assert_int_equal(pwrite(fd, block, BLOCK, i * BLOCK), BLOCK);
	assert_int_equal(fsync(fd), 0);
}

static bool is_all(const char *bytes, char letter, size_t size)
{
	return bytes[0] == letter && !memcmp(bytes, bytes + 1, size - 1);
}

static void judge(struct arena *arena, int file, const char *bytes)
{
	const size_t size = arena->blocks * BLOCK;

	if (is_all(bytes, 'a', size))
		atomic_fetch_add(&arena->seen[file][0], 1);
	else if (is_all(bytes, 'b', size))
		atomic_fetch_add(&arena->seen[file][1], 1);
	else
		atomic_fetch_add(&arena->torn, 1);
}

static void *swap_many(void *argument)
{
	struct arena *arena = argument;
	struct exchrange_range range = {
		.file1_fd	= arena->fd[0],
		.file2_fd	= arena->fd[1],
		.length		= BLOCKS * BLOCK,
	};
	int swaps = SWAPS + !atomic_exchange(&arena->first, true);

	while (swaps--)
		if (device_exchange(&range))
			atomic_fetch_add(&arena->failed, 1);
	return NULL;
}

static void *read_many(void *argument)
{
	struct arena *arena = argument;
	const ssize_t size = arena->blocks * BLOCK;
	char bytes[BLOCKS * BLOCK];
	unsigned int i = 0;

	while (!atomic_load(&arena->stop)) {
		if (pread(arena->fd[i % 2], bytes, size,
			  i % (BLOCKS - arena->blocks + 1) * BLOCK) == size)
			judge(arena, i % 2, bytes);
		else
			atomic_fetch_add(&arena->failed, 1);
		i += 7;
	}
	return NULL;
}

static void assert_whole(int fd, char letter)
{
	char *bytes = malloc(BLOCKS * BLOCK);

	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, BLOCKS * BLOCK, 0), BLOCKS * BLOCK);
	assert_true(is_all(bytes, letter, BLOCKS * BLOCK));
	free(bytes);
}

/* Each read is of so many blocks. */
static void swap_and_read(unsigned int blocks)
{
	static const struct file_spec empty = { SHAPE_PLAIN, 0 };
	pthread_t swappers[SWAPPERS], readers[READERS];
	struct arena arena = { .blocks = blocks };
	int i;

	arena.fd[0] = make_file("a", empty, 0);
	arena.fd[1] = make_file("b", empty, 0);
	fill(arena.fd[0], 'a');
	fill(arena.fd[1], 'b');

	for (i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_many,
						&arena), 0);
	for (i = 0; i < SWAPPERS; i++)
		assert_int_equal(pthread_create(&swappers[i], NULL, swap_many,
						&arena), 0);
	for (i = 0; i < SWAPPERS; i++)
		pthread_join(swappers[i], NULL);
	atomic_store(&arena.stop, true);
	for (i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);

	print_message("# read in file1: %llu of 'a', %llu of 'b'; in file2: %llu of 'a', %llu of 'b'; torn: %llu\n",
		      arena.seen[0][0], arena.seen[0][1],
		      arena.seen[1][0], arena.seen[1][1], arena.torn);
	assert_int_equal(arena.failed, 0);
	assert_int_equal(arena.torn, 0);
	/* The readers did see it happen, in both files. */
	for (i = 0; i < 2; i++)
		assert_true(arena.seen[i][0] > 0 && arena.seen[i][1] > 0);
	assert_whole(arena.fd[0], 'b');
	assert_whole(arena.fd[1], 'a');
	close(arena.fd[0]);
	close(arena.fd[1]);
}

static void test_readers_see_no_mixture(void **state)
{
	(void)state;
	swap_and_read(1);
}

/* In one call.  On btrfs a read has no lock, and sees other writes in parts too. */
static void test_readers_of_all_see_no_mixture(void **state)
{
	(void)state;
	if (is_btrfs())
		skip();
	swap_and_read(BLOCKS);
}

/* A mapping made before the exchange shows the new contents after it. */
static void test_mapping_shows_the_new_contents(void **state)
{
	static const struct file_spec empty = { SHAPE_PLAIN, 0 };
	struct exchrange_range range = {
		.file1_fd	= make_file("a", empty, 0),
		.file2_fd	= make_file("b", empty, 0),
		.flags		= EXCHRANGE_TO_EOF,
	};
	char *mapping;

	(void)state;
	fill(range.file1_fd, 'a');
	fill(range.file2_fd, 'b');
	mapping = mmap(NULL, BLOCKS * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED,
		       range.file2_fd, 0);
	assert_ptr_not_equal(mapping, MAP_FAILED);
	assert_true(is_all(mapping, 'b', BLOCKS * BLOCK));
	assert_int_equal(device_exchange(&range), 0);
	assert_true(is_all(mapping, 'a', BLOCKS * BLOCK));

	/* And a store through it lands in the file it was made of. */
	mapping[5] = 'x';
	assert_int_equal(msync(mapping, BLOCKS * BLOCK, MS_SYNC), 0);
	assert_whole(range.file1_fd, 'b');
	assert_int_equal(munmap(mapping, BLOCKS * BLOCK), 0);
	close(range.file1_fd);
	close(range.file2_fd);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readers_see_no_mixture),
		cmocka_unit_test(test_readers_of_all_see_no_mixture),
		cmocka_unit_test(test_mapping_shows_the_new_contents),
	};

	start(argc, argv);
	return cmocka_run_group_tests_name("concurrent", tests, NULL, NULL);
}
