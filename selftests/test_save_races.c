// SPDX-License-Identifier: GPL-2.0
/*
 * write and edit while somebody else unlinks, replaces, truncates or writes the file, and
 * while they are killed, before each of their system calls: the file is always one of its
 * contents, whole, and nothing is lost that was not to be overwritten.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

/* In a folder of its own.  A page and less, so that one read has all of it. */
#define FOLDER	"%s/races"
#define SIZE	3000
#define ROUNDS	25

static atomic_bool others_end;
static pthread_t thread;
static bool running;

/* Also of a test that failed. */
static void end_others(void)
{
	others_end = true;
	if (running)
		pthread_join(thread, NULL);
	running = false;
}

static int make_folder(void **state)
{
	(void)state;
	end_others();
	return run("rm -rf " FOLDER " && mkdir " FOLDER " && cd " FOLDER
		   " && for i in A B C; do head -c %d /dev/zero | tr '\\0' $i >/tmp/$i; done && cp /tmp/A f",
		   mount_point, mount_point, mount_point, SIZE);
}

/* The letter that all of the file is; 0 where it is not there, '-' where it is empty. */
static char letter_of(const char *name)
{
	char bytes[SIZE + 1];
	int fd = open(path_of(name), O_RDONLY | O_CLOEXEC);
	ssize_t count, i;

	if (fd < 0) {
		assert_int_equal(errno, ENOENT);
		return 0;
	}
	count = read(fd, bytes, sizeof(bytes));
	close(fd);
	if (count == 0)
		return '-';
	if (count != SIZE)
		fail_msg("%s has %zd bytes", name, count);
	for (i = 1; i < count; i++)
		if (bytes[i] != bytes[0])
			fail_msg("%s is torn: '%c' at 0, '%c' at %zd", name,
				 bytes[0], bytes[i], i);
	return bytes[0];
}

/* --- beside others ------------------------------------------------------------------ */

static void put(const char *name, char letter)
{
	char bytes[SIZE];
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	memset(bytes, letter, sizeof(bytes));
	if (fd >= 0 && write(fd, bytes, sizeof(bytes)) == SIZE)
		fsync(fd);
	close(fd);
}

static void remove_it(void)
{
	unlink(path_of("races/f"));
}

static void rename_over_it(void)
{
	put("races/other", 'C');
	rename(path_of("races/other"), path_of("races/f"));
}

static void change_its_mode(void)
{
	static int mode;

	chmod(path_of("races/f"), mode++ % 2 ? 0600 : 0644);
}

static void truncate_it(void)
{
	if (truncate(path_of("races/f"), 0))
		return;		/* not there for a moment */
}

/* In one piece, so that one who reads finds it whole. */
static void write_it(void)
{
	char bytes[SIZE];
	int fd = open(path_of("races/f"), O_WRONLY | O_CLOEXEC);

	memset(bytes, 'C', sizeof(bytes));
	if (fd >= 0 && pwrite(fd, bytes, sizeof(bytes), 0) < 0)
		abort();
	close(fd);
}

static const struct other {
	const char	*name;
	void		(*act)(void);
	const char	*letters;	/* what the file may be meanwhile */
} others[] = {
	{ "an unlink", remove_it, "AB" },
	{ "a rename over it", rename_over_it, "ABC" },
	{ "a chmod", change_its_mode, "AB" },
	{ "a truncate", truncate_it, "AB-" },
	{ "a write", write_it, "ABC" },
};

static void *act(void *argument)
{
	const struct other *other = argument;

	while (!others_end) {
		other->act();
		usleep(2000);
	}
	return NULL;
}

static void assert_is_one_of(const char *letters)
{
	char letter = letter_of("races/f");

	if (letter && !strchr(letters, letter))
		fail_msg("the file is of '%c'", letter);
}

/* Every write succeeds, whoever has the name by then; an edit may find a change. */
static void test_beside(void **state)
{
	const struct other *other = *state;
	int i, status;

	assert_int_equal(make_folder(NULL), 0);
	others_end = false;
	running = pthread_create(&thread, NULL, act, (void *)other) == 0;
	assert_true(running);
	for (i = 0; i < (int)(ROUNDS / test_share()); i++) {
		const char *from = i % 2 ? "/tmp/A" : "/tmp/B";
		struct outcome outcome =
			run_and_keep("cd " FOLDER " && exchrange write f <%s",
				     mount_point, from);

		if (outcome.status)
			fail_msg("write: %s", outcome.err);
		drop_outcome(&outcome);
		assert_is_one_of(other->letters);

		outcome = run_and_keep("cd " FOLDER " && EDITOR='cp %s' exchrange edit f",
				       mount_point, from);
		status = outcome.status;
		if (status && !strstr(outcome.err, "has changed it meanwhile") &&
		    !strstr(outcome.err, "changes all the time"))
			fail_msg("edit: %s", outcome.err);
		drop_outcome(&outcome);
		assert_is_one_of(other->letters);
	}
	end_others();
}

/* Of many that write at once, one's contents are there, all of them. */
static void test_two_writers(void **state)
{
	(void)state;
	assert_int_equal(run("cd " FOLDER " && for i in A B C; do head -c 700001 /dev/zero | tr '\\0' $i >big$i; done"
			     " && for i in $(seq %d); do"
			     " for letter in A B C; do exchrange write f <big$letter & done; wait;"
			     " cmp -s f bigA || cmp -s f bigB || cmp -s f bigC || exit 1;"
			     " rm f;"
			     " for letter in A B C; do exchrange write f <big$letter & done; wait;"
			     " cmp -s f bigA || cmp -s f bigB || cmp -s f bigC || exit 1;"
			     " done", mount_point, (int)(10 / test_share())), 0);
}

/* Each adds one to a number, again where somebody was faster: none is lost. */
static void test_no_update_is_lost(void **state)
{
	(void)state;
	assert_int_equal(run("cd " FOLDER " && echo 0 >number && cat >/tmp/add <<'END'\n"
			     "i=0\n"
			     "while [ $i -lt 8 ]; do\n"
			     "    token=$(exchrange start-commit number) || continue\n"
			     "    read -r n <number\n"
			     "    echo $((n + 1)) | exchrange write --if-unchanged-since $token number 2>>said && i=$((i + 1))\n"
			     "done\n"
			     "END\n"
			     "sh /tmp/add & sh /tmp/add & sh /tmp/add & wait; cat number; touch said;"
			     " ! grep -v 'number: has changed meanwhile' said && test \"$(cat number)\" = 24",
			     mount_point), 0);
}

/* --- beside one who is not to be trusted ------------------------------------------------ */

/*
 * What is nobody's, in which root has a directory, and a file that is none of nobody's
 * business: below it nobody exchanges directories, links and files for one another.
 */
#define HIS	"races/his"

static int be_attacker(int swaps)
{
	static const char * const names[] = { "conf", "d", "e", "link", "d/f", "e/f" };
	unsigned int number = 1;
	long count = 0;

	if (setgid(NOBODY) || setuid(NOBODY) || chdir(path_of(HIS)))
		return 1;
	while (!others_end && getppid() != 1) {
		const char *one, *other;

		number = number * 1103515245 + 12345;
		one = names[(number >> 16) % COUNT(names)];
		other = names[(number >> 20) % COUNT(names)];
		if (renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0)
			count++;
		if (count % 64 == 0 && write(swaps, &count, sizeof(count)) < 0)
			return 1;
	}
	return 0;
}

/* Only one who has the file itself open sees its contents for certain. */
static void assert_fd_is_one_of(int fd, const char *letters)
{
	char bytes[SIZE + 1];
	ssize_t count = pread(fd, bytes, sizeof(bytes), 0), i;

	assert_int_equal(count, SIZE);
	for (i = 1; i < count; i++)
		assert_int_equal(bytes[i], bytes[0]);
	if (!strchr(letters, bytes[0]))
		fail_msg("root's file is of '%c'", bytes[0]);
}

static pid_t start_attacker(int *swaps)
{
	pid_t pid;

	others_end = false;
	*swaps = memfd_create("swaps", MFD_CLOEXEC);
	assert_true(*swaps >= 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(be_attacker(*swaps));
	return pid;
}

static long count_swaps(int swaps)
{
	off_t size = lseek(swaps, 0, SEEK_END);
	long count = 0;

	if (size >= (off_t)sizeof(count))
		assert_int_equal(pread(swaps, &count, sizeof(count), size - sizeof(count)),
				 sizeof(count));
	return count;
}

/*
 * With --no-follow, root's files change only where root's own path led to them, and then to
 * what root wrote; nothing is left, and no name is made of what is root's.
 */
static void test_beside_an_attacker(void **state)
{
	static const char * const commands[] = {
		"exchrange write --no-follow his/conf/f </tmp/A",
		"exchrange write --no-follow his/d/f </tmp/A",
		"env EDITOR='cp /tmp/B' exchrange edit --no-follow his/conf/f",
		"env EDITOR='cp /tmp/B' exchrange edit --no-follow his/d/f",
		"exchrange write --no-follow --dsync his/link </tmp/A",
	};
	int swaps, precious, conf, i;
	pid_t pid;

	(void)state;
	assert_int_equal(run("cd " FOLDER " && for i in D E; do head -c %d /dev/zero | tr '\\0' $i >/tmp/$i; done"
			     " && cp /tmp/D precious && mkdir -p his/conf his/d his/e && cp /tmp/D his/conf/f"
			     " && cp /tmp/E his/d/f && ln -s ../../precious his/e/f && ln -s ../precious his/link"
			     " && chown -hR 65534 his/d his/e his/link && chown 65534 his", mount_point, SIZE), 0);
	precious = open_path(path_of("races/precious"), O_RDONLY);
	conf = open_path(path_of(HIS "/conf/f"), O_RDONLY);
	pid = start_attacker(&swaps);
	usleep(100000);
	for (i = 0; i < (int)(8 * ROUNDS / test_share()); i++) {
		struct outcome outcome = run_and_keep("cd " FOLDER " && timeout 300 %s", mount_point,
						      commands[i % COUNT(commands)]);

		assert_uint_in_range(outcome.status, 0, 1);
		drop_outcome(&outcome);
		assert_fd_is_one_of(precious, "D");
		assert_fd_is_one_of(conf, "DAB");
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	print_message("# %d saves beside %ld swaps\n", i, count_swaps(swaps));
	assert_true(count_swaps(swaps) > 100);
	/* An edit that was refused is kept where only root can go. */
	assert_int_equal(run("rm -rf /var/tmp/exchrange-edit-*; cd " FOLDER "; ls -A; test -z \"$(find . -name '*exchrange*' ! -user 0)\""
			     " && test -z \"$(find . -name '.exchrange-[0-9a-f]*')\" && test $(stat -c %%h precious) = 1",
			     mount_point), 0);
	close(swaps);
	close(precious);
	close(conf);
}

/* --- killed ------------------------------------------------------------------------- */

/*
 * The system calls that a command makes, one name a line; and in *first how many come
 * before it opens the device, while it is loaded.
 */
static char *calls_of(const char *command, unsigned int *first)
{
	struct outcome outcome =
		run_and_keep("cd " FOLDER " && strace -qq -o /tmp/calls %s"
			     " && grep '^[a-z0-9_]*(' /tmp/calls >/tmp/named"
			     " && grep -n -m 1 /dev/exchrange /tmp/named | cut -d : -f 1 >&2"
			     " && sed 's/(.*//' /tmp/named", mount_point, command);
	char *calls = outcome.out;

	*first = strtoul(outcome.err, NULL, 10);
	if (outcome.status || !*first)
		fail_msg("strace %s: %s", command, outcome.err);
	free(outcome.err);
	return calls;
}

static unsigned int count_line(const char *lines, const char *end, const char *name)
{
	size_t length = strlen(name);
	unsigned int count = 0;

	while (lines < end) {
		count += !strncmp(lines, name, length) && lines[length] == '\n';
		lines += strcspn(lines, "\n") + 1;
	}
	return count;
}

static unsigned int count_names(void)
{
	DIR *directory = opendir(path_of("races"));
	unsigned int count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

struct killed {
	const char	*name;
	const char	*command;
	const char	*before;	/* makes f what it is before, and takes the rest away */
	const char	*letters;	/* what f may be afterwards */
	bool		leaves;		/* a private copy may stay */
};

/* The last ones always: they are about the exchange. */
static bool is_for_this_run(unsigned int number, const char *rest)
{
	unsigned int left = 0;

	while (*rest)
		left += *rest++ == '\n';
	return left < 8 || number % test_share() == 0;
}

/* Killed before each of its calls in turn, from the first that is its own on. */
static void kill_at_each_call(const struct killed *killed)
{
	unsigned int old = 0, new = 0, number = 0, first, names;
	struct outcome outcome;
	char *calls, *at, name[64];
	size_t length;

	assert_int_equal(run("cd " FOLDER " && %s", mount_point, killed->before), 0);
	calls = calls_of(killed->command, &first);
	for (at = calls; *at; at += length + 1) {
		length = strcspn(at, "\n");
		snprintf(name, sizeof(name), "%.*s", (int)length, at);
		if (++number < first || !strcmp(name, "exit_group") ||
		    !is_for_this_run(number, at))
			continue;
		assert_int_equal(run("cd " FOLDER " && %s", mount_point,
				     killed->before), 0);
		names = count_names();
		outcome = run_and_keep("cd " FOLDER " && strace -qq -o /dev/null -e inject=%s:signal=KILL:when=%u %s",
				       mount_point, name,
				       count_line(calls, at, name) + 1,
				       killed->command);
		/* A call more or less, by the clock: then it may have come to its end. */
		if (outcome.status && outcome.status != 128 + SIGKILL)
			fail_msg("%s: %s", name, outcome.err);
		assert_is_one_of(killed->letters);
		if (outcome.status && letter_of("races/f") == killed->letters[0])
			old++;
		else if (outcome.status)
			new++;
		drop_outcome(&outcome);
		if (!killed->leaves)
			assert_uint_in_range(count_names(), names, names + 1);
		assert_int_equal(run("cd " FOLDER " && ! ls -A | grep -qvx -e f%s",
				     mount_point,
				     killed->leaves ? " -e '.exchrange-edit-.*'" : ""), 0);
	}
	print_message("# %s: killed %u times with the old contents, %u with others\n",
		      killed->name, old, new);
	/* It was killed before the exchange, and after it. */
	assert_true(old && new);
	free(calls);
}

static void test_write_is_killed(void **state)
{
	static const struct killed killed = {
		"write", "exchrange write --dsync f </tmp/B", "cp /tmp/A f", "AB",
	};

	(void)state;
	kill_at_each_call(&killed);
}

static void test_creation_is_killed(void **state)
{
	/* 'A' is what it never is: not there counts as something else. */
	static const struct killed killed = {
		"write of a new file", "exchrange write --dsync f </tmp/B", "rm -f f", "B",
	};

	(void)state;
	kill_at_each_call(&killed);
}

static void test_edit_is_killed(void **state)
{
	static const struct killed killed = {
		"edit", "env EDITOR='cp /tmp/B' exchrange edit f",
		"rm -rf .exchrange-edit-* && cp /tmp/A f", "AB", true,
	};

	(void)state;
	kill_at_each_call(&killed);
}

#define TEST(name)	cmocka_unit_test_setup(name, make_folder)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_two_writers),
		TEST(test_no_update_is_lost),
		TEST(test_beside_an_attacker),
		TEST(test_write_is_killed),
		TEST(test_creation_is_killed),
		TEST(test_edit_is_killed),
	};
	struct table table = {
		.group		= "saving beside",
		.rows		= others,
		.row_size	= sizeof(others[0]),
		.row_count	= COUNT(others),
		.test		= test_beside,
		.others		= tests,
		.other_count	= COUNT(tests),
	};

	start(argc, argv);
	return run_table(&table);
}
