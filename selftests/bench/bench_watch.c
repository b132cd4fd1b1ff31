// SPDX-License-Identifier: GPL-2.0
/*
 * What watches cost.  An exchange with 0, 1 and 100 watches of its file, by turns in small
 * batches: medians over the batches, and the median of the ratios to the batch without a
 * watch beside it.  And how often a second a mapped configuration is parsed under the
 * protocol, with flock(2) around each reading, and with nothing around it; while nobody
 * writes, and while one process commits again and again (who holds the lock meanwhile,
 * where readers take one).
 *
 *	bench_watch MOUNTPOINT...
 */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define WATCHES		100
#define BATCH		10
#define BATCHES		300
#define SIZE		4096u		/* of the configuration */
#define ROUNDS		9
#define SECONDS		0.5		/* of a round */
#define PAUSE_US	20000		/* of the writer, between commits */

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned int count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

static int create(const char *mount, const char *name)
{
	char path[256];
	uint8_t bytes[SIZE];
	unsigned int i;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", mount, name);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	for (i = 0; i < SIZE; i++)
		bytes[i] = content_byte(1, i);
	if (fd < 0 || write(fd, bytes, SIZE) != SIZE || fsync(fd))
		err(1, "%s", path);
	return fd;
}

static void swap_files(int fd1, int fd2)
{
	const struct exchrange_range range = {
		.file1_fd	= fd1,
		.file2_fd	= fd2,
		.length		= SIZE,
	};

	if (exchrange_exchange(device, &range))
		err(1, "exchange");
}

/* --- the cost of an exchange ----------------------------------------------------------- */

/* Seconds of an exchange with so many watches of the second file. */
static double time_batch(int fd1, int fd2, unsigned int watches)
{
	struct exchrange_watcher watchers[WATCHES];
	double start, seconds;
	unsigned int i;

	for (i = 0; i < watches; i++)
		if (exchrange_watch_open(device, fd2, &watchers[i]))
			err(1, "watch");
	/* To open so many has emptied the CPU's caches. */
	for (i = 0; i < BATCH; i++)
		swap_files(fd1, fd2);
	start = now();
	for (i = 0; i < BATCH; i++)
		swap_files(fd1, fd2);
	seconds = (now() - start) / BATCH;
	for (i = 0; i < watches; i++)
		exchrange_watch_close(&watchers[i]);
	return seconds;
}

static void measure_exchanges(const char *mount)
{
	static const unsigned int counts[] = { 0, 1, WATCHES };
	double seconds[COUNT(counts)][BATCHES], ratios[COUNT(counts)][BATCHES];
	int fd1 = create(mount, "bench1"), fd2 = create(mount, "bench2");
	unsigned int batch, i;

	for (batch = 0; batch < BATCHES; batch++) {
		/* Who goes first changes too. */
		for (i = 0; i < COUNT(counts); i++) {
			unsigned int which = (i + batch) % COUNT(counts);

			seconds[which][batch] = time_batch(fd1, fd2, counts[which]);
		}
		for (i = 0; i < COUNT(counts); i++)
			ratios[i][batch] = seconds[i][batch] / seconds[0][batch];
	}
	for (i = 0; i < COUNT(counts); i++)
		printf("%-12s %3u watches: %9.2f us an exchange, ratio %.3f\n", mount,
		       counts[i], median(seconds[i], BATCHES) * 1e6,
		       median(ratios[i], BATCHES));
	close(fd1);
	close(fd2);
	fflush(stdout);
}

/* --- readings ----------------------------------------------------------------------------- */

enum guard { NOTHING, PROTOCOL, LOCK };

static const char * const guards[] = {
	[NOTHING] = "nothing (mixtures)", [PROTOCOL] = "the protocol", [LOCK] = "flock",
};

static uint64_t parsed;	/* stored each time, so that the sum is made */

static void parse(const uint64_t *words)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < SIZE / sizeof(*words); i++)
		sum = sum * 31 + __atomic_load_n(&words[i], __ATOMIC_RELAXED);
	__atomic_store_n(&parsed, sum, __ATOMIC_RELAXED);
}

static void read_by_protocol(const struct exchrange_watcher *watcher,
			     const uint64_t *words)
{
	uint32_t sequence;

	do {
		sequence = exchrange_watch_read_begin(watcher);
		parse(words);
	} while (exchrange_watch_read_retry(watcher, sequence));
}

static void read_locked(int fd, const uint64_t *words)
{
	if (flock(fd, LOCK_SH))
		err(1, "flock");
	parse(words);
	if (flock(fd, LOCK_UN))
		err(1, "flock");
}

static pid_t start_writer(const char *mount, int staging, enum guard guard)
{
	char path[256];
	pid_t pid = fork();
	int fd;

	if (pid)
		return pid;
	snprintf(path, sizeof(path), "%s/bench2", mount);
	fd = open_path(path, O_RDWR);
	for (;;) {
		if (guard == LOCK && flock(fd, LOCK_EX))
			err(1, "flock");
		swap_files(staging, fd);
		if (guard == LOCK && flock(fd, LOCK_UN))
			err(1, "flock");
		usleep(PAUSE_US);
	}
}

/* Readings a second. */
static double measure_readings(const char *mount, enum guard guard, bool written)
{
	int staging = create(mount, "bench1"), fd = create(mount, "bench2");
	const uint64_t *words = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	struct exchrange_watcher watcher;
	unsigned long readings = 0;
	double start, seconds;
	pid_t writer = 0;

	if (words == MAP_FAILED || exchrange_watch_open(device, fd, &watcher))
		err(1, "%s", mount);
	parse(words);
	if (written)
		writer = start_writer(mount, staging, guard);
	for (start = now(); (seconds = now() - start) < SECONDS; readings += 100) {
		int i;

		for (i = 0; i < 100; i++)
			if (guard == PROTOCOL)
				read_by_protocol(&watcher, words);
			else if (guard == LOCK)
				read_locked(fd, words);
			else
				parse(words);
	}
	if (writer) {
		kill(writer, SIGKILL);
		waitpid(writer, NULL, 0);
	}
	exchrange_watch_close(&watcher);
	munmap((void *)words, SIZE);
	close(staging);
	close(fd);
	return readings / seconds;
}

/* By turns, and the medians. */
static void measure_guards(const char *mount, bool written)
{
	double rates[COUNT(guards)][ROUNDS], rate[COUNT(guards)] = { };
	unsigned int guard, round;

	for (round = 0; round < ROUNDS; round++)
		for (guard = 0; guard < COUNT(guards); guard++)
			rates[guard][round] = measure_readings(mount, guard, written);
	for (guard = 0; guard < COUNT(guards); guard++)
		rate[guard] = median(rates[guard], ROUNDS);
	for (guard = 0; guard < COUNT(guards); guard++)
		printf("%-12s %-12s %-20s %9.0f readings a second, %5.2f times flock's\n",
		       mount, written ? "committed to" : "idle", guards[guard],
		       rate[guard], rate[guard] / rate[LOCK]);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int i;

	if (argc < 2)
		return 2;
	device = exchrange_open();
	if (device < 0)
		err(1, "/dev/exchrange");
	for (i = 1; i < argc; i++) {
		measure_exchanges(argv[i]);
		measure_guards(argv[i], false);
		measure_guards(argv[i], true);
	}
	return 0;
}
