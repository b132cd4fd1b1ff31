// SPDX-License-Identifier: GPL-2.0
/*
 * exchrange edit: an editor on a private copy, which becomes the file if nobody has
 * changed that meanwhile.
 *
 * While the editor runs, nothing of the file is open: there is a sample of it, and a copy
 * of what it held.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "private.h"

static const char usage[] =
"usage: exchrange edit [OPTION...] FILE...\n"
"\n"
"Edits a private reflink of each FILE with $EXCHRANGE_EDITOR, $VISUAL, $EDITOR or vi.\n"
"When the editor ends, each FILE that was edited gets its new contents atomically, if\n"
"it has not changed meanwhile; else the edit is kept, and it is said where.  An\n"
"editor that fails, or changes nothing, changes nothing.\n"
"\n"
"  --dsync         return when it is on stable storage\n"
"  --staging DIR   stage in DIR, on FILE's mount, not in FILE's directory\n"
"  --no-follow     fail if FILE is a symbolic link\n"
"  --help\n";

enum { OPTION_STAGING = 256, OPTION_HELP };

static const struct option options[] = {
	{ "dsync",	no_argument,		NULL, 's' },
	{ "staging",	required_argument,	NULL, OPTION_STAGING },
	{ "no-follow",	no_argument,		NULL, 'P' },
	{ "help",	no_argument,		NULL, OPTION_HELP },
	{ }
};

/* A file may change so often while it is copied, or its attributes while it is committed. */
#define TRIES	10

/* An editor that ends so soon has not waited for a person. */
#define AT_ONCE	3	/* seconds */

/* One file that is edited. */
struct edit {
	struct target		target;
	bool			no_follow;
	bool			in_place;	/* no back end: the editor has the file itself */
	struct stat		st;		/* then */
	struct exchrange_update	*update;	/* of a file that is not there yet */
	struct exchrange_sample	sample;		/* of one that is */
	struct private		private;
};

/* --- an edit of an edit ---------------------------------------------------------- */

/* What our editor works on, for an 'exchrange edit' that it turns out to be. */
#define EDITING		"EXCHRANGE_EDITING"
#define ID_SIZE		48	/* bytes */
#define MAX_IDS		2000	/* of which fit into the environment */

static void format_id(char id[ID_SIZE], const struct stat *st)
{
	snprintf(id, ID_SIZE, " %llx:%llx ", (unsigned long long)st->st_dev,
		 (unsigned long long)st->st_ino);
}

static bool is_edited_above(int fd)
{
	const char *above = getenv(EDITING);
	char id[ID_SIZE];
	struct stat st;

	if (!above || fd < 0 || fstat(fd, &st))
		return false;
	format_id(id, &st);
	return strstr(above, id);
}

static void tell_editor(const struct edit *edits, int count)
{
	char *ids = calloc(MAX_IDS + 1, ID_SIZE), *at = ids;
	int i;

	for (i = 0; ids && i < count && i < MAX_IDS; i++) {
		format_id(at, edits[i].in_place ? &edits[i].st : &edits[i].private.st);
		at += strlen(at);
	}
	setenv(EDITING, ids ? ids : "", 1);
	free(ids);
}

/* --- begin ----------------------------------------------------------------------- */

static struct exchrange_update *begin_update(const struct edit *edit, unsigned int flags,
					     const struct exchrange_sample *sample)
{
	const struct exchrange_update_options options = {
		.flags = flags | EXCHRANGE_UPDATE_UNCHANGED |
			 (edit->no_follow ? EXCHRANGE_UPDATE_NOFOLLOW : 0),
		.mode		= 0666,
		.staging	= edit->target.staging,
		.sample		= sample,
	};

	return exchrange_update_begin(edit->target.device, edit->target.path, &options);
}

/*
 * The copy, of a file that did not change meanwhile: 0; 1 where it did.  -1 and errno,
 * which is 0 where the user knows why.
 */
static int copy_unchanged(struct edit *edit, int reader)
{
	struct exchrange_sample after;

	if (exchrange_sample(edit->target.device, reader, &edit->sample))
		return -1;
	if (fill_private(&edit->private, reader)) {
		if (errno == EAGAIN)
			return 1;
		complain("%s: cannot make a copy to edit in %s: %s", edit->target.path,
			 edit->private.directory, strerror(errno));
		errno = 0;
		return -1;
	}
	if (exchrange_sample(edit->target.device, reader, &after))
		return -1;
	return memcmp(&edit->sample, &after, sizeof(after)) != 0;
}

/* What cannot be committed is told before anything is edited. */
static int try_update(const struct edit *edit)
{
	struct exchrange_update *update = begin_update(edit, EXCHRANGE_UPDATE_CREATE,
						       &edit->sample);

	if (!update)
		return errno == EBUSY ? 1 : -1;
	exchrange_update_drop(update);
	return 0;
}

static int make_copy(struct edit *edit, int reader)
{
	int tries, ret = 1;

	for (tries = 0; ret > 0 && tries < TRIES; tries++) {
		ret = copy_unchanged(edit, reader);
		if (ret == 0)
			ret = try_update(edit);
	}
	if (ret > 0)
		errno = EAGAIN;
	return ret ? -1 : 0;
}

/* There is no back end for it; @reader is open for reading. */
static int edit_in_place(struct edit *edit, int reader)
{
	edit->in_place = true;
	return fstat(reader, &edit->st);
}

static bool has_back_end(const struct edit *edit, int reader)
{
	struct exchrange_query query = { .fd = reader };

	return exchrange_query(edit->target.device, &query) ||
	       query.backend != EXCHRANGE_BACKEND_NONE;
}

static int private_or_complain(struct edit *edit, const struct exchrange_place *place)
{
	if (make_private(&edit->private, place) == 0)
		return 0;
	complain("%s: there is no place for a private copy: neither its directory nor TMPDIR nor /var/tmp is one that nobody else can change, and where you may write: %s",
		 edit->target.path, strerror(errno));
	return -1;
}

/* A file that is there, @reader.  -1, and the user knows why. */
static int begin_old(struct edit *edit, const struct exchrange_place *place, int reader)
{
	if (!has_back_end(edit, reader))
		return edit_in_place(edit, reader);
	if (private_or_complain(edit, place))
		return -1;
	if (make_copy(edit, reader) == 0)
		return 0;
	if (errno)
		explain_update(&edit->target, errno);
	return -1;
}

/* 1 where it is there by now. */
static int begin_new(struct edit *edit, const struct exchrange_place *place)
{
	int pin;

	edit->update = begin_update(edit, EXCHRANGE_UPDATE_CREATE, NULL);
	if (!edit->update) {
		explain_update(&edit->target, errno);
		return -1;
	}
	pin = exchrange_pin(place);
	exchrange_close(pin);
	if (pin < 0)
		return private_or_complain(edit, place);
	exchrange_update_drop(edit->update);
	edit->update = NULL;
	return 1;
}

static int open_reader(const struct edit *edit, const struct exchrange_place *place, int pin)
{
	struct stat st;
	int reader;

	if (fstat(pin, &st) || !S_ISREG(st.st_mode)) {
		explain_open(edit->target.path, S_ISDIR(st.st_mode) ? EISDIR : EINVAL);
		return -1;
	}
	reader = exchrange_open_place(place, O_RDONLY);
	if (reader < 0)
		explain_open(edit->target.path, errno);
	return reader;
}

/* As begin_new() */
static int begin_at(struct edit *edit, const struct exchrange_place *place, int pin)
{
	int reader, ret;

	if (is_edited_above(place->dir) || is_edited_above(pin)) {
		complain("the editor is 'exchrange edit' itself; set EXCHRANGE_EDITOR to the one that it shall run");
		return -1;
	}
	if (pin < 0)
		return begin_new(edit, place);
	reader = open_reader(edit, place, pin);
	if (reader < 0)
		return -1;
	ret = begin_old(edit, place, reader);
	exchrange_close(reader);
	return ret;
}

static int begin(struct edit *edit)
{
	struct exchrange_place place;
	int tries, ret = 1, pin;

	edit->private.dir = -1;
	for (tries = 0; ret > 0 && tries < TRIES; tries++) {
		if (exchrange_find(edit->target.path, !edit->no_follow, &place, &pin)) {
			explain_update(&edit->target, errno);
			return -1;
		}
		ret = begin_at(edit, &place, pin);
		exchrange_close(pin);
		exchrange_drop_place(&place);
	}
	return ret;
}

/* --- the editor ------------------------------------------------------------------ */

static const char *choose_editor(void)
{
	static const char * const names[] = {
		"EXCHRANGE_EDITOR", "VISUAL", "EDITOR",
	};
	size_t i;

	for (i = 0; i < COUNT(names); i++) {
		const char *editor = getenv(names[i]);

		if (editor && *editor)
			return editor;
	}
	return "vi";
}

/* A name is no option. */
static const char *path_for_editor(const struct edit *edit)
{
	const char *path = edit->target.path;
	char *with_dot;

	if (!edit->in_place)
		return edit->private.path;
	return *path == '-' && asprintf(&with_dot, "./%s", path) > 0 ? with_dot : path;
}

/* By the shell, since the editor may have arguments of its own. */
static void run_editor(const char *editor, const struct edit *edits, int count)
{
	const char **argv = calloc(count + 5, sizeof(*argv));
	char command[PATH_MAX];
	int i, words = 0;

	if (!argv ||
	    snprintf(command, sizeof(command), "%s \"$@\"", editor) >=
	    (int)sizeof(command))
		_exit(127);
	argv[words++] = "sh";
	argv[words++] = "-c";
	argv[words++] = command;
	argv[words++] = editor;
	for (i = 0; i < count; i++)
		argv[words++] = path_for_editor(&edits[i]);
	tell_editor(edits, count);
	restore_file_limit();
	execv("/bin/sh", (char **)argv);
	_exit(127);
}

/* The limit of file sizes is to be explained, and not to end us; the editor has it as it was. */
static struct sigaction file_size;

static void ignore_file_size(void)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };

	sigaction(SIGXFSZ, &ignore, &file_size);
}

/* Its wait status; -1 and errno. */
static int run_and_wait(const char *editor, const struct edit *edits, int count)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction interrupt, quit;
	int status = -1, ended;
	pid_t pid;

	/* Ctrl-C is for the editor. */
	sigaction(SIGINT, &ignore, &interrupt);
	sigaction(SIGQUIT, &ignore, &quit);
	pid = fork();
	if (pid == 0) {
		sigaction(SIGINT, &interrupt, NULL);
		sigaction(SIGQUIT, &quit, NULL);
		sigaction(SIGXFSZ, &file_size, NULL);
		run_editor(editor, edits, count);
	}
	do
		ended = pid < 0 ? -1 : waitpid(pid, &status, 0);
	while (ended < 0 && errno == EINTR);
	sigaction(SIGINT, &interrupt, NULL);
	sigaction(SIGQUIT, &quit, NULL);
	return ended < 0 ? -1 : status;
}

/* 0 where the editor ended well; else the user knows why. */
static int run_on(const char *editor, const struct edit *edits, int count)
{
	int status = run_and_wait(editor, edits, count);

	if (status < 0)
		complain("cannot run the editor '%s': %s", editor, strerror(errno));
	else if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	else if (WIFSIGNALED(status))
		complain("the editor '%s' was ended by signal %d; nothing was written",
			 editor, WTERMSIG(status));
	else if (WEXITSTATUS(status) == 127)
		complain("the editor '%s' cannot be run; set EDITOR to one that can",
			 editor);
	else
		complain("the editor '%s' ended with status %d; nothing was written",
			 editor, WEXITSTATUS(status));
	return -1;
}

/* --- what became of it ----------------------------------------------------------- */

/* What is known of the editor when it has ended. */
struct editor {
	bool	well;		/* with status 0 */
	bool	at_once;	/* so soon that nobody has seen it */
};

static void drop_copy(struct edit *edit)
{
	if (remove_private(&edit->private))
		complain("%s: what the editor has left there could not be removed",
			 edit->private.directory);
}

static int keep_edit(const struct edit *edit)
{
	complain("%s: the edit is kept in %s", edit->target.path, edit->private.path);
	return STATUS_FAILED;
}

/* 1 where @fd, the copy, is not what the editor got; -1 and errno. */
static int was_edited(const struct edit *edit, int fd)
{
	int original, same;

	if (edit->update)
		return 1;
	original = open_original(&edit->private);
	same = original < 0 ? -1 : same_contents(fd, original);
	exchrange_close(original);
	return same < 0 ? -1 : !same;
}

/* The file holds what it held at first: 1, and it is sampled anew. */
static int has_same_contents(struct edit *edit)
{
	int fd = exchrange_open_patiently(AT_FDCWD, edit->target.path, O_RDONLY |
					  (edit->no_follow ? O_NOFOLLOW : 0));
	int original = open_original(&edit->private);
	struct exchrange_sample before, after;
	bool same;

	same = fd >= 0 && original >= 0 &&
	       exchrange_sample(edit->target.device, fd, &before) == 0 &&
	       same_contents(fd, original) == 1 &&
	       exchrange_sample(edit->target.device, fd, &after) == 0 &&
	       !memcmp(&before, &after, sizeof(after));
	if (same)
		edit->sample = after;
	exchrange_close(fd);
	exchrange_close(original);
	return same;
}

/* -1 and errno; EAGAIN is about the copy. */
static int try_commit(struct edit *edit, int fd, __u64 flags)
{
	struct exchrange_update *update = edit->update ? edit->update :
		begin_update(edit, 0, &edit->sample);
	int ret = !update || exchrange_update_clone(update, fd) ||
		  exchrange_update_commit(update, flags) ? -1 : 0;

	if (update != edit->update)
		exchrange_update_drop(update);
	return ret;
}

static int commit_edit(struct edit *edit, int fd, __u64 flags)
{
	int error = EBUSY, tries;

	/* A change of its mode or of its links alone is no other contents. */
	for (tries = 0; error == EBUSY && tries < TRIES; tries++) {
		error = try_commit(edit, fd, flags) ? errno : 0;
		if (error == EBUSY && (edit->update || !has_same_contents(edit)))
			break;
	}
	if (!error) {
		drop_copy(edit);
		return STATUS_OK;
	}
	if (error == EBUSY)
		complain("%s: somebody else has changed it meanwhile, and that stays",
			 edit->target.path);
	else if (error == EAGAIN)
		complain("%s: was not written: the editor still changes the copy, or somebody has a lease of the file",
			 edit->target.path);
	else
		explain_update(&edit->target, error);
	return keep_edit(edit);
}

static int end_unedited(struct edit *edit, const struct editor *editor)
{
	drop_copy(edit);
	if (!editor->well)
		return STATUS_FAILED;
	complain("%s: was not changed%s", edit->target.path, editor->at_once ?
		 "; an editor that returns at once must be told to wait, as 'code --wait'" : "");
	return STATUS_OK;
}

static int end_in_place(const struct edit *edit, const struct editor *editor, __u64 flags)
{
	int fd, ret = 0;

	complain("%s: has no back end here ('exchrange query' tells why); the editor had the file itself",
		 edit->target.path);
	if (!editor->well || !(flags & EXCHRANGE_DSYNC))
		return editor->well ? STATUS_OK : STATUS_FAILED;
	fd = open(edit->target.path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fsync(fd)) {
		complain("%s: %s", edit->target.path, strerror(errno));
		ret = STATUS_FAILED;
	}
	exchrange_close(fd);
	return ret;
}

static int end_edit(struct edit *edit, const struct editor *editor, __u64 flags)
{
	int status, fd, edited;

	if (edit->in_place)
		return end_in_place(edit, editor, flags);
	fd = open_copy(&edit->private);
	/* Removed, or a new one never saved. */
	if (fd < 0 && errno == ENOENT)
		return end_unedited(edit, editor);
	edited = fd < 0 ? -1 : was_edited(edit, fd);
	if (edited < 0)
		complain("%s: %s", edit->private.path, strerror(errno));
	if (edited == 0)
		status = end_unedited(edit, editor);
	else
		status = edited > 0 && editor->well ? commit_edit(edit, fd, flags) :
						      keep_edit(edit);
	exchrange_close(fd);
	return status;
}

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

static int edit_files(struct edit *edits, int count, __u64 flags)
{
	const char *command = choose_editor();
	struct editor editor;
	int status = STATUS_OK, i;
	time_t begun;

	for (i = 0; i < count; i++)
		if (begin(&edits[i]))
			goto out;
	begun = now();
	editor.well = run_on(command, edits, count) == 0;
	editor.at_once = now() - begun < AT_ONCE;
	for (i = 0; i < count; i++)
		if (end_edit(&edits[i], &editor, flags))
			status = STATUS_FAILED;
	return status;
out:
	while (i >= 0)
		drop_copy(&edits[i--]);
	return STATUS_FAILED;
}

/* --- the command ------------------------------------------------------------------ */

struct request {
	const char	*staging;
	bool		no_follow;
	__u64		flags;
};

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct request *request)
{
	int option, i;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, NULL)) >= 0) {
		if (option == '?' || option == ':')
			return misused_option(usage, option, argv);
		if (option == OPTION_HELP) {
			fputs(usage, stdout);
			return STATUS_OK;
		}
		if (option == 's')
			request->flags |= EXCHRANGE_DSYNC;
		else if (option == 'P')
			request->no_follow = true;
		else
			request->staging = optarg;
	}
	if (optind == argc)
		return misused(usage, "edit takes at least one file");
	for (i = optind; i < argc; i++)
		if (!strcmp(argv[i], "-"))
			return misused(usage, "'-' is no file to edit; './-' is one of that name");
	return -1;
}

int cmd_edit(int argc, char **argv)
{
	struct request request = { };
	int status = parse(argc, argv, &request);
	struct target target = { };
	struct edit *edits;
	int count, i;

	if (status >= 0)
		return status;
	count = argc - optind;
	edits = calloc(count, sizeof(*edits));
	if (!edits) {
		complain("%s", strerror(errno));
		return STATUS_FAILED;
	}
	target.staging = request.staging;
	target.creates = true;
	raise_file_limit();
	target.device = open_device(&target.device_error);
	for (i = 0; i < count; i++) {
		edits[i].target = target;
		edits[i].no_follow = request.no_follow;
		edits[i].target.path = argv[optind + i];
	}
	ignore_file_size();
	status = edit_files(edits, count, request.flags);
	for (i = 0; i < count; i++)
		exchrange_update_drop(edits[i].update);
	if (target.device >= 0)
		close(target.device);
	free(edits);
	return status;
}
