// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that swap one pair while others read it: a reader sees a block of one
 * file or of the other, never a mixture (on XFS all of it, if one call reads it), and at
 * the end the pair is whole, and swapped: the number of swaps is odd.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
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

#define SMALL		100u	/* bytes of 'a' */
#define SIZE_SWAPS	2000

/* An exchange waits 100 ms for the readers of such a block; some of it is gone when they begin. */
#define PATIENCE	0.09

/* A file of 'a', and a longer one of 'b': a reader wants a block of the one or of the other. */
struct sizes {
	struct arena	arena;
	size_t		a, b;	/* bytes */
	atomic_ullong	late;	/* mixtures that were read for longer than anybody waits */
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* The first block of a file that is all one or all the other. */
static bool is_whole_block(const struct sizes *sizes, const char *bytes, ssize_t size)
{
	size_t b = sizes->b < BLOCK ? sizes->b : BLOCK;

	if (bytes[0] == 'a')
		return (size_t)size == sizes->a && is_all(bytes, 'a', sizes->a);
	return (size_t)size >= b && is_all(bytes, 'b', b);
}

static void *read_block(void *argument)
{
	struct sizes *sizes = argument;
	struct arena *arena = &sizes->arena;
	char bytes[2 * BLOCK];
	double begin, end;
	ssize_t size;

	while (!atomic_load(&arena->stop)) {
		begin = now();
		size = pread(arena->fd[0], bytes, sizeof(bytes), 0);
		end = now();
		if (size <= 0)
			atomic_fetch_add(&arena->failed, 1);
		else if (!is_whole_block(sizes, bytes, size))
			atomic_fetch_add(end - begin < PATIENCE ? &arena->torn : &sizes->late, 1);
		else
			atomic_fetch_add(&arena->seen[0][bytes[0] == 'b'], 1);
	}
	return NULL;
}

static void make_sizes(int fd[2], size_t a, size_t b)
{
	static const struct file_spec empty = { SHAPE_PLAIN, 0 };
	char bytes[2 * BLOCK];

	fd[0] = make_file("a", empty, 0);
	fd[1] = make_file("b", empty, 0);
	memset(bytes, 'a', a);
	assert_int_equal(pwrite(fd[0], bytes, a, 0), a);
	memset(bytes, 'b', b);
	assert_int_equal(pwrite(fd[1], bytes, b, 0), b);
	assert_int_equal(fsync(fd[0]) || fsync(fd[1]), 0);
}

/* A reader who has a page when the size changes does not see it up to another end. */
static void swap_sizes_and_read(size_t a, size_t b)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	struct sizes sizes = { .a = a, .b = b };
	struct arena *arena = &sizes.arena;
	pthread_t readers[READERS];
	int i;

	make_sizes(arena->fd, a, b);
	range.file1_fd = arena->fd[0];
	range.file2_fd = arena->fd[1];
	for (i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_block,
						&sizes), 0);
	for (i = 0; i < SIZE_SWAPS; i++)
		if (device_exchange(&range))
			atomic_fetch_add(&arena->failed, 1);
	atomic_store(&arena->stop, true);
	for (i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	print_message("# read: %llu of 'a', %llu of 'b'; torn: %llu, and %llu who were stopped meanwhile\n",
		      arena->seen[0][0], arena->seen[0][1], arena->torn, sizes.late);
	assert_int_equal(arena->failed, 0);
	assert_int_equal(arena->torn, 0);
	assert_true(arena->seen[0][0] > 0 && arena->seen[0][1] > 0);
	close(arena->fd[0]);
	close(arena->fd[1]);
}

/* One read has all of such a file. */
static void test_file_of_one_block_is_whole(void **state)
{
	(void)state;
	swap_sizes_and_read(SMALL, 3000);
}

/* Readahead waits for the exchange's locks, and has the block. */
static void test_block_before_a_moving_end_is_whole(void **state)
{
	(void)state;
	swap_sizes_and_read(4000, 5000);
}

/* A pipe that has the page keeps it for ever, and what it was; an exchange does not wait for that. */
static void test_page_in_a_pipe_stops_nobody(void **state)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	char bytes[SMALL];
	loff_t offset = 0;
	int fd[2], pipes[2];
	double begin;

	(void)state;
	make_sizes(fd, SMALL, 3000);
	range.file1_fd = fd[0];
	range.file2_fd = fd[1];
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(splice(fd[0], &offset, pipes[1], NULL, SMALL, 0), SMALL);
	begin = now();
	assert_int_equal(device_exchange(&range), 0);
	print_message("# %.3f s with the page in a pipe\n", now() - begin);
	assert_true(now() - begin < 10);
	assert_int_equal(read(pipes[0], bytes, SMALL), SMALL);
	assert_true(is_all(bytes, 'a', SMALL));
	close(pipes[0]);
	close(pipes[1]);
	close(fd[0]);
	close(fd[1]);
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
		cmocka_unit_test(test_file_of_one_block_is_whole),
		cmocka_unit_test(test_block_before_a_moving_end_is_whole),
		cmocka_unit_test(test_page_in_a_pipe_stops_nobody),
		cmocka_unit_test(test_mapping_shows_the_new_contents),
	};

	start(argc, argv);
	return run_as_ktap("concurrent", tests, NULL, NULL);
}
