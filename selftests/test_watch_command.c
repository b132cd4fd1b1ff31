// SPDX-License-Identifier: GPL-2.0
/*
 * `exchrange watch` as a person or a script uses it: its lines and commands, how it ends,
 * and what it says where it is called wrong.
 */
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

#define LINES	"/tmp/watch.out"
#define ERRORS	"/tmp/watch.err"

static const struct file_spec plain = { SHAPE_PLAIN, 5000 };

/* A generous end of every wait here: a hundred seconds. */
#define TURNS		10000
#define PAUSE_US	10000

/* --- the command in the background ---------------------------------------------------- */

static void make_files(void)
{
	close(make_file("a", plain, 1));
	close(make_file("b", plain, 2));
	close(make_file("c d", plain, 3));
}

static void be_command(const char *arguments)
{
	char *command;

	dup2(open(LINES, O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
	dup2(open(ERRORS, O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
	if (asprintf(&command, "cd %s && exec exchrange watch %s", mount_point,
		     arguments) < 0)
		_exit(126);
	execl("/bin/sh", "sh", "-c", command, NULL);
	_exit(127);
}

/* Whether it waits for the files, and so takes signals. */
static bool has_begun(pid_t pid)
{
	char path[64], line[256] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	return *line >= '0' && *line <= '9' && atoi(line) == SYS_ppoll;
}

static pid_t start_command(const char *arguments)
{
	pid_t pid = fork();
	int i;

	assert_true(pid >= 0);
	if (pid == 0)
		be_command(arguments);
	for (i = 0; i < TURNS && !has_begun(pid); i++) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			fail_msg("exchrange watch %s: has ended", arguments);
		usleep(PAUSE_US);
	}
	assert_true(i < TURNS);
	return pid;
}

/* The wait status; the signal 0 is none. */
static int end_command(pid_t pid, int signal)
{
	int status, i;

	kill(pid, signal);
	for (i = 0; i < TURNS; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		usleep(PAUSE_US);
	}
	kill(pid, SIGKILL);
	fail_msg("exchrange watch has not ended");
	return -1;
}

/* What is in a file, as soon as it has so many lines. */
static char *wait_for_lines(const char *path, int lines)
{
	struct outcome outcome = { };
	int i;

	for (i = 0; i < TURNS; i++) {
		const char *at;
		int count = 0;

		outcome = run_and_keep("cat %s", path);
		for (at = outcome.out; (at = strchr(at, '\n')); at++)
			count++;
		if (count >= lines)
			break;
		drop_outcome(&outcome);
		usleep(PAUSE_US);
	}
	if (i == TURNS)
		fail_msg("%s: fewer than %d lines", path, lines);
	free(outcome.err);
	return outcome.out;
}

static void swap_pair(const char *pair)
{
	assert_int_equal(run("cd %s && exchrange swap %s", mount_point, pair), 0);
}

/* --- lines ---------------------------------------------------------------------------------- */

/* Begins with a time of this form, which date(1) reads. */
static void assert_time(const char *line)
{
	assert_int_equal(run("echo '%.36s' | grep -qE '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{9}[+-][0-9]{2}:[0-9]{2} '",
			     line), 0);
	assert_int_equal(run("now=$(date +%%s) && then=$(date -d \"$(echo '%.35s')\" +%%s)"
			     " && [ $((now - then)) -ge 0 ] && [ $((now - then)) -lt 600 ]",
			     line), 0);
}

static void test_line_for_each_exchange(void **state)
{
	char *lines;
	pid_t pid;
	int status;

	(void)state;
	make_files();
	pid = start_command("a 'c d'");
	swap_pair("a b");
	free(wait_for_lines(LINES, 1));
	swap_pair("'c d' b");
	free(wait_for_lines(LINES, 2));
	swap_pair("b a");
	lines = wait_for_lines(LINES, 3);
	assert_time(lines);
	assert_non_null(strstr(lines, " a: exchange 1\n"));
	assert_non_null(strstr(lines, " c d: exchange 1\n"));
	assert_non_null(strstr(lines, " a: exchange 2\n"));
	free(lines);
	status = end_command(pid, SIGINT);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}

/* Those that come while it is stopped are one line. */
static void test_several_at_once(void **state)
{
	char *lines;
	pid_t pid;

	(void)state;
	make_files();
	pid = start_command("a");
	kill(pid, SIGSTOP);
	swap_pair("a b");
	swap_pair("a b");
	swap_pair("a b");
	kill(pid, SIGCONT);
	lines = wait_for_lines(LINES, 1);
	assert_non_null(strstr(lines, " a: exchanges 1 to 3\n"));
	free(lines);
	end_command(pid, SIGTERM);
}

static void test_nothing_for_other_changes(void **state)
{
	char *lines;
	pid_t pid;

	(void)state;
	make_files();
	pid = start_command("a");
	assert_int_equal(run("cd %s && echo more >>a && exchrange swap --dry-run a b"
			     " && touch a && ! exchrange swap --offset1 7 a b 2>/dev/null",
			     mount_point), 0);
	swap_pair("a b");
	lines = wait_for_lines(LINES, 1);
	assert_non_null(strstr(lines, " a: exchange 1\n"));
	free(lines);
	end_command(pid, SIGTERM);
}

static void test_json(void **state)
{
	json_object *object, *member;
	char *lines;
	pid_t pid;

	(void)state;
	make_files();
	pid = start_command("--json 'c d'");
	swap_pair("a 'c d'");
	lines = wait_for_lines(LINES, 1);
	object = json_tokener_parse(lines);
	assert_non_null(object);
	assert_true(json_object_object_get_ex(object, "file", &member));
	assert_string_equal(json_object_get_string(member), "c d");
	assert_true(json_object_object_get_ex(object, "count", &member));
	assert_int_equal(json_object_get_int64(member), 1);
	assert_true(json_object_object_get_ex(object, "exchanges", &member));
	assert_int_equal(json_object_get_int64(member), 1);
	assert_true(json_object_object_get_ex(object, "time", &member));
	free(lines);
	lines = NULL;
	assert_true(asprintf(&lines, "%s ", json_object_get_string(member)) > 0);
	assert_time(lines);
	free(lines);
	json_object_put(object);
	end_command(pid, SIGTERM);
}

/* --- commands -------------------------------------------------------------------------------- */

static void test_command_for_each_exchange(void **state)
{
	char *lines;
	pid_t pid;

	(void)state;
	make_files();
	pid = start_command("--exec 'echo \"$EXCHRANGE_FILE $EXCHRANGE_COUNT\"' a 'c d'");
	swap_pair("a b");
	free(wait_for_lines(LINES, 1));
	swap_pair("'c d' a");
	lines = wait_for_lines(LINES, 3);
	assert_int_equal(strncmp(lines, "a 1\n", 4), 0);
	assert_non_null(strstr(lines, "\na 2\n"));
	assert_non_null(strstr(lines, "\nc d 1\n"));
	free(lines);
	end_command(pid, SIGTERM);
}

static void test_command_that_fails(void **state)
{
	char *lines;
	pid_t pid;

	(void)state;
	make_files();
	pid = start_command("--json --exec '[ $EXCHRANGE_COUNT != 1 ] || exit 3; kill -9 $$' a");
	swap_pair("a b");
	lines = wait_for_lines(ERRORS, 1);
	assert_string_equal(lines, "exchrange: a: the command ended with status 3\n");
	free(lines);
	swap_pair("a b");
	lines = wait_for_lines(ERRORS, 2);
	assert_non_null(strstr(lines, "exchrange: a: the command was ended by signal 9\n"));
	free(lines);
	lines = wait_for_lines(LINES, 2);
	assert_non_null(strstr(lines, "\"count\": 2"));
	free(lines);
	end_command(pid, SIGTERM);
}

/* Who started it may ignore the ends of children. */
static void test_command_that_fails_unheard(void **state)
{
	char *lines;
	pid_t pid;

	(void)state;
	make_files();
	signal(SIGCHLD, SIG_IGN);
	pid = start_command("--exec 'exit 3' a");
	signal(SIGCHLD, SIG_DFL);
	swap_pair("a b");
	lines = wait_for_lines(ERRORS, 1);
	assert_string_equal(lines, "exchrange: a: the command ended with status 3\n");
	free(lines);
	end_command(pid, SIGTERM);
}

/* The command gets the signal, is waited for, and then it ends both. */
static void test_signal_while_a_command_runs(void **state)
{
	char *lines;
	int status;
	pid_t pid;

	(void)state;
	make_files();
	pid = start_command("--exec 'trap \"echo told; exit\" TERM; echo here; while :; do sleep 0.1; done' a");
	swap_pair("a b");
	free(wait_for_lines(LINES, 1));
	status = end_command(pid, SIGTERM);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	lines = wait_for_lines(LINES, 2);
	assert_string_equal(lines, "here\ntold\n");
	free(lines);
}

/* --- how it ends ------------------------------------------------------------------------------- */

static void test_each_signal_ends_it(void **state)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	size_t i;

	(void)state;
	make_files();
	for (i = 0; i < COUNT(signals); i++) {
		int status = end_command(start_command("a"), signals[i]);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), signals[i]);
	}
	/* nohup's is not taken. */
	signal(SIGHUP, SIG_IGN);
	{
		pid_t pid = start_command("a");
		int status;

		signal(SIGHUP, SIG_DFL);
		kill(pid, SIGHUP);
		status = end_command(pid, SIGTERM);
		assert_int_equal(WTERMSIG(status), SIGTERM);
	}
}

static void test_full_output_ends_it(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	make_files();
	pid = start_command("a >/dev/full");
	swap_pair("a b");
	status = end_command(pid, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_int_equal(run("grep -q 'exchrange: cannot write the output' " ERRORS), 0);
}

static void test_help(void **state)
{
	struct outcome outcome = run_and_keep("exchrange watch --help");

	(void)state;
	assert_int_equal(outcome.status, 0);
	assert_non_null(strstr(outcome.out, "usage: exchrange watch"));
	assert_string_equal(outcome.err, "");
	drop_outcome(&outcome);
}

/* --- called wrong ------------------------------------------------------------------------------- */

static const struct wrong wrongs[] = {
	{ "", 2, "watch takes at least one file", "usage: exchrange watch" },
	{ "--frob a", 2, "unknown option '--frob'", "--help" },
	{ "--json=yes a", 2, "'--json=yes'", "--help" },
	{ "a --exec", 2, "--exec needs a value", "--help" },
	{ "--exec '' a", 2, "--exec '' is not a command", "--help" },
	{ "missing", 1, "missing: no such file", "" },
	{ "a missing b", 1, "missing: no such file", "" },
	{ ".", 1, ".: is a directory", "name a file" },
	{ "/dev/null", 1, "/dev/null: is not a regular file", "" },
	{ "/etc/passwd", 1, "/etc/passwd: there is no back end for", "only for XFS and btrfs" },
};

static void assert_complains(const struct wrong *wrong)
{
	struct outcome outcome = run_and_keep("cd %s && timeout 60 exchrange watch %s",
					      mount_point, wrong->arguments);

	assert_complaint(&outcome, wrong);
}

static void test_wrong(void **state)
{
	const struct wrong *wrong = *state;

	make_files();
	assert_complains(wrong);
}

static void test_too_many(void **state)
{
	static const struct wrong wrong = {
		"a b 'c d'", 1, "as many watches as a user may have", "watches_max_user",
	};

	(void)state;
	make_files();
	assert_int_equal(run("echo 2 >/sys/module/exchrange/parameters/watches_max_user"), 0);
	assert_complains(&wrong);
}

static int restore_limit(void **state)
{
	(void)state;
	return run("echo 1024 >/sys/module/exchrange/parameters/watches_max_user");
}

static int watch_unreadable(void *argument)
{
	struct outcome outcome = run_and_keep("cd %s && timeout 60 exchrange watch a",
					      mount_point);
	bool said = strstr(outcome.err, argument);
	int status = outcome.status;

	drop_outcome(&outcome);
	return said ? status : 200;
}

static void test_no_rights(void **state)
{
	(void)state;
	make_files();
	assert_int_equal(run("cd %s && chmod 000 a", mount_point), 0);
	assert_int_equal(as_nobody(watch_unreadable, "a: permission denied"), 1);
}

static void test_without_the_module(void **state)
{
	static const struct wrong wrong = {
		"a", 1, "a: cannot be watched without the module", "modprobe exchrange",
	};

	(void)state;
	make_files();
	close(device);
	assert_int_equal(syscall(SYS_delete_module, "exchrange", O_NONBLOCK), 0);
	assert_complains(&wrong);
	assert_int_equal(run("modprobe exchrange"), 0);
	device = exchrange_open();
	assert_true(device >= 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_line_for_each_exchange),
		cmocka_unit_test(test_several_at_once),
		cmocka_unit_test(test_nothing_for_other_changes),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_command_for_each_exchange),
		cmocka_unit_test(test_command_that_fails),
		cmocka_unit_test(test_command_that_fails_unheard),
		cmocka_unit_test(test_signal_while_a_command_runs),
		cmocka_unit_test(test_each_signal_ends_it),
		cmocka_unit_test(test_full_output_ends_it),
		cmocka_unit_test(test_help),
		cmocka_unit_test_teardown(test_too_many, restore_limit),
		cmocka_unit_test(test_no_rights),
		cmocka_unit_test(test_without_the_module),
	};
	static const struct table table = {
		.group		= "exchrange watch",
		.rows		= wrongs,
		.row_size	= sizeof(wrongs[0]),
		.row_count	= COUNT(wrongs),
		.test		= test_wrong,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	return run_table(&table);
}
