// SPDX-License-Identifier: GPL-2.0
/*
 * The old way, where it is asked for: a temporary file that is renamed over the file.
 * It splits hard links, and ACLs, extended attributes and watches stay behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

/* For the signal handler. */
static char temporary[PATH_MAX + 32];

static void remove_and_end(int signal_number)
{
	unlink(temporary);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static void watch_signals(void (*handler)(int signal_number))
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	size_t i;

	for (i = 0; i < COUNT(signals); i++)
		if (signal(signals[i], handler) == SIG_IGN)
			signal(signals[i], SIG_IGN);
}

/* The directory, which ends where the name begins. */
static int sync_directory(const char *path)
{
	char copy[PATH_MAX];
	int fd, status;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	status = fsync(fd);
	close(fd);
	return status;
}

/* Mode and owner of the file that is there, or those of a new one. */
static int take_mode(int fd, const char *path)
{
	mode_t mask = umask(0);
	struct stat st;

	umask(mask);
	if (stat(path, &st))
		return errno == ENOENT ? fchmod(fd, 0666 & ~mask) : -1;
	if (st.st_uid != geteuid() || st.st_gid != getegid())
		if (fchown(fd, st.st_uid, st.st_gid))
			return -1;
	return fchmod(fd, st.st_mode & 0777);
}

static int fill_and_rename(int fd, const char *path, int from,
			   const char *from_name, bool dsync)
{
	bool reading;

	if (copy_stream(from, fd, &reading)) {
		complain("%s: %s", reading ? from_name : path, strerror(errno));
		return -1;
	}
	if (take_mode(fd, path) || (dsync && fsync(fd)) ||
	    rename(temporary, path) || (dsync && sync_directory(path))) {
		complain("%s: %s", path, strerror(errno));
		return -1;
	}
	return 0;
}

/*
 * Makes what comes from @from, which the user knows as @from_name, the contents of
 * @path.  -1, and the user knows why.
 */
int write_by_rename(const char *path, int from, const char *from_name, bool dsync)
{
	char resolved[PATH_MAX];
	const char *slash;
	int fd, status;

	/* The link stays, what it points to is replaced. */
	if (!realpath(path, resolved)) {
		if (errno != ENOENT || strlen(path) >= sizeof(resolved)) {
			explain_open(path, errno);
			return -1;
		}
		snprintf(resolved, sizeof(resolved), "%s", path);
	}
	slash = strrchr(resolved, '/');
	snprintf(temporary, sizeof(temporary), "%.*s.exchrange-XXXXXX",
		 slash ? (int)(slash + 1 - resolved) : 0, resolved);
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0) {
		complain("%s: %s", temporary, strerror(errno));
		return -1;
	}
	watch_signals(remove_and_end);
	status = fill_and_rename(fd, resolved, from, from_name, dsync);
	watch_signals(SIG_DFL);
	if (status)
		unlink(temporary);
	close(fd);
	return status;
}
