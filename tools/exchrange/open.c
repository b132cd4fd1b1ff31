// SPDX-License-Identifier: GPL-2.0
/* Opens what the subcommands work on. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

/* A descriptor of the regular file @path; or -1, and the user knows why. */
int open_file(const char *path, int flags)
{
	/* O_NONBLOCK: a FIFO gets an error instead of a wait. */
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
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
