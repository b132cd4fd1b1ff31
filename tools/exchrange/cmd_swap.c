// SPDX-License-Identifier: GPL-2.0
/* exchrange swap: swap two files, or a range of them, atomically. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "command.h"

static const char usage[] =
"usage: exchrange swap [OPTION...] FILE1 FILE2\n"
"\n"
"Swaps the contents of two files atomically: whole, with their sizes, unless\n"
"--length says otherwise.  Both must be on one mount of a file system that has a\n"
"back end ('exchrange query FILE' tells).  After an error nothing has changed.\n"
"\n"
"  --offset1 N       start at byte N of FILE1 (default 0)\n"
"  --offset2 N       start at byte N of FILE2 (default 0)\n"
"  --length N        swap N bytes (default: all to the ends of both files)\n"
"  --dsync           return when both are on stable storage\n"
"  --dry-run         check everything, change nothing\n"
"  --file1-written   swap only what FILE1 has written, not its holes\n"
"  --help\n"
"\n"
"N takes k, m or g for KiB, MiB or GiB.  Offsets and lengths are multiples of\n"
"the file system's block size; a range may also end at the end of a file.\n";

enum { OPTION_OFFSET1 = 256, OPTION_OFFSET2, OPTION_LENGTH, OPTION_HELP };

static const struct option options[] = {
	{ "offset1",		required_argument,	NULL, OPTION_OFFSET1 },
	{ "offset2",		required_argument,	NULL, OPTION_OFFSET2 },
	{ "length",		required_argument,	NULL, OPTION_LENGTH },
	{ "dsync",		no_argument,		NULL, 's' },
	{ "dry-run",		no_argument,		NULL, 'n' },
	{ "file1-written",	no_argument,		NULL, 'w' },
	{ "help",		no_argument,		NULL, OPTION_HELP },
	{ }
};

/* One option into the range.  -1 where its value is not a size. */
static int take_option(int option, struct exchrange_range *range)
{
	switch (option) {
	case OPTION_OFFSET1:
		return parse_size(optarg, &range->file1_offset);
	case OPTION_OFFSET2:
		return parse_size(optarg, &range->file2_offset);
	case OPTION_LENGTH:
		range->flags &= ~EXCHRANGE_TO_EOF;
		return parse_size(optarg, &range->length);
	case 's':
		range->flags |= EXCHRANGE_DSYNC;
		return 0;
	case 'n':
		range->flags |= EXCHRANGE_DRY_RUN;
		return 0;
	case 'w':
		range->flags |= EXCHRANGE_FILE1_WRITTEN;
		return 0;
	}
	return -1;
}

/* STATUS_OK, with path2 NULL where only help was asked for. */
static int parse(int argc, char **argv, struct swap *swap)
{
	int option, which;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, &which)) >= 0) {
		if (option == '?' || option == ':')
			return misused_option(usage, option, argv);
		if (option == OPTION_HELP) {
			fputs(usage, stdout);
			return STATUS_OK;
		}
		if (take_option(option, &swap->range))
			return misused(usage,
				       "--%s '%s': not a number of bytes (digits, then k, m or g)",
				       options[which].name, optarg);
	}

	if (argc - optind != 2)
		return misused(usage, "swap takes two files, not %d",
			       argc - optind);
	swap->path1 = argv[optind];
	swap->path2 = argv[optind + 1];
	return STATUS_OK;
}

static int swap_files(struct swap *swap)
{
	/* The limit of file sizes is to be explained, and not to end us. */
	signal(SIGXFSZ, SIG_IGN);
	if (exchrange_exchange(swap->device, &swap->range) == 0)
		return STATUS_OK;
	explain_swap(swap, errno);
	return STATUS_FAILED;
}

int cmd_swap(int argc, char **argv)
{
	struct swap swap = { .range.flags = EXCHRANGE_TO_EOF };
	int status = parse(argc, argv, &swap);

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
	status = swap_files(&swap);

	if (swap.device >= 0)
		close(swap.device);
	close(swap.range.file2_fd);
close_file1:
	close(swap.range.file1_fd);
	return status;
}
