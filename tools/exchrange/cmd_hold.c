// SPDX-License-Identifier: GPL-2.0
/* exchrange hold: a command runs while the contents of files stay what they are. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"

static const char usage[] =
"usage: exchrange hold [--snapshot] FILE... -- COMMAND [ARG...]\n"
"\n"
"Runs COMMAND; until it ends, nobody can change the contents of a FILE: whoever opens it\n"
"for writing, or saves it, is told that it is busy.  Exits with the command's status.\n"
"\n"
"  --snapshot   keep nobody out: run COMMAND with a private copy of each FILE (a reflink\n"
"               where the file system has those) wherever its name stands among the words\n"
"               of the command\n"
"  --help\n";

/* As the shell has them. */
enum { STATUS_NOT_EXECUTABLE = 126, STATUS_NOT_FOUND = 127, STATUS_SIGNAL = 128 };

static const struct option options[] = {
	{ "snapshot", no_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

struct hold {
	char	**files;
	int	count;
	char	**command;	/* NULL: only help was asked for */
	bool	snapshot;
	int	device;		/* or -1, with device_error */
	int	device_error;
};

/* --- the command ------------------------------------------------------------------------ */

/* Does not return. */
static void run_command(char **command)
{
	int error;

	restore_file_limit();
	execvp(command[0], command);
	error = errno;
	complain("%s: cannot be run: %s", command[0], strerror(error));
	_exit(error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE);
}

/*
 * Until the child ends.  What the terminal sends, it gets by itself; what was sent to us alone is
 * meant for it.
 */
static int wait_for_child(pid_t pid, const sigset_t *signals)
{
	siginfo_t info;
	int status;

	for (;;) {
		if (sigwaitinfo(signals, &info) < 0)
			continue;
		if (info.si_signo == SIGCHLD) {
			if (waitpid(pid, &status, WNOHANG) == pid)
				return status;
		} else if (info.si_code <= 0) {
			kill(pid, info.si_signo);
		}
	}
}

/* It does not inherit the holds: what it leaves running would have them for ever. */
static int run_and_wait(char **command)
{
	sigset_t signals, before;
	pid_t pid;
	int status;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGQUIT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, &before);
	pid = fork();
	if (pid < 0) {
		complain("%s: cannot be run: %s", command[0], strerror(errno));
		return STATUS_FAILED;
	}
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		run_command(command);
	}
	status = wait_for_child(pid, &signals);
	return WIFSIGNALED(status) ? STATUS_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

/* --- holds ------------------------------------------------------------------------------- */

/* The descriptor stays open until the end of the process. */
static int hold_file(const struct hold *hold, const char *path)
{
	int fd = open_file(path, O_RDONLY), error;

	if (fd < 0)
		return STATUS_FAILED;
	error = exchrange_hold(hold->device, fd) < 0 ? errno : 0;
	if (error)
		explain_hold(path, fd, hold->device, hold->device_error, error);
	close(fd);
	return error ? STATUS_FAILED : STATUS_OK;
}

static int run_with_holds(const struct hold *hold)
{
	int status = STATUS_OK, i;

	for (i = 0; i < hold->count && status == STATUS_OK; i++)
		status = hold_file(hold, hold->files[i]);
	return status ?: run_and_wait(hold->command);
}

/* --- snapshots ---------------------------------------------------------------------------- */

/* Who may execute the file may execute the snapshot; where it is another user's, that owner's. */
static void copy_mode(const char *path, int fd)
{
	struct stat st;

	if (stat(path, &st) == 0 && st.st_mode & 0111)
		fchmod(fd, 0700);
}

/* Its path, which the command inherits the descriptor of: not for writing, so that it can be run. */
static char *reopen(int fd)
{
	char *path = NULL;
	int snapshot;

	if (asprintf(&path, "/proc/self/fd/%d", fd) < 0)
		return NULL;
	snapshot = open(path, O_RDONLY);
	free(path);
	if (snapshot < 0 || asprintf(&path, "/proc/self/fd/%d", snapshot) < 0)
		return NULL;
	return path;
}

/* NULL, and the user knows why. */
static char *take_snapshot(const struct hold *hold, const char *path)
{
	const struct exchrange_update_options clone = { .flags = EXCHRANGE_UPDATE_CLONE };
	const struct target target = {
		.path		= path,
		.device		= hold->device,
		.device_error	= hold->device_error,
	};
	struct exchrange_update *update;
	char *snapshot;

	update = exchrange_update_begin(hold->device, path, &clone);
	if (!update) {
		explain_update(&target, errno);
		return NULL;
	}
	copy_mode(path, exchrange_update_fd(update));
	snapshot = reopen(exchrange_update_fd(update));
	if (!snapshot)
		complain("%s: its snapshot cannot be opened: %s", path, strerror(errno));
	exchrange_update_drop(update);
	return snapshot;
}

static bool is_among(char **words, const char *path)
{
	for (; *words; words++)
		if (!strcmp(*words, path))
			return true;
	return false;
}

static void replace(char **words, const char *path, char *snapshot)
{
	for (; *words; words++)
		if (!strcmp(*words, path))
			*words = snapshot;
}

/* Does not return where it runs the command. */
static int run_with_snapshots(const struct hold *hold)
{
	char *snapshot;
	int i;

	for (i = 0; i < hold->count; i++) {
		/* One that was named twice has its snapshot. */
		if (!is_among(hold->command, hold->files[i]))
			continue;
		snapshot = take_snapshot(hold, hold->files[i]);
		if (!snapshot)
			return STATUS_FAILED;
		replace(hold->command, hold->files[i], snapshot);
	}
	run_command(hold->command);
	return STATUS_FAILED;
}

/* ------------------------------------------------------------------------------------------ */

static int find_separator(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--"))
			return i;
	return -1;
}

/* STATUS_OK, with the command NULL where only help was asked for. */
static int parse(int argc, char **argv, struct hold *hold)
{
	int separator = find_separator(argc, argv), option, i;

	opterr = 0;
	while ((option = getopt_long(separator < 0 ? argc : separator, argv, ":", options,
				     NULL)) >= 0) {
		if (option == '?' || option == ':')
			return misused_option(usage, option, argv);
		if (option == 'h') {
			fputs(usage, stdout);
			return STATUS_OK;
		}
		hold->snapshot = true;
	}
	if (separator < 0 || separator == argc - 1)
		return misused(usage, "hold takes '--' and a command after the files");
	if (optind == separator)
		return misused(usage, "hold takes at least one file before '--'");
	hold->files = argv + optind;
	hold->count = separator - optind;
	for (i = 0; hold->snapshot && i < hold->count; i++)
		if (!is_among(argv + separator + 1, hold->files[i]))
			return misused(usage, "%s: is not among the words of the command, which would not have its snapshot",
				       hold->files[i]);
	hold->command = argv + separator + 1;
	return STATUS_OK;
}

int cmd_hold(int argc, char **argv)
{
	struct hold hold = { };
	int status;

	status = parse(argc, argv, &hold);
	if (status || !hold.command)
		return status;
	raise_file_limit();
	hold.device = open_device(&hold.device_error);
	return hold.snapshot ? run_with_snapshots(&hold) : run_with_holds(&hold);
}
