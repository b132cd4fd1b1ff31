/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of watches share. */
#ifndef SELFTESTS_WATCH_H
#define SELFTESTS_WATCH_H

#include "common.h"

/* The descriptor; or the errno as a negative number. */
int try_watch(int fd);
int watch_file(int fd);

/* The page of a watch; NULL where it cannot be mapped. */
const struct exchrange_watch_page *try_map(int watch);
const struct exchrange_watch_page *map_page(int watch);
void unmap_page(const struct exchrange_watch_page *page);
uint32_t sequence_of(const struct exchrange_watch_page *page);

void set_nonblocking(int fd, bool nonblocking);
/* What a read that does not wait tells; 0 where it would have to. */
uint64_t read_count(int watch);
bool is_readable(int watch);

/* The files file1 and file2, with a watch and its page of each. */
struct pair {
	int					fd[2];
	int					watch[2];
	const struct exchrange_watch_page	*page[2];
};

struct pair make_pair(struct file_spec spec);
void drop_pair(struct pair *pair);

/* Whole files, through the device: 0 or an errno. */
int swap_files(int fd1, int fd2);

/* Waits for what another thread or process does, with a generous end. */
bool comes_true(bool (*is_true)(const void *argument), const void *argument);

#endif /* SELFTESTS_WATCH_H */
