// SPDX-License-Identifier: GPL-2.0
/*
 * What a save of a file costs: by `exchrange write --dsync`, by the library both ways, by the old
 * way (a temporary file, fsync, rename, fsync of the directory) and by sponge, which makes
 * nothing durable.  By turns, each a process that reads the new contents from standard input.
 * Prints medians: the write requests, sectors and flushes that the disk gets until the
 * process has ended, and the time, or the instructions.
 *
 *	bench_save MOUNTPOINT...
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "cost.h"

#define ROUNDS	21
#define FEW	5		/* where each is as the others */
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

static int save_by(struct exchrange_update *update, const char *path)
{
	if (!update || copy_input(exchrange_update_fd(update)) ||
	    exchrange_update_commit(update, EXCHRANGE_DSYNC))
		err(1, "%s", path);
	exchrange_update_drop(update);
	return 0;
}

/* The staging file is made beside the file. */
static int save_by_update(const char *path)
{
	return save_by(exchrange_update_begin(exchrange_open(), path, NULL), path);
}

/* It is made by the device. */
static int save_by_device(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0666);

	return save_by(exchrange_update_begin_fd(exchrange_open(), fd, NULL), path);
}

/* --- the measurement ----------------------------------------------------------------- */

/* stat(2) of a file on btrfs does not tell the disk. */
static const char *disk_of(const char *mount)
{
	return getenv(strstr(mount, "btrfs") ? "BTRFS_DEV" : "XFS_DEV");
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
	struct cost before, cost;
	int fd = open_path(mount, O_RDONLY);

	/* Nothing else is on its way to the disk. */
	if (syncfs(fd))
		err(1, "%s", mount);
	before = read_cost(disk_of(mount));
	run_program(argv);
	cost = cost_since(&before, disk_of(mount));
	close(fd);
	return cost;
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
	char *stages[] = { "/proc/self/exe", "--stage", path, NULL };
	char *sponge[] = { "sponge", path, NULL };
	struct {
		const char	*name;
		char		**argv;
		struct cost	costs[ROUNDS];
		struct cost	middle;
	} ways[] = {
		{ "temp, fsync, rename, fsync directory", renames },
		{ "an update by the library, DSYNC", updates },
		{ "the same, staged by the device", stages },
		{ "exchrange write --dsync", ours },
		{ "sponge (not durable)", sponge },
	};
	const unsigned int rounds = counts_instructions() ? FEW : ROUNDS;
	unsigned int i, way;

	snprintf(path, sizeof(path), "%s/saved", mount);
	for (i = 0; i < rounds; i++) {
		make_input(size, i + 1);
		for (way = 0; way < COUNT(ways); way++)
			ways[way].costs[i] = save(mount, ways[way].argv);
	}
	for (way = 0; way < COUNT(ways); way++) {
		struct cost *middle = &ways[way].middle;

		*middle = median_cost(ways[way].costs, rounds);
		printf("%-12s %-8s %-38s %4.0f writes %7.0f sectors %3.0f flushes %8.2f %s, ratio %.2f\n",
		       mount, name, ways[way].name, middle->writes,
		       middle->sectors, middle->flushes, middle->ms, cost_unit(),
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
	if (argc == 3 && !strcmp(argv[1], "--stage"))
		return save_by_device(argv[2]);
	if (argc < 2)
		return 2;
	for (mount = 1; mount < argc; mount++)
		for (i = 0; i < COUNT(sizes); i++)
			measure(argv[mount], sizes[i].name, sizes[i].size);
	return 0;
}
