// SPDX-License-Identifier: GPL-2.0
/* Opens what the subcommands work on. */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "place.h"

/* A descriptor of the regular file @path; or -1, and the user knows why. */
int open_file(const char *path, int flags)
{
	/* A FIFO gets an error instead of a wait; who has a lease is waited for. */
	int fd = exchrange_open_patiently(AT_FDCWD, path, flags);
	struct stat st;

	if (fd < 0) {
		explain_open(path, errno);
		return -1;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	explain_open(path, S_ISDIR(st.st_mode) ? EISDIR : EINVAL);
	close(fd);
	return -1;
}

/* /dev/exchrange; or -1, which the library takes too, and why in *error. */
int open_device(int *error)
{
	int device = exchrange_open();

	*error = device < 0 ? errno : 0;
	return device;
}

/*
 * As many descriptors as there may be, for many files at once.  Not for other programs,
 * which may still use select(2).
 */
static struct rlimit file_limit;

void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &file_limit))
		return;
	limit = file_limit;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

void restore_file_limit(void)
{
	setrlimit(RLIMIT_NOFILE, &file_limit);
}
