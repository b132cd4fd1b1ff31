// SPDX-License-Identifier: GPL-2.0
/*
 * Who watches a file, its directory or its mount with inotify or fanotify hears of an
 * exchange as of a write: once for each of the two files, and of nothing that did not
 * happen.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
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

/* --- every kind of mark, each event by itself ------------------------------------------- */

struct listener {
	const char	*name;
	bool		fanotify;
	unsigned int	mark;		/* FAN_MARK_* */
	bool		directory;	/* of the files */
};

static const struct listener listeners[] = {
	{ "inotify, both files" },
	{ "inotify, their directory", .directory = true },
	{ "fanotify, both files", .fanotify = true },
	{ "fanotify, their directory", .fanotify = true, .directory = true },
	{ "fanotify, the mount", .fanotify = true, .mark = FAN_MARK_MOUNT },
	{ "fanotify, the file system", .fanotify = true, .mark = FAN_MARK_FILESYSTEM },
};

/* What is marked: the directory, or the mount through it; or one file after the other. */
static const char *marked_path(const struct listener *listener, int i)
{
	if (listener->directory || listener->mark)
		return i ? NULL : mount_point;
	return i == 0 ? path_of("file1") : i == 1 ? path_of("file2") : NULL;
}

static int listen_to(const struct listener *listener)
{
	int fd = listener->fanotify ?
		 fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY) :
		 inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	const uint64_t mask = FAN_MODIFY | (listener->directory ? FAN_EVENT_ON_CHILD : 0);
	const char *path;
	int i;

	assert_true(fd >= 0);
	for (i = 0; (path = marked_path(listener, i)); i++)
		if (listener->fanotify)
			assert_int_equal(fanotify_mark(fd, FAN_MARK_ADD | listener->mark,
						       mask, AT_FDCWD, path), 0);
		else
			assert_true(inotify_add_watch(fd, path, IN_MODIFY) == i + 1);
	return fd;
}

/* 0 or 1, for file1 or file2; else the test fails. */
static int side_of_inotify(const struct listener *listener,
			   const struct inotify_event *event)
{
	assert_int_equal(event->mask, IN_MODIFY);
	if (!listener->directory)
		return event->wd - 1;
	return !strcmp(event->name, "file1") ? 0 : !strcmp(event->name, "file2") ? 1 : -1;
}

static int side_of_fanotify(const struct fanotify_event_metadata *event)
{
	struct stat st, file1, file2;

	assert_int_equal(event->vers, FANOTIFY_METADATA_VERSION);
	assert_int_equal(event->mask, FAN_MODIFY);
	assert_int_equal(fstat(event->fd, &st), 0);
	close(event->fd);
	assert_int_equal(stat(path_of("file1"), &file1), 0);
	assert_int_equal(stat(path_of("file2"), &file2), 0);
	return st.st_ino == file1.st_ino ? 0 : st.st_ino == file2.st_ino ? 1 : -1;
}

/* What has come: they are there when the call returns. */
static void count_events(const struct listener *listener, int fd, int counts[2])
{
	char events[4096] __attribute__((aligned(8)));
	ssize_t length = read(fd, events, sizeof(events)), at = 0;
	int side;

	counts[0] = 0;
	counts[1] = 0;
	if (length < 0) {
		assert_int_equal(errno, EAGAIN);
		return;
	}
	while (at < length) {
		if (listener->fanotify) {
			struct fanotify_event_metadata *event = (void *)(events + at);

			side = side_of_fanotify(event);
			at += event->event_len;
		} else {
			struct inotify_event *event = (void *)(events + at);

			side = side_of_inotify(listener, event);
			at += sizeof(*event) + event->len;
		}
		assert_uint_in_range(side, 0, 1);
		counts[side]++;
	}
}

static const struct {
	struct exchrange_range	range;
	bool			commit, stale;
	int			error;
	int			events;		/* of each file */
} calls[] = {
	{ { .length = BLOCK }, .events = 1 },
	{ { .flags = EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC }, .events = 1 },
	{ { .length = BLOCK, .flags = EXCHRANGE_FILE1_WRITTEN }, .events = 1 },
	{ { .flags = EXCHRANGE_TO_EOF }, .commit = true, .events = 1 },
	{ { .length = 0 }, .events = 1 },
	{ { .flags = EXCHRANGE_TO_EOF | EXCHRANGE_DRY_RUN } },
	{ { .flags = EXCHRANGE_TO_EOF | EXCHRANGE_DRY_RUN }, .commit = true },
	{ { .file1_offset = 7, .length = BLOCK }, .error = EINVAL },
	{ { .file1_offset = 8 * BLOCK, .length = BLOCK }, .error = EINVAL },
	{ { .flags = EXCHRANGE_TO_EOF }, .stale = true, .error = EBUSY },
};

static int make_call(size_t i, const struct exchrange_range *files)
{
	struct exchrange_range range = calls[i].range;
	struct exchrange_commit stale = {
		.file1_fd	= files->file1_fd,
		.file2_fd	= files->file2_fd,
		.flags		= range.flags,
	};

	range.file1_fd = files->file1_fd;
	range.file2_fd = files->file2_fd;
	if (calls[i].stale)
		return device_commit(&stale);
	return calls[i].commit ? device_exchange_by_commit(&range) :
				 device_exchange(&range);
}

static void test_listener(void **state)
{
	const struct listener *listener = *state;
	struct exchrange_range files = make_range();
	int fd = listen_to(listener), counts[2];
	size_t i;

	for (i = 0; i < COUNT(calls); i++) {
		assert_int_equal(make_call(i, &files), calls[i].error);
		count_events(listener, fd, counts);
		if (counts[0] != calls[i].events || counts[1] != calls[i].events)
			fail_msg("call %zu: %d and %d events", i, counts[0], counts[1]);
	}
	/* And a write is heard, by whom nothing was. */
	assert_int_equal(pwrite(files.file2_fd, "x", 1, 0), 1);
	count_events(listener, fd, counts);
	assert_int_equal(counts[0], 0);
	assert_int_equal(counts[1], 1);
	close(fd);
	close_files(&files);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_one_event_for_each_file),
		cmocka_unit_test(test_one_event_for_each_file_of_a_commit),
		cmocka_unit_test(test_no_event_for_what_did_not_happen),
	};
	static const struct table table = {
		.group		= "notify",
		.rows		= listeners,
		.row_size	= sizeof(listeners[0]),
		.row_count	= COUNT(listeners),
		.test		= test_listener,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	return run_table(&table);
}
