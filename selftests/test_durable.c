// SPDX-License-Identifier: GPL-2.0
/*
 * When an exchange on btrfs is durable by the log of one file, and when it takes a commit of
 * all there is: counted by the file system itself.  That nothing is lost or torn by that is for
 * crash/workloads.c to show.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common.h"

/* A commit that has another reason, as the one each half minute, may come in between. */
#define ATTEMPTS	3

enum origin {
	ORIGIN_EXCLUSIVE,	/* O_TMPFILE with O_EXCL */
	ORIGIN_DEVICE,		/* EXCHRANGE_IOC_STAGE */
	ORIGIN_LINKABLE,	/* O_TMPFILE alone */
	ORIGIN_NAMED,
	ORIGIN_UNLINKED,	/* a moment ago */
	ORIGIN_REPLACED,	/* by a rename, a moment ago */
	ORIGIN_LONG_UNLINKED,	/* and committed since */
	ORIGIN_SUBVOLUME,	/* O_TMPFILE with O_EXCL, in another one */
};

/* Small enough to be in a leaf; one that is a page more than that; a range of pages. */
static const struct file_spec tiny = { SHAPE_PLAIN, 600 }, small = { SHAPE_PLAIN, 900 };
static const struct file_spec some = { SHAPE_PLAIN, 5 * BLOCK + 7 };
static const struct file_spec many = { SHAPE_SCATTERED, 40 * BLOCK };
static const struct file_spec holes = { SHAPE_HOLES, 40 * BLOCK };
static const struct file_spec none = { SHAPE_PLAIN, 0 };

struct row {
	const char		*name;
	enum origin		origin;
	const struct file_spec	*file1;
	const struct file_spec	*file2;
	uint64_t		flags;
	bool			no_cow;
	bool			nameless;	/* file2 has lost its name a moment ago */
	bool			commits;
};

static const struct row rows[] = {
	{ "file2_becomes_larger", ORIGIN_EXCLUSIVE, &many, &some, EXCHRANGE_TO_EOF },
	{ "file2_becomes_smaller", ORIGIN_EXCLUSIVE, &some, &many, EXCHRANGE_TO_EOF },
	{ "small_files", ORIGIN_EXCLUSIVE, &small, &tiny, EXCHRANGE_TO_EOF },
	{ "small_files_that_become_smaller", ORIGIN_EXCLUSIVE, &tiny, &small, EXCHRANGE_TO_EOF },
	{ "a_small_file_for_a_large_one", ORIGIN_EXCLUSIVE, &tiny, &many, EXCHRANGE_TO_EOF },
	{ "a_range_of_pages", ORIGIN_EXCLUSIVE, &many, &many, 0 },
	{ "pages_that_were_written", ORIGIN_EXCLUSIVE, &holes, &many, EXCHRANGE_FILE1_WRITTEN },
	{ "a_range_with_holes", ORIGIN_EXCLUSIVE, &holes, &many, 0 },
	{ "a_staging_file_of_the_device", ORIGIN_DEVICE, &some, &many, EXCHRANGE_TO_EOF },
	{ "a_file_that_lost_its_name_long_ago", ORIGIN_LONG_UNLINKED, &some, &many,
	  EXCHRANGE_TO_EOF },
	{ "a_file_that_may_get_a_name_commits", ORIGIN_LINKABLE, &some, &many,
	  EXCHRANGE_TO_EOF, .commits = true },
	{ "two_files_with_names_commit", ORIGIN_NAMED, &some, &many,
	  EXCHRANGE_TO_EOF, .commits = true },
	{ "a_file_that_lost_its_name_just_now_commits", ORIGIN_UNLINKED, &some, &many,
	  EXCHRANGE_TO_EOF, .commits = true },
	{ "a_file_that_was_replaced_just_now_commits", ORIGIN_REPLACED, &some, &many,
	  EXCHRANGE_TO_EOF, .commits = true },
	{ "a_file2_that_lost_its_name_just_now_commits", ORIGIN_EXCLUSIVE, &some, &many,
	  EXCHRANGE_TO_EOF, .nameless = true, .commits = true },
	{ "two_subvolumes_commit", ORIGIN_SUBVOLUME, &some, &many,
	  EXCHRANGE_TO_EOF, .commits = true },
	{ "an_empty_staging_file_commits", ORIGIN_EXCLUSIVE, &none, &many,
	  EXCHRANGE_TO_EOF, .commits = true },
	{ "files_without_cow_commit", ORIGIN_EXCLUSIVE, &some, &many,
	  EXCHRANGE_TO_EOF, .no_cow = true, .commits = true },
};

/* --- the commits of the file system ------------------------------------------------------ */

static unsigned long count_commits(void)
{
	char command[128];
	unsigned long count = 0;
	FILE *file;

	snprintf(command, sizeof(command),
		 "cat /sys/fs/btrfs/$(findmnt -no UUID -M %s)/commit_stats", mount_point);
	file = popen(command, "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "commits %lu", &count), 1);
	pclose(file);
	return count;
}

/* --- files ------------------------------------------------------------------------------- */

static void set_no_cow(int fd)
{
	int flags;

	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	flags |= FS_NOCOW_FL;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
}

static void fill(int fd, const struct file_spec *spec, unsigned int seed)
{
	uint64_t i, j;

	assert_int_equal(ftruncate(fd, spec->size), 0);
	for (i = 0; i < spec->size; i += BLOCK) {
		uint64_t length = spec->size - i < BLOCK ? spec->size - i : BLOCK;
		uint8_t bytes[BLOCK];

		for (j = 0; j < length; j++)
			bytes[j] = content_byte(seed, i + j);
		if (spec->shape != SHAPE_HOLES || i / BLOCK % 3 != 1)
			assert_int_equal(pwrite(fd, bytes, length, i), length);
	}
}

static int open_unnamed(const char *directory, int flags)
{
	int fd = open(directory, O_TMPFILE | O_RDWR | flags, 0600);

	assert_true(fd >= 0);
	return fd;
}

static int stage_for(int file)
{
	struct exchrange_stage stage = { .fd = file };
	int fd = ioctl(device, EXCHRANGE_IOC_STAGE, &stage);

	assert_true(fd >= 0);
	return fd;
}

static int make_subvolume(void)
{
	assert_int_equal(run("test -d %s/second || btrfs -q subvolume create %s/second",
			     mount_point, mount_point), 0);
	return open_unnamed(path_of("second"), O_EXCL);
}

static int make_file1(const struct row *row, int file2)
{
	switch (row->origin) {
	case ORIGIN_EXCLUSIVE:
		return open_unnamed(mount_point, O_EXCL);
	case ORIGIN_DEVICE:
		return stage_for(file2);
	case ORIGIN_LINKABLE:
		return open_unnamed(mount_point, 0);
	case ORIGIN_SUBVOLUME:
		return make_subvolume();
	default:
		return make_file("file1", none, 1);
	}
}

/* What happens to the names after the last commit. */
static void change_names(const struct row *row)
{
	if (row->origin == ORIGIN_UNLINKED)
		assert_int_equal(unlink(path_of("file1")), 0);
	if (row->origin == ORIGIN_REPLACED) {
		close(make_file("new", none, 1));
		assert_int_equal(rename(path_of("new"), path_of("file1")), 0);
	}
	if (row->nameless)
		assert_int_equal(unlink(path_of("file2")), 0);
}

struct pair {
	int	file1;
	int	file2;
};

static struct pair make_pair(const struct row *row)
{
	struct pair pair = { .file2 = make_file("file2", row->no_cow ? none : *row->file2, 2) };

	pair.file1 = make_file1(row, pair.file2);
	if (row->no_cow) {
		set_no_cow(pair.file1);
		set_no_cow(pair.file2);
		fill(pair.file2, row->file2, 2);
	}
	fill(pair.file1, row->file1, 1);
	if (row->origin == ORIGIN_LONG_UNLINKED)
		assert_int_equal(unlink(path_of("file1")), 0);
	assert_int_equal(syncfs(pair.file2), 0);
	change_names(row);
	return pair;
}

/* --- one file that is logged ------------------------------------------------------------- */

/* Commits that it takes to exchange the two and to have that on the disk. */
static unsigned long commits_of(const struct row *row, const struct pair *pair, bool dsync)
{
	const struct exchrange_range range = {
		.file1_fd	= pair->file1,
		.file2_fd	= pair->file2,
		.flags		= row->flags | (dsync ? EXCHRANGE_DSYNC : 0),
		.length		= row->flags & EXCHRANGE_TO_EOF ? 0 : row->file1->size,
	};
	unsigned long before = count_commits();

	assert_int_equal(device_exchange(&range), 0);
	if (!dsync)
		assert_int_equal(fsync(pair->file2), 0);
	return count_commits() - before;
}

static void assert_exchanged(const struct row *row, const struct pair *pair)
{
	struct picture file2 = take_picture(pair->file2);
	uint64_t i;

	if (row->flags & EXCHRANGE_TO_EOF)
		assert_int_equal(file2.size, row->file1->size);
	for (i = 0; i < row->file1->size; i++) {
		bool gap = row->file1->shape == SHAPE_HOLES && i / BLOCK % 3 == 1;

		if (gap && row->flags & EXCHRANGE_FILE1_WRITTEN)
			assert_int_equal(file2.bytes[i], content_byte(2, i));
		else
			assert_int_equal(file2.bytes[i], gap ? 0 : content_byte(1, i));
	}
	drop_picture(&file2);
}

static bool takes_commits(const struct row *row, bool dsync)
{
	struct pair pair = make_pair(row);
	bool commits = commits_of(row, &pair, dsync);

	assert_exchanged(row, &pair);
	close(pair.file1);
	close(pair.file2);
	unlink(path_of("file1"));
	return commits;
}

static void assert_commits(const struct row *row, bool dsync)
{
	unsigned int i;

	for (i = 0; i < ATTEMPTS; i++)
		if (takes_commits(row, dsync) == row->commits)
			return;
	fail_msg("with%s DSYNC it takes %s", dsync ? "" : "out",
		 row->commits ? "no commit" : "a commit");
}

static void test_row(void **state)
{
	const struct row *row = *state;

	assert_commits(row, true);
	/* An fsync of what has no name writes nothing. */
	if (!row->nameless)
		assert_commits(row, false);
}

/* --- many exchanges, and many files ------------------------------------------------------ */

/* The same staging file to and fro, in one transaction: of other sizes, and of pages. */
static void test_a_staging_file_that_is_used_again(void **state)
{
	static const struct row whole = { .file1 = &some, .file2 = &many,
					  .flags = EXCHRANGE_TO_EOF };
	static const struct row pages = { .file1 = &many, .file2 = &many };
	struct pair pair = make_pair(&whole);
	unsigned long commits = 0;
	unsigned int i;

	(void)state;
	for (i = 0; i < 10; i++) {
		commits += commits_of(&whole, &pair, i % 2);
		fill(pair.file1, i % 2 ? &some : &many, 3);
	}
	fill(pair.file1, &many, 1);
	fill(pair.file2, &many, 2);
	commits += commits_of(&pages, &pair, true);
	assert_exchanged(&pages, &pair);
	assert_true(commits < 3);
	close(pair.file1);
	close(pair.file2);
}

#define FILES	3

/* A slot of one staging file for each of the files. */
static unsigned long commits_of_several(const int files[FILES], int staging, bool dsync)
{
	struct exchrange_pair pairs[FILES];
	struct exchrange_vector vector = {
		.pairs		= (uintptr_t)pairs,
		.count		= FILES,
		.pair_size	= sizeof(pairs[0]),
		.flags		= dsync ? EXCHRANGE_DSYNC : 0,
	};
	unsigned long before = count_commits();
	int i;

	for (i = 0; i < FILES; i++)
		pairs[i] = (struct exchrange_pair) {
			.file1_fd	= staging,
			.file2_fd	= files[i],
			.file1_offset	= i * BLOCK,
			.file2_offset	= 7 * BLOCK,
			.length		= BLOCK,
		};
	assert_int_equal(exchrange_exchange_vector(device, &vector), 0);
	for (i = 0; i < FILES && !dsync; i++)
		assert_int_equal(fsync(files[i]), 0);
	return count_commits() - before;
}

static unsigned long try_several(bool dsync)
{
	int staging = open_unnamed(mount_point, O_EXCL), files[FILES], i;
	unsigned long commits;
	char name[16];

	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "several%d", i);
		files[i] = make_file(name, many, 2);
	}
	fill(staging, &many, 1);
	assert_int_equal(syncfs(staging), 0);
	commits = commits_of_several(files, staging, dsync);
	for (i = 0; i < FILES; i++)
		close(files[i]);
	close(staging);
	return commits;
}

static void test_several_files_are_logged_together(void **state)
{
	unsigned int i = 0;

	(void)state;
	while (i < ATTEMPTS && try_several(true))
		i++;
	assert_true(i < ATTEMPTS);
}

static void test_several_files_that_nobody_waits_for_commit(void **state)
{
	(void)state;
	assert_true(try_several(false) > 0);
}

static unsigned long commits_of_a_save(void)
{
	struct exchrange_update *update;
	unsigned long before;

	close(make_file("file2", some, 2));
	assert_int_equal(run("sync"), 0);
	before = count_commits();
	update = exchrange_update_begin(device, path_of("file2"), NULL);
	assert_non_null(update);
	fill(exchrange_update_fd(update), &small, 1);
	assert_int_equal(exchrange_update_commit(update, EXCHRANGE_DSYNC), 0);
	exchrange_update_drop(update);
	return count_commits() - before;
}

static void test_a_save_by_the_library(void **state)
{
	unsigned int i = 0;

	(void)state;
	while (i < ATTEMPTS && commits_of_a_save())
		i++;
	assert_true(i < ATTEMPTS);
}

/* A file of that many MiB, each with the same blocks. */
static int make_large(const char *name, unsigned int mib)
{
	static const struct file_spec one = { SHAPE_PLAIN, 1024 * 1024 };
	int source = make_file("source", one, 1);
	int fd = name ? make_file(name, none, 1) : open_unnamed(mount_point, O_EXCL);
	unsigned int i;

	for (i = 0; i < mib; i++) {
		const struct file_clone_range range = {
			.src_fd = source, .dest_offset = (uint64_t)i * one.size,
		};

		assert_int_equal(ioctl(fd, FICLONERANGE, &range), 0);
	}
	close(source);
	return fd;
}

/* What an fsync would write in vain are the checksums. */
static void test_a_large_file_commits(void **state)
{
	static const struct row whole = { .flags = EXCHRANGE_TO_EOF, .file1 = &none };
	struct pair pair = { make_large(NULL, 300), make_large("file2", 2) };

	(void)state;
	assert_int_equal(syncfs(pair.file2), 0);
	assert_true(commits_of(&whole, &pair, true) > 0);
	close(pair.file1);
	close(pair.file2);
}

/* Who has forbidden the log gets a commit. */
static void test_notreelog(void **state)
{
	struct row row = rows[1];

	(void)state;
	row.commits = true;
	enter_scratch(kind->mkfs, "notreelog");
	assert_commits(&row, true);
	assert_commits(&row, false);
	leave_scratch();
}

/* The file system on the other disk has the same name as its original. */
#define FORGET	"{ ! btrfs device scan --forget 2>/dev/null || true; }"

/*
 * What @name would hold after a crash now, with the log replayed: 0 if that is all of before the
 * exchange, 'b', or, where somebody has committed it, all of after it, 'a'.
 */
static int look_after_crash(const char *name)
{
	int copied = run("dd if=$SCRATCH_DEV1 of=$SCRATCH_DEV2 bs=1M count=300 iflag=direct oflag=direct status=none");

	unmount_scratch();
	return copied ?: run(FORGET " && mount $SCRATCH_DEV2 " SCRATCH " && { found=$(tr -s abc <" SCRATCH "/%s); echo \"# $found\"; umount " SCRATCH "; " FORGET
			     "; wipefs -qa $SCRATCH_DEV2; [ \"$found\" = a ] || [ \"$found\" = b ]; }", name);
}

/*
 * Without CoW the new owner of a block writes to the block itself.  That of a file whose fsync was
 * a moment ago is in the log, which a crash replays: the file has what the fsync promised.
 */
static void lose_no_block_of_the_log(bool evicted)
{
	struct exchrange_range range = { .length = 4 * BLOCK };
	void *bytes = aligned_alloc(BLOCK, 4 * BLOCK);
	int direct, after;

	assert_non_null(bytes);
	enter_scratch(kind->mkfs_small, "");
	range.file1_fd = make_file("file1", none, 1);
	range.file2_fd = make_file("file2", none, 2);
	set_no_cow(range.file1_fd);
	set_no_cow(range.file2_fd);
	memset(bytes, 'a', 4 * BLOCK);
	assert_int_equal(pwrite(range.file1_fd, bytes, 4 * BLOCK, 0), 4 * BLOCK);
	assert_int_equal(syncfs(range.file1_fd), 0);
	memset(bytes, 'b', 4 * BLOCK);
	assert_int_equal(pwrite(range.file2_fd, bytes, 4 * BLOCK, 0), 4 * BLOCK);
	assert_int_equal(fsync(range.file2_fd), 0);
	if (evicted) {
		close(range.file1_fd);
		close(range.file2_fd);
		assert_int_equal(run("for i in 1 2 3; do echo 3 >/proc/sys/vm/drop_caches; done"), 0);
		range.file1_fd = open_path(path_of("file1"), O_RDWR);
		range.file2_fd = open_path(path_of("file2"), O_RDWR);
	}
	assert_int_equal(device_exchange(&range), 0);
	/* To the disk, and no more. */
	direct = open_path(path_of("file1"), O_RDWR | O_DIRECT);
	memset(bytes, 'c', 4 * BLOCK);
	assert_int_equal(pwrite(direct, bytes, 4 * BLOCK, 0), 4 * BLOCK);
	close(direct);
	close(range.file1_fd);
	close(range.file2_fd);
	free(bytes);
	after = look_after_crash("file2");
	check_scratch();
	leave_scratch();
	assert_int_equal(after, 0);
}

static void test_blocks_that_the_log_has(void **state)
{
	(void)state;
	lose_no_block_of_the_log(false);
}

/* Nothing in memory says of the file that it was logged. */
static void test_blocks_that_the_log_has_of_an_evicted_file(void **state)
{
	(void)state;
	lose_no_block_of_the_log(true);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_blocks_that_the_log_has),
		cmocka_unit_test(test_blocks_that_the_log_has_of_an_evicted_file),
		cmocka_unit_test(test_a_staging_file_that_is_used_again),
		cmocka_unit_test(test_several_files_are_logged_together),
		cmocka_unit_test(test_several_files_that_nobody_waits_for_commit),
		cmocka_unit_test(test_a_save_by_the_library),
		cmocka_unit_test(test_a_large_file_commits),
		cmocka_unit_test(test_notreelog),
	};
	const struct table table = {
		.group		= "durable",
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
