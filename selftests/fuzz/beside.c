// SPDX-License-Identifier: GPL-2.0
/*
 * Threads beside the one that makes the calls: one changes memory, one descriptors,
 * one the files.  They pause, so that most of the processor is left for the calls.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

int master = -1;

static void change_memory(struct generator *generator)
{
	if (one_in(generator, 2))
		change_mapping(generator);
	else
		change_fields(generator);
}

static void write_some(struct generator *generator, int fd)
{
	static const char bytes[64 * 1024] = "fuzz";
	off_t offset = below(generator, MAX_SIZE - sizeof(bytes));

	if (one_in(generator, 2))
		offset = below(generator, 4) * BLOCK;
	/* May be refused, by RLIMIT_FSIZE: then it was. */
	if (pwrite(fd, bytes, any_size(generator) % sizeof(bytes), offset) < 0)
		return;
	if (one_in(generator, 32))
		fdatasync(fd);
}

static void allocate(struct generator *generator, int fd)
{
	int mode = one_in(generator, 2) ?
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : 0;

	if (fallocate(fd, mode, below(generator, 8) * BLOCK,
		      (1 + below(generator, 8)) * BLOCK))
		return;
	if (one_in(generator, 8))
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void reflink(struct generator *generator, int fd)
{
	int many = openat(folders[TEST_FOLDER], "many", O_RDWR);

	if (one_in(generator, 8))
		ioctl(many, FICLONE, master);
	else
		ioctl(fd, FICLONE, loud_files[below(generator, LOUD_FILES)]);
	close(many);
}

/* The name goes, and a new file gets it; the worker's own descriptors keep the old. */
static void unlink_and_make(struct generator *generator)
{
	int fd;

	unlinkat(folders[TEST_FOLDER], "f5", 0);
	fd = openat(folders[TEST_FOLDER], "f5", O_RDWR | O_CREAT, 0644);
	if (fd < 0)
		return;
	write_some(generator, fd);
	close(fd);
}

static void change_files(struct generator *generator)
{
	int fd = loud_files[below(generator, LOUD_FILES)];

	switch (below(generator, 12)) {
	case 0:
		reflink(generator, fd);
		break;
	case 1:
		unlink_and_make(generator);
		break;
	case 2:
		fchmod(fd, one_in(generator, 2) ? 0644 : 06755);
		break;
	case 3:
	case 4:
		allocate(generator, fd);
		break;
	case 5:
	case 6:
	case 7:
		write_some(generator, fd);
		break;
	default:
		if (ftruncate(fd, any_size(generator)))
			return;
	}
}

/* What each thread does, and for how long at most it pauses then. */
static struct meddler {
	void			(*act)(struct generator *generator);
	unsigned int		pause;		/* microseconds */
	struct generator	generator;
} meddlers[] = {
	{ change_memory, 4000 },
	{ change_descriptor, 8000 },
	{ change_files, 40000 },
};

static void *meddle(void *argument)
{
	struct meddler *meddler = argument;

	for (;;) {
		meddler->act(&meddler->generator);
		usleep(below(&meddler->generator, meddler->pause));
	}
	return NULL;
}

/* The threads end with the process.  Signals are for the thread that calls. */
bool start_meddling(const struct slot *slot)
{
	sigset_t all, before;
	pthread_t thread;
	unsigned int i;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (i = 0; i < COUNT(meddlers); i++) {
		meddlers[i].generator = make_generator(slot, 1 + i);
		if (pthread_create(&thread, NULL, meddle, &meddlers[i]))
			return false;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return true;
}
