// SPDX-License-Identifier: GPL-2.0
/*
 * bench_extents XFS_DIR BTRFS_DIR [COUNT...]: the time of one exchange of two files of COUNT
 * extents each, by default 1 to 100,000, or 10,000 where instructions are counted: on btrfs
 * through the device, with XFS's own ioctl on XFS, and what people do on btrfs without either,
 * three reflinks, which are not atomic.  Medians of a few; and the memory of the kernel's
 * that an exchange takes.  With "-" for XFS_DIR: of the device alone.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "cost.h"

#define STRIDE	8u

static const unsigned int counts[] = { 1, 10, 100, 1000, 10000, 100000 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void write_every(int fd, unsigned int first, unsigned int count)
{
	char block[BLOCK];
	unsigned int i;

	memset(block, 'x', sizeof(block));
	for (i = first; i < count; i += STRIDE)
		if (pwrite(fd, block, BLOCK, (off_t)i * BLOCK) != BLOCK)
			die("pwrite");
	if (fsync(fd))
		die("fsync");
}

/*
 * Two files of @count extents of a block: what lies side by side in a file was not
 * allocated side by side, since other blocks and the other file came in between.
 */
static void make_fragmented(int fd[2], unsigned int count)
{
	static const char * const names[] = { "first", "second" };
	unsigned int first, extents;
	int i;

	for (i = 0; i < 2; i++) {
		fd[i] = open(path_of(names[i]),
			     O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fd[i] < 0 || ftruncate(fd[i], (off_t)count * BLOCK))
			die(names[i]);
	}
	for (first = 0; first < STRIDE; first++)
		for (i = 0; i < 2; i++)
			write_every(fd[i], first, count);
	for (i = 0; i < 2; i++) {
		extents = count_extents(fd[i]);
		if (extents < count / 10 * 9) {
			fprintf(stderr, "%s: %u extents of %u\n", names[i],
				extents, count);
			exit(1);
		}
	}
}

/* One way to exchange the contents of two files. */
typedef int swap_function(int fd1, int fd2);

static int swap_by_device(int fd1, int fd2)
{
	struct exchrange_range range = {
		.file1_fd = fd1, .file2_fd = fd2, .flags = EXCHRANGE_TO_EOF,
	};

	return device_exchange(&range);
}

static int swap_by_xfs(int fd1, int fd2)
{
	struct exchrange_range range = {
		.file1_fd = fd1, .file2_fd = fd2, .flags = EXCHRANGE_TO_EOF,
	};

	return xfs_exchange(&range);
}

static int clone_all(int from, int to)
{
	struct file_clone_range clone = { .src_fd = from };

	return ioctl(to, FICLONERANGE, &clone) ? errno : 0;
}

static int swap_by_clones(int fd1, int fd2)
{
	int third = open(path_of("third"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	int error;

	if (third < 0)
		return errno;
	error = clone_all(fd1, third);
	if (!error)
		error = clone_all(fd2, fd1);
	if (!error)
		error = clone_all(third, fd2);
	close(third);
	return error;
}

/* Milliseconds, or millions of instructions. */
struct spent {
	double	all;	/* by everybody, until it returned */
	double	own;	/* by the caller: the kernel's threads write trees meanwhile */
	double	commit;	/* of the file system, after it */
};

static int compare(const void *a, const void *b)
{
	double x = ((const struct spent *)a)->all, y = ((const struct spent *)b)->all;

	return (x > y) - (x < y);
}

static double read_own_clock(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

/* Of the median; each swap begins with nothing left to write. */
static struct spent time_swap(swap_function *swap, int fd1, int fd2,
			      unsigned int repeats)
{
	struct spent times[9] = { };
	struct moment begin;
	unsigned int i;
	double own;
	int error;

	for (i = 0; i < repeats; i++) {
		syncfs(fd1);
		begin = read_clock();
		own = read_own_clock();
		error = swap(fd1, fd2);
		times[i].own = (read_own_clock() - own) / 1e6;
		times[i].all = spent_since(&begin) / 1e6;
		begin = read_clock();
		syncfs(fd1);
		times[i].commit = spent_since(&begin) / 1e6;
		if (error) {
			fprintf(stderr, "swap: %s\n", strerror(error));
			exit(1);
		}
	}
	qsort(times, repeats, sizeof(times[0]), compare);
	return times[repeats / 2];
}

/* Bytes that the kernel uses and cannot take back. */
static uint64_t kernel_memory(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char name[64];
	unsigned long long kib;
	uint64_t bytes = 0;

	while (file && fscanf(file, "%63s %llu%*[^\n]", name, &kib) == 2)
		if (!strcmp(name, "SUnreclaim:") || !strcmp(name, "VmallocUsed:"))
			bytes += kib * 1024;
	if (file)
		fclose(file);
	return bytes;
}

struct sampler {
	atomic_bool	stop;
	uint64_t	peak;
};

static void *sample_memory(void *argument)
{
	struct sampler *sampler = argument;

	while (!atomic_load(&sampler->stop)) {
		uint64_t now = kernel_memory();

		if (now > sampler->peak)
			sampler->peak = now;
	}
	return NULL;
}

/* Bytes an extent, of both files, at the peak of one swap. */
static double memory_of_swap(swap_function *swap, int fd1, int fd2,
			     unsigned int count)
{
	struct sampler sampler = { };
	uint64_t before;
	pthread_t thread;

	syncfs(fd1);
	before = kernel_memory();
	sampler.peak = before;
	if (pthread_create(&thread, NULL, sample_memory, &sampler))
		die("pthread_create");
	if (swap(fd1, fd2))
		die("swap");
	atomic_store(&sampler.stop, true);
	pthread_join(thread, NULL);
	return (sampler.peak - before) / (2.0 * count);
}

static void remove_pair(int fd1, int fd2)
{
	close(fd1);
	close(fd2);
	unlink(path_of("first"));
	unlink(path_of("second"));
	unlink(path_of("third"));
}

static void measure(const char *xfs, const char *btrfs, unsigned int count)
{
	unsigned int repeats = count > 1000 || counts_instructions() ? 3 : 9;
	/* The slow ones: once where that alone takes seconds. */
	unsigned int slow_repeats = count > 1000 || counts_instructions() ? 1 : 3;
	double clones_ms, xfs_ms, bytes;
	struct spent spent;
	int fd[2];

	mount_point = btrfs;
	make_fragmented(fd, count);
	spent = time_swap(swap_by_device, fd[0], fd[1], repeats);
	bytes = memory_of_swap(swap_by_device, fd[0], fd[1], count);
	printf("%7u extents each, in %s: btrfs %9.2f (%8.0f %s an extent, %.0f of them the caller's, %.0f at the commit after it, %4.0f bytes)",
	       count, cost_unit(), spent.all, spent.all * 1e6 / (2.0 * count),
	       counts_instructions() ? "instructions" : "ns", spent.own * 1e6 / (2.0 * count),
	       spent.commit * 1e6 / (2.0 * count), bytes);
	fflush(stdout);
	if (!strcmp(xfs, "-")) {
		putchar('\n');
		remove_pair(fd[0], fd[1]);
		return;
	}
	clones_ms = time_swap(swap_by_clones, fd[0], fd[1], slow_repeats).all;
	remove_pair(fd[0], fd[1]);

	mount_point = xfs;
	make_fragmented(fd, count);
	xfs_ms = time_swap(swap_by_xfs, fd[0], fd[1], slow_repeats).all;
	remove_pair(fd[0], fd[1]);

	printf(", three clones %9.2f (%4.1f times), XFS's own %9.2f (%5.1f times)\n",
	       clones_ms, clones_ms / spent.all, xfs_ms, xfs_ms / spent.all);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	size_t i;
	int argument;

	if (argc < 3)
		return 2;
	device = exchrange_open();
	if (device < 0)
		die("/dev/exchrange");
	for (argument = 3; argument < argc; argument++)
		measure(argv[1], argv[2], atoi(argv[argument]));
	for (i = 0; i < COUNT(counts) && argc == 3; i++)
		if (counts[i] <= 10000 || !counts_instructions())
			measure(argv[1], argv[2], counts[i]);
	return 0;
}
