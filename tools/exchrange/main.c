// SPDX-License-Identifier: GPL-2.0
/*
 * exchrange: swap byte ranges of two files atomically, and save files that way.
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

static const struct subcommand {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv);
} subcommands[] = {
	{ "swap", "swap two files, a range of them, or several pairs, atomically", cmd_swap },
	{ "write", "make standard input, or another file, a file's contents", cmd_write },
	{ "apply", "give the files of a directory the contents of another's, at once", cmd_apply },
	{ "edit", "edit files, and commit what was not changed meanwhile", cmd_edit },
	{ "start-commit", "print a token of a file as it is now", cmd_start_commit },
	{ "commit", "swap two files if one has not changed since a token", cmd_commit },
	{ "query", "tell whether and how files can be swapped", cmd_query },
	{ "hold", "run a command while files stay what they are", cmd_hold },
	{ "watch", "tell each time that files were swapped or saved", cmd_watch },
};

/*
 * Words of ours for what getopt_long() did not take, where opterr is 0 and option
 * is '?' or ':'.  Returns the exit status for it.
 */
int misused_option(const char *usage, int option, char **argv)
{
	const char *word = argv[optind - 1];

	if (option == ':')
		return misused(usage, "%s needs a value", word);
	/* A letter is in optopt, and so is a long option with a value too many. */
	if (optopt && !strchr(word, '='))
		return misused(usage, "unknown option '-%c'", optopt);
	return misused(usage, "unknown option '%s'", word);
}

static void print_help(FILE *stream)
{
	size_t i;

	fputs("usage: exchrange SUBCOMMAND [OPTION...] FILE...\n"
	      "       exchrange --help | --version\n\n", stream);
	for (i = 0; i < COUNT(subcommands); i++)
		fprintf(stream, "  %-14s%s\n", subcommands[i].name,
			subcommands[i].summary);
	fputs("\n'exchrange SUBCOMMAND --help' tells its options; exchrange(1) has it all.\n",
	      stream);
}

static const struct subcommand *find_subcommand(const char *name)
{
	size_t i;

	for (i = 0; i < COUNT(subcommands); i++)
		if (!strcmp(subcommands[i].name, name))
			return &subcommands[i];
	return NULL;
}

/* Output that did not reach its place is a failure too. */
static int flush_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	complain("cannot write the output");
	return status ? status : STATUS_FAILED;
}

/*
 * A stream that is closed would become a file that is opened here, and what is said
 * would go into it.  One that fails takes its place.
 */
static int keep_streams(void)
{
	int fd;

	for (fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return -1;
	return 0;
}

int main(int argc, char **argv)
{
	const struct subcommand *subcommand;

	if (keep_streams())
		return STATUS_FAILED;
	/* Who ignores it has that inherited, and then children cannot be waited for. */
	signal(SIGCHLD, SIG_DFL);
	if (argc < 2) {
		print_help(stderr);
		return STATUS_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		print_help(stdout);
		return flush_output(STATUS_OK);
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("exchrange " EXCHRANGE_VERSION);
		return flush_output(STATUS_OK);
	}

	subcommand = find_subcommand(argv[1]);
	if (!subcommand) {
		complain("unknown subcommand '%s'", argv[1]);
		print_help(stderr);
		return STATUS_USAGE;
	}
	return flush_output(subcommand->run(argc - 1, argv + 1));
}
