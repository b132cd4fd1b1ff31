// SPDX-License-Identifier: GPL-2.0
/*
 * An exchange reads and writes both files, and with TO_EOF it truncates them: who would be
 * refused one of these is refused the exchange, dry or not, as an exchange, as a commit, and as
 * one pair of a vector, and nothing has changed.  The same on every back end, XFS's own ioctl too.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <linux/landlock.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

/* Debian 12's headers have none. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE	(1ULL << 14)
#endif

/* The Landlock that knows of truncation. */
#define LANDLOCK_ABI_TRUNCATE	3

static const struct file_spec plain = { SHAPE_PLAIN, 5 * BLOCK };
static const struct file_spec shorter = { SHAPE_PLAIN, 2 * BLOCK + 100 };

/* What an exchange may be asked with, as far as rights go. */
static const uint64_t flags_of[] = {
	0,
	EXCHRANGE_DRY_RUN,
	EXCHRANGE_FILE1_WRITTEN,
	EXCHRANGE_TO_EOF,
	EXCHRANGE_TO_EOF | EXCHRANGE_DRY_RUN,
	EXCHRANGE_TO_EOF | EXCHRANGE_FILE1_WRITTEN,
};

/* Files that nobody is refused, for the other pairs of a vector. */
static int beside[2];

/* In the middle of a vector, which says that it is this pair; 250 where it says another. */
static int exchange_in_vector(const struct exchrange_range *range)
{
	const uint64_t all = EXCHRANGE_DRY_RUN | EXCHRANGE_DSYNC;
	const struct exchrange_pair pairs[] = {
		block_pair(beside[0], 0, beside[1], 1),
		{
			.file1_fd	= range->file1_fd,
			.file2_fd	= range->file2_fd,
			.file1_offset	= range->file1_offset,
			.file2_offset	= range->file2_offset,
			.length		= range->length,
			.flags		= range->flags & ~all,
		},
		block_pair(beside[1], 3, beside[0], 2),
	};
	struct picture before[2] = { take_picture(beside[0]), take_picture(beside[1]) };
	struct vector_answer answer = exchange_list(pairs, COUNT(pairs), range->flags & all);
	int i;

	for (i = 0; i < 2; i++) {
		if (answer.error)
			assert_unchanged(&before[i], beside[i]);
		drop_picture(&before[i]);
	}
	if (answer.refused != (answer.error ? 1 : EXCHRANGE_REFUSED_NONE))
		return 250;
	return answer.error;
}

static const struct {
	const char	*name;
	int		(*call)(const struct exchrange_range *range);
} ways[] = {
	{ "exchange",	device_exchange },
	{ "commit",	device_exchange_by_commit },
	{ "vector",	exchange_in_vector },
};

static struct exchrange_range range_of(int fd1, int fd2, uint64_t flags)
{
	return (struct exchrange_range) {
		.file1_fd	= fd1,
		.file2_fd	= fd2,
		.length		= flags & EXCHRANGE_TO_EOF ? 0 : BLOCK,
		.flags		= flags,
	};
}

/* Of each kind, with either file first; may be called in a child. */
struct attempts {
	int		fd1, fd2;
	int		error;		/* that is expected */
	int		to_eof_error;	/* and with TO_EOF */
};

/* 0, or the number of the attempt that had another answer, from 1 on. */
static int try_all(void *argument)
{
	const struct attempts *attempts = argument;
	unsigned int i, way, swapped, number = 0;

	for (i = 0; i < COUNT(flags_of); i++)
		for (way = 0; way < COUNT(ways); way++)
			for (swapped = 0; swapped < 2; swapped++) {
				struct exchrange_range range =
					range_of(swapped ? attempts->fd2 : attempts->fd1,
						 swapped ? attempts->fd1 : attempts->fd2,
						 flags_of[i]);
				int error = ways[way].call(&range);

				number++;
				if (error == (flags_of[i] & EXCHRANGE_TO_EOF ?
					      attempts->to_eof_error : attempts->error))
					continue;
				print_message("# flags %#llx, %s, %s first: %s\n",
					      (unsigned long long)flags_of[i],
					      ways[way].name,
					      swapped ? "file2" : "file1", strerror(error));
				return number;
			}
	return 0;
}

/* Each of them, for root and for nobody. */
static void assert_answers(int fd1, int fd2, int error)
{
	struct attempts attempts = { fd1, fd2, error, error };

	assert_int_equal(as_root(try_all, &attempts), 0);
	assert_int_equal(as_nobody(try_all, &attempts), 0);
}

/* And both files are what they were. */
static void assert_refused(int fd1, int fd2, int error)
{
	struct picture before[2] = { take_picture(fd1), take_picture(fd2) };

	assert_answers(fd1, fd2, error);
	assert_unchanged(&before[0], fd1);
	assert_unchanged(&before[1], fd2);
	drop_picture(&before[0]);
	drop_picture(&before[1]);
}

static void set_append_only(int fd, bool on)
{
	int flags;

	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	flags = on ? flags | FS_APPEND_FL : flags & ~FS_APPEND_FL;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
}

/* Where the test failed in between, the next one makes the file anew. */
static int end_append_only(void **state)
{
	(void)state;
	return run("chattr -a '%s'", path_of("file1"));
}

/* Through a descriptor from before: as fallocate(2) and ftruncate(2) have it. */
static void test_append_only(void **state)
{
	int fd1 = make_file("file1", plain, 1);
	int fd2 = make_file("file2", shorter, 2);
	struct attempts attempts = { fd1, fd2, 0, 0 };

	(void)state;
	set_append_only(fd1, true);
	assert_int_equal(ftruncate(fd1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_refused(fd1, fd2, EPERM);
	/* A file with itself, too. */
	assert_refused(fd1, fd1, EPERM);
	set_append_only(fd1, false);
	assert_int_equal(as_nobody(try_all, &attempts), 0);
	close(fd1);
	close(fd2);
}

/* --- Landlock -------------------------------------------------------------------- */

static int landlock_abi(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0,
		       LANDLOCK_CREATE_RULESET_VERSION);
}

/* The calling process may read and write, and nothing else of @handled. */
static bool restrict_to_reading_and_writing(uint64_t handled)
{
	const struct landlock_ruleset_attr attributes = {
		.handled_access_fs = handled,
	};
	struct landlock_path_beneath_attr all = {
		.allowed_access	= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE,
		.parent_fd	= open("/", O_PATH | O_CLOEXEC),
	};
	int ruleset = syscall(SYS_landlock_create_ruleset, &attributes,
			      sizeof(attributes.handled_access_fs), 0);

	return ruleset >= 0 &&
	       !syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &all, 0) &&
	       !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !syscall(SYS_landlock_restrict_self, ruleset, 0);
}

struct sandbox {
	uint64_t	handled;
	int		fd2;		/* open from before, or -1 */
	int		to_eof_error;
};

/* The right is that of the open(2): the files are opened inside. */
static int exchange_in_sandbox(void *argument)
{
	const struct sandbox *sandbox = argument;
	struct attempts attempts = { .to_eof_error = sandbox->to_eof_error };

	if (!restrict_to_reading_and_writing(sandbox->handled))
		return 253;
	attempts.fd1 = open(path_of("file1"), O_RDWR | O_CLOEXEC);
	attempts.fd2 = sandbox->fd2 >= 0 ? sandbox->fd2 :
		       open(path_of("file2"), O_RDWR | O_CLOEXEC);
	if (attempts.fd1 < 0 || attempts.fd2 < 0)
		return 252;
	if (sandbox->to_eof_error && (!ftruncate(attempts.fd1, 0) || errno != EACCES))
		return 251;
	return try_all(&attempts);
}

static void test_landlock_truncate(void **state)
{
	const uint64_t handled = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
	struct sandbox sandbox = { handled, -1, 0 };
	int fd1 = make_file("file1", plain, 1);
	int fd2 = make_file("file2", shorter, 2);
	struct picture before[2];

	(void)state;
	if (landlock_abi() < LANDLOCK_ABI_TRUNCATE)
		skip();
	/* Both files, then one of them: that without the right is refused. */
	sandbox.handled |= LANDLOCK_ACCESS_FS_TRUNCATE;
	sandbox.to_eof_error = EACCES;
	before[0] = take_picture(fd1);
	before[1] = take_picture(fd2);
	assert_int_equal(as_nobody(exchange_in_sandbox, &sandbox), 0);
	sandbox.fd2 = fd2;
	assert_int_equal(as_root(exchange_in_sandbox, &sandbox), 0);
	/* Without TO_EOF they have changed places, an even number of times: the sizes have not. */
	assert_int_equal(lseek(fd1, 0, SEEK_END), before[0].size);
	assert_int_equal(lseek(fd2, 0, SEEK_END), before[1].size);
	/* Where truncation is not spoken of, it is allowed. */
	sandbox = (struct sandbox) { handled, -1, 0 };
	assert_int_equal(as_nobody(exchange_in_sandbox, &sandbox), 0);
	drop_picture(&before[0]);
	drop_picture(&before[1]);
	close(fd1);
	close(fd2);
}

/* For as_root(): whether the command says why it cannot save @path. */
static int write_in_sandbox(void *path)
{
	if (!restrict_to_reading_and_writing(LANDLOCK_ACCESS_FS_READ_FILE |
					     LANDLOCK_ACCESS_FS_WRITE_FILE |
					     LANDLOCK_ACCESS_FS_TRUNCATE))
		return 253;
	return run("echo x | exchrange write '%s' 2>&1 | grep -q LANDLOCK_ACCESS_FS_TRUNCATE",
		   (const char *)path);
}

/* The command does not blame the directory, where its staging file could be made. */
static void test_command_tells_of_landlock(void **state)
{
	int fd = make_file("file1", plain, 1);
	struct picture before = take_picture(fd);

	(void)state;
	if (landlock_abi() < LANDLOCK_ABI_TRUNCATE)
		skip();
	assert_int_equal(as_root(write_in_sandbox, (void *)path_of("file1")), 0);
	assert_unchanged(&before, fd);
	drop_picture(&before);
	close(fd);
}

/* --- fanotify's permission events --------------------------------------------------- */

/* Never: but to this process, whose older files ask too in 6.1. */
enum answer { ANSWER_ALLOW, ANSWER_DENY, ANSWER_NEVER };

struct listener {
	int		fanotify;
	int		quit[2];	/* a pipe that is closed at the end */
	pthread_t	thread;
	atomic_int	answer;		/* enum answer */
	atomic_uint	events[2];	/* of file1 and of file2 */
	ino_t		inode[2];
	bool		runs;
};

static struct listener listener;

static void take_event(const struct fanotify_event_metadata *event)
{
	enum answer answer = atomic_load(&listener.answer);
	const struct fanotify_response response = {
		.fd		= event->fd,
		.response	= answer == ANSWER_DENY ? FAN_DENY : FAN_ALLOW,
	};
	struct stat st;

	if (fstat(event->fd, &st) == 0)
		atomic_fetch_add(&listener.events[st.st_ino == listener.inode[1]], 1);
	/* What is not answered stays open: an answer goes by the number, which would be another's. */
	if (answer == ANSWER_NEVER && event->pid != getpid())
		return;
	if (write(listener.fanotify, &response, sizeof(response)) != sizeof(response))
		print_message("# no answer could be given: %s\n", strerror(errno));
	close(event->fd);
}

static void *answer_events(void *argument)
{
	char events[4096] __attribute__((aligned(8)));
	struct pollfd fds[2] = {
		{ .fd = listener.fanotify, .events = POLLIN },
		{ .fd = listener.quit[0], .events = POLLIN },
	};

	(void)argument;
	while (poll(fds, 2, -1) > 0 && !fds[1].revents) {
		const struct fanotify_event_metadata *event = (void *)events;
		ssize_t length = read(listener.fanotify, events, sizeof(events));

		for (; FAN_EVENT_OK(event, length); event = FAN_EVENT_NEXT(event, length))
			take_event(event);
	}
	return NULL;
}

/* Listens to reads of both files, which exist; opened from now on they ask. */
static void start_listener(void)
{
	struct stat st;
	int i;

	memset(&listener, 0, sizeof(listener));
	listener.fanotify = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK,
					   O_RDONLY | O_LARGEFILE);
	assert_true(listener.fanotify >= 0);
	assert_int_equal(pipe2(listener.quit, O_CLOEXEC), 0);
	for (i = 0; i < 2; i++) {
		const char *path = path_of(i ? "file2" : "file1");

		assert_int_equal(stat(path, &st), 0);
		listener.inode[i] = st.st_ino;
		assert_int_equal(fanotify_mark(listener.fanotify, FAN_MARK_ADD, FAN_ACCESS_PERM,
					       AT_FDCWD, path), 0);
	}
	assert_int_equal(pthread_create(&listener.thread, NULL, answer_events, NULL), 0);
	listener.runs = true;
}

/* Closed, what still waits for an answer is allowed. */
static void stop_listener(void)
{
	listener.runs = false;
	close(listener.quit[1]);
	pthread_join(listener.thread, NULL);
	close(listener.quit[0]);
	close(listener.fanotify);
}

/* Where the test failed in between. */
static int end_listener(void **state)
{
	(void)state;
	if (listener.runs)
		stop_listener();
	return 0;
}

static void open_both(int fds[2])
{
	fds[0] = open_path(path_of("file1"), O_RDWR);
	fds[1] = open_path(path_of("file2"), O_RDWR);
}

static void close_both(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static void make_both(void)
{
	close(make_file("file1", plain, 1));
	close(make_file("file2", shorter, 2));
}

static void assert_events(unsigned int count1, unsigned int count2)
{
	assert_int_equal(atomic_exchange(&listener.events[0], 0), count1);
	assert_int_equal(atomic_exchange(&listener.events[1], 0), count2);
}

static bool has_permission_events(void)
{
	int fd = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);
	bool has = fd >= 0 && !fanotify_mark(fd, FAN_MARK_ADD, FAN_ACCESS_PERM, AT_FDCWD,
					     "/etc/passwd");

	if (fd >= 0)
		close(fd);
	return has;
}

/* @quiet were open before: reads through them ask nobody. */
static void make_and_listen(int fds[2], int quiet[2])
{
	make_both();
	open_both(quiet);
	start_listener();
	open_both(fds);
}

/* Each exchange asks once for the read of either file. */
static void test_fanotify_is_asked(void **state)
{
	unsigned int i, way;
	int fds[2];

	(void)state;
	if (!has_permission_events())
		skip();
	make_both();
	start_listener();
	open_both(fds);
	for (i = 0; i < COUNT(flags_of); i++)
		for (way = 0; way < COUNT(ways); way++) {
			struct exchrange_range range = range_of(fds[0], fds[1], flags_of[i]);

			assert_int_equal(ways[way].call(&range), 0);
			assert_events(1, 1);
		}
	stop_listener();
	close_both(fds);
}

static void test_fanotify_denies(void **state)
{
	struct picture before[2];
	int fds[2], quiet[2];

	(void)state;
	if (!has_permission_events())
		skip();
	make_and_listen(fds, quiet);
	before[0] = take_picture(quiet[0]);
	before[1] = take_picture(quiet[1]);
	atomic_store(&listener.answer, ANSWER_DENY);
	assert_answers(fds[0], quiet[1], EPERM);
	assert_answers(quiet[0], fds[1], EPERM);
	atomic_store(&listener.answer, ANSWER_ALLOW);
	stop_listener();
	assert_unchanged(&before[0], quiet[0]);
	assert_unchanged(&before[1], quiet[1]);
	drop_picture(&before[0]);
	drop_picture(&before[1]);
	close_both(fds);
	close_both(quiet);
}

static int exchange_to_eof(void *argument)
{
	const int *fds = argument;
	struct exchrange_range range = range_of(fds[0], fds[1], EXCHRANGE_TO_EOF);

	return device_exchange(&range);
}

/* While it waits for an answer it holds no lock, and a kill ends it, with nothing changed. */
static void test_fanotify_that_never_answers(void **state)
{
	struct picture before[2];
	int fds[2], quiet[2], status;
	char byte;
	pid_t pid;

	(void)state;
	if (!has_permission_events())
		skip();
	make_and_listen(fds, quiet);
	atomic_store(&listener.answer, ANSWER_NEVER);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* The last of the listener is the parent's. */
		close(listener.fanotify);
		_exit(exchange_to_eof(fds));
	}
	while (!atomic_load(&listener.events[0])) {
		assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
		usleep(1000);
	}
	/* Another exchange of the files, a write and a truncate, by who is not asked. */
	assert_int_equal(exchange_to_eof(quiet), 0);
	assert_int_equal(pread(quiet[0], &byte, 1, 0), 1);
	assert_int_equal(pwrite(quiet[0], &byte, 1, 0), 1);
	assert_int_equal(ftruncate(quiet[0], BLOCK), 0);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	before[0] = take_picture(quiet[0]);
	before[1] = take_picture(quiet[1]);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_unchanged(&before[0], quiet[0]);
	assert_unchanged(&before[1], quiet[1]);
	stop_listener();
	drop_picture(&before[0]);
	drop_picture(&before[1]);
	close_both(fds);
	close_both(quiet);
}

/* --- fs-verity ------------------------------------------------------------------------ */

/* Nobody has such a file open for writing, from before or from after: EBADF, as for a write. */
static void test_verity(void **state)
{
	struct fsverity_enable_arg enable = {
		.version	= 1,
		.hash_algorithm	= FS_VERITY_HASH_ALG_SHA256,
		.block_size	= BLOCK,
	};
	int fd1 = make_file("verity", plain, 1);
	int fd2 = make_file("file2", plain, 2);
	int verity = open_path(path_of("verity"), O_RDONLY);

	(void)state;
	assert_int_equal(ioctl(verity, FS_IOC_ENABLE_VERITY, &enable), -1);
	if (errno == EOPNOTSUPP || errno == ENOTTY)
		skip();
	assert_int_equal(errno, ETXTBSY);
	close(fd1);
	assert_int_equal(ioctl(verity, FS_IOC_ENABLE_VERITY, &enable), 0);
	assert_int_equal(open(path_of("verity"), O_RDWR), -1);
	assert_int_equal(errno, EPERM);
	assert_refused(verity, fd2, EBADF);
	/* Nobody can write to it any more, whoever comes next. */
	assert_int_equal(unlink(path_of("verity")), 0);
	close(verity);
	close(fd2);
}

static int make_beside(void **state)
{
	(void)state;
	beside[0] = make_file("beside1", plain, 3);
	beside[1] = make_file("beside2", plain, 4);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_append_only, end_append_only),
		cmocka_unit_test(test_landlock_truncate),
		cmocka_unit_test(test_command_tells_of_landlock),
		cmocka_unit_test_teardown(test_fanotify_is_asked, end_listener),
		cmocka_unit_test_teardown(test_fanotify_denies, end_listener),
		cmocka_unit_test_teardown(test_fanotify_that_never_answers, end_listener),
		cmocka_unit_test(test_verity),
	};

	start(argc, argv);
	return run_as_ktap("rights", tests, make_beside, NULL);
}
