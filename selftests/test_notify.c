// SPDX-License-Identifier: GPL-2.0
/*
 * Who watches a file with inotify hears of an exchange as of a write: once for
 * each of the two files, and of nothing that did not happen.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

static const struct file_spec plain = { SHAPE_PLAIN, 16384 };

/* inotifywait on the two files and on a third one, "end". */
struct watcher {
	pid_t	pid;
	FILE	*lines;
};

static void run_inotifywait(int output)
{
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	execlp("inotifywait", "inotifywait", "-m", "-e", "modify",
	       "--format", "%w", path_of("file1"), path_of("file2"),
	       path_of("end"), NULL);
	_exit(127);
}

static void start_watcher(struct watcher *watcher)
{
	char line[256];
	int fds[2];

	close(make_file("end", plain, 3));
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	watcher->pid = fork();
	assert_true(watcher->pid >= 0);
	if (watcher->pid == 0)
		run_inotifywait(fds[1]);
	close(fds[1]);
	watcher->lines = fdopen(fds[0], "r");
	assert_non_null(watcher->lines);
	do {
		assert_non_null(fgets(line, sizeof(line), watcher->lines));
	} while (!strstr(line, "Watches established"));
}

/* Counts the events of each file until the one that is provoked here. */
static void end_watcher(struct watcher *watcher, int counts[2])
{
	int fd = open_path(path_of("end"), O_WRONLY);
	char line[256];

	counts[0] = 0;
	counts[1] = 0;
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
	for (;;) {
		assert_non_null(fgets(line, sizeof(line), watcher->lines));
		line[strcspn(line, "\n")] = '\0';
		if (!strcmp(line, path_of("file1")))
			counts[0]++;
		else if (!strcmp(line, path_of("file2")))
			counts[1]++;
		else
			break;
	}
	assert_string_equal(line, path_of("end"));
	kill(watcher->pid, SIGTERM);
	assert_int_equal(waitpid(watcher->pid, NULL, 0), watcher->pid);
	fclose(watcher->lines);
}

static struct exchrange_range make_range(void)
{
	return (struct exchrange_range) {
		.file1_fd	= make_file("file1", plain, 1),
		.file2_fd	= make_file("file2", plain, 2),
		.length		= BLOCK,
	};
}

static void close_files(const struct exchrange_range *range)
{
	close(range->file1_fd);
	close(range->file2_fd);
}

static void test_one_event_for_each_file(void **state)
{
	struct exchrange_range range = make_range();
	struct watcher watcher;
	int counts[2], i;

	(void)state;
	start_watcher(&watcher);
	for (i = 0; i < 10; i++)
		assert_int_equal(device_exchange(&range), 0);
	end_watcher(&watcher, counts);
	assert_int_equal(counts[0], 10);
	assert_int_equal(counts[1], 10);
	close_files(&range);
}

static void test_one_event_for_each_file_of_a_commit(void **state)
{
	struct exchrange_range range = make_range();
	struct exchrange_commit commit = {
		.file1_fd	= range.file1_fd,
		.file2_fd	= range.file2_fd,
		.flags		= EXCHRANGE_TO_EOF,
	};
	struct watcher watcher;
	int counts[2];

	(void)state;
	start_watcher(&watcher);
	assert_int_equal(device_start_commit(&commit), 0);
	assert_int_equal(device_commit(&commit), 0);
	end_watcher(&watcher, counts);
	assert_int_equal(counts[0], 1);
	assert_int_equal(counts[1], 1);
	close_files(&range);
}

static void test_no_event_for_what_did_not_happen(void **state)
{
	struct exchrange_range dry = make_range();
	struct exchrange_range unaligned = dry;
	struct exchrange_commit stale = {
		.file1_fd	= dry.file1_fd,
		.file2_fd	= dry.file2_fd,
		.flags		= EXCHRANGE_TO_EOF,
	};
	struct watcher watcher;
	int counts[2];

	(void)state;
	dry.flags = EXCHRANGE_DRY_RUN;
	unaligned.file1_offset = 7;
	start_watcher(&watcher);
	assert_int_equal(device_exchange(&dry), 0);
	assert_int_equal(device_exchange(&unaligned), EINVAL);
	assert_int_equal(device_commit(&stale), EBUSY);
	end_watcher(&watcher, counts);
	assert_int_equal(counts[0], 0);
	assert_int_equal(counts[1], 0);
	close_files(&dry);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_event_for_each_file),
		cmocka_unit_test(test_one_event_for_each_file_of_a_commit),
		cmocka_unit_test(test_no_event_for_what_did_not_happen),
	};

	start(argc, argv);
	return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
