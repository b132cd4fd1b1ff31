/* SPDX-License-Identifier: GPL-2.0 */
/* What the explain*.c share. */
#ifndef EXPLAIN_H
#define EXPLAIN_H

#include "command.h"

/* Where a file lies: strings, or NULL. */
struct whereabouts {
	char *type;	/* of the file system */
	char *source;	/* the device it is on */
	char *target;	/* where that is mounted */
};

struct whereabouts find_whereabouts(int fd);
void drop_whereabouts(struct whereabouts *place);
uint64_t attributes_of(const char *path);
const char *how_to_get_the_device(int device_error);
void explain_no_device(const char *path, const char *done, int device_error);
void explain_no_to_eof(const char *path, uint32_t reason);

#endif /* EXPLAIN_H */
