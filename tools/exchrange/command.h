/* SPDX-License-Identifier: GPL-2.0 */
/* What the subcommands share. */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdint.h>

#include "exchrange.h"

/* Exit status of every subcommand. */
enum {
	STATUS_OK	= 0,
	STATUS_FAILED	= 1,
	STATUS_USAGE	= 2,
};

/* main.c */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
int misused(const char *usage, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
int misused_option(const char *usage, int option, char **argv);

/* cmd_*.c: argv[0] is the subcommand's name; the exit status is returned. */
int cmd_query(int argc, char **argv);
int cmd_swap(int argc, char **argv);

/* size.c */
int parse_size(const char *text, __u64 *bytes);

/* explain.c */

/* A swap that was asked for, as far as an error message needs it. */
struct swap {
	const char		*path1;
	const char		*path2;
	int			device;		/* or -1, with device_error */
	int			device_error;	/* errno of opening it */
	struct exchrange_range	range;
};

void explain_open(const char *path, int error);
void explain_swap(const struct swap *swap, int error);
void explain_no_backend(const char *path, int fd, uint32_t reason,
			int device_error);

#endif /* COMMAND_H */
