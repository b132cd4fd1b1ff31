// SPDX-License-Identifier: GPL-2.0
/*
 * libexchange: the same answers with the device and without it, never a way that
 * is not atomic, and a caller can tell which of the two it got.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

#define NO_DEVICE	(-1)

static const struct file_spec small = { SHAPE_PLAIN, 5000 };
static const struct file_spec large = { SHAPE_PLAIN, 100000 };

static void test_device_is_close_on_exec(void **state)
{
	(void)state;
	assert_int_equal(fcntl(device, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

static void test_route_says_which_of_the_two(void **state)
{
	int fd = make_file("file1", small, 1);
	int other = open_path("/root", O_TMPFILE | O_RDWR);

	(void)state;
	assert_int_equal(exchrange_route(device, fd), EXCHRANGE_ROUTE_DEVICE);
	assert_int_equal(exchrange_route(NO_DEVICE, fd),
			 kind->alone ? EXCHRANGE_ROUTE_XFS :
				       EXCHRANGE_ROUTE_NONE);
	assert_int_equal(exchrange_route(device, other), EXCHRANGE_ROUTE_NONE);
	assert_int_equal(exchrange_route(NO_DEVICE, other),
			 EXCHRANGE_ROUTE_NONE);
	assert_int_equal(exchrange_route(device, -1), EXCHRANGE_ROUTE_NONE);
	assert_int_equal(exchrange_route(NO_DEVICE, -1), EXCHRANGE_ROUTE_NONE);
	close(fd);
	close(other);
}

static uint32_t reason_without_device(void)
{
	if (is_btrfs() || is_overlay())
		return EXCHRANGE_REASON_NO_DEVICE;
	return kernel_has_own_exchange() ? EXCHRANGE_REASON_XFS_FEATURE :
					   EXCHRANGE_REASON_XFS_KERNEL;
}

static void test_query_is_the_same_without_the_device(void **state)
{
	struct exchrange_query with = { .fd = make_file("file1", small, 1) };
	struct exchrange_query without = { .fd = with.fd };

	(void)state;
	assert_int_equal(exchrange_query(device, &with), 0);
	assert_int_equal(exchrange_query(NO_DEVICE, &without), 0);
	if (kind->alone && !is_overlay()) {
		/* It has no other, no vectors, and no holds. */
		with.alternative = EXCHRANGE_BACKEND_NONE;
		assert_int_equal(with.features, EXCHRANGE_FEATURE_VECTOR | EXCHRANGE_FEATURE_HOLD);
		with.features = 0;
		assert_memory_equal(&with, &without, sizeof(with));
	} else {
		assert_int_equal(without.backend, EXCHRANGE_BACKEND_NONE);
		assert_int_equal(without.reason, reason_without_device());
	}
	close(with.fd);
}

/* errno of a query of fd, with the device and without it: they agree. */
static int query_error(int fd)
{
	struct exchrange_query query = { .fd = fd };
	int with = exchrange_query(device, &query) ? errno : 0;
	int without = exchrange_query(NO_DEVICE, &query) ? errno : 0;

	assert_int_equal(with, without);
	return with;
}

static void test_query_errors_are_the_same_without_the_device(void **state)
{
	int directory = open_path(mount_point, O_RDONLY);
	int null = open_path("/dev/null", O_RDWR);
	int path;

	(void)state;
	close(make_file("file1", small, 1));
	path = open_path(path_of("file1"), O_PATH);
	assert_int_equal(query_error(-1), EBADF);
	assert_int_equal(query_error(path), EBADF);
	assert_int_equal(query_error(directory), EISDIR);
	assert_int_equal(query_error(null), EINVAL);
	close(directory);
	close(null);
	close(path);
}

static void exchange_with(int with)
{
	struct exchrange_range range = {
		.file1_fd	= make_file("file1", small, 1),
		.file2_fd	= make_file("file2", large, 2),
		.flags		= EXCHRANGE_TO_EOF,
	};
	struct picture before[2] = {
		take_picture(range.file1_fd), take_picture(range.file2_fd),
	};
	struct picture after[2];

	assert_int_equal(exchrange_exchange(with, &range), 0);
	after[0] = take_picture(range.file1_fd);
	after[1] = take_picture(range.file2_fd);
	assert_true(same_bytes(&before[0], &after[1]));
	assert_true(same_bytes(&before[1], &after[0]));
	drop_picture(&before[0]);
	drop_picture(&before[1]);
	drop_picture(&after[0]);
	drop_picture(&after[1]);
	close(range.file1_fd);
	close(range.file2_fd);
}

static void test_exchange_with_and_without_the_device(void **state)
{
	(void)state;
	exchange_with(device);
	if (kind->alone)
		exchange_with(NO_DEVICE);
}

/* Answers of two commits, of which the second comes too late. */
static void commit_with(int with)
{
	struct exchrange_commit commit = {
		.file1_fd	= make_file("file1", small, 1),
		.file2_fd	= make_file("file2", large, 2),
		.flags		= EXCHRANGE_TO_EOF,
	};

	assert_int_equal(exchrange_start_commit(with, &commit), 0);
	wait_for_another_timestamp();
	assert_int_equal(exchrange_commit(with, &commit), 0);
	assert_int_equal(exchrange_commit(with, &commit), -1);
	assert_int_equal(errno, EBUSY);
	close(commit.file1_fd);
	close(commit.file2_fd);
}

static void test_commit_with_and_without_the_device(void **state)
{
	(void)state;
	commit_with(device);
	if (kind->alone)
		commit_with(NO_DEVICE);
}

/* Without the module and without XFS's ioctl there is no exchange at all. */
static void test_no_exchange_where_nobody_can(void **state)
{
	const char *folder = is_btrfs() ? mount_point : "/root";
	struct exchrange_range range = {
		.file1_fd	= open_path(folder, O_TMPFILE | O_RDWR),
		.file2_fd	= open_path(folder, O_TMPFILE | O_RDWR),
		.flags		= EXCHRANGE_TO_EOF,
	};
	struct exchrange_commit commit = {
		.file1_fd	= range.file1_fd,
		.file2_fd	= range.file2_fd,
	};
	struct exchrange_query query = { .fd = range.file1_fd };
	struct picture before;

	(void)state;
	assert_int_equal(write(range.file1_fd, "contents", 8), 8);
	before = take_picture(range.file1_fd);
	assert_int_equal(exchrange_exchange(NO_DEVICE, &range), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(exchrange_start_commit(NO_DEVICE, &commit), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(exchrange_commit(NO_DEVICE, &commit), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_unchanged(&before, range.file1_fd);

	assert_int_equal(exchrange_query(NO_DEVICE, &query), 0);
	assert_int_equal(query.backend, EXCHRANGE_BACKEND_NONE);
	assert_int_equal(query.reason, EXCHRANGE_REASON_NO_DEVICE);
	drop_picture(&before);
	close(range.file1_fd);
	close(range.file2_fd);
}

static void test_padding_is_checked_without_the_device(void **state)
{
	struct exchrange_range range = {
		.file1_fd	= make_file("file1", small, 1),
		.file2_fd	= make_file("file2", large, 2),
		.flags		= EXCHRANGE_TO_EOF,
		.pad2		= 1,
	};
	struct exchrange_commit commit = {
		.file2_fd	= range.file2_fd,
		.flags		= 1ull << 40,
	};

	(void)state;
	assert_int_equal(exchrange_exchange(NO_DEVICE, &range), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(exchrange_start_commit(NO_DEVICE, &commit), -1);
	assert_int_equal(errno, EINVAL);
	close(range.file1_fd);
	close(range.file2_fd);
}

static void test_shared_library(void **state)
{
	static const char * const functions[] = {
		"exchrange_open", "exchrange_exchange",
		"exchrange_start_commit", "exchrange_commit",
		"exchrange_query", "exchrange_route",
		"exchrange_exchange_vector", "exchrange_update_commit_all",
	};
	void *library = dlopen("libexchange.so.0", RTLD_NOW);
	size_t i;

	(void)state;
	if (!library)
		fail_msg("%s", dlerror());
	for (i = 0; i < COUNT(functions); i++)
		assert_non_null(dlsym(library, functions[i]));
	dlclose(library);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_is_close_on_exec),
		cmocka_unit_test(test_route_says_which_of_the_two),
		cmocka_unit_test(test_query_is_the_same_without_the_device),
		cmocka_unit_test(test_query_errors_are_the_same_without_the_device),
		cmocka_unit_test(test_exchange_with_and_without_the_device),
		cmocka_unit_test(test_commit_with_and_without_the_device),
		cmocka_unit_test(test_no_exchange_where_nobody_can),
		cmocka_unit_test(test_padding_is_checked_without_the_device),
		cmocka_unit_test(test_shared_library),
	};

	start(argc, argv);
	return run_as_ktap("library", tests, NULL, NULL);
}
