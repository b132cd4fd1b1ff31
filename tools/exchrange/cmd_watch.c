// SPDX-License-Identifier: GPL-2.0
/* exchrange watch: a line for each exchange of a file, or a command. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

static const char usage[] =
"usage: exchrange watch [--exec COMMAND] [--json] FILE...\n"
"\n"
"Prints a line each time that a FILE has been exchanged, until it is interrupted: when,\n"
"and how often since it began.\n"
"\n"
"  --exec   run COMMAND by the shell, with $EXCHRANGE_FILE and $EXCHRANGE_COUNT, and\n"
"           print no line\n"
"  --json   print an object on a line of its own, with --exec too\n"
"  --help\n";

static const struct option options[] = {
	{ "exec", required_argument, NULL, 'e' },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

struct watched {
	const char			*path;
	struct exchrange_watcher	watcher;
	uint64_t			count;	/* that were told */
};

struct watching {
	struct watched	*files;
	struct pollfd	*pollfds;
	int		count;
	const char	*command;
	bool		json;
	sigset_t	before;		/* what was blocked before the signals below */
};

/* Of the pollfds, after those of the files: somebody may still read what is printed. */
static struct pollfd *output_of(const struct watching *watching)
{
	return &watching->pollfds[watching->count];
}

/* --- signals ------------------------------------------------------------------------- */

/*
 * They come in ppoll() alone.  A command that runs gets them too, and when it has ended
 * the signal does what it does to every program.
 */
static const int endings[] = { SIGINT, SIGTERM, SIGHUP };
static atomic_int ending;

static void note(int signal)
{
	ending = signal;
}

static void take_signals(struct watching *watching)
{
	const struct sigaction noting = { .sa_handler = note };
	struct sigaction before;
	sigset_t blocked;
	size_t i;

	sigemptyset(&blocked);
	for (i = 0; i < COUNT(endings); i++) {
		sigaction(endings[i], NULL, &before);
		/* As nohup wants it. */
		if (before.sa_handler == SIG_IGN)
			continue;
		sigaction(endings[i], &noting, NULL);
		sigaddset(&blocked, endings[i]);
	}
	sigprocmask(SIG_BLOCK, &blocked, &watching->before);
	for (i = 0; i < COUNT(endings); i++)
		sigdelset(&watching->before, endings[i]);
}

/* Does not return. */
static void end_by_signal(const struct watching *watching)
{
	fflush(stdout);
	signal(ending, SIG_DFL);
	raise(ending);
	sigprocmask(SIG_SETMASK, &watching->before, NULL);
	_exit(128 + ending);
}

/* --- the command ----------------------------------------------------------------------- */

static void run_shell(const struct watching *watching, const struct watched *file)
{
	char count[24];

	snprintf(count, sizeof(count), "%" PRIu64, file->count);
	setenv("EXCHRANGE_FILE", file->path, 1);
	setenv("EXCHRANGE_COUNT", count, 1);
	sigprocmask(SIG_SETMASK, &watching->before, NULL);
	restore_file_limit();
	execl("/bin/sh", "sh", "-c", watching->command, NULL);
	_exit(127);
}

/* Until it ends; passes signals on to it, which may be meant for us alone. */
static int wait_for_command(const struct watching *watching, pid_t pid)
{
	struct pollfd pollfd = {
		.fd	= syscall(SYS_pidfd_open, pid, 0),
		.events	= POLLIN,
	};
	int status = 0;

	while (pollfd.fd >= 0 && ppoll(&pollfd, 1, NULL, &watching->before) < 0)
		if (ending)
			kill(pid, ending);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pollfd.fd >= 0)
		close(pollfd.fd);
	return status;
}

static int run_command(const struct watching *watching, const struct watched *file)
{
	int status;
	pid_t pid = fork();

	if (pid < 0) {
		complain("cannot run '%s': %s", watching->command, strerror(errno));
		return STATUS_FAILED;
	}
	if (pid == 0)
		run_shell(watching, file);
	status = wait_for_command(watching, pid);
	if (ending)
		return STATUS_OK;
	if (WIFSIGNALED(status))
		complain("%s: the command was ended by signal %d", file->path,
			 WTERMSIG(status));
	else if (WEXITSTATUS(status))
		complain("%s: the command ended with status %d", file->path,
			 WEXITSTATUS(status));
	return STATUS_OK;
}

/* --- lines ------------------------------------------------------------------------------- */

/* When the last exchange was, as RFC 3339 has it; @size bytes. */
static void format_time(const struct watched *file, char *text, size_t size)
{
	const struct exchrange_watcher *watcher = &file->watcher;
	char date[32], zone[8];
	struct tm local;
	uint32_t sequence;
	int64_t ns;
	time_t seconds;

	do {
		sequence = exchrange_watch_read_begin(watcher);
		ns = watcher->page->time;
	} while (exchrange_watch_read_retry(watcher, sequence));

	seconds = ns / 1000000000;
	localtime_r(&seconds, &local);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &local);
	/* +0100 becomes +01:00 */
	strftime(zone, sizeof(zone), "%z", &local);
	snprintf(text, size, "%s.%09d%.3s:%s", date, (int)(ns % 1000000000), zone,
		 zone + 3);
}

static void print_json(const struct watched *file, const char *time, uint64_t news)
{
	struct json json = { };

	json_open(&json, NULL, '{');
	json_file(&json, file->path);
	json_string(&json, "time", time);
	json_number(&json, "exchanges", news);
	json_number(&json, "count", file->count);
	json_close(&json, '}');
}

static void print_text(const struct watched *file, const char *time, uint64_t news)
{
	printf("%s ", time);
	print_name(stdout, file->path, true);
	if (news == 1)
		printf(": exchange %" PRIu64 "\n", file->count);
	else
		printf(": exchanges %" PRIu64 " to %" PRIu64 "\n",
		       file->count - news + 1, file->count);
}

static int tell(const struct watching *watching, struct watched *file)
{
	char time[64];
	__u64 news;

	if (exchrange_watch_wait(&file->watcher, 0, &news)) {
		complain("%s: %s", file->path, strerror(errno));
		return STATUS_FAILED;
	}
	if (!news)
		return STATUS_OK;
	file->count += news;
	format_time(file, time, sizeof(time));
	if (watching->json)
		print_json(file, time, news);
	else if (!watching->command)
		print_text(file, time, news);
	/* main.c says that it could not be written. */
	if (fflush(stdout))
		return STATUS_FAILED;
	return watching->command ? run_command(watching, file) : STATUS_OK;
}

/* Where lines are printed into a pipe or a socket, its other end may be closed. */
static void watch_output(struct watching *watching)
{
	struct stat st;
	bool prints = watching->json || !watching->command;

	output_of(watching)->fd = prints && fstat(STDOUT_FILENO, &st) == 0 &&
		(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) ? STDOUT_FILENO : -1;
	output_of(watching)->events = 0;
}

/* As by the next line, without waiting for it.  Does not return. */
static void end_unread(void)
{
	raise(SIGPIPE);
	_exit(STATUS_FAILED);
}

static int watch(struct watching *watching)
{
	int status = STATUS_OK, i;

	while (status == STATUS_OK && !ending) {
		if (ppoll(watching->pollfds, watching->count + 1, NULL,
			  &watching->before) < 0)
			continue;
		if (output_of(watching)->revents & (POLLERR | POLLHUP))
			end_unread();
		for (i = 0; i < watching->count && status == STATUS_OK && !ending; i++)
			if (watching->pollfds[i].revents)
				status = tell(watching, &watching->files[i]);
	}
	if (ending)
		end_by_signal(watching);
	return status;
}

/* --- files ----------------------------------------------------------------------------------- */

static int open_watch(struct watching *watching, int device, int device_error)
{
	struct watched *file = &watching->files[watching->count];
	int fd = open_file(file->path, O_RDONLY), error;

	if (fd < 0)
		return STATUS_FAILED;
	error = exchrange_watch_open(device, fd, &file->watcher) ? errno : 0;
	if (error)
		explain_watch(file->path, fd, device, device_error, error);
	close(fd);
	if (error)
		return STATUS_FAILED;
	watching->pollfds[watching->count].fd = file->watcher.fd;
	watching->pollfds[watching->count].events = POLLIN;
	watching->count++;
	return STATUS_OK;
}

static int watch_files(struct watching *watching, char **paths, int count)
{
	int device, device_error, status = STATUS_OK, i;

	watching->files = calloc(count, sizeof(*watching->files));
	watching->pollfds = calloc(count + 1, sizeof(*watching->pollfds));
	if (!watching->files || !watching->pollfds) {
		complain("%s", strerror(ENOMEM));
		return STATUS_FAILED;
	}
	raise_file_limit();
	device = open_device(&device_error);
	for (i = 0; i < count && status == STATUS_OK; i++) {
		watching->files[i].path = paths[i];
		status = open_watch(watching, device, device_error);
	}
	if (device >= 0)
		close(device);
	if (status == STATUS_OK) {
		watch_output(watching);
		take_signals(watching);
		status = watch(watching);
	}
	for (i = 0; i < watching->count; i++)
		exchrange_watch_close(&watching->files[i].watcher);
	return status;
}

int cmd_watch(int argc, char **argv)
{
	struct watching watching = { };
	int option, status;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, NULL)) >= 0) {
		switch (option) {
		case 'e':
			watching.command = optarg;
			break;
		case 'j':
			watching.json = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return STATUS_OK;
		default:
			return misused_option(usage, option, argv);
		}
	}
	if (watching.command && !*watching.command)
		return misused(usage, "--exec '' is not a command");
	if (optind == argc)
		return misused(usage, "watch takes at least one file");
	take_output();
	status = watch_files(&watching, argv + optind, argc - optind);
	free(watching.files);
	free(watching.pollfds);
	return status;
}
