// SPDX-License-Identifier: GPL-2.0
/* exchrange swap: swap two files, or a range of them, or several pairs, atomically. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "command.h"

static const char usage[] =
"usage: exchrange swap [OPTION...] FILE1 FILE2 [FILE1 FILE2]...\n"
"\n"
"Swaps the contents of two files atomically: whole, with their sizes, unless\n"
"--length says otherwise.  Several pairs are swapped at the same moment, all or none.\n"
"All files must be on one mount of a file system that has a back end ('exchrange query\n"
"FILE' tells).  After an error nothing has changed.\n"
"\n"
"  --offset1 N       start at byte N of FILE1 (default 0)\n"
"  --offset2 N       start at byte N of FILE2 (default 0)\n"
"  --length N        swap N bytes (default: all to the ends of both files)\n"
"  --dsync           return when all are on stable storage\n"
"  --dry-run         check everything, change nothing\n"
"  --file1-written   swap only what FILE1 has written, not its holes\n"
"  --json            print an array with an object for each pair\n"
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
	{ "json",		no_argument,		NULL, 'j' },
	{ "help",		no_argument,		NULL, OPTION_HELP },
	{ }
};

/* Whole files, each of which can be in one pair only. */
#define MAX_PAIRS	(EXCHRANGE_VECTOR_FILES / 2)

struct request {
	struct swap		swaps[MAX_PAIRS];
	int			count;
	int			refused;	/* the pair that an error is about, or -1 */
	int			error;
	struct exchrange_range	range;		/* of two files; the flags are all pairs' */
	const char		*part;		/* an option that is of two files only */
	bool			json;
};

/* --- the command line ------------------------------------------------------------ */

/* One option into the request.  -1 where its value is not a size. */
static int take_option(int option, struct request *request)
{
	struct exchrange_range *range = &request->range;

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
	request->json = true;
	return 0;
}

static int take_files(struct request *request, char **files, int count)
{
	int i;

	if (count == 0 || count % 2)
		return misused(usage, "swap takes two files, not %d, or several pairs of two",
			       count);
	if (count > 2 && request->part)
		return misused(usage, "--%s goes with two files, not with %d", request->part,
			       count);
	if (count / 2 > MAX_PAIRS)
		return misused(usage, "swap takes %d pairs of files at most, not %d",
			       MAX_PAIRS, count / 2);
	request->count = count / 2;
	for (i = 0; i < request->count; i++) {
		request->swaps[i].path1 = files[2 * i];
		request->swaps[i].path2 = files[2 * i + 1];
		request->swaps[i].range = request->range;
		request->swaps[i].range.file1_fd = -1;
		request->swaps[i].range.file2_fd = -1;
	}
	return STATUS_OK;
}

/* STATUS_OK, with no pair where only help was asked for. */
static int parse(int argc, char **argv, struct request *request)
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
		if (take_option(option, request))
			return misused(usage,
				       "--%s '%s': not a number of bytes (digits, then k, m or g)",
				       options[which].name, optarg);
		if (option >= OPTION_OFFSET1)
			request->part = options[which].name;
	}
	return take_files(request, argv + optind, argc - optind);
}

/* --- the swap -------------------------------------------------------------------- */

/* -1, and the user knows why. */
static int open_pairs(struct request *request)
{
	int i;

	for (i = 0; i < request->count; i++) {
		struct swap *swap = &request->swaps[i];

		request->refused = i;
		swap->range.file1_fd = open_file(swap->path1, O_RDWR);
		if (swap->range.file1_fd < 0)
			return -1;
		swap->range.file2_fd = open_file(swap->path2, O_RDWR);
		if (swap->range.file2_fd < 0)
			return -1;
	}
	request->refused = -1;
	return 0;
}

static void close_pairs(const struct request *request)
{
	int i;

	for (i = 0; i < request->count; i++) {
		if (request->swaps[i].range.file1_fd >= 0)
			close(request->swaps[i].range.file1_fd);
		if (request->swaps[i].range.file2_fd >= 0)
			close(request->swaps[i].range.file2_fd);
	}
}

static int exchange_pairs(struct request *request, int device)
{
	const __u64 whole = EXCHRANGE_DSYNC | EXCHRANGE_DRY_RUN;
	struct exchrange_pair pairs[MAX_PAIRS] = { };
	struct exchrange_vector vector = {
		.pairs		= (uintptr_t)pairs,
		.count		= request->count,
		.pair_size	= sizeof(pairs[0]),
		.flags		= request->range.flags & whole,
		.refused	= EXCHRANGE_REFUSED_NONE,
	};
	int i, ret;

	for (i = 0; i < request->count; i++) {
		pairs[i].file1_fd = request->swaps[i].range.file1_fd;
		pairs[i].file2_fd = request->swaps[i].range.file2_fd;
		pairs[i].flags = request->range.flags & ~whole;
	}
	ret = exchrange_exchange_vector(device, &vector);
	if (vector.refused < vector.count)
		request->refused = vector.refused;
	return ret;
}

/* Two files do not take the device. */
static int exchange(struct request *request, int device)
{
	int ret;

	/* The limit of file sizes is to be explained, and not to end us. */
	signal(SIGXFSZ, SIG_IGN);
	ret = request->count == 1 ?
	      exchrange_exchange(device, &request->swaps[0].range) :
	      exchange_pairs(request, device);
	request->error = ret ? errno : 0;
	return ret;
}

static int swap_pairs(struct request *request)
{
	int device_error, device = open_device(&device_error);
	int status = STATUS_OK, i;

	for (i = 0; i < request->count; i++) {
		request->swaps[i].device = device;
		request->swaps[i].device_error = device_error;
	}
	if (exchange(request, device)) {
		status = STATUS_FAILED;
		if (request->count == 1)
			explain_swap(&request->swaps[0], request->error);
		else
			explain_swaps(request->swaps, request->count, request->refused,
				      request->error);
	}
	if (device >= 0)
		close(device);
	return status;
}

/* --- what became of it ----------------------------------------------------------- */

static const char *result_of(const struct request *request, int i, int status)
{
	if (status == STATUS_OK)
		return request->range.flags & EXCHRANGE_DRY_RUN ? "would-swap" : "swapped";
	/* It may have been finished after all. */
	if (request->error == EIO)
		return "unknown";
	return request->refused == i || request->count == 1 ? "refused" : "not-swapped";
}

static void print_json(const struct request *request, int status)
{
	struct json array = { .pretty = true };
	int i;

	take_output();
	json_open(&array, NULL, '[');
	for (i = 0; i < request->count; i++) {
		json_open(&array, NULL, '{');
		json_name(&array, "file1", request->swaps[i].path1);
		json_name(&array, "file2", request->swaps[i].path2);
		json_string(&array, "result", result_of(request, i, status));
		json_close(&array, '}');
	}
	json_close(&array, ']');
}

int cmd_swap(int argc, char **argv)
{
	struct request request = { .range.flags = EXCHRANGE_TO_EOF, .refused = -1 };
	int status = parse(argc, argv, &request);

	if (status || !request.count)
		return status;
	if (open_pairs(&request) == 0) {
		status = swap_pairs(&request);
	} else {
		status = STATUS_FAILED;
		if (request.count > 1)
			explain_no_swaps(request.count);
	}
	close_pairs(&request);
	if (request.json)
		print_json(&request, status);
	return status;
}
