// SPDX-License-Identifier: GPL-2.0
/* exchrange commit: swap two files if one of them has not changed meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

static const char usage[] =
"usage: exchrange commit [OPTION...] TOKEN NEW FILE\n"
"\n"
"Swaps the contents of NEW and FILE atomically if FILE has not changed since\n"
"'exchrange start-commit FILE' printed TOKEN; else fails, and nothing has changed.\n"
"Both must be on one mount.  Afterwards NEW has what FILE had.\n"
"\n"
"  --dsync           return when both are on stable storage\n"
"  --dry-run         check everything, change nothing\n"
"  --file1-written   swap only what NEW has written, not its holes\n"
"  --help\n";

static const struct option options[] = {
	{ "dsync",		no_argument,	NULL, 's' },
	{ "dry-run",		no_argument,	NULL, 'n' },
	{ "file1-written",	no_argument,	NULL, 'w' },
	{ "help",		no_argument,	NULL, 'h' },
	{ }
};

static __u64 flag_of(int option)
{
	switch (option) {
	case 's':
		return EXCHRANGE_DSYNC;
	case 'n':
		return EXCHRANGE_DRY_RUN;
	}
	return EXCHRANGE_FILE1_WRITTEN;
}

/* STATUS_OK, with path2 NULL where only help was asked for. */
static int parse(int argc, char **argv, struct swap *swap,
		 struct exchrange_sample *sample)
{
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, NULL)) >= 0) {
		if (option == '?' || option == ':')
			return misused_option(usage, option, argv);
		if (option == 'h') {
			fputs(usage, stdout);
			return STATUS_OK;
		}
		swap->range.flags |= flag_of(option);
	}

	if (argc - optind != 3)
		return misused(usage, "commit takes a token and two files, not %d words",
			       argc - optind);
	if (parse_token(argv[optind], sample))
		return misused(usage, "'%s': not a token of 'exchrange start-commit'",
			       argv[optind]);
	swap->path1 = argv[optind + 1];
	swap->path2 = argv[optind + 2];
	return STATUS_OK;
}

static int commit_files(struct swap *swap, const struct exchrange_sample *sample)
{
	struct exchrange_commit commit = {
		.file1_fd	= swap->range.file1_fd,
		.file2_fd	= swap->range.file2_fd,
		.flags		= swap->range.flags,
	};

	memcpy(commit.file2_freshness, sample->freshness,
	       sizeof(commit.file2_freshness));
	/* The limit of file sizes is to be explained, and not to end us. */
	signal(SIGXFSZ, SIG_IGN);
	if (exchrange_commit(swap->device, &commit) == 0)
		return STATUS_OK;
	explain_swap(swap, errno);
	return STATUS_FAILED;
}

int cmd_commit(int argc, char **argv)
{
	struct swap swap = { .range.flags = EXCHRANGE_TO_EOF, .commit = true };
	struct exchrange_sample sample;
	int status = parse(argc, argv, &swap, &sample);

	if (status || !swap.path2)
		return status;

	swap.range.file1_fd = open_file(swap.path1, O_RDWR);
	if (swap.range.file1_fd < 0)
		return STATUS_FAILED;
	swap.range.file2_fd = open_file(swap.path2, O_RDWR);
	if (swap.range.file2_fd < 0) {
		status = STATUS_FAILED;
		goto close_file1;
	}

	swap.device = open_device(&swap.device_error);
	status = commit_files(&swap, &sample);

	if (swap.device >= 0)
		close(swap.device);
	close(swap.range.file2_fd);
close_file1:
	close(swap.range.file1_fd);
	return status;
}
