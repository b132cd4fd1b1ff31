/* SPDX-License-Identifier: GPL-2.0 */
/* fio with the engine of tools/fio, and what it writes with verify=crc32c. */
#ifndef SELFTESTS_FIO_PAGES_H
#define SELFTESTS_FIO_PAGES_H

#include "common.h"

/* Where fio, exchrange.so and the job files are; NULL, and @why, if they are not. */
const char *find_fio(const char **why);

/* Before a job's options. */
#define EXCHRANGE_ENGINE	"--ioengine=external:%s/exchrange.so"

/*
 * A job file of pages of @page bytes: job @thread of one fio has written @last + 1 of them, its writes
 * 0 to @last, each of which is there once, and all other pages are of the job before it.  False
 * if they are not, or a header is none.  Pages that only the first job has written: @thread is 1.
 */
struct found {
	unsigned int	thread;
	uint32_t	count;
};

bool read_headers(const char *path, uint32_t page, struct found *found);

/* Of fio in power cuts: main() of "run" and "check". */
int cut_main(char **argv);

#endif /* SELFTESTS_FIO_PAGES_H */
