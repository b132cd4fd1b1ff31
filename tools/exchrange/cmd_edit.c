// SPDX-License-Identifier: GPL-2.0
/*
 * exchrange edit: an editor on a private copy, which becomes the file if nobody has
 * changed that meanwhile.
 *
 * The copy has the file's name, in a directory of its own: editors go by the name, and
 * whoever reads all that lies in the file's directory shall not find it.
 */
#include <dirent.h>
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
#include <unistd.h>

#include "command.h"

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

/* One file that is edited. */
struct edit {
	struct target		target;
	struct exchrange_update	*update;	/* its staging file has the old contents */
	bool			is_new;		/* the file is not there yet */
	char			directory[PATH_MAX];	/* private; empty: not made */
	char			copy[PATH_MAX + NAME_MAX + 2];
};

/* --- the private copy ------------------------------------------------------------ */

/* FILE as it is when links are followed, or what it will be. */
static int resolve(const char *path, char resolved[PATH_MAX])
{
	if (realpath(path, resolved))
		return 0;
	if (errno != ENOENT || strlen(path) >= PATH_MAX)
		return -1;
	snprintf(resolved, PATH_MAX, "%s", path);
	return 0;
}

/*
 * Nobody else may put another directory under the name of ours.  In a group's directory
 * root is careful, and a member need not be.
 */
static bool is_safe(const char *resolved, int length)
{
	char directory[PATH_MAX];
	struct stat st;

	snprintf(directory, sizeof(directory), "%.*s", length, resolved);
	if (stat(length ? directory : ".", &st) ||
	    (st.st_uid != geteuid() && st.st_uid != 0))
		return false;
	return st.st_mode & 01000 || !(st.st_mode & (geteuid() ? 0002 : 0022));
}

/* Beside the file, where it can be a reflink; else where temporary files go. */
static int make_directory(struct edit *edit, const char *resolved, int length)
{
	const char *temporary = getenv("TMPDIR");

	snprintf(edit->directory, sizeof(edit->directory),
		 "%.*s.exchrange-edit-XXXXXX", length, resolved);
	if (is_safe(resolved, length) && mkdtemp(edit->directory))
		return 0;
	snprintf(edit->directory, sizeof(edit->directory),
		 "%s/exchrange-edit-XXXXXX",
		 temporary && *temporary ? temporary : "/var/tmp");
	if (mkdtemp(edit->directory))
		return 0;
	edit->directory[0] = '\0';
	return -1;
}

static int make_copy(struct edit *edit)
{
	char resolved[PATH_MAX];
	const char *slash;
	int fd, status, length;

	if (resolve(edit->target.path, resolved))
		return -1;
	slash = strrchr(resolved, '/');
	length = slash ? (int)(slash + 1 - resolved) : 0;
	if (make_directory(edit, resolved, length))
		return -1;
	snprintf(edit->copy, sizeof(edit->copy), "%s/%s", edit->directory,
		 resolved + length);
	if (edit->is_new)
		return 0;
	fd = open(edit->copy, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	status = clone_or_copy(exchrange_update_fd(edit->update), fd);
	close(fd);
	return status;
}

/* With what the editor has left there, as its own backup copies. */
static void remove_copy(struct edit *edit)
{
	struct dirent *entry;
	DIR *directory;

	if (!edit->directory[0])
		return;
	directory = opendir(edit->directory);
	while (directory && (entry = readdir(directory)))
		unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
	rmdir(edit->directory);
	edit->directory[0] = '\0';
}

static int begin(struct edit *edit, bool no_follow)
{
	const struct exchrange_update_options update = {
		.flags = EXCHRANGE_UPDATE_CLONE | EXCHRANGE_UPDATE_UNCHANGED |
			 EXCHRANGE_UPDATE_CREATE |
			 (no_follow ? EXCHRANGE_UPDATE_NOFOLLOW : 0),
		.mode		= 0666,
		.staging	= edit->target.staging,
	};
	struct stat st;

	edit->is_new = access(edit->target.path, F_OK) && errno == ENOENT;
	edit->update = exchrange_update_begin(edit->target.device,
					      edit->target.path, &update);
	if (!edit->update) {
		explain_update(&edit->target, errno);
		return -1;
	}
	/* It came in between. */
	if (fstat(exchrange_update_fd(edit->update), &st) == 0 && st.st_size)
		edit->is_new = false;
	if (make_copy(edit)) {
		complain("%s: cannot make a copy to edit: %s", edit->target.path,
			 strerror(errno));
		return -1;
	}
	return 0;
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
		argv[words++] = edits[i].copy;
	setenv("EXCHRANGE_EDITING", "1", 1);
	execv("/bin/sh", (char **)argv);
	_exit(127);
}

/* 0 where the editor ended well; else the user knows why. */
static int edit_copies(const char *editor, const struct edit *edits, int count)
{
	int status;
	pid_t pid;

	/* Ctrl-C is for the editor. */
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	pid = fork();
	if (pid == 0) {
		signal(SIGINT, SIG_DFL);
		signal(SIGQUIT, SIG_DFL);
		run_editor(editor, edits, count);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0) {
		complain("cannot run the editor '%s': %s", editor,
			 strerror(errno));
		return -1;
	}
	signal(SIGINT, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
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

/* 1 where the copy is not what the editor got; -1, and the user knows why. */
static int was_edited(const struct edit *edit, int *fd)
{
	int same;

	*fd = open(edit->copy, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (*fd < 0 && errno == ENOENT)
		return 0;	/* removed, or a new one never saved */
	if (*fd < 0) {
		complain("%s: %s", edit->copy, strerror(errno));
		return -1;
	}
	if (edit->is_new)
		return 1;
	same = same_contents(*fd, exchrange_update_fd(edit->update));
	if (same < 0)
		complain("%s: %s", edit->copy, strerror(errno));
	return same < 0 ? -1 : !same;
}

static int keep_edit(const struct edit *edit)
{
	complain("%s: the edit is kept in %s", edit->target.path, edit->copy);
	return STATUS_FAILED;
}

static int commit_edit(struct edit *edit, int fd, __u64 flags)
{
	if (exchrange_update_clone(edit->update, fd) == 0 &&
	    exchrange_update_commit(edit->update, flags) == 0) {
		remove_copy(edit);
		return STATUS_OK;
	}
	if (errno == EBUSY)
		complain("%s: somebody else has changed it meanwhile, and that stays",
			 edit->target.path);
	else
		explain_update(&edit->target, errno);
	return keep_edit(edit);
}

static int end_edit(struct edit *edit, bool edited_well, __u64 flags)
{
	int status = STATUS_FAILED;
	int fd, edited = was_edited(edit, &fd);

	if (edited > 0 && edited_well) {
		status = commit_edit(edit, fd, flags);
	} else if (edited) {
		status = keep_edit(edit);
	} else {
		remove_copy(edit);
		status = edited_well ? STATUS_OK : STATUS_FAILED;
	}
	if (fd >= 0)
		close(fd);
	return status;
}

static int edit_files(struct edit *edits, int count, bool no_follow, __u64 flags)
{
	const char *editor = choose_editor();
	int status = STATUS_FAILED, i;
	bool well;

	for (i = 0; i < count; i++)
		if (begin(&edits[i], no_follow))
			goto out;
	well = edit_copies(editor, edits, count) == 0;
	status = STATUS_OK;
	for (i = 0; i < count; i++)
		if (end_edit(&edits[i], well, flags))
			status = STATUS_FAILED;
	return status;
out:
	while (i >= 0)
		remove_copy(&edits[i--]);
	return status;
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
	if (getenv("EXCHRANGE_EDITING")) {
		complain("the editor is 'exchrange edit' itself; set EXCHRANGE_EDITOR to the one that it shall run");
		return STATUS_FAILED;
	}
	count = argc - optind;
	edits = calloc(count, sizeof(*edits));
	if (!edits) {
		complain("%s", strerror(errno));
		return STATUS_FAILED;
	}
	target.staging = request.staging;
	target.device = open_device(&target.device_error);
	for (i = 0; i < count; i++) {
		edits[i].target = target;
		edits[i].target.path = argv[optind + i];
	}
	signal(SIGXFSZ, SIG_IGN);
	status = edit_files(edits, count, request.no_follow, request.flags);
	for (i = 0; i < count; i++)
		exchrange_update_drop(edits[i].update);
	if (target.device >= 0)
		close(target.device);
	free(edits);
	return status;
}
