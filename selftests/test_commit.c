// SPDX-License-Identifier: GPL-2.0
/*
 * START_COMMIT and COMMIT: an exchange if file2 is what it was, EBUSY where it is
 * not; through the device and, where the file system has it, with XFS's own ioctl.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common.h"

static const struct file_spec plain = { SHAPE_PLAIN, 64 * 1024 };

static void do_nothing(const struct way *way, int fd2)
{
	(void)way;
	(void)fd2;
}

static void do_read(const struct way *way, int fd2)
{
	char byte;

	(void)way;
	assert_int_equal(pread(fd2, &byte, 1, 0), 1);
}

static void do_write(const struct way *way, int fd2)
{
	(void)way;
	assert_int_equal(pwrite(fd2, "new", 3, 5000), 3);
}

static void do_truncate(const struct way *way, int fd2)
{
	(void)way;
	assert_int_equal(ftruncate(fd2, 60 * 1024), 0);
}

static void do_chmod(const struct way *way, int fd2)
{
	(void)way;
	assert_int_equal(fchmod(fd2, 0600), 0);
}

/* A store through a mapping made now. */
static void do_store(const struct way *way, int fd2)
{
	char *bytes = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED,
			   fd2, 0);

	(void)way;
	assert_ptr_not_equal(bytes, MAP_FAILED);
	bytes[100] = 'x';
	assert_int_equal(munmap(bytes, BLOCK), 0);
}

static void do_commit(const struct way *way, int fd2)
{
	struct exchrange_commit commit = {
		.file1_fd	= make_file("other", plain, 3),
		.file2_fd	= fd2,
		.flags		= EXCHRANGE_TO_EOF,
	};

	assert_int_equal(way->start_commit(&commit), 0);
	assert_int_equal(way->commit(&commit), 0);
	close(commit.file1_fd);
}

static void do_exchange(const struct way *way, int fd2)
{
	struct exchrange_range range = {
		.file1_fd	= make_file("other", plain, 3),
		.file2_fd	= fd2,
		.length		= BLOCK,
	};

	assert_int_equal(way->exchange(&range), 0);
	close(range.file1_fd);
}

static const struct row {
	const char *name;
	void (*meanwhile)(const struct way *way, int fd2);
	int error;
} rows[] = {
	{ "nothing happened",		do_nothing,	0 },
	{ "file2 was read",		do_read,	0 },
	{ "file2 was written",		do_write,	EBUSY },
	{ "file2 was truncated",	do_truncate,	EBUSY },
	{ "file2 changed its mode",	do_chmod,	EBUSY },
	{ "file2 was stored to",	do_store,	EBUSY },
	{ "file2 was committed to",	do_commit,	EBUSY },
	{ "file2 was exchanged",	do_exchange,	EBUSY },
};

/* Samples, lets something happen, and commits; returns the answer. */
static int commit_after(const struct way *way, const struct row *row)
{
	struct exchrange_commit commit = {
		.file1_fd	= make_file("file1", plain, 1),
		.file2_fd	= make_file("file2", plain, 2),
		.flags		= EXCHRANGE_TO_EOF,
	};
	struct picture before[2];
	int error;

	error = way->start_commit(&commit);
	if (error)
		goto out;
	wait_for_another_timestamp();
	row->meanwhile(way, commit.file2_fd);
	wait_for_another_timestamp();
	before[0] = take_picture(commit.file1_fd);
	before[1] = take_picture(commit.file2_fd);

	error = way->commit(&commit);
	if (error) {
		assert_unchanged(&before[0], commit.file1_fd);
		assert_unchanged(&before[1], commit.file2_fd);
	} else {
		struct picture after[2] = {
			take_picture(commit.file1_fd),
			take_picture(commit.file2_fd),
		};

		model_exchange(&before[0], &before[1], 0, 0, 0,
			       EXCHRANGE_TO_EOF);
		assert_true(same_bytes(&before[0], &after[0]));
		assert_true(same_bytes(&before[1], &after[1]));
		drop_picture(&after[0]);
		drop_picture(&after[1]);
	}
	drop_picture(&before[0]);
	drop_picture(&before[1]);
out:
	close(commit.file1_fd);
	close(commit.file2_fd);
	return error;
}

static void test_row(void **state)
{
	const struct row *row = *state;

	assert_int_equal(commit_after(&through_device, row), row->error);
	if (has_reference())
		assert_int_equal(commit_after(&through_xfs, row), row->error);
}

/* A sample is good for the file it was taken of, and for no other. */
static void test_sample_of_another_file(void **state)
{
	int fd1 = make_file("file1", plain, 1);
	int fd2 = make_file("file2", plain, 2);
	int fd3 = make_file("file3", plain, 3);
	struct exchrange_commit commit = {
		.file1_fd = fd1, .file2_fd = fd3, .flags = EXCHRANGE_TO_EOF,
	};
	struct picture before = take_picture(fd2);

	(void)state;
	assert_int_equal(device_start_commit(&commit), 0);
	commit.file2_fd = fd2;
	assert_int_equal(device_commit(&commit), EBUSY);
	assert_unchanged(&before, fd2);
	drop_picture(&before);
	close(fd1);
	close(fd2);
	close(fd3);
}

static void test_no_sample(void **state)
{
	struct exchrange_commit commit = {
		.file1_fd	= make_file("file1", plain, 1),
		.file2_fd	= make_file("file2", plain, 2),
		.flags		= EXCHRANGE_TO_EOF,
	};

	(void)state;
	assert_int_equal(device_commit(&commit), EBUSY);
	close(commit.file1_fd);
	close(commit.file2_fd);
}

/* Sampling takes no right but to open the file. */
static void test_sample_of_readonly_descriptor(void **state)
{
	struct exchrange_commit commit = { };

	(void)state;
	close(make_file("file2", plain, 2));
	commit.file2_fd = open_path(path_of("file2"), O_RDONLY);
	assert_int_equal(device_start_commit(&commit), 0);
	close(commit.file2_fd);
}

static void test_sample_of_directory(void **state)
{
	struct exchrange_commit commit = {
		.file2_fd = open_path(mount_point, O_RDONLY),
	};

	(void)state;
	assert_int_equal(device_start_commit(&commit), EISDIR);
	close(commit.file2_fd);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_sample_of_another_file),
		cmocka_unit_test(test_no_sample),
		cmocka_unit_test(test_sample_of_readonly_descriptor),
		cmocka_unit_test(test_sample_of_directory),
	};
	static const struct table table = {
		.group		= "commit",
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
