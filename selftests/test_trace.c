// SPDX-License-Identifier: GPL-2.0
/*
 * Trace events: each step of an exchange is there, with what it was about.  Run
 * with one CPU: patching the events in can panic a guest that is emulated with two.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common.h"

#define TRACING	"/sys/kernel/tracing"

static const struct file_spec plain = { SHAPE_PLAIN, 16384 };

static void set_events(int on)
{
	assert_int_equal(run("echo %d >" TRACING "/events/exchrange/enable", on),
			 0);
}

static char *trace_of(int (*call)(const struct exchrange_range *range),
		      const struct exchrange_range *range, int error)
{
	struct outcome outcome;

	assert_int_equal(run("echo >" TRACING "/trace"), 0);
	set_events(1);
	assert_int_equal(call(range), error);
	set_events(0);
	outcome = run_and_keep("grep exchrange_ " TRACING "/trace");
	free(outcome.err);
	return outcome.out;
}

static struct exchrange_range make_range(void)
{
	return (struct exchrange_range) {
		.file1_fd	= make_file("file1", plain, 1),
		.file2_fd	= make_file("file2", plain, 2),
		.file1_offset	= 4096,
		.file2_offset	= 8192,
		.length		= 4096,
		.flags		= EXCHRANGE_DSYNC,
	};
}

static void test_steps_of_an_exchange(void **state)
{
	struct exchrange_range range = make_range();
	char *trace = trace_of(device_exchange, &range, 0);
	char *request = strstr(trace, "exchrange_request:");
	char *backend = strstr(trace, "exchrange_backend:");
	char *result = strstr(trace, "exchrange_result:");
	unsigned long long ns;
	struct stat st;
	char expected[128];

	(void)state;
	assert_non_null(request);
	assert_non_null(backend);
	assert_non_null(result);
	assert_true(request < backend && backend < result);

	assert_int_equal(fstat(range.file1_fd, &st), 0);
	snprintf(expected, sizeof(expected),
		 " exchange ino1 0x%lx pos1 0x1000 ", st.st_ino);
	assert_non_null(strstr(request, expected));
	assert_int_equal(fstat(range.file2_fd, &st), 0);
	snprintf(expected, sizeof(expected),
		 " ino2 0x%lx pos2 0x2000 len 0x1000 flags dsync", st.st_ino);
	assert_non_null(strstr(request, expected));
	snprintf(expected, sizeof(expected), "backend %s", kind->name);
	assert_non_null(strstr(backend, expected));
	assert_int_equal(sscanf(strstr(result, " error "), " error 0 ns %llu",
				&ns), 1);
	assert_true(ns > 0);
	free(trace);
	close(range.file1_fd);
	close(range.file2_fd);
}

/* What the checks refuse reaches no back end, and its errno is there. */
static void test_steps_of_a_refusal(void **state)
{
	struct exchrange_range range = make_range();
	char *trace;

	(void)state;
	range.file1_offset = UINT64_MAX - 4095;
	trace = trace_of(device_exchange, &range, EINVAL);
	assert_non_null(strstr(trace, "exchrange_request:"));
	assert_null(strstr(trace, "exchrange_backend:"));
	assert_non_null(strstr(trace, "error -22 "));
	free(trace);
	close(range.file1_fd);
	close(range.file2_fd);
}

/* Of a file that is watched, and not of the other one. */
static void test_steps_of_a_watched_file(void **state)
{
	struct exchrange_range range = make_range();
	struct exchrange_watch watch = { .fd = range.file2_fd };
	int watched = ioctl(device, EXCHRANGE_IOC_WATCH, &watch);
	char *trace, *begin, *end, expected[128];
	struct stat st;

	(void)state;
	assert_true(watched >= 0);
	trace = trace_of(device_exchange, &range, 0);
	assert_int_equal(fstat(range.file2_fd, &st), 0);
	snprintf(expected, sizeof(expected),
		 " ino 0x%lx sequence 1 count 0 under_way 1\n", st.st_ino);
	begin = strstr(trace, expected);
	snprintf(expected, sizeof(expected),
		 " ino 0x%lx sequence 2 count 1 under_way 0\n", st.st_ino);
	end = strstr(trace, expected);
	assert_true(begin && end && begin < end);
	begin = strstr(trace, "exchrange_watch_begin:");
	assert_non_null(begin);
	assert_null(strstr(begin + 1, "exchrange_watch_begin:"));
	free(trace);
	close(watched);
	close(range.file1_fd);
	close(range.file2_fd);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps_of_an_exchange),
		cmocka_unit_test(test_steps_of_a_refusal),
		cmocka_unit_test(test_steps_of_a_watched_file),
	};

	start(argc, argv);
	return run_as_ktap("trace", tests, NULL, NULL);
}
