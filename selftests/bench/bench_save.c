// SPDX-License-Identifier: GPL-2.0
/*
 * What a save of a file costs: by `exchrange write --dsync`, by the library, by the old
 * way (a temporary file, fsync, rename, fsync of the directory) and by sponge, which makes
 * nothing durable.  By turns, each a process that reads the new contents from standard input.
 * Prints medians: the write requests, sectors and flushes that the disk gets until the
 * process has ended, and the time.
 *
 *	bench_save MOUNTPOINT...
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define ROUNDS	21
#define INPUT	"/dev/shm/bench_save"

static const struct {
	const char	*name;
	uint64_t	size;
} sizes[] = {
	{ "4 KiB", 4096 },
	{ "100 KiB", 100 * 1024 },
	{ "10 MiB", 10 * 1024 * 1024 },
};

/* --- the old way, as a program of its own -------------------------------------------- */

static int copy_input(int fd)
{
	static char chunk[256 * 1024];
	ssize_t count;

	while ((count = read(STDIN_FILENO, chunk, sizeof(chunk))) > 0)
		if (write(fd, chunk, count) != count)
			return -1;
	return count;
}

static int save_by_rename(const char *path)
{
	char temporary[4096], *slash;
	int fd, directory;

	snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
	fd = mkstemp(temporary);
	if (fd < 0 || copy_input(fd) || fsync(fd) || close(fd) ||
	    rename(temporary, path))
		err(1, "%s", path);
	slash = strrchr(temporary, '/');
	*slash = '\0';
	directory = open(temporary, O_RDONLY | O_DIRECTORY);
	if (directory < 0 || fsync(directory))
		err(1, "%s", temporary);
	return 0;
}

/* --- the library, in the same program ------------------------------------------------ */

static int save_by_update(const char *path)
{
	struct exchrange_update *update =
		exchrange_update_begin(exchrange_open(), path, NULL);

	if (!update || copy_input(exchrange_update_fd(update)) ||
	    exchrange_update_commit(update, EXCHRANGE_DSYNC))
		err(1, "%s", path);
	exchrange_update_drop(update);
	return 0;
}

/* --- the measurement ----------------------------------------------------------------- */

struct cost {
	double	writes;		/* requests; an empty flush counts as one */
	double	sectors;	/* of 512 bytes */
	double	flushes;
	double	ms;
};

static struct cost read_disk(const char *mount)
{
	unsigned long long field[17] = { 0 };
	char path[64];
	struct cost cost = { 0 };
	FILE *stat_file;
	int i;

	/* stat(2) of a file on btrfs does not tell the disk. */
	snprintf(path, sizeof(path), "/sys/block/%s/stat",
		 strrchr(getenv(strstr(mount, "btrfs") ? "BTRFS_DEV" : "XFS_DEV"), '/') + 1);
	stat_file = fopen(path, "r");
	if (!stat_file)
		err(1, "%s", path);
	for (i = 0; i < 17; i++)
		if (fscanf(stat_file, "%llu", &field[i]) != 1)
			errx(1, "%s: fewer fields than Linux has", path);
	fclose(stat_file);
	cost.flushes = field[15];
	cost.writes = field[4];
	cost.sectors = field[6];
	return cost;
}

static double now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void run_program(char *const argv[])
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int fd = open(INPUT, O_RDONLY);

		dup2(fd, STDIN_FILENO);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status)
		errx(1, "%s failed", argv[0]);
}

static struct cost save(const char *mount, char *const argv[])
{
	struct cost before, after;
	int fd = open_path(mount, O_RDONLY);
	double start;

	/* Nothing else is on its way to the disk. */
	if (syncfs(fd))
		err(1, "%s", mount);
	before = read_disk(mount);
	start = now_ms();
	run_program(argv);
	after = read_disk(mount);
	after.ms = now_ms() - start;
	after.writes -= before.writes;
	after.sectors -= before.sectors;
	after.flushes -= before.flushes;
	close(fd);
	return after;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const struct cost *costs, size_t member)
{
	double values[ROUNDS];
	int i;

	for (i = 0; i < ROUNDS; i++)
		memcpy(&values[i], (const char *)&costs[i] + member, sizeof(double));
	qsort(values, ROUNDS, sizeof(*values), compare);
	return values[ROUNDS / 2];
}

static struct cost medians(const struct cost *costs)
{
	return (struct cost) {
		.writes		= median(costs, offsetof(struct cost, writes)),
		.sectors	= median(costs, offsetof(struct cost, sectors)),
		.flushes	= median(costs, offsetof(struct cost, flushes)),
		.ms		= median(costs, offsetof(struct cost, ms)),
	};
}

static void make_input(uint64_t size, unsigned int seed)
{
	FILE *file = fopen(INPUT, "w");
	uint64_t i;

	if (!file)
		err(1, INPUT);
	for (i = 0; i < size; i++)
		putc(content_byte(seed, i), file);
	if (fclose(file))
		err(1, INPUT);
}

static void measure(const char *mount, const char *name, uint64_t size)
{
	char path[256];
	char *ours[] = { "exchrange", "write", "--dsync", path, NULL };
	char *renames[] = { "/proc/self/exe", "--rename", path, NULL };
	char *updates[] = { "/proc/self/exe", "--update", path, NULL };
	char *sponge[] = { "sponge", path, NULL };
	struct {
		const char	*name;
		char		**argv;
		struct cost	costs[ROUNDS];
		struct cost	middle;
	} ways[] = {
		{ "temp, fsync, rename, fsync directory", renames },
		{ "an update by the library, DSYNC", updates },
		{ "exchrange write --dsync", ours },
		{ "sponge (not durable)", sponge },
	};
	unsigned int i, way;

	snprintf(path, sizeof(path), "%s/saved", mount);
	for (i = 0; i < ROUNDS; i++) {
		make_input(size, i + 1);
		for (way = 0; way < COUNT(ways); way++)
			ways[way].costs[i] = save(mount, ways[way].argv);
	}
	for (way = 0; way < COUNT(ways); way++) {
		struct cost *middle = &ways[way].middle;

		*middle = medians(ways[way].costs);
		printf("%-12s %-8s %-38s %4.0f writes %7.0f sectors %3.0f flushes %8.2f ms, ratio %.2f\n",
		       mount, name, ways[way].name, middle->writes,
		       middle->sectors, middle->flushes, middle->ms,
		       middle->ms / ways[0].middle.ms);
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int mount;
	size_t i;

	if (argc == 3 && !strcmp(argv[1], "--rename"))
		return save_by_rename(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "--update"))
		return save_by_update(argv[2]);
	if (argc < 2)
		return 2;
	for (mount = 1; mount < argc; mount++)
		for (i = 0; i < COUNT(sizes); i++)
			measure(argv[mount], sizes[i].name, sizes[i].size);
	return 0;
}
