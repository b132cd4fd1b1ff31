// SPDX-License-Identifier: GPL-2.0
/*
 * exchrange apply: the files of one directory get the contents that another one has for them,
 * all at the same moment.
 *
 * First everything is looked at, then all new contents are staged, then one commit changes
 * the files.  Whatever is wrong, it is found before anything has changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "contents.h"
#include "match.h"
#include "place.h"

static const char usage[] =
"usage: exchrange apply [OPTION...] FROM-DIR TO-DIR\n"
"\n"
"Gives every file of TO-DIR the contents of the file in FROM-DIR that has the same\n"
"relative name, at one moment: all files have their new contents, or none has, after\n"
"a crash too.  Names, inodes, links, owners, modes and ACLs stay; FROM-DIR is not changed.\n"
"Files that FROM-DIR does not have, and files that are equal already, are left alone.\n"
"What would have to be created, and what is not a regular file on both sides, is an\n"
"error before anything changes.  At most 32 files can change at once.\n"
"\n"
"  --dsync     return when all are on stable storage\n"
"  --dry-run   check everything, change nothing\n"
"  --json      print an array with an object for each file\n"
"  --help\n";

static const struct option options[] = {
	{ "dsync",	no_argument,	NULL, 's' },
	{ "dry-run",	no_argument,	NULL, 'n' },
	{ "json",	no_argument,	NULL, 'j' },
	{ "help",	no_argument,	NULL, 'h' },
	{ }
};

#define MAX_FILES	EXCHRANGE_UPDATES_MAX
_Static_assert(MAX_FILES == 32, "the usage and the manual say 32");

struct apply {
	struct matches		matches;
	__u64			flags;
	bool			json;
	int			here;		/* the working directory */
	int			device, device_error;

	/* The files that differ, in the order of their matches. */
	const struct match	*match[MAX_FILES];
	struct exchrange_update	*update[MAX_FILES];
	char			*path[MAX_FILES];	/* for messages */
	unsigned int		count;
	int			error;		/* of the commit */
};

/* --- what is to be done ---------------------------------------------------------- */

static struct target target_of(const struct apply *apply, unsigned int i)
{
	return (struct target) {
		.path		= apply->path[i],
		.device		= apply->device,
		.device_error	= apply->device_error,
	};
}

static int list_files(struct apply *apply)
{
	const struct match *match = apply->matches.list;
	size_t i;

	for (i = 0; i < apply->matches.count; i++, match++) {
		if (match->state != MATCH_DIFFERS || match->doubled)
			continue;
		apply->match[apply->count] = match;
		if (asprintf(&apply->path[apply->count], "%s/%s", apply->matches.to,
			     match->path) < 0) {
			apply->path[apply->count] = NULL;
			complain("%s", strerror(ENOMEM));
			return -1;
		}
		apply->count++;
	}
	return 0;
}

static int check_mounts(const struct apply *apply)
{
	unsigned int i;

	for (i = 1; i < apply->count; i++) {
		if (apply->match[i]->mount == apply->match[0]->mount)
			continue;
		complain("%s and %s: are on two mounts, whose files cannot change at one moment; apply the files of each mount alone",
			 apply->path[0], apply->path[i]);
		return -1;
	}
	return 0;
}

/* What is wrong with all of it; -1, and the user knows why. */
static int check(struct apply *apply)
{
	const struct matches *matches = &apply->matches;

	if (matches->refused)
		return -1;
	if (matches->differing > MAX_FILES) {
		complain("%s: %zu files differ from those of %s, and a commit changes %d at most; apply fewer at once",
			 matches->to, matches->differing, matches->from, MAX_FILES);
		return -1;
	}
	if (list_files(apply) || check_mounts(apply))
		return -1;
	if (apply->count > 1 && apply->device < 0) {
		explain_no_vector(apply->path[0], "changed together with others",
				  apply->device_error, 0);
		return -1;
	}
	return 0;
}

/* --- staging --------------------------------------------------------------------- */

/* By its name in a directory that is open, since its path may lead elsewhere by now. */
static struct exchrange_update *begin(const struct apply *apply, const struct match *match)
{
	const struct exchrange_update_options update = {
		.flags = EXCHRANGE_UPDATE_UNCHANGED | EXCHRANGE_UPDATE_NOFOLLOW,
	};
	struct exchrange_update *begun;
	int error;

	if (fchdir(match->dir))
		return NULL;
	begun = exchrange_update_begin(apply->device, match->name, &update);
	error = errno;
	if (fchdir(apply->here)) {
		exchrange_update_drop(begun);
		return NULL;
	}
	errno = error;
	return begun;
}

static bool has_changed(const struct match *match)
{
	struct stat st;

	return fstat(match->from, &st) || st.st_size != match->source.st_size ||
	       !exchrange_same_time(&st.st_mtim, &match->source.st_mtim) ||
	       !exchrange_same_time(&st.st_ctim, &match->source.st_ctim);
}

/* -1, and the user knows why. */
static int complain_of_change(const struct apply *apply, const struct match *match)
{
	complain("%s/%s: changed while it was read; try again when nobody writes to %s",
		 apply->matches.from, match->path, apply->matches.from);
	return -1;
}

static int stage_file(struct apply *apply, unsigned int i)
{
	const struct match *match = apply->match[i];
	const struct target target = target_of(apply, i);

	apply->update[i] = begin(apply, match);
	if (apply->update[i] &&
	    exchrange_update_clone(apply->update[i], match->from) == 0)
		return 0;
	if (apply->update[i] && errno == EAGAIN)
		return complain_of_change(apply, match);
	if (errno == ELOOP)
		complain("%s: has become a symbolic link", target.path);
	else
		explain_update(&target, errno);
	return -1;
}

static int stage(struct apply *apply)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; ret == 0 && i < apply->count; i++) {
		show_files("staged", i, apply->count);
		ret = stage_file(apply, i);
	}
	show_files(NULL, 0, 0);
	/* They are right only as a set, and so were staged as one. */
	for (i = 0; ret == 0 && i < apply->count; i++)
		if (has_changed(apply->match[i]))
			ret = complain_of_change(apply, apply->match[i]);
	return ret;
}

/* --- the commit ------------------------------------------------------------------ */

/* What is not about one of the files. */
static void explain_all(const struct apply *apply, int error)
{
	const struct target target = target_of(apply, 0);

	switch (error) {
	case EDQUOT:
		complain("%s: it would exceed the quota of the owner of one of the files; free some space or raise the limit",
			 apply->matches.to);
		break;
	case E2BIG:
		complain("%s: the files have more extents in all than one transaction can hold; apply fewer at once, or defragment them",
			 apply->matches.to);
		break;
	case EIO:
		complain("%s: I/O error; look at all files before you try again, for they may have been changed after all",
			 apply->matches.to);
		break;
	default:
		explain_update(&target, error);
	}
}

static void explain_commit(const struct apply *apply, __u32 refused)
{
	const unsigned int which = refused < apply->count ? refused : 0;
	const struct target target = target_of(apply, which);

	if (apply->count > 1 && (apply->error == ENOTTY || apply->error == EOPNOTSUPP))
		explain_no_vector(target.path, "changed together with others",
				  apply->device_error, apply->error);
	else if (apply->error == EXDEV && which)
		complain("%s and %s: are on two mounts by now; nothing was written",
			 apply->path[0], target.path);
	else if (refused < apply->count)
		explain_update(&target, apply->error);
	else
		explain_all(apply, apply->error);
}

static int commit(struct apply *apply)
{
	__u32 refused;

	if (!apply->count)
		return 0;
	if (exchrange_update_commit_all(apply->update, apply->count, apply->flags,
					&refused) == 0)
		return 0;
	apply->error = errno;
	explain_commit(apply, refused);
	return -1;
}

/* --- what became of it ----------------------------------------------------------- */

static const char *state_of(const struct apply *apply, const struct match *match, int status)
{
	switch (match->state) {
	case MATCH_EQUAL:
		return "equal";
	case MATCH_REFUSED:
		return "refused";
	case MATCH_DIFFERS:
		break;
	}
	if (status == STATUS_OK && !(apply->flags & EXCHRANGE_DRY_RUN))
		return "applied";
	/* It may have been finished after all. */
	return apply->error == EIO ? "unknown" : "differs";
}

static void print_json(const struct apply *apply, int status)
{
	const struct match *match = apply->matches.list;
	struct json array = { .pretty = true };
	size_t i;

	json_open(&array, NULL, '[');
	for (i = 0; i < apply->matches.count; i++, match++) {
		json_open(&array, NULL, '{');
		json_file(&array, match->path);
		json_string(&array, "state", state_of(apply, match, status));
		json_string(&array, "reason", match->reason);
		json_close(&array, '}');
	}
	json_close(&array, ']');
}

static const char *files(size_t count)
{
	return count == 1 ? "file" : "files";
}

static void print_text(const struct apply *apply)
{
	const struct match *match = apply->matches.list;
	bool dry = apply->flags & EXCHRANGE_DRY_RUN;
	size_t i, changed = 0;

	for (i = 0; i < apply->matches.count; i++, match++) {
		if (match->state != MATCH_DIFFERS)
			continue;
		changed++;
		print_name(stdout, match->path, true);
		putchar('\n');
	}
	printf("%zu %s %s, %zu %s\n", changed, files(changed),
	       dry ? "would be changed" : "changed", apply->matches.count - changed,
	       apply->matches.count - changed == 1 ? "was equal" : "were equal");
}

/* Nothing at all to compare is a mistake of the names. */
static void warn_of_nothing(const struct apply *apply)
{
	if (!apply->matches.count)
		complain("%s: has no files", apply->matches.from);
}

static int apply_files(struct apply *apply)
{
	int status = find_matches(&apply->matches) || check(apply) || stage(apply) ||
		     commit(apply) ? STATUS_FAILED : STATUS_OK;

	take_output();
	if (apply->json)
		print_json(apply, status);
	else if (status == STATUS_OK)
		print_text(apply);
	if (status != STATUS_OK && apply->error != EIO)
		complain("%s: nothing was changed%s", apply->matches.to,
			 apply->error == EBUSY ? "; try again" : "");
	else
		warn_of_nothing(apply);
	return status;
}

/* --- the command ------------------------------------------------------------------ */

/* Without the slashes at the end, which the messages add. */
static const char *directory_of(char *argument)
{
	size_t length = strlen(argument);

	while (length > 1 && argument[length - 1] == '/')
		argument[--length] = '\0';
	return argument;
}

/* STATUS_OK, with no directory where only help was asked for. */
static int parse(int argc, char **argv, struct apply *apply)
{
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, NULL)) >= 0) {
		switch (option) {
		case '?':
		case ':':
			return misused_option(usage, option, argv);
		case 'h':
			fputs(usage, stdout);
			return STATUS_OK;
		case 's':
			apply->flags |= EXCHRANGE_DSYNC;
			break;
		case 'n':
			apply->flags |= EXCHRANGE_DRY_RUN;
			break;
		case 'j':
			apply->json = true;
			break;
		}
	}
	if (argc - optind != 2)
		return misused(usage, "apply takes two directories, not %d", argc - optind);
	apply->matches.from = directory_of(argv[optind]);
	apply->matches.to = directory_of(argv[optind + 1]);
	return STATUS_OK;
}

int cmd_apply(int argc, char **argv)
{
	struct apply apply = { .matches.keep = MAX_FILES };
	int status = parse(argc, argv, &apply);
	unsigned int i;

	if (status || !apply.matches.from)
		return status;
	/* The limit of file sizes is to be explained, and not to end us. */
	signal(SIGXFSZ, SIG_IGN);
	raise_file_limit();
	apply.here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	apply.device = open_device(&apply.device_error);
	status = apply_files(&apply);
	for (i = 0; i < apply.count; i++) {
		exchrange_update_drop(apply.update[i]);
		free(apply.path[i]);
	}
	drop_matches(&apply.matches);
	exchrange_close(apply.device);
	exchrange_close(apply.here);
	return status;
}
