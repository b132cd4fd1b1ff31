// SPDX-License-Identifier: GPL-2.0
/* What fio has written: each page begins with a header that says which write of which job it is. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pages.h"

#define FIO_MAGIC	0xacca

/* As fio writes it; the checksum of the rest, and this one's, fio looks at itself. */
struct header {
	uint16_t	magic;
	uint16_t	verify_type;
	uint32_t	length;
	uint64_t	seed;
	uint64_t	offset;
	uint32_t	seconds;
	uint32_t	nanoseconds;
	uint16_t	thread;		/* the job's number in its fio, from 1 on */
	uint16_t	number;		/* of the write in its job, from 0 on */
	uint32_t	crc32;
};

const char *find_fio(const char **why)
{
	const char *place = getenv("FIO_PLACE");
	struct outcome outcome;

	if (!place)
		place = "/share";
	*why = "there is no fio with its engine here: make check-fio FIO_SOURCE=DIR makes one";
	outcome = run_and_keep("%s/fio --version && test -e %s/exchrange.so", place, place);
	if (outcome.status)
		place = NULL;
	drop_outcome(&outcome);
	return place;
}

/* The newest job that has written a page, and how many it has. */
static struct found count_newest(const struct header *headers, uint32_t pages)
{
	struct found found = { };
	uint32_t i;

	for (i = 0; i < pages; i++) {
		if (headers[i].thread > found.thread)
			found = (struct found) { headers[i].thread };
		if (headers[i].thread == found.thread)
			found.count++;
	}
	return found;
}

/* Of the newest job writes 0 to count - 1, each once; all others are of the one before. */
static bool are_in_order(const struct header *headers, uint32_t pages, const struct found *found)
{
	bool *seen = calloc(found->count + 1, sizeof(*seen)), good = true;
	uint32_t i;

	assert_non_null(seen);
	for (i = 0; i < pages && good; i++) {
		if (headers[i].thread != found->thread) {
			good = headers[i].thread + 1u == found->thread;
			continue;
		}
		good = headers[i].number < found->count && !seen[headers[i].number];
		if (good)
			seen[headers[i].number] = true;
	}
	if (!good)
		printf("# page %u: write %u of job %u, of which %u pages are there; the newest job is %u\n",
		       i - 1, headers[i - 1].number, headers[i - 1].thread, found->count,
		       found->thread);
	free(seen);
	return good;
}

bool read_headers(const char *path, uint32_t page, struct found *found)
{
	int fd = open_path(path, O_RDONLY);
	const uint32_t pages = lseek(fd, 0, SEEK_END) / page;
	struct header *headers = calloc(pages, sizeof(*headers));
	bool good = true;
	uint32_t i;

	assert_non_null(headers);
	assert_true(pages > 0 && pages <= UINT16_MAX);
	for (i = 0; i < pages && good; i++) {
		assert_int_equal(pread(fd, &headers[i], sizeof(headers[i]), (uint64_t)i * page),
				 sizeof(headers[i]));
		good = headers[i].magic == FIO_MAGIC && headers[i].length == page &&
		       headers[i].offset == (uint64_t)i * page;
		if (!good)
			printf("# page %u has no header\n", i);
	}
	if (good) {
		*found = count_newest(headers, pages);
		good = are_in_order(headers, pages, found);
	}
	free(headers);
	close(fd);
	return good;
}
