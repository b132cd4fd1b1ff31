// SPDX-License-Identifier: GPL-2.0
/* exchrange start-commit: a token of a file as it is now. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "command.h"

static const char usage[] =
"usage: exchrange start-commit [--json] FILE\n"
"\n"
"Prints a token of FILE as it is now, which 'exchrange commit' and 'exchrange write\n"
"--if-unchanged-since' take: they fail if FILE has changed since.\n"
"\n"
"  --json   print an object with the file and the token\n"
"  --help\n";

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

static void print_token(const char *path, const char *token, bool pretty)
{
	struct json json = { .pretty = pretty };

	if (!pretty) {
		puts(token);
		return;
	}
	json_open(&json, NULL, '{');
	json_file(&json, path);
	json_string(&json, "token", token);
	json_close(&json, '}');
}

static int start_commit(struct target *target, bool json)
{
	struct exchrange_sample sample;
	char token[TOKEN_SIZE];
	int fd = open_file(target->path, O_RDONLY);
	int status = STATUS_FAILED;

	if (fd < 0)
		return status;
	target->device = open_device(&target->device_error);
	if (exchrange_sample(target->device, fd, &sample)) {
		explain_update(target, errno);
	} else {
		format_token(&sample, token);
		print_token(target->path, token, json);
		status = STATUS_OK;
	}
	if (target->device >= 0)
		close(target->device);
	close(fd);
	return status;
}

int cmd_start_commit(int argc, char **argv)
{
	struct target target = { };
	bool json = false;
	int option;

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
	if (argc - optind != 1)
		return misused(usage, "start-commit takes one file, not %d",
			       argc - optind);
	target.path = argv[optind];
	take_output();
	return start_commit(&target, json);
}
