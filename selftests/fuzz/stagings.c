// SPDX-License-Identifier: GPL-2.0
/*
 * What a worker does with a staging file that it has got: it tries to give it a name, writes to
 * it, and exchanges it with anything.  Some stay, so that there are some when files are removed,
 * and when the worker is killed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fuzz.h"

#define KEPT	16u

static int kept[KEPT] = { -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1 };

/* True where it has got one, which nobody may. */
static bool gets_a_name(int fd)
{
	char link_path[64];

	if (linkat(fd, "", folders[TEST_FOLDER], "staging", AT_EMPTY_PATH) == 0)
		return true;
	snprintf(link_path, sizeof(link_path), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, link_path, folders[TEST_FOLDER], "staging",
		      AT_SYMLINK_FOLLOW) == 0;
}

static void change(struct generator *generator, int fd)
{
	static uint8_t bytes[3 * BLOCK];

	(void)!pwrite(fd, bytes, below(generator, sizeof(bytes)), below(generator, MAX_SIZE));
	if (one_in(generator, 4))
		(void)!ftruncate(fd, below(generator, MAX_SIZE));
	if (one_in(generator, 4))
		fallocate(fd, below(generator, 4), below(generator, MAX_SIZE), BLOCK);
	if (one_in(generator, 8))
		fchmod(fd, below(generator, 010000));
}

/* Not with the quiet files, which must not change. */
static void exchange(struct generator *generator, int fd)
{
	struct exchrange_range range = {
		.file1_fd	= fd,
		.file2_fd	= good_descriptor(generator, false),
		.length		= below(generator, 8) * BLOCK,
		.flags		= below(generator, ALL_FLAGS + 1) & ~EXCHRANGE_DSYNC,
	};

	ioctl(device, EXCHRANGE_IOC_EXCHANGE, &range);
}

/* 0, or an errno that nobody has documented where what must be refused was not. */
int use_staging(struct generator *generator, int fd, bool quiet)
{
	unsigned int i = below(generator, KEPT);
	struct stat st;

	if (kept[i] >= 0)
		close(kept[i]);
	kept[i] = fd;
	if (fstat(fd, &st) || st.st_nlink || !S_ISREG(st.st_mode) || gets_a_name(fd))
		return EPROTO;
	change(generator, fd);
	if (!quiet && one_in(generator, 2))
		exchange(generator, fd);
	if (one_in(generator, 2)) {
		close(fd);
		kept[i] = -1;
	}
	return 0;
}
