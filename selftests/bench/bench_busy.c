// SPDX-License-Identifier: GPL-2.0
/*
 * bench_busy MOUNTPOINT: how long a durable save of 4 KiB takes while another process writes
 * 100 MiB of its own, which it has on the way to the disk all the time, but never syncs: one after
 * the other, and as scattered pages.  By turns with a staging file that could get a name,
 * for which btrfs commits all that anybody has changed, and with one that never can, for
 * which it syncs the file; and by an fsync of what was written in place, which is not atomic, and
 * less than which nothing durable takes.  Of the time, also where instructions are counted: who
 * commits what others have written waits for the disk.
 */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define ROUNDS		6
#define MOST_SAVES	26	/* of a round */
#define FEWEST_SAVES	3
#define PAUSE_US	20000

#define MIB		(1ull << 20)
#define OTHERS_BYTES	(100 * MIB)
#define SCATTERED_OVER	(1600 * MIB)

enum save_way { BY_COMMIT, BY_FSYNC, IN_PLACE, WAYS };

struct times {
	unsigned int	count;
	double		ms[ROUNDS * MOST_SAVES];
};

static double now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

/* --- the other process ---------------------------------------------------------------- */

static void write_others(int fd, uint64_t offset, uint64_t length)
{
	static const uint8_t bytes[MIB] = { 1 };

	if (pwrite(fd, bytes, length, offset) != (ssize_t)length)
		err(1, "pwrite");
}

static void write_in_order(int fd)
{
	uint64_t i;

	for (i = 0; i < OTHERS_BYTES; i += MIB) {
		write_others(fd, i, MIB);
		sync_file_range(fd, i, MIB, SYNC_FILE_RANGE_WRITE);
	}
}

static void write_scattered_pages(int fd)
{
	unsigned int random = 1, i;

	for (i = 0; i < OTHERS_BYTES / BLOCK; i++) {
		write_others(fd, rand_r(&random) % (SCATTERED_OVER / BLOCK) * BLOCK, BLOCK);
		if (i % 64 == 63)
			sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	}
}

static pid_t start_writer(bool scattered)
{
	pid_t pid = fork();
	int fd;

	if (pid < 0)
		err(1, "fork");
	if (pid)
		return pid;
	fd = open(path_of("others"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		err(1, "others");
	(scattered ? write_scattered_pages : write_in_order)(fd);
	_exit(0);
}

/* --- the saves ------------------------------------------------------------------------- */

static void write_block(int fd, unsigned int content)
{
	uint8_t bytes[BLOCK];

	memset(bytes, content, sizeof(bytes));
	if (fd < 0 || pwrite(fd, bytes, BLOCK, 0) != BLOCK)
		err(1, "pwrite");
}

static double save_in_place(int file, unsigned int content)
{
	double begin;

	write_block(file, content);
	begin = now_ms();
	if (fsync(file))
		err(1, "fsync");
	return now_ms() - begin;
}

static double save_by_exchange(int file, enum save_way way, unsigned int content)
{
	int staging = open(mount_point, O_TMPFILE | O_RDWR | (way == BY_FSYNC ? O_EXCL : 0),
			   0600);
	struct exchrange_range range = {
		.file1_fd	= staging,
		.file2_fd	= file,
		.flags		= EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC,
	};
	double begin;
	int error;

	write_block(staging, content);
	begin = now_ms();
	error = device_exchange(&range);
	if (error)
		errx(1, "exchange: %s", strerror(error));
	begin = now_ms() - begin;
	close(staging);
	return begin;
}

static double save(int file, enum save_way way, unsigned int content)
{
	return way == IN_PLACE ? save_in_place(file, content) :
				 save_by_exchange(file, way, content);
}

/* Saves until the other process has ended. */
static void save_beside(int file, enum save_way way, bool scattered, struct times *times)
{
	pid_t writer = start_writer(scattered);
	int status = 0;
	unsigned int i;

	for (i = 0; i < MOST_SAVES; i++) {
		if (i >= FEWEST_SAVES && waitpid(writer, &status, WNOHANG))
			break;
		times->ms[times->count++] = save(file, way, i);
		usleep(PAUSE_US);
	}
	if (i == MOST_SAVES && waitpid(writer, &status, WNOHANG) == 0) {
		kill(writer, SIGKILL);
		waitpid(writer, NULL, 0);
		status = 0;
	}
	if (status)
		errx(1, "the other process has failed");
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double print_times(const char *name, struct times *times)
{
	double sum = 0;
	unsigned int i;

	for (i = 0; i < times->count; i++)
		sum += times->ms[i];
	qsort(times->ms, times->count, sizeof(times->ms[0]), compare);
	printf("  %-20s %3u saves: median %6.1f ms, mean %6.1f, most %6.1f\n", name, times->count,
	       times->ms[times->count / 2], sum / times->count, times->ms[times->count - 1]);
	return times->ms[times->count / 2];
}

static void measure(bool scattered)
{
	struct times times[WAYS] = { };
	double commits, fsyncs;
	unsigned int round;
	int way, file;

	for (round = 0; round < ROUNDS; round++)
		for (way = 0; way < WAYS; way++) {
			file = make_file("saved", (struct file_spec) { SHAPE_PLAIN, BLOCK }, 1);
			unlink(path_of("others"));
			if (syncfs(file))
				err(1, "syncfs");
			save_beside(file, way, scattered, &times[way]);
			close(file);
		}
	printf("beside 100 MiB %s:\n", scattered ? "of scattered pages" : "one after the other");
	commits = print_times("could get a name", &times[BY_COMMIT]);
	fsyncs = print_times("never can", &times[BY_FSYNC]);
	print_times("in place, not atomic", &times[IN_PLACE]);
	printf("  ratio of the medians %.2f\n", fsyncs / commits);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	start(argc, argv);
	measure(false);
	measure(true);
	return 0;
}
