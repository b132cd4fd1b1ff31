// SPDX-License-Identifier: GPL-2.0
/* exchrange query: whether and how files can be swapped. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "command.h"
#include "place.h"

static const char usage[] =
"usage: exchrange query [--json] FILE...\n"
"\n"
"Tells for each file who would carry out a swap, in which units, and with which\n"
"flags; or why it cannot be swapped.  Exits with 1 where one of them cannot.\n"
"\n"
"  --json   print an array with an object for each file\n"
"  --help\n";

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

static const struct {
	uint64_t flag;
	const char *name;
} flag_names[] = {
	{ EXCHRANGE_TO_EOF,		"to-eof" },
	{ EXCHRANGE_DSYNC,		"dsync" },
	{ EXCHRANGE_DRY_RUN,		"dry-run" },
	{ EXCHRANGE_FILE1_WRITTEN,	"file1-written" },
};

static const char *backend_name(uint32_t backend)
{
	switch (backend) {
	case EXCHRANGE_BACKEND_XFS:		return "xfs";
	case EXCHRANGE_BACKEND_XFS_TRANSACTION:	return "xfs-transaction";
	case EXCHRANGE_BACKEND_BTRFS:		return "btrfs";
	}
	return "unknown";
}

static const char *backend_title(uint32_t backend)
{
	switch (backend) {
	case EXCHRANGE_BACKEND_XFS:		return "XFS's own ioctl";
	case EXCHRANGE_BACKEND_XFS_TRANSACTION:	return "one XFS transaction";
	case EXCHRANGE_BACKEND_BTRFS:		return "one btrfs transaction";
	}
	return "a back end that this command does not know";
}

static const char *reason_name(uint32_t reason)
{
	switch (reason) {
	case EXCHRANGE_REASON_FILE_SYSTEM:	return "file-system";
	case EXCHRANGE_REASON_XFS_FEATURE:	return "xfs-feature";
	case EXCHRANGE_REASON_XFS_KERNEL:	return "xfs-kernel";
	case EXCHRANGE_REASON_BUILD:		return "build";
	case EXCHRANGE_REASON_BTF:		return "btf";
	case EXCHRANGE_REASON_SYMBOL:		return "symbol";
	case EXCHRANGE_REASON_XFS_REALTIME:	return "xfs-realtime";
	case EXCHRANGE_REASON_XFS_FORMAT:	return "xfs-format";
	case EXCHRANGE_REASON_UNTESTED:		return "untested";
	case EXCHRANGE_REASON_LOOKUP:		return "lookup";
	case EXCHRANGE_REASON_BTRFS_FORMAT:	return "btrfs-format";
	case EXCHRANGE_REASON_OVERLAY_UPPER:	return "overlay-upper";
	case EXCHRANGE_REASON_OVERLAY_READ_ONLY: return "overlay-read-only";
	case EXCHRANGE_REASON_NO_DEVICE:	return "no-device";
	}
	return "unknown";
}

/* Until then nobody can open it for writing. */
static void print_holds(const struct exchrange_query *query)
{
	if (!query->holds)
		return;
	printf("    held       by %u descriptor%s", query->holds, query->holds == 1 ? "" : "s");
	if (query->holder)
		printf(", of process %d%s", query->holder, query->holds == 1 ? "" : " and others");
	putchar('\n');
}

static void print_text(const char *path, int device,
		       const struct exchrange_query *query)
{
	size_t i;

	print_name(stdout, path, true);
	fputs(": can be swapped\n", stdout);
	printf("    back end   %s, %s\n", backend_title(query->backend),
	       device >= 0 ? "through /dev/exchrange" : "without the module");
	if (query->alternative != EXCHRANGE_BACKEND_NONE)
		printf("    or         %s, with xfs_transaction_first=%c of the module\n",
		       backend_title(query->alternative),
		       query->alternative == EXCHRANGE_BACKEND_XFS ? 'N' : 'Y');
	printf("    alignment  %u bytes\n", query->alignment);
	printf("    flags     ");
	for (i = 0; i < COUNT(flag_names); i++)
		if (query->flags & flag_names[i].flag)
			printf(" %s", flag_names[i].name);
	putchar('\n');
	print_holds(query);
}

static void print_json(struct json *json, const char *path, int device,
		       const struct exchrange_query *query)
{
	bool none = query->backend == EXCHRANGE_BACKEND_NONE;
	size_t i;

	json_open(json, NULL, '{');
	json_file(json, path);
	json_string(json, "backend", none ? NULL : backend_name(query->backend));
	json_string(json, "alternative",
		    query->alternative == EXCHRANGE_BACKEND_NONE ? NULL :
		    backend_name(query->alternative));
	json_string(json, "route", none ? NULL : device >= 0 ? "device" : "xfs");
	json_number(json, "alignment", query->alignment);
	json_open(json, "flags", '[');
	for (i = 0; i < COUNT(flag_names); i++)
		if (query->flags & flag_names[i].flag)
			json_string(json, NULL, flag_names[i].name);
	json_close(json, ']');
	json_string(json, "reason", none ? reason_name(query->reason) : NULL);
	json_number(json, "holds", query->holds);
	json_number(json, "holder", query->holder);
	json_close(json, '}');
}

/* Answers for one file, into @json if there is one.  Returns its status. */
static int query_file(const char *path, int device, int device_error,
		      struct json *json)
{
	struct exchrange_query query = {
		.fd = exchrange_open_patiently(AT_FDCWD, path, O_RDONLY),
	};
	int status = STATUS_FAILED;

	if (query.fd < 0 || exchrange_query(device, &query)) {
		explain_open(path, errno);
	} else {
		if (query.backend != EXCHRANGE_BACKEND_NONE)
			status = STATUS_OK;
		if (json)
			print_json(json, path, device, &query);
		else if (status == STATUS_OK)
			print_text(path, device, &query);
		else
			explain_no_backend(path, query.fd, query.reason,
					   device_error);
	}
	if (query.fd >= 0)
		close(query.fd);
	return status;
}

int cmd_query(int argc, char **argv)
{
	struct json array = { .pretty = true };
	int option, device, device_error;
	int status = STATUS_OK;
	bool json = false;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, NULL)) >= 0) {
		if (option == '?' || option == ':')
			return misused_option(usage, option, argv);
		if (option == 'h') {
			fputs(usage, stdout);
			return STATUS_OK;
		}
		json = true;
	}
	if (optind == argc)
		return misused(usage, "query takes at least one file");

	take_output();
	if (json)
		json_open(&array, NULL, '[');
	device = open_device(&device_error);

	for (; optind < argc; optind++)
		if (query_file(argv[optind], device, device_error,
			       json ? &array : NULL))
			status = STATUS_FAILED;

	if (json)
		json_close(&array, ']');
	if (device >= 0)
		close(device);
	return status;
}
