// SPDX-License-Identifier: GPL-2.0
/*
 * bench_beside MOUNTPOINT EXTENTS...: how long others wait while nobody (65534) exchanges two
 * files of so many extents each: the longest write of 4 KiB and fsync by root, in place and
 * behind the end of a file, without the exchange and beside it.  The extents of a first pair
 * are its own, those of a second pair are shared with clones.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define ROUNDS	5

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

struct pair {
	struct exchrange_range	range;
	int			report;		/* the writing end of a pipe */
};

static int exchange_pair(void *argument)
{
	const struct pair *pair = argument;
	double seconds = now();
	int error = device_exchange(&pair->range);

	seconds = now() - seconds;
	if (write(pair->report, &seconds, sizeof(seconds)) != sizeof(seconds))
		return 253;
	return error;
}

/* A page of a file, and one more of another one, durable. */
struct writer {
	int	file, log;
	double	longest;	/* seconds */
};

static void write_once(struct writer *writer)
{
	static const char page[BLOCK] = { 1 };
	double seconds = now();

	assert_int_equal(pwrite(writer->file, page, BLOCK, 0), BLOCK);
	assert_int_equal(fsync(writer->file), 0);
	assert_int_equal(write(writer->log, page, BLOCK), BLOCK);
	assert_int_equal(fsync(writer->log), 0);
	seconds = (now() - seconds) / 2;
	if (seconds > writer->longest)
		writer->longest = seconds;
}

/* Seconds that the exchange took; *error is its answer. */
static double exchange_beside(struct pair *pair, struct writer *writer, int *error)
{
	double seconds = 0;
	int report[2], status;
	pid_t child;

	assert_int_equal(pipe(report), 0);
	pair->report = report[1];
	child = fork();
	if (child == 0)
		_exit(as_nobody(exchange_pair, pair));
	do
		write_once(writer);
	while (waitpid(child, &status, WNOHANG) == 0);
	*error = WEXITSTATUS(status);
	assert_int_equal(read(report[0], &seconds, sizeof(seconds)), sizeof(seconds));
	close(report[0]);
	close(report[1]);
	return seconds;
}

static void measure(unsigned int extents, bool shared)
{
	const struct file_spec spec = { SHAPE_SCATTERED, (uint64_t)extents * BLOCK };
	struct pair pair = { .range = {
		.file1_fd	= make_file("first", spec, 1),
		.file2_fd	= make_file("second", spec, 2),
		.flags		= EXCHRANGE_TO_EOF,
	} };
	struct writer writer = {
		.file		= make_file("written", (struct file_spec) { SHAPE_PLAIN, BLOCK }, 3),
		.log		= make_file("appended", (struct file_spec) { }, 4),
	};
	double alone, longest = 0;
	int i, error = 0;

	if (shared)
		assert_int_equal(run("cd %s && cp --reflink=always first clone1 && cp --reflink=always second clone2 && sync",
				     mount_point), 0);
	for (i = 0; i < 50; i++)
		write_once(&writer);
	alone = writer.longest;
	writer.longest = 0;
	for (i = 0; i < ROUNDS && !error; i++) {
		double seconds = exchange_beside(&pair, &writer, &error);

		if (seconds > longest)
			longest = seconds;
	}
	printf("%7u %-6s %-30s exchange %7.3f s, write and fsync %6.3f s alone, %6.3f s beside\n",
	       count_extents(pair.range.file1_fd), shared ? "shared" : "own",
	       error ? strerror(error) : "done", longest, alone, writer.longest);
	close(pair.range.file1_fd);
	close(pair.range.file2_fd);
	close(writer.file);
	close(writer.log);
	run("cd %s && rm -f first second clone1 clone2 written appended", mount_point);
}

int main(int argc, char **argv)
{
	int i;

	if (argc < 3) {
		fprintf(stderr, "usage: bench_beside MOUNTPOINT EXTENTS...\n");
		return 2;
	}
	start(2, argv);
	for (i = 2; i < argc; i++) {
		measure(strtoul(argv[i], NULL, 0), false);
		measure(strtoul(argv[i], NULL, 0), true);
	}
	return 0;
}
