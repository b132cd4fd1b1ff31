/* SPDX-License-Identifier: GPL-2.0 */
/* What the subcommands share. */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "exchrange.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

/* Exit status of every subcommand. */
enum {
	STATUS_OK	= 0,
	STATUS_FAILED	= 1,
	STATUS_USAGE	= 2,
};

/* main.c */
int misused_option(const char *usage, int option, char **argv);

/* text.c */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
int misused(const char *usage, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
int wait_for(int fd, short events);
int write_all(int fd, const char *bytes, size_t size);
void take_output(void);
void print_name(FILE *stream, const char *name, bool exact);

/* JSON on standard output, while it is written. */
struct json {
	bool	pretty;		/* a member a line */
	bool	begun;		/* the innermost bracket has a member */
	int	depth;
};

void json_open(struct json *json, const char *name, char bracket);
void json_close(struct json *json, char bracket);
void json_string(struct json *json, const char *name, const char *text);
void json_number(struct json *json, const char *name, uint64_t number);
void json_name(struct json *json, const char *name, const char *path);
void json_file(struct json *json, const char *path);

/* cmd_*.c: argv[0] is the subcommand's name; the exit status is returned. */
int cmd_apply(int argc, char **argv);
int cmd_commit(int argc, char **argv);
int cmd_edit(int argc, char **argv);
int cmd_hold(int argc, char **argv);
int cmd_query(int argc, char **argv);
int cmd_start_commit(int argc, char **argv);
int cmd_swap(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_write(int argc, char **argv);

/* open.c */
int open_file(const char *path, int flags);
int open_device(int *error);
void raise_file_limit(void);
void restore_file_limit(void);

/* size.c */
int parse_size(const char *text, __u64 *bytes);

/* token.c */
#define TOKEN_SIZE	112	/* bytes, with the zero at the end */

void format_token(const struct exchrange_sample *sample, char token[TOKEN_SIZE]);
int parse_token(const char *token, struct exchrange_sample *sample);

/* stream.c */
void show_files(const char *what, size_t count, size_t total);
int copy_stream(int from, int to, bool *reading);
int same_contents(int fd1, int fd2);

/* rename.c */
int write_by_rename(const char *path, int from, const char *from_name, bool dsync);

/* explain*.c */

/* A swap that was asked for, as far as an error message needs it. */
struct swap {
	const char		*path1;
	const char		*path2;
	int			device;		/* or -1, with device_error */
	int			device_error;	/* errno of opening it */
	struct exchrange_range	range;
	bool			commit;		/* only if path2 is as it was sampled */
};

/* A file that was to be updated. */
struct target {
	const char	*path;
	const char	*staging;	/* the directory that was asked for, or NULL */
	int		device;		/* or -1, with device_error */
	int		device_error;
	bool		can_rename;	/* there is --fallback=rename */
	bool		creates;	/* a file that is not there */
};

void explain_open(const char *path, int error);
void explain_planted(const char *path);
void explain_rename(const char *path, int error);
void explain_update(const struct target *target, int error);
void explain_swap(const struct swap *swap, int error);
void explain_swaps(const struct swap *swaps, int count, int refused, int error);
void explain_no_swaps(int count);
void explain_no_vector(const char *path, const char *done, int device_error, int error);
void explain_no_backend(const char *path, int fd, uint32_t reason,
			int device_error);
void explain_watch(const char *path, int fd, int device, int device_error,
		   int error);
void explain_hold(const char *path, int fd, int device, int device_error, int error);

#endif /* COMMAND_H */
