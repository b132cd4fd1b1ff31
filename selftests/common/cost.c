// SPDX-License-Identifier: GPL-2.0
#include <err.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cost.h"

static double now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

struct cost read_cost(const char *device)
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
		.writes		= field[4],
		.sectors	= field[6],
		.flushes	= field[15],
		.ms		= now_ms(),
	};
}

struct cost cost_since(const struct cost *before, const char *device)
{
	double end = now_ms();
	struct cost cost = read_cost(device);

	cost.writes -= before->writes;
	cost.sectors -= before->sectors;
	cost.flushes -= before->flushes;
	cost.ms = end - before->ms;
	return cost;
}

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
