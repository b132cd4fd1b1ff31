// SPDX-License-Identifier: GPL-2.0
#include <err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "cost.h"

#define BLOCK_EVENT	"/sys/kernel/tracing/events/block/block_bio_queue/"

bool counts_instructions(void)
{
	return getenv("EXCHRANGE_ICOUNT");
}

const char *cost_unit(void)
{
	return counts_instructions() ? "M instructions" : "ms";
}

/* --- the clock ------------------------------------------------------------------------ */

/* Nanoseconds that the one processor has slept. */
static double read_slept(void)
{
	FILE *file = fopen("/proc/timer_list", "re");
	char line[256], name[32];
	unsigned long long part;
	double slept = 0;
	int found = 0;

	if (!file)
		err(1, "/proc/timer_list");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, " .%31[a-z_] : %llu nsecs", name, &part) == 2 &&
		    (!strcmp(name, "idle_sleeptime") || !strcmp(name, "iowait_sleeptime"))) {
			slept += part;
			found++;
		}
	fclose(file);
	if (found != 2)
		errx(1, "/proc/timer_list: of %d sleeping times, not 2", found);
	return slept;
}

static double now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

/* What this takes has to be in memory: it must not sleep between the two. */
static void warm_up(void)
{
	static bool warm;

	if (!warm && counts_instructions()) {
		read_slept();
		now_ns();
	}
	warm = true;
}

struct moment read_clock(void)
{
	struct moment moment = { };

	warm_up();
	moment.slept = counts_instructions() ? read_slept() : 0;
	moment.clock = now_ns();
	return moment;
}

double spent_since(const struct moment *begin)
{
	double end = now_ns();

	return end - begin->clock -
	       (counts_instructions() ? read_slept() - begin->slept : 0);
}

/* --- the disk ------------------------------------------------------------------------- */

/* Flushes without data are writes for the kernel: it counts these, from now on. */
static void watch_empty_flushes(void)
{
	static bool watched;
	FILE *file;

	if (watched)
		return;
	watched = true;
	file = fopen(BLOCK_EVENT "trigger", "we");
	if (!file || fputs("hist:keys=dev if nr_sector == 0", file) < 0 || fclose(file))
		err(1, BLOCK_EVENT "trigger");
}

static double count_empty_flushes(const char *device)
{
	unsigned long long dev, hits;
	double count = 0;
	struct stat st;
	char line[256];
	FILE *file;

	watch_empty_flushes();
	file = fopen(BLOCK_EVENT "hist", "re");
	if (!file || stat(device, &st))
		err(1, "%s", device);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "{ dev: %llu } hitcount: %llu", &dev, &hits) == 2 &&
		    dev == ((unsigned long long)major(st.st_rdev) << 20 | minor(st.st_rdev)))
			count = hits;
	fclose(file);
	return count;
}

static struct cost read_disk(const char *device)
{
	unsigned long long field[17] = { 0 };
	char path[64];
	FILE *file;
	int i;

	snprintf(path, sizeof(path), "/sys/block/%s/stat", strrchr(device, '/') + 1);
	file = fopen(path, "r");
	if (!file)
		err(1, "%s", path);
	for (i = 0; i < 17; i++)
		if (fscanf(file, "%llu", &field[i]) != 1)
			errx(1, "%s: fewer fields than Linux has", path);
	fclose(file);
	return (struct cost) {
		.writes		= field[4] -
				  (counts_instructions() ? count_empty_flushes(device) : 0),
		.sectors	= field[6],
		.flushes	= field[15],
	};
}

struct cost read_cost(const char *device)
{
	struct cost cost = read_disk(device);

	cost.begin = read_clock();
	return cost;
}

struct cost cost_since(const struct cost *before, const char *device)
{
	double spent = spent_since(&before->begin);
	struct cost cost = read_disk(device);

	cost.writes -= before->writes;
	cost.sectors -= before->sectors;
	cost.flushes -= before->flushes;
	cost.ms = spent / 1e6;
	return cost;
}

/* --- of several ----------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const struct cost *costs, unsigned int count, size_t member)
{
	double *values = calloc(count, sizeof(*values));
	double middle;
	unsigned int i;

	if (!values)
		err(1, "calloc");
	for (i = 0; i < count; i++)
		memcpy(&values[i], (const char *)&costs[i] + member, sizeof(double));
	qsort(values, count, sizeof(*values), compare);
	middle = values[count / 2];
	free(values);
	return middle;
}

struct cost median_cost(const struct cost *costs, unsigned int count)
{
	return (struct cost) {
		.writes		= median(costs, count, offsetof(struct cost, writes)),
		.sectors	= median(costs, count, offsetof(struct cost, sectors)),
		.flushes	= median(costs, count, offsetof(struct cost, flushes)),
		.ms		= median(costs, count, offsetof(struct cost, ms)),
	};
}
