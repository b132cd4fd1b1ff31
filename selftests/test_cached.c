// SPDX-License-Identifier: GPL-2.0
/*
 * What an exchange leaves in the page cache: where file2 had a page, or has had none because it was
 * too short, and the page of file1 was cached too, it is there as file2's; all else that moves is
 * read anew.  Cached or not, the bytes are those on the disk.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common.h"

#define BLOCKS	40u	/* of each file but for a row's own size */

struct row {
	const char	*name;
	struct file_spec spec1;		/* BLOCKS where size is 0 */
	uint64_t	offset1, offset2, length;	/* bytes; 0: all */
	uint64_t	size2;
	uint64_t	flags;
	bool		cold1, cold2;
	/* Blocks of file2 that stay cached, of those that move. */
	unsigned int	from, to;
};

static const struct row rows[] = {
	{ "whole files", .to = BLOCKS },
	{ "whole files, durable", .flags = EXCHRANGE_DSYNC, .to = BLOCKS },
	{ "to the end, of one size", .flags = EXCHRANGE_TO_EOF, .to = BLOCKS },
	{ "an end within a block", .size2 = BLOCKS * BLOCK - 100, .flags = EXCHRANGE_TO_EOF,
	  .to = BLOCKS - 1 },
	{ "one block", .offset1 = 7 * BLOCK, .offset2 = 7 * BLOCK, .length = BLOCK,
	  .from = 7, .to = 8 },
	{ "blocks further on", .offset1 = 3 * BLOCK, .offset2 = 20 * BLOCK, .length = 9 * BLOCK,
	  .from = 20, .to = 29 },
	{ "blocks further back", .offset1 = 30 * BLOCK, .offset2 = BLOCK, .length = 10 * BLOCK,
	  .from = 1, .to = 11 },
	{ "scattered blocks", { SHAPE_SCATTERED, BLOCKS * BLOCK }, .to = BLOCKS },
	{ "holes", { SHAPE_HOLES, BLOCKS * BLOCK }, .to = BLOCKS },
	{ "file2 becomes longer", { SHAPE_PLAIN, BLOCKS * BLOCK }, .size2 = 10 * BLOCK,
	  .flags = EXCHRANGE_TO_EOF, .to = BLOCKS },
	{ "file2 becomes longer, from its end on", { SHAPE_PLAIN, 30 * BLOCK }, .size2 = 10 * BLOCK,
	  .offset2 = 10 * BLOCK, .flags = EXCHRANGE_TO_EOF, .from = 10, .to = BLOCKS },
	{ "file2 becomes longer, from within a block", { SHAPE_PLAIN, 30 * BLOCK + 50 },
	  .size2 = 9 * BLOCK + 100, .offset2 = 9 * BLOCK, .flags = EXCHRANGE_TO_EOF,
	  .from = 9, .to = 39 },
	{ "file2 becomes shorter", { SHAPE_PLAIN, 30 * BLOCK }, .flags = EXCHRANGE_TO_EOF,
	  .to = 30 },
	{ "file2 becomes shorter, within a block", { SHAPE_PLAIN, 30 * BLOCK + 50 },
	  .flags = EXCHRANGE_TO_EOF, .to = 30 },
	{ "what is written alone", { SHAPE_HOLES, BLOCKS * BLOCK },
	  .flags = EXCHRANGE_FILE1_WRITTEN },
	{ "file1 is not cached", .cold1 = true },
	{ "file2 is not cached", .cold2 = true },
	{ "file2 is not cached, and becomes longer", { SHAPE_PLAIN, BLOCKS * BLOCK },
	  .size2 = 10 * BLOCK, .flags = EXCHRANGE_TO_EOF, .cold2 = true, .from = 10, .to = BLOCKS },
	{ "neither is cached", .cold1 = true, .cold2 = true },
};

/* Of each page of the file a byte, odd where it is in the page cache. */
static unsigned char *cached_pages(int fd, size_t *pages)
{
	struct stat st;
	unsigned char *cached;
	void *mapping;

	assert_int_equal(fstat(fd, &st), 0);
	*pages = (st.st_size + BLOCK - 1) / BLOCK;
	cached = calloc(*pages + 1, 1);
	assert_non_null(cached);
	if (!st.st_size)
		return cached;
	mapping = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(mapping, MAP_FAILED);
	assert_int_equal(mincore(mapping, st.st_size, cached), 0);
	munmap(mapping, st.st_size);
	return cached;
}

/* All of the file is in the page cache, or nothing. */
static void set_cached(int fd, bool is_cached)
{
	struct picture picture;
	unsigned char *cached;
	size_t pages, i;

	assert_int_equal(fsync(fd), 0);
	if (is_cached) {
		picture = take_picture(fd);
		drop_picture(&picture);
	} else {
		assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	}
	cached = cached_pages(fd, &pages);
	for (i = 0; i < pages; i++)
		assert_int_equal(cached[i] & 1, is_cached);
	free(cached);
}

/* The bytes are @wanted's, cached as they are, and on the disk. */
static void assert_bytes(int fd, const struct picture *wanted)
{
	int i;

	for (i = 0; i < 2; i++) {
		struct picture now = take_picture(fd);

		assert_true(same_bytes(wanted, &now));
		drop_picture(&now);
		set_cached(fd, false);
	}
}

static bool resizes(const struct row *row)
{
	return row->flags & EXCHRANGE_TO_EOF && row->spec1.size;
}

static void assert_kept(int fd, const struct row *row)
{
	unsigned int first = row->offset2 / BLOCK, i;
	size_t pages, last;
	unsigned char *cached = cached_pages(fd, &pages);

	last = row->length ? first + row->length / BLOCK : pages;
	for (i = first; i < last; i++) {
		bool wanted = i >= row->from && i < row->to;

		/* btrfs keeps nothing of the folio that an end is in, or gets into. */
		if ((cached[i] & 1) != wanted && !(wanted && resizes(row) && is_btrfs()))
			fail_msg("block %u: cached %d", i, cached[i] & 1);
	}
	free(cached);
}

static void test_row(void **state)
{
	const struct row *row = *state;
	const struct file_spec plain = { SHAPE_PLAIN, row->size2 ?: BLOCKS * BLOCK };
	struct exchrange_range range = {
		.file1_fd	= make_file("file1", row->spec1.size ? row->spec1 : plain, 1),
		.file2_fd	= make_file("file2", plain, 2),
		.file1_offset	= row->offset1,
		.file2_offset	= row->offset2,
		.flags		= row->flags,
	};
	struct picture wanted[2] = { take_picture(range.file1_fd), take_picture(range.file2_fd) };

	range.length = row->flags & EXCHRANGE_TO_EOF ? 0 : row->length ?: BLOCKS * BLOCK;
	(row->flags & EXCHRANGE_FILE1_WRITTEN ? model_exchange_written : model_exchange)
		(&wanted[0], &wanted[1], row->offset1, row->offset2, range.length, row->flags);
	set_cached(range.file1_fd, !row->cold1);
	set_cached(range.file2_fd, !row->cold2);
	assert_int_equal(device_exchange(&range), 0);
	/* Where file1 has a hole nothing moves, and nothing has to go. */
	if (!(row->flags & EXCHRANGE_FILE1_WRITTEN))
		assert_kept(range.file2_fd, row);
	assert_bytes(range.file1_fd, &wanted[0]);
	assert_bytes(range.file2_fd, &wanted[1]);
	drop_picture(&wanted[0]);
	drop_picture(&wanted[1]);
	close(range.file1_fd);
	close(range.file2_fd);
}

/* --- what is done with such a page ------------------------------------------------------ */

static const struct file_spec plain = { SHAPE_PLAIN, BLOCKS * BLOCK };

/* Exchanged, with both in the cache. */
static void make_pair_and_exchange(int fd[2], struct picture wanted[2])
{
	struct exchrange_range range = { .length = BLOCKS * BLOCK };
	int i;

	for (i = 0; i < 2; i++) {
		fd[i] = make_file(i ? "file2" : "file1", plain, i + 1);
		wanted[i] = take_picture(fd[i]);
	}
	range.file1_fd = fd[0];
	range.file2_fd = fd[1];
	model_exchange(&wanted[0], &wanted[1], 0, 0, range.length, 0);
	assert_int_equal(device_exchange(&range), 0);
}

static void end_pair(int fd[2], struct picture wanted[2])
{
	int i;

	for (i = 0; i < 2; i++) {
		assert_bytes(fd[i], &wanted[i]);
		drop_picture(&wanted[i]);
		close(fd[i]);
	}
}

static void test_kept_page_is_written_to(void **state)
{
	struct picture wanted[2];
	uint8_t *mapping;
	int fd[2];

	(void)state;
	make_pair_and_exchange(fd, wanted);
	assert_int_equal(pwrite(fd[1], "in a page", 9, 5 * BLOCK + 100), 9);
	memcpy(wanted[1].bytes + 5 * BLOCK + 100, "in a page", 9);
	mapping = mmap(NULL, BLOCKS * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd[1], 0);
	assert_ptr_not_equal(mapping, MAP_FAILED);
	memcpy(mapping + 9 * BLOCK + 4000, "by a mapping", 12);
	memcpy(wanted[1].bytes + 9 * BLOCK + 4000, "by a mapping", 12);
	munmap(mapping, BLOCKS * BLOCK);
	assert_int_equal(ftruncate(fd[1], 20 * BLOCK + 10), 0);
	model_truncate(&wanted[1], 20 * BLOCK + 10);
	end_pair(fd, wanted);
}

/* What is written to the page goes to a new place: the clone keeps the other. */
static void test_kept_page_of_a_reflink_is_written_to(void **state)
{
	int fd[2], clone = make_file("clone", plain, 3);
	struct picture wanted[2], cloned;

	(void)state;
	make_pair_and_exchange(fd, wanted);
	assert_int_equal(ioctl(clone, FICLONE, fd[1]), 0);
	cloned = copy_picture(&wanted[1]);
	assert_int_equal(pwrite(fd[1], "in a page", 9, 5 * BLOCK + 100), 9);
	memcpy(wanted[1].bytes + 5 * BLOCK + 100, "in a page", 9);
	end_pair(fd, wanted);
	assert_bytes(clone, &cloned);
	drop_picture(&cloned);
	close(clone);
}

/* A pipe has the page of file1 itself: a write to file2 does not show there. */
static void test_pipe_keeps_its_page(void **state)
{
	struct exchrange_range range = { .length = BLOCK };
	uint8_t bytes[BLOCK], before[BLOCK];
	int fd[2], pipes[2], i;
	loff_t offset = 0;

	(void)state;
	for (i = 0; i < 2; i++)
		fd[i] = make_file(i ? "file2" : "file1", plain, i + 1);
	for (i = 0; i < 2; i++)
		set_cached(fd[i], true);
	assert_int_equal(pread(fd[0], before, BLOCK, 0), BLOCK);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(splice(fd[0], &offset, pipes[1], NULL, BLOCK, 0), BLOCK);
	range.file1_fd = fd[0];
	range.file2_fd = fd[1];
	assert_int_equal(device_exchange(&range), 0);
	memset(bytes, 'x', BLOCK);
	assert_int_equal(pwrite(fd[1], bytes, BLOCK, 0), BLOCK);
	assert_int_equal(read(pipes[0], bytes, BLOCK), BLOCK);
	assert_memory_equal(bytes, before, BLOCK);
	for (i = 0; i < 2; i++) {
		close(pipes[i]);
		close(fd[i]);
	}
}

/* The pages of one file, and of several, each to its place. */
static void test_slots(void **state)
{
	const unsigned int places[] = { 0, 39, 3, 17 };
	struct exchrange_pair pairs[COUNT(places)];
	int staging = make_file("slots", plain, 1), fd[2], i;
	struct picture slots = take_picture(staging), wanted[2];
	struct row row = { };

	(void)state;
	for (i = 0; i < 2; i++) {
		fd[i] = make_file(i ? "file2" : "file1", plain, i + 2);
		wanted[i] = take_picture(fd[i]);
	}
	for (i = 0; i < (int)COUNT(places); i++) {
		pairs[i] = block_pair(staging, i, fd[i % 2], places[i]);
		memcpy(wanted[i % 2].bytes + places[i] * BLOCK, slots.bytes + i * BLOCK, BLOCK);
	}
	assert_int_equal(exchange_list(pairs, COUNT(pairs), EXCHRANGE_DSYNC).error, 0);
	for (i = 0; i < (int)COUNT(places); i++) {
		row.offset2 = places[i] * BLOCK;
		row.length = BLOCK;
		row.from = places[i];
		row.to = places[i] + 1;
		assert_kept(fd[i % 2], &row);
	}
	for (i = 0; i < 2; i++) {
		assert_bytes(fd[i], &wanted[i]);
		drop_picture(&wanted[i]);
		close(fd[i]);
	}
	drop_picture(&slots);
	close(staging);
}

/* Each file is file1 of a pair and file2 of another, or both in one. */
static void test_both_ways(void **state)
{
	struct exchrange_range within = {
		.file1_offset = 3 * BLOCK, .file2_offset = 20 * BLOCK, .length = 9 * BLOCK,
	};
	struct exchrange_pair pairs[2];
	struct picture wanted[2];
	int fd[2], i;

	(void)state;
	for (i = 0; i < 2; i++) {
		fd[i] = make_file(i ? "file2" : "file1", plain, i + 1);
		wanted[i] = take_picture(fd[i]);
	}
	pairs[0] = block_pair(fd[0], 0, fd[1], 1);
	pairs[1] = block_pair(fd[1], 0, fd[0], 1);
	model_exchange(&wanted[0], &wanted[1], 0, BLOCK, BLOCK, 0);
	model_exchange(&wanted[1], &wanted[0], 0, BLOCK, BLOCK, 0);
	assert_int_equal(exchange_list(pairs, COUNT(pairs), 0).error, 0);
	within.file1_fd = fd[0];
	within.file2_fd = fd[0];
	model_exchange(&wanted[0], &wanted[0], within.file1_offset, within.file2_offset,
		       within.length, 0);
	assert_int_equal(device_exchange(&within), 0);
	end_pair(fd, wanted);
}

/* What a mapping of file1 has stored, and nobody has written back, moves with the page. */
static void test_mapped_page_is_stored_to(void **state)
{
	struct exchrange_range range = { .length = BLOCKS * BLOCK };
	struct picture wanted[2];
	uint8_t *mapping;
	int fd[2], i;

	(void)state;
	for (i = 0; i < 2; i++) {
		fd[i] = make_file(i ? "file2" : "file1", plain, i + 1);
		wanted[i] = take_picture(fd[i]);
	}
	mapping = mmap(NULL, BLOCKS * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd[0], 0);
	assert_ptr_not_equal(mapping, MAP_FAILED);
	range.file1_fd = fd[0];
	range.file2_fd = fd[1];
	memcpy(mapping + 9 * BLOCK, "by a mapping", 12);
	memcpy(wanted[0].bytes + 9 * BLOCK, "by a mapping", 12);
	model_exchange(&wanted[0], &wanted[1], 0, 0, range.length, 0);
	assert_int_equal(device_exchange(&range), 0);
	assert_memory_equal(mapping, wanted[0].bytes, BLOCKS * BLOCK);
	memcpy(mapping + 9 * BLOCK, "of file1 now", 12);
	memcpy(wanted[0].bytes + 9 * BLOCK, "of file1 now", 12);
	munmap(mapping, BLOCKS * BLOCK);
	end_pair(fd, wanted);
}

static const struct CMUnitTest others[] = {
	cmocka_unit_test(test_kept_page_is_written_to),
	cmocka_unit_test(test_kept_page_of_a_reflink_is_written_to),
	cmocka_unit_test(test_pipe_keeps_its_page),
	cmocka_unit_test(test_slots),
	cmocka_unit_test(test_both_ways),
	cmocka_unit_test(test_mapped_page_is_stored_to),
};

/* Another one may have references to pages that are on their way to an LRU list. */
static void stay_on_one_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	assert_int_equal(sched_setaffinity(0, sizeof(cpus), &cpus), 0);
}

int main(int argc, char **argv)
{
	const struct table table = {
		.group		= "cached",
		.rows		= rows,
		.row_size	= sizeof(rows[0]),
		.row_count	= COUNT(rows),
		.test		= test_row,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	stay_on_one_cpu();
	return run_table(&table);
}
