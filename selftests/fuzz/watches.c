// SPDX-License-Identifier: GPL-2.0
/*
 * What a worker does with a watch that it has got: anything.  Some stay, so that there are
 * watches, and mappings of their pages, while exchanges run and when the worker is killed.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fuzz.h"

#define KEPT	16u

static int kept[KEPT] = { -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1 };
static void *pages[KEPT];

static void read_watch(struct generator *generator, int fd)
{
	uint8_t bytes[64];
	struct iovec parts[2] = {
		{ bytes, below(generator, 9) }, { bytes + 16, below(generator, 16) },
	};

	/* An alarm interrupts those that wait. */
	if (!one_in(generator, 16))
		fcntl(fd, F_SETFL, O_NONBLOCK);
	switch (below(generator, 4)) {
	case 0:
		(void)!read(fd, bytes, below(generator, sizeof(bytes)));
		break;
	case 1:
		(void)!readv(fd, parts, 2);
		break;
	case 2:
		(void)!pread(fd, (void *)next_random(generator), 8, 0);
		break;
	default:
		(void)!write(fd, bytes, 8);
	}
}

/* For reading, of one page: the VFS and the module refuse all others. */
static void *map_watch(struct generator *generator, int fd)
{
	size_t size = (1 + (one_in(generator, 8) ? 1 : 0)) * BLOCK;
	int prot = one_in(generator, 4) ? (int)below(generator, 8) : PROT_READ;
	void *page = mmap(NULL, size, prot,
			  one_in(generator, 2) ? MAP_SHARED : MAP_PRIVATE, fd,
			  one_in(generator, 8) ? BLOCK : 0);

	if (page == MAP_FAILED)
		return NULL;
	if (prot & PROT_WRITE || size > BLOCK)
		return MAP_FAILED;
	mprotect(page, BLOCK, below(generator, 8) & ~PROT_WRITE);
	madvise(page, BLOCK, below(generator, 22));
	return page;
}

static void drop(unsigned int i)
{
	if (pages[i])
		munmap(pages[i], BLOCK);
	if (kept[i] >= 0)
		close(kept[i]);
	pages[i] = NULL;
	kept[i] = -1;
}

/* 0, or an errno that nobody has documented where what must be refused was not. */
int use_watch(struct generator *generator, int fd)
{
	struct pollfd pollfd = { fd, next_random(generator) };
	unsigned int i = below(generator, KEPT);

	drop(i);
	kept[i] = fd;
	poll(&pollfd, 1, 0);
	read_watch(generator, fd);
	pages[i] = map_watch(generator, fd);
	if (pages[i] == MAP_FAILED) {
		pages[i] = NULL;
		return ENOTRECOVERABLE;
	}
	ioctl(fd, one_in(generator, 2) ? EXCHRANGE_IOC_WATCH : next_random(generator), NULL);
	lseek(fd, next_random(generator), below(generator, 6));
	if (one_in(generator, 2))
		drop(i);
	return 0;
}
