// SPDX-License-Identifier: GPL-2.0
/*
 * Calls made twice on like files: through the device, and as the reference with
 * XFS's own ioctl where the file system has it.  Both must agree with each other,
 * and a byte-by-byte model with both.
 */
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

#define KIB 1024ull

static const struct row {
	const char		*name;
	struct file_spec	spec1;
	struct file_spec	spec2;
	bool			one_file;	/* file1 is file2 */
	uint64_t		offset1;
	uint64_t		offset2;
	uint64_t		length;
	uint64_t		flags;
	int			error;
} rows[] = {
	{ "whole files of one block",
	  { SHAPE_PLAIN, 4096 }, { SHAPE_PLAIN, 4096 }, .length = 4096 },
	{ "whole files of 1 MiB",
	  { SHAPE_PLAIN, 1024 * KIB }, { SHAPE_PLAIN, 1024 * KIB },
	  .length = 1024 * KIB },
	{ "whole files that end within a block",
	  { SHAPE_PLAIN, 10000 }, { SHAPE_PLAIN, 10000 }, .length = 10000 },
	{ "whole files of 1,000 extents",
	  { SHAPE_SCATTERED, 4000 * KIB }, { SHAPE_SCATTERED, 4000 * KIB },
	  .flags = EXCHRANGE_TO_EOF },
	{ "1,000 extents with one",
	  { SHAPE_SCATTERED, 4000 * KIB }, { SHAPE_PLAIN, 4000 * KIB },
	  .flags = EXCHRANGE_TO_EOF },

	{ "a range at the start",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .length = 16 * KIB },
	{ "a range in the middle, other offsets",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .offset1 = 8 * KIB, .offset2 = 40 * KIB, .length = 12 * KIB },
	{ "a range at the ends",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .offset1 = 60 * KIB, .offset2 = 60 * KIB, .length = 4 * KIB },
	{ "a range that splits extents of scattered files",
	  { SHAPE_SCATTERED, 256 * KIB }, { SHAPE_PLAIN, 256 * KIB },
	  .offset1 = 20 * KIB, .offset2 = 100 * KIB, .length = 64 * KIB },
	{ "the last block of two files, which ends within a block",
	  { SHAPE_PLAIN, 10000 }, { SHAPE_PLAIN, 10000 },
	  .offset1 = 8192, .offset2 = 8192, .length = 10000 - 8192 },
	{ "a range of no bytes",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB } },

	{ "to EOF, equal sizes",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .flags = EXCHRANGE_TO_EOF },
	{ "to EOF, unequal sizes",
	  { SHAPE_PLAIN, 300 }, { SHAPE_PLAIN, 100000 },
	  .flags = EXCHRANGE_TO_EOF },
	{ "to EOF, unequal sizes, from offsets",
	  { SHAPE_PLAIN, 50000 }, { SHAPE_PLAIN, 100001 },
	  .offset1 = 4 * KIB, .offset2 = 16 * KIB, .flags = EXCHRANGE_TO_EOF },
	{ "to EOF, file1 from its very end",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .offset1 = 64 * KIB, .flags = EXCHRANGE_TO_EOF },
	{ "to EOF, the length is ignored",
	  { SHAPE_PLAIN, 5000 }, { SHAPE_PLAIN, 7000 },
	  .length = UINT64_MAX, .flags = EXCHRANGE_TO_EOF },
	{ "to EOF, empty with full",
	  { SHAPE_PLAIN, 0 }, { SHAPE_PLAIN, 70000 },
	  .flags = EXCHRANGE_TO_EOF },
	{ "to EOF, full with empty",
	  { SHAPE_PLAIN, 70000 }, { SHAPE_PLAIN, 0 },
	  .flags = EXCHRANGE_TO_EOF },
	{ "to EOF, both empty",
	  { SHAPE_PLAIN, 0 }, { SHAPE_PLAIN, 0 }, .flags = EXCHRANGE_TO_EOF },

	{ "holes with data",
	  { SHAPE_HOLES, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .length = 64 * KIB },
	{ "data with holes, a range",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_HOLES, 64 * KIB },
	  .offset1 = 12 * KIB, .offset2 = 4 * KIB, .length = 20 * KIB },
	{ "holes with preallocated blocks",
	  { SHAPE_HOLES, 64 * KIB }, { SHAPE_PREALLOCATED, 64 * KIB },
	  .length = 64 * KIB },
	{ "preallocated blocks with data, to EOF",
	  { SHAPE_PREALLOCATED, 50000 }, { SHAPE_PLAIN, 1000 },
	  .flags = EXCHRANGE_TO_EOF },

	{ "durable",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 32 * KIB },
	  .flags = EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC },
	{ "dry run",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 32 * KIB },
	  .flags = EXCHRANGE_TO_EOF | EXCHRANGE_DRY_RUN },
	{ "dry run of what cannot be",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .offset1 = 1, .length = 4096, .flags = EXCHRANGE_DRY_RUN,
	  .error = EINVAL },
	{ "what file1 wrote, into a range",
	  { SHAPE_HOLES, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .length = 64 * KIB, .flags = EXCHRANGE_FILE1_WRITTEN },
	{ "what file1 wrote, of a preallocated file",
	  { SHAPE_PREALLOCATED, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .offset1 = 4 * KIB, .offset2 = 8 * KIB, .length = 40 * KIB,
	  .flags = EXCHRANGE_FILE1_WRITTEN },
	{ "what file1 wrote, durable, of 1,000 extents",
	  { SHAPE_SCATTERED, 4000 * KIB }, { SHAPE_SCATTERED, 4000 * KIB },
	  .length = 4000 * KIB,
	  .flags = EXCHRANGE_FILE1_WRITTEN | EXCHRANGE_DSYNC },

	{ "what file1 wrote, to EOF, file2 is longer",
	  { SHAPE_HOLES, 40000 }, { SHAPE_PLAIN, 100000 },
	  .flags = EXCHRANGE_FILE1_WRITTEN | EXCHRANGE_TO_EOF },
	{ "what file1 wrote, to EOF, file1 is longer",
	  { SHAPE_HOLES, 100000 }, { SHAPE_PLAIN, 40000 },
	  .flags = EXCHRANGE_FILE1_WRITTEN | EXCHRANGE_TO_EOF },
	{ "what file1 wrote, to EOF, from offsets",
	  { SHAPE_PREALLOCATED, 64 * KIB }, { SHAPE_PLAIN, 10000 },
	  .offset1 = 12 * KIB, .offset2 = 4 * KIB,
	  .flags = EXCHRANGE_FILE1_WRITTEN | EXCHRANGE_TO_EOF },

	{ "one file, two ranges",
	  { SHAPE_PLAIN, 64 * KIB }, .one_file = true,
	  .offset2 = 32 * KIB, .length = 32 * KIB },
	{ "one file, ranges that overlap",
	  { SHAPE_PLAIN, 64 * KIB }, .one_file = true,
	  .offset2 = 28 * KIB, .length = 32 * KIB, .error = EINVAL },
	{ "one file, the same range twice",
	  { SHAPE_PLAIN, 64 * KIB }, .one_file = true,
	  .length = 64 * KIB, .error = EINVAL },

	{ "an unaligned offset of file1",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .offset1 = 512, .length = 4096, .error = EINVAL },
	{ "an unaligned offset of file2",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .offset2 = 4095, .length = 4096, .error = EINVAL },
	{ "an unaligned length",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .length = 5000, .error = EINVAL },
	{ "the end of file1 into the middle of file2",
	  { SHAPE_PLAIN, 10000 }, { SHAPE_PLAIN, 64 * KIB },
	  .length = 10000, .error = EINVAL },
	{ "an offset past EOF of file1",
	  { SHAPE_PLAIN, 4096 }, { SHAPE_PLAIN, 64 * KIB },
	  .offset1 = 8192, .length = 4096, .error = EINVAL },
	{ "an offset past EOF of file2, to EOF",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 4096 },
	  .offset2 = 8192, .flags = EXCHRANGE_TO_EOF, .error = EINVAL },
	{ "a length past EOF",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 60 * KIB },
	  .length = 64 * KIB, .error = EINVAL },
	{ "a range that wraps",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .offset1 = 4096, .length = UINT64_MAX - 4095, .error = EINVAL },
	{ "a negative offset",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .offset2 = 1ull << 63, .length = 4096, .error = EINVAL },
	{ "a negative offset, to EOF",
	  { SHAPE_PLAIN, 64 * KIB }, { SHAPE_PLAIN, 64 * KIB },
	  .offset1 = UINT64_MAX - 4095, .flags = EXCHRANGE_TO_EOF,
	  .error = EINVAL },
};

/* Two files and what they were. */
struct pair {
	int		fd[2];
	struct picture	before[2];
	struct picture	after[2];
};

static void make_pair(struct pair *pair, const struct row *row,
		      const char *name1, const char *name2)
{
	pair->fd[0] = make_file(name1, row->spec1, 1);
	if (row->one_file)
		pair->fd[1] = open_path(path_of(name1), O_RDWR);
	else
		pair->fd[1] = make_file(name2, row->spec2, 2);
	wait_for_another_timestamp();
	pair->before[0] = take_picture(pair->fd[0]);
	pair->before[1] = take_picture(pair->fd[1]);
}

static int exchange_pair(struct pair *pair, const struct row *row,
			 int (*exchange)(const struct exchrange_range *))
{
	struct exchrange_range range = {
		.file1_fd	= pair->fd[0],
		.file2_fd	= pair->fd[1],
		.file1_offset	= row->offset1,
		.file2_offset	= row->offset2,
		.length		= row->length,
		.flags		= row->flags,
	};
	int error = exchange(&range);

	pair->after[0] = take_picture(pair->fd[0]);
	pair->after[1] = take_picture(pair->fd[1]);
	return error;
}

static void drop_pair(struct pair *pair)
{
	int i;

	for (i = 0; i < 2; i++) {
		close(pair->fd[i]);
		drop_picture(&pair->before[i]);
		drop_picture(&pair->after[i]);
	}
}

/*
 * With FILE1_WRITTEN, the blocks that write_with_gaps() wrote, one by one.  The sizes
 * change places with TO_EOF, and nothing else does.
 */
static void model_written(struct picture *model1, struct picture *model2,
			  const struct row *row)
{
	bool to_eof = row->flags & EXCHRANGE_TO_EOF;
	uint64_t tail1 = model1->size - row->offset1;
	uint64_t tail2 = model2->size - row->offset2;
	uint64_t longer = tail1 > tail2 ? tail1 : tail2;
	uint64_t length = to_eof ? tail1 : row->length;
	uint64_t i;

	if (to_eof) {
		longer = (longer + BLOCK - 1) / BLOCK * BLOCK;
		model_truncate(model1, row->offset1 + longer);
		model_truncate(model2, row->offset2 + longer);
	}
	for (i = 0; i < length; i += BLOCK)
		if (row->spec1.shape == SHAPE_SCATTERED ||
		    (row->offset1 + i) / BLOCK % 3 != 1)
			model_exchange(model1, model2, row->offset1 + i,
				       row->offset2 + i, BLOCK, 0);
	if (to_eof) {
		model_truncate(model1, row->offset1 + tail2);
		model_truncate(model2, row->offset2 + tail1);
	}
}

static void assert_model(const struct pair *pair, const struct row *row)
{
	struct picture model1 = copy_picture(&pair->before[0]);
	struct picture model2 = copy_picture(&pair->before[1]);

	if (row->error == 0 && row->one_file) {
		/* One picture: both ranges of it change. */
		model_exchange(&model1, &model1, row->offset1, row->offset2,
			       row->length, row->flags);
		drop_picture(&model2);
		model2 = copy_picture(&model1);
	} else if (row->error == 0 && row->flags & EXCHRANGE_FILE1_WRITTEN) {
		model_written(&model1, &model2, row);
	} else if (row->error == 0) {
		model_exchange(&model1, &model2, row->offset1, row->offset2,
			       row->length, row->flags);
	}
	assert_true(same_bytes(&model1, &pair->after[0]));
	assert_true(same_bytes(&model2, &pair->after[1]));
	assert_true(same_blocks(&model1, &pair->after[0]));
	assert_true(same_blocks(&model2, &pair->after[1]));
	drop_picture(&model1);
	drop_picture(&model2);
}

/* Beyond the ends there is nothing that could come back. */
static void assert_grows_by_zeroes(struct pair *pair)
{
	int i;

	for (i = 0; i < 2; i++) {
		struct picture model = copy_picture(&pair->after[i]);
		struct picture grown;

		model_truncate(&model, model.size + 200000);
		assert_int_equal(ftruncate(pair->fd[i], model.size), 0);
		assert_int_equal(fsync(pair->fd[i]), 0);
		assert_int_equal(posix_fadvise(pair->fd[i], 0, 0,
					       POSIX_FADV_DONTNEED), 0);
		grown = take_picture(pair->fd[i]);
		assert_true(same_bytes(&model, &grown));
		drop_picture(&model);
		drop_picture(&grown);
	}
}

/* The same through the device as with XFS's own ioctl. */
static void assert_like_reference(const struct row *row, const struct pair *pair,
				  int error)
{
	struct pair reference;
	int i;

	make_pair(&reference, row, "reference1", "reference2");
	assert_int_equal(exchange_pair(&reference, row, xfs_exchange), error);
	for (i = 0; i < 2; i++) {
		assert_true(same_bytes(&pair->after[i], &reference.after[i]));
		assert_true(same_blocks(&pair->after[i], &reference.after[i]));
		assert_int_equal(same_times(&pair->before[i], &pair->after[i]),
				 same_times(&reference.before[i],
					    &reference.after[i]));
	}
	drop_pair(&reference);
}

static void test_row(void **state)
{
	const struct row *row = *state;
	struct pair pair;
	int error;

	make_pair(&pair, row, "pair1", "pair2");
	error = exchange_pair(&pair, row, device_exchange);
	assert_int_equal(error, row->error);
	assert_model(&pair, row);
	if (has_reference())
		assert_like_reference(row, &pair, error);
	assert_grows_by_zeroes(&pair);
	drop_pair(&pair);
}

/* The bytes are the model's, as the disk has them, whatever the page cache has. */
static void assert_on_disk(int fd, const struct picture *model)
{
	struct picture picture;

	assert_int_equal(fsync(fd), 0);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	picture = take_picture(fd);
	assert_true(same_bytes(model, &picture));
	drop_picture(&picture);
}

/* file2 has bytes behind its end on the disk, of a block; file1 two blocks at an offset. */
static void grow(uint64_t size2, uint64_t offset1, bool hole)
{
	struct exchrange_range range = {
		.file1_fd	= make_file("pair1", (struct file_spec) { }, 1),
		.file1_offset	= offset1,
		.file2_fd	= make_file("pair2", (struct file_spec) { SHAPE_PLAIN, BLOCK }, 2),
		.flags		= EXCHRANGE_FILE1_WRITTEN | EXCHRANGE_TO_EOF,
	};
	struct picture model[2];
	uint8_t bytes[2 * BLOCK];

	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(ftruncate(range.file2_fd, size2), 0);
	assert_int_equal(ftruncate(range.file1_fd, offset1 + sizeof(bytes)), 0);
	if (!hole)
		assert_int_equal(pwrite(range.file1_fd, bytes, sizeof(bytes),
					offset1), sizeof(bytes));
	assert_int_equal(syncfs(range.file1_fd), 0);
	model[0] = take_picture(range.file1_fd);
	model[1] = take_picture(range.file2_fd);
	model_exchange_written(&model[0], &model[1], offset1, 0, 0, range.flags);

	assert_int_equal(device_exchange(&range), 0);
	assert_on_disk(range.file1_fd, &model[0]);
	assert_on_disk(range.file2_fd, &model[1]);
	assert_int_equal(syncfs(range.file1_fd), 0);
	drop_picture(&model[0]);
	drop_picture(&model[1]);
	close(range.file1_fd);
	close(range.file2_fd);
}

/*
 * A truncate leaves bytes behind the end on the disk.  They stay behind it when
 * FILE1_WRITTEN passes their block by and TO_EOF makes the file longer.  A small file
 * may be inline on btrfs, and must not be where it goes elsewhere than to the start.
 */
static void test_old_bytes_stay_hidden(void **state)
{
	static const uint64_t sizes[] = { 100, 1500, 3000 };
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(sizes); i++) {
		grow(sizes[i], 0, true);
		grow(sizes[i], 0, false);
		grow(sizes[i], 1024 * KIB, true);
		grow(sizes[i], 1024 * KIB, false);
	}
}

/* Of the last page a reader that has it mapped sees what is behind the end too. */
static void assert_zero_behind_end(int fd)
{
	uint64_t size = lseek(fd, 0, SEEK_END), i;
	uint64_t page = size / BLOCK * BLOCK;
	const uint8_t *bytes;

	assert_int_equal(fsync(fd), 0);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	bytes = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, fd, page);
	assert_ptr_not_equal(bytes, MAP_FAILED);
	for (i = size - page; i < BLOCK; i++)
		assert_int_equal(bytes[i], 0);
	munmap((void *)bytes, BLOCK);
}

/* TO_EOF makes file2 shorter, and FILE1_WRITTEN passes its last block by. */
static void test_nothing_shows_behind_a_nearer_end(void **state)
{
	struct exchrange_range range = {
		.file1_fd	= make_file("pair1", (struct file_spec) { SHAPE_PLAIN, 2 * BLOCK }, 1),
		.file2_fd	= make_file("pair2", (struct file_spec) { SHAPE_PLAIN, 10000 }, 2),
		.flags		= EXCHRANGE_FILE1_WRITTEN | EXCHRANGE_TO_EOF,
	};
	const uint8_t *mapped;
	unsigned int i;

	(void)state;
	assert_int_equal(ftruncate(range.file1_fd, 9000), 0);
	assert_int_equal(syncfs(range.file1_fd), 0);
	assert_int_equal(posix_fadvise(range.file2_fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	/* And to nobody who has it mapped. */
	mapped = mmap(NULL, 3 * BLOCK, PROT_READ, MAP_SHARED, range.file2_fd, 0);
	assert_ptr_not_equal(mapped, MAP_FAILED);
	assert_int_equal(mapped[9999], content_byte(2, 9999));
	assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(lseek(range.file2_fd, 0, SEEK_END), 9000);
	for (i = 9000; i < 3 * BLOCK; i++)
		assert_int_equal(mapped[i], 0);
	munmap((void *)mapped, 3 * BLOCK);
	assert_zero_behind_end(range.file2_fd);
	close(range.file1_fd);
	close(range.file2_fd);
}

/* btrfs with an item for each hole, which mkfs.btrfs made until 2021. */
static const char *mkfs_with_holes(void)
{
	return is_btrfs() ? "mkfs.btrfs -q -f -O ^no-holes" : kind->mkfs;
}

/* Blocks of @name that are allocated, but have no place on the disk yet. */
static int blocks_without_a_place(const char *name)
{
	struct {
		struct fiemap		map;
		struct fiemap_extent	extents[8];
	} fiemap = {
		.map.fm_length		= FIEMAP_MAX_OFFSET,
		.map.fm_extent_count	= 8,
	};
	int fd = open_path(path_of(name), O_RDONLY), delayed = 0;
	uint32_t i;

	assert_int_equal(ioctl(fd, FS_IOC_FIEMAP, &fiemap), 0);
	for (i = 0; i < fiemap.map.fm_mapped_extents; i++)
		if (fiemap.extents[i].fe_flags & FIEMAP_EXTENT_DELALLOC)
			delayed += fiemap.extents[i].fe_length / BLOCK;
	close(fd);
	return delayed;
}

/*
 * TO_EOF makes file2 shorter, and its new last block, which FILE1_WRITTEN passes by, is a hole:
 * it stays one.  In a file with shared blocks, Linux before 6.12 reserves space for a hole
 * that it is asked to unshare.
 */
static void test_hole_at_a_nearer_end(void **state)
{
	struct exchrange_range range = {
		.flags = EXCHRANGE_FILE1_WRITTEN | EXCHRANGE_TO_EOF,
	};
	uint8_t bytes[2 * BLOCK];
	int i;

	(void)state;
	enter_scratch(mkfs_with_holes(), "defaults");
	range.file1_fd = make_file("file1", (struct file_spec){ SHAPE_PLAIN, 0 }, 1);
	range.file2_fd = make_file("file2", (struct file_spec){ SHAPE_PLAIN, 0 }, 2);
	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(ftruncate(range.file1_fd, 1787), 0);
	assert_int_equal(pwrite(range.file2_fd, bytes, BLOCK, 2 * BLOCK), BLOCK);
	assert_int_equal(run("cp --reflink=always %s %s.reflink", path_of("file2"),
			     path_of("file2")), 0);
	assert_int_equal(device_exchange(&range), 0);
	for (i = 1; i <= 2; i++)
		assert_int_equal(blocks_without_a_place(i == 1 ? "file1" : "file2"), 0);
	assert_int_equal(lseek(range.file2_fd, 0, SEEK_END), 1787);
	assert_int_equal(pread(range.file2_fd, bytes, sizeof(bytes), 0), 1787);
	for (i = 0; i < 1787; i++)
		assert_int_equal(bytes[i], 0);
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

/* The preallocation behind file1's end comes behind file2's, and is then written to. */
static void test_append_to_what_was_exchanged(void **state)
{
	static const struct file_spec page = { SHAPE_PLAIN, BLOCK };
	static const struct file_spec large = { SHAPE_PLAIN, 25 * BLOCK };
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	uint8_t bytes[BLOCK], read[BLOCK];
	int fd;

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	enter_scratch(mkfs_with_holes(), "defaults");
	range.file1_fd = make_file("file1", page, 1);
	range.file2_fd = make_file("file2", large, 2);
	assert_int_equal(fallocate(range.file1_fd, FALLOC_FL_KEEP_SIZE, BLOCK,
				   24 * BLOCK), 0);
	assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(syncfs(range.file1_fd), 0);
	assert_int_equal(pwrite(range.file2_fd, bytes, BLOCK, BLOCK), BLOCK);
	assert_int_equal(fsync(range.file2_fd), 0);
	close(range.file1_fd);
	close(range.file2_fd);

	assert_int_equal(run("umount " SCRATCH " && mount $SCRATCH_DEV1 " SCRATCH), 0);
	fd = open_path(path_of("file2"), O_RDONLY);
	assert_int_equal(lseek(fd, 0, SEEK_END), 2 * BLOCK);
	assert_int_equal(pread(fd, read, BLOCK, BLOCK), BLOCK);
	assert_memory_equal(read, bytes, BLOCK);
	close(fd);
	leave_scratch();
}

/* Of the pair that a killed process exchanged: neither has changed, or both have. */
static void assert_all_or_nothing(const struct exchrange_range *range,
				  const struct picture before[2])
{
	struct picture after[2] = {
		take_picture(range->file1_fd), take_picture(range->file2_fd),
	};
	bool changed = after[0].size != before[0].size;
	int i;

	for (i = 0; i < 2; i++) {
		assert_true(same_bytes(&before[changed ? !i : i], &after[i]));
		drop_picture(&after[i]);
	}
}

/* Milliseconds until the process of an exchange gets SIGKILL. */
static void exchange_and_kill(unsigned int delay)
{
	static const struct file_spec page = { SHAPE_PLAIN, BLOCK };
	struct exchrange_range range = {
		.flags = EXCHRANGE_FILE1_WRITTEN | EXCHRANGE_TO_EOF,
	};
	struct picture before[2];
	int i, status;
	pid_t child;

	assert_int_equal(run("cp --reflink=auto %s %s", path_of("origin"),
			     path_of("file1")), 0);
	range.file1_fd = open_path(path_of("file1"), O_RDWR);
	range.file2_fd = make_file("file2", page, 2);
	before[0] = take_picture(range.file1_fd);
	before[1] = take_picture(range.file2_fd);
	child = fork();
	if (child == 0)
		_exit(device_exchange(&range));
	usleep(delay * 1000);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_all_or_nothing(&range, before);
	for (i = 0; i < 2; i++)
		drop_picture(&before[i]);
	close(range.file1_fd);
	close(range.file2_fd);
}

/* And the file system goes on: each time the files are made anew. */
static void test_killed_at_any_moment(void **state)
{
	static const struct file_spec scattered = { SHAPE_SCATTERED, 1000 * BLOCK };
	unsigned int i;

	(void)state;
	enter_scratch(mkfs_with_holes(), "defaults");
	close(make_file("origin", scattered, 1));
	for (i = 0; i < 30; i += test_share())
		exchange_and_kill(i);
	leave_scratch();
}

/* Folios of more than a page that came into the cache, as the kernel tells. */
static unsigned int count_large_folios(void)
{
	struct outcome outcome;
	unsigned int count = 0;

	outcome = run_and_keep("grep -c 'order=[1-9]' /sys/kernel/tracing/trace");
	sscanf(outcome.out, "%u", &count);
	drop_outcome(&outcome);
	return count;
}

static int write_at_once(const char *name, uint64_t size, uint8_t byte)
{
	int fd = make_file(name, (struct file_spec) { SHAPE_PLAIN, 0 }, 1);
	uint8_t *bytes = malloc(size);
	uint64_t i;

	assert_non_null(bytes);
	for (i = 0; i < size; i++)
		bytes[i] = byte + i / 512;
	assert_int_equal(pwrite(fd, bytes, size, 0), size);
	free(bytes);
	return fd;
}

/* A block beside the range, on either side of it, is dirty when the exchange comes. */
static void dirty_beside(int fd, uint64_t offset, uint64_t length)
{
	uint8_t bytes[BLOCK];

	memset(bytes, 0xee, sizeof(bytes));
	assert_int_equal(pwrite(fd, bytes, BLOCK, offset - BLOCK), BLOCK);
	assert_int_equal(pwrite(fd, bytes, BLOCK, offset + length), BLOCK);
}

static void assert_as_the_model(const int fds[2], const struct picture model[2])
{
	struct picture after;
	int side;

	for (side = 0; side < 2; side++) {
		after = take_picture(fds[side]);
		assert_true(same_bytes(&model[side], &after));
		drop_picture(&after);
	}
}

/* A folio that a pipe has a page of cannot be split. */
static void keep_in_pipe(int pipe, int fd, loff_t offset)
{
	assert_int_equal(splice(fd, &offset, pipe, NULL, 1, 0), 1);
}

/* @clean: all but the blocks beside the ranges. */
static void exchange_within_folios(const struct exchrange_range *range, bool clean)
{
	const uint64_t offsets[2] = { range->file1_offset, range->file2_offset };
	int fds[2] = { range->file1_fd, range->file2_fd }, pipes[2], i;
	struct picture model[2];

	assert_int_equal(pipe(pipes), 0);
	if (clean)
		assert_int_equal(syncfs(fds[0]), 0);
	for (i = 0; i < 2; i++) {
		dirty_beside(fds[i], offsets[i], range->length);
		model[i] = take_picture(fds[i]);
		/* The picture has written them back. */
		dirty_beside(fds[i], offsets[i], range->length);
		keep_in_pipe(pipes[1], fds[i], offsets[i]);
		keep_in_pipe(pipes[1], fds[i], offsets[i] + range->length - 1);
	}
	model_exchange(&model[0], &model[1], range->file1_offset, range->file2_offset,
		       range->length, 0);
	assert_int_equal(device_exchange(range), 0);
	assert_as_the_model(fds, model);
	close(pipes[0]);
	close(pipes[1]);
	/* And from the disk. */
	assert_int_equal(syncfs(fds[0]), 0);
	assert_int_equal(run("echo 1 >/proc/sys/vm/drop_caches"), 0);
	assert_as_the_model(fds, model);
	for (i = 0; i < 2; i++)
		drop_picture(&model[i]);
}

#define FOLIO_EVENT "/sys/kernel/tracing/events/filemap/mm_filemap_add_to_page_cache/enable"

/*
 * Where a range begins or ends within a folio, the rest of that stays as it is: in the cache, and
 * on the disk.
 */
static void test_borders_within_large_folios(void **state)
{
	static const uint64_t ranges[][3] = {
		/* offsets in both files, length: in blocks of files of 2 MiB */
		{ 1, 1, 509 }, { 5, 100, 200 }, { 127, 129, 3 }, { 255, 256, 130 }, { 33, 1, 400 },
	};
	unsigned int i, large;

	(void)state;
	assert_int_equal(run("echo >/sys/kernel/tracing/trace && echo 1 >" FOLIO_EVENT), 0);
	for (i = 0; i < COUNT(ranges); i++) {
		struct exchrange_range range = {
			.file1_fd	= write_at_once("file1", 512 * BLOCK, 'a'),
			.file2_fd	= write_at_once("file2", 512 * BLOCK, 'A'),
			.file1_offset	= ranges[i][0] * BLOCK,
			.file2_offset	= ranges[i][1] * BLOCK,
			.length		= ranges[i][2] * BLOCK,
		};

		exchange_within_folios(&range, i % 2);
		close(range.file1_fd);
		close(range.file2_fd);
	}
	assert_int_equal(run("echo 0 >" FOLIO_EVENT), 0);
	large = count_large_folios();
	print_message("# %u large folios\n", large);
	/* btrfs has them in newer kernels alone. */
	if (!is_btrfs())
		assert_true(large > 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_borders_within_large_folios),
		cmocka_unit_test(test_hole_at_a_nearer_end),
		cmocka_unit_test(test_append_to_what_was_exchanged),
		cmocka_unit_test(test_killed_at_any_moment),
		cmocka_unit_test(test_old_bytes_stay_hidden),
		cmocka_unit_test(test_nothing_shows_behind_a_nearer_end),
	};
	static const struct table table = {
		.group		= "exchange",
		.rows		= rows,
		.row_size	= sizeof(rows[0]),
		.row_count	= COUNT(rows),
		.test		= test_row,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	return run_table(&table);
}
