// SPDX-License-Identifier: GPL-2.0
/* exchrange write: what comes from standard input becomes a file, atomically. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

static const char usage[] =
"usage: exchrange write [OPTION...] FILE\n"
"\n"
"Makes standard input the contents of FILE, atomically, when all of it has been\n"
"read: 'sort FILE | exchrange write FILE' works.  Name, inode, links, owner, mode,\n"
"ACLs and extended attributes of FILE stay.  A FILE that is not there is created\n"
"with all its contents.  After an error FILE has not changed.\n"
"\n"
"  --from OTHER                  a reflink of the file OTHER, not standard input\n"
"  --if-unchanged-since TOKEN    only if FILE is as 'exchrange start-commit' saw it\n"
"  --dsync                       return when it is on stable storage\n"
"  --staging DIR                 stage in DIR, on FILE's mount, not in FILE's directory\n"
"  --fallback=rename             where FILE's file system has no back end: rename a\n"
"                                temporary file over FILE, which splits hard links\n"
"  --no-follow                   fail if FILE is a symbolic link\n"
"  --help\n";

enum { OPTION_FROM = 256, OPTION_SINCE, OPTION_STAGING, OPTION_FALLBACK, OPTION_HELP };

static const struct option options[] = {
	{ "from",		required_argument,	NULL, OPTION_FROM },
	{ "if-unchanged-since",	required_argument,	NULL, OPTION_SINCE },
	{ "dsync",		no_argument,		NULL, 's' },
	{ "staging",		required_argument,	NULL, OPTION_STAGING },
	{ "fallback",		required_argument,	NULL, OPTION_FALLBACK },
	{ "no-follow",		no_argument,		NULL, 'P' },
	{ "help",		no_argument,		NULL, OPTION_HELP },
	{ }
};

struct write {
	struct target		target;
	const char		*from;		/* NULL: standard input */
	int			from_fd;
	bool			since;		/* there is a sample */
	struct exchrange_sample	sample;
	bool			dsync;
	bool			rename;		/* the fallback */
	bool			no_follow;
};

/* 0; or the exit status, and the user knows why. */
static int take_option(int option, struct write *write)
{
	switch (option) {
	case OPTION_FROM:
		write->from = strcmp(optarg, "-") ? optarg : NULL;
		return 0;
	case OPTION_SINCE:
		write->since = true;
		if (parse_token(optarg, &write->sample))
			return misused(usage, "--if-unchanged-since '%s': not a token of 'exchrange start-commit'",
				       optarg);
		return 0;
	case OPTION_STAGING:
		write->target.staging = optarg;
		return 0;
	case OPTION_FALLBACK:
		write->rename = true;
		if (strcmp(optarg, "rename"))
			return misused(usage, "--fallback '%s': there is only --fallback=rename",
				       optarg);
		return 0;
	case 's':
		write->dsync = true;
		return 0;
	}
	write->no_follow = true;
	return 0;
}

/* STATUS_OK, with the path NULL where only help was asked for. */
static int parse(int argc, char **argv, struct write *write)
{
	int option, status;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, NULL)) >= 0) {
		if (option == '?' || option == ':')
			return misused_option(usage, option, argv);
		if (option == OPTION_HELP) {
			fputs(usage, stdout);
			return STATUS_OK;
		}
		status = take_option(option, write);
		if (status)
			return status;
	}

	if (argc - optind != 1)
		return misused(usage, "write takes one file, not %d",
			       argc - optind);
	if (!strcmp(argv[optind], "-"))
		return misused(usage, "'-' is no file to write; './-' is one of that name");
	if (write->rename && (write->since || write->no_follow))
		return misused(usage, "--fallback=rename does not go with --if-unchanged-since or --no-follow");
	write->target.path = argv[optind];
	write->target.can_rename = !write->since && !write->no_follow;
	write->target.creates = !write->since;
	return STATUS_OK;
}

static const char *from_name(const struct write *write)
{
	return write->from ? write->from : "standard input";
}

/* All of the new contents into the staging file. */
static int fill(const struct write *write, struct exchrange_update *update)
{
	bool reading;

	if (write->from) {
		if (exchrange_update_clone(update, write->from_fd) == 0)
			return 0;
		if (errno == EAGAIN) {
			complain("%s: changed while it was read; %s was not written",
				 write->from, write->target.path);
			return -1;
		}
	} else {
		if (copy_stream(write->from_fd, exchrange_update_fd(update),
				&reading) == 0)
			return 0;
		if (reading) {
			complain("%s: %s; %s was not written", from_name(write),
				 strerror(errno), write->target.path);
			return -1;
		}
	}
	explain_update(&write->target, errno);
	return -1;
}

static struct exchrange_update *begin(const struct write *write)
{
	const struct exchrange_update_options update = {
		.flags = (write->since ? EXCHRANGE_UPDATE_UNCHANGED :
			  EXCHRANGE_UPDATE_CREATE) |
			 (write->no_follow ? EXCHRANGE_UPDATE_NOFOLLOW : 0),
		.mode		= 0666,
		.staging	= write->target.staging,
		.sample		= write->since ? &write->sample : NULL,
	};

	return exchrange_update_begin(write->target.device, write->target.path,
				      &update);
}

static int write_file(const struct write *write)
{
	struct exchrange_update *update = begin(write);
	int status = STATUS_FAILED;

	if (!update) {
		if (write->rename && errno == EOPNOTSUPP)
			return write_by_rename(write->target.path, write->from_fd,
					       from_name(write), write->dsync) ?
			       STATUS_FAILED : STATUS_OK;
		explain_update(&write->target, errno);
		return STATUS_FAILED;
	}
	if (fill(write, update) == 0) {
		if (exchrange_update_commit(update,
					    write->dsync ? EXCHRANGE_DSYNC : 0))
			explain_update(&write->target, errno);
		else
			status = STATUS_OK;
	}
	exchrange_update_drop(update);
	return status;
}

int cmd_write(int argc, char **argv)
{
	struct write write = { .from_fd = STDIN_FILENO };
	int status = parse(argc, argv, &write);

	if (status || !write.target.path)
		return status;
	/* The limit of file sizes is to be explained, and not to end us. */
	signal(SIGXFSZ, SIG_IGN);

	if (write.from) {
		write.from_fd = open_file(write.from, O_RDONLY);
		if (write.from_fd < 0)
			return STATUS_FAILED;
	}
	write.target.device = open_device(&write.target.device_error);
	status = write_file(&write);
	if (write.target.device >= 0)
		close(write.target.device);
	if (write.from)
		close(write.from_fd);
	return status;
}
