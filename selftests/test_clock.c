// SPDX-License-Identifier: GPL-2.0
/*
 * Clocks that are set back, stand, or have come to their end: nothing waits for them for
 * ever, and no change is missed.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "scripts.h"

static struct timespec begun[2];	/* the wall's clock, and one that nobody sets */

/* The time as it would be if nobody had set it. */
static int restore_clock(void **state)
{
	struct timespec now;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &now);
	now.tv_sec += begun[0].tv_sec - begun[1].tv_sec;
	return clock_settime(CLOCK_REALTIME, &now);
}

static int make_folder(void **state)
{
	(void)state;
	clock_gettime(CLOCK_REALTIME, &begun[0]);
	clock_gettime(CLOCK_MONOTONIC, &begun[1]);
	return enter_folder("clock");
}

static void set_clock(time_t seconds_ahead)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	now.tv_sec += seconds_ahead;
	assert_int_equal(clock_settime(CLOCK_REALTIME, &now), 0);
}

/* The times of the file lie ahead, as after a start without a real-time clock. */
static void test_a_clock_that_was_set_back(void **state)
{
	(void)state;
	set_clock(7200);
	check("echo old >f && echo old >g");
	set_clock(-7200);
	check("exchrange start-commit f >token && EDITOR='echo edited >' exchrange edit f && echo edited | cmp - f");
	/* What changes then is noticed. */
	assert_complains("token=$(exchrange start-commit g) || exit 9; echo theirs >>g;"
			 " echo x | exchrange write --if-unchanged-since $token g", 1,
			 "g: has changed meanwhile", "");
	assert_complains("EDITOR='echo theirs >>g; echo mine >' exchrange edit g", 1,
			 "g: somebody else has changed it meanwhile", "");
	check("test $(grep -c theirs g) = 2");
}

static void test_a_clock_that_is_set_back_meanwhile(void **state)
{
	struct exchrange_sample before, after;
	int fd = open_path(path_of("clock/f"), O_RDWR), i;

	(void)state;
	for (i = 0; i < 20; i++) {
		assert_int_equal(pwrite(fd, "x", 1, i), 1);
		assert_int_equal(exchrange_sample(device, fd, &before), 0);
		set_clock(i % 2 ? -100 : 50);
		assert_int_equal(pwrite(fd, "y", 1, i), 1);
		assert_int_equal(exchrange_sample(device, fd, &after), 0);
		assert_memory_not_equal(&before, &after, sizeof(before));
	}
	close(fd);
}

/* For as_root(): what START_COMMIT of *@fd answers, and that it does. */
static int start_commit_in_time(void *fd)
{
	struct exchrange_commit commit = { .file2_fd = *(int *)fd };

	alarm(60);
	return device_start_commit(&commit);
}

static void test_a_copy_of_a_file_of_tomorrow(void **state)
{
	(void)state;
	set_clock(86400);
	check("seq 100000 >/dev/shm/tomorrow");
	set_clock(-86400);
	check("timeout 60 exchrange write --from /dev/shm/tomorrow f && cmp /dev/shm/tomorrow f && rm /dev/shm/tomorrow");
}

static atomic_bool end;

static void *hold_clock(void *argument)
{
	while (!end) {
		clock_settime(CLOCK_REALTIME, argument);
		usleep(200);
	}
	return NULL;
}

/* The answer is a sample, or that the clock stands; and it comes. */
static void test_a_clock_that_stands(void **state)
{
	struct timespec held = begun[0], start, now;
	struct exchrange_sample sample;
	int fd = open_path(path_of("clock/f"), O_RDWR), i, error;
	pthread_t thread;

	(void)state;
	end = false;
	assert_int_equal(pthread_create(&thread, NULL, hold_clock, &held), 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (i = 0; i < 5; i++) {
		assert_int_equal(pwrite(fd, "x", 1, i), 1);
		if (exchrange_sample(device, fd, &sample))
			assert_int_equal(errno, EAGAIN);
		error = as_root(start_commit_in_time, &fd);
		assert_true(error == 0 || error == EAGAIN);
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	end = true;
	pthread_join(thread, NULL);
	assert_uint_in_range(now.tv_sec - start.tv_sec, 0, 120);
	close(fd);
}

/* Without bigtime every change has the same time from 2038 on. */
static void test_after_the_end_of_time(void **state)
{
	bool waits = kind->backend == EXCHRANGE_BACKEND_XFS_TRANSACTION;
	int fd;

	(void)state;
	if (is_btrfs())
		skip();
	enter_scratch("mkfs.xfs -q -f $XFS_MKFS -m bigtime=0", "");
	assert_int_equal(enter_folder("clock"), 0);
	check("exchrange start-commit f >token");
	set_clock(0x7fffffff - begun[0].tv_sec + 1000000);
	check("echo old >f && test $(stat -c %Y f) = 2147483647");
	assert_complains("echo x | timeout 60 exchrange write --if-unchanged-since $(cat token) f", 1,
			 "f: has changed meanwhile", "");
	assert_complains("timeout 60 exchrange start-commit f", 1, "f: the clock is past the last time",
			 "changes cannot be told");
	assert_complains("EDITOR='echo edited >' timeout 60 exchrange edit f", 1,
			 "f: the clock is past the last time", "");
	fd = open_path(path_of("clock/f"), O_RDWR);
	assert_int_equal(as_root(start_commit_in_time, &fd), waits ? EOVERFLOW : 0);
	close(fd);
	/* What asks for no such thing goes on, and one that did not change since is told. */
	check("echo new | exchrange write f && echo new | cmp - f && touch -d 2020-01-01 f");
	restore_clock(NULL);
	leave_scratch();
}

#define TEST(name)	cmocka_unit_test_setup_teardown(name, make_folder, restore_clock)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_a_clock_that_was_set_back),
		TEST(test_a_clock_that_is_set_back_meanwhile),
		TEST(test_a_copy_of_a_file_of_tomorrow),
		TEST(test_a_clock_that_stands),
		TEST(test_after_the_end_of_time),
	};

	start(argc, argv);
	return run_as_ktap("clocks", tests, NULL, NULL);
}
