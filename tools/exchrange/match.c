// SPDX-License-Identifier: GPL-2.0
/*
 * The files that two directories have by the same relative name: both trees are walked
 * together, by descriptors, and no symbolic link in them is followed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "match.h"
#include "place.h"

/* --- the list -------------------------------------------------------------------- */

/* Longer paths could not be told. */
#define MAX_DEPTH	1000

/* Two directories of one relative name, while they are looked at. */
struct level {
	int		from, to;	/* both O_PATH */
	const char	*path;		/* relative; "" is of the top */
	int		depth;
};

static int no_memory(void)
{
	complain("%s", strerror(ENOMEM));
	return -1;
}

static char *join(const char *path, const char *name)
{
	char *joined;

	return asprintf(&joined, "%s%s%s", path, *path ? "/" : "", name) < 0 ? NULL : joined;
}

/* A new one at the end of the list, or NULL, which was said. */
static struct match *add_match(struct matches *matches, const struct level *level,
			       const char *name)
{
	struct match *match;

	if (matches->count == matches->room) {
		size_t room = 2 * matches->room + 16;
		struct match *list = reallocarray(matches->list, room, sizeof(*list));

		if (!list) {
			no_memory();
			return NULL;
		}
		matches->list = list;
		matches->room = room;
	}
	match = &matches->list[matches->count];
	*match = (struct match) { .path = join(level->path, name), .from = -1, .dir = -1 };
	if (!match->path) {
		no_memory();
		return NULL;
	}
	match->name = strrchr(match->path, '/');
	match->name = match->name ? match->name + 1 : match->path;
	matches->count++;
	return match;
}

void drop_matches(struct matches *matches)
{
	size_t i;

	for (i = 0; i < matches->count; i++) {
		exchrange_close(matches->list[i].from);
		exchrange_close(matches->list[i].dir);
		free(matches->list[i].path);
	}
	free(matches->list);
	matches->list = NULL;
	matches->count = 0;
	matches->room = 0;
}

/* --- what cannot be ---------------------------------------------------------------- */

static void refuse(struct matches *matches, struct match *match, const char *reason)
{
	match->state = MATCH_REFUSED;
	match->reason = reason;
	matches->refused++;
}

/* @side is one of the two directories. */
static void refuse_error(struct matches *matches, struct match *match, const char *side,
			 int error)
{
	char *path = join(side, match->path);

	explain_open(path ? path : match->path, error);
	free(path);
	refuse(matches, match, "error");
}

static void refuse_missing(struct matches *matches, struct match *match, bool directory)
{
	if (directory)
		complain("%s/%s: is not there, and apply makes no directory; make it with its files first",
			 matches->to, match->path);
	else
		complain("%s/%s: is not there, and apply makes no file; make an empty one first, with its owner and mode ('install -m MODE /dev/null FILE')",
			 matches->to, match->path);
	refuse(matches, match, "missing");
}

static void refuse_link(struct matches *matches, struct match *match, const char *side)
{
	complain("%s/%s: is a symbolic link, which apply neither follows nor changes; take it out of %s",
		 side, match->path, matches->from);
	refuse(matches, match, "link");
}

static const char *kind_of(mode_t mode)
{
	return S_ISREG(mode) ? "a regular file" : S_ISDIR(mode) ? "a directory" :
	       "neither a file nor a directory";
}

static void refuse_kind(struct matches *matches, struct match *match, mode_t from, mode_t to)
{
	complain("%s/%s: is %s, and %s/%s is %s; apply takes what is the same on both sides",
		 matches->to, match->path, kind_of(to), matches->from, match->path,
		 kind_of(from));
	refuse(matches, match, "not-regular");
}

static void refuse_special(struct matches *matches, struct match *match, const char *side)
{
	complain("%s/%s: is not a regular file; take it out of %s", side, match->path,
		 matches->from);
	refuse(matches, match, "not-regular");
}

/* --- a file ------------------------------------------------------------------------ */

/* Open for reading; -1, refused. */
static int open_side(struct matches *matches, struct match *match, int dir,
		     const char *side, struct stat *st)
{
	int fd = exchrange_open_patiently(dir, match->name, O_RDONLY | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, st))
		refuse_error(matches, match, side, errno);
	else if (!S_ISREG(st->st_mode))
		refuse_special(matches, match, side);
	else
		return fd;
	exchrange_close(fd);
	return -1;
}

/* A file that another name of the same directory is of: it can have one contents only. */
static void check_double(struct matches *matches, struct match *match)
{
	struct match *other;

	for (other = matches->list; other < match; other++) {
		if (other->state != MATCH_DIFFERS || other->doubled || other->from < 0 ||
		    other->target.st_ino != match->target.st_ino ||
		    other->target.st_dev != match->target.st_dev)
			continue;
		if (same_contents(other->from, match->from) == 1) {
			match->doubled = true;
			return;
		}
		complain("%s/%s and %s: are one file, for which %s has two contents",
			 matches->to, other->path, match->path, matches->from);
		refuse(matches, match, "two-contents");
		return;
	}
}

/* @from and @to are open for reading; @from is kept where it is needed. */
static void compare(struct matches *matches, struct match *match, int from, int to,
		    int dir)
{
	int same = exchrange_is_same(from, to) ? 1 : same_contents(from, to);

	if (same < 0 && errno == EAGAIN)
		same = 0;	/* of a size that has changed */
	if (same < 0) {
		complain("%s/%s and %s/%s: cannot be compared: %s", matches->from, match->path,
			 matches->to, match->path, strerror(errno));
		refuse(matches, match, "error");
	}
	if (same)
		return;
	match->state = MATCH_DIFFERS;
	match->mount = exchrange_mount_of(to);
	match->from = from;
	if (matches->differing <= (size_t)matches->keep)
		check_double(matches, match);
	match->from = -1;
	if (match->state != MATCH_DIFFERS || match->doubled ||
	    ++matches->differing > (size_t)matches->keep)
		return;
	match->from = fcntl(from, F_DUPFD_CLOEXEC, 0);
	match->dir = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	if (match->from < 0 || match->dir < 0)
		refuse_error(matches, match, matches->from, errno);
}

static void look_at_file(struct matches *matches, struct match *match,
			 const struct level *level)
{
	int from, to = -1;

	from = open_side(matches, match, level->from, matches->from, &match->source);
	if (from >= 0)
		to = open_side(matches, match, level->to, matches->to, &match->target);
	if (to >= 0)
		compare(matches, match, from, to, level->to);
	exchrange_close(from);
	exchrange_close(to);
}

/* --- the trees ---------------------------------------------------------------------- */

static int walk(struct matches *matches, const struct level *level);

static int open_directory(int dir, const char *name)
{
	return openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* What is wrong with a directory is an entry of the list, and else it is none. */
static int enter(struct matches *matches, const struct level *level, const char *name)
{
	struct level next = {
		.from	= open_directory(level->from, name),
		.to	= -1,
		.depth	= level->depth + 1,
	};
	const char *side = next.from < 0 ? matches->from : matches->to;
	struct match *match;
	int ret = -1;

	if (next.depth > MAX_DEPTH)
		errno = ENAMETOOLONG;
	else if (next.from >= 0)
		next.to = open_directory(level->to, name);
	if (next.to < 0) {
		int error = errno;

		match = add_match(matches, level, name);
		if (match)
			refuse_error(matches, match, side, error);
		ret = match ? 0 : -1;
	} else {
		char *path = join(level->path, name);

		next.path = path;
		ret = path ? walk(matches, &next) : no_memory();
		free(path);
	}
	exchrange_close(next.from);
	exchrange_close(next.to);
	return ret;
}

/* What FROM has by this name is a file, or what it is is no thing for us. */
static int look_at_entry(struct matches *matches, const struct level *level,
			 const char *name, const struct stat *from)
{
	struct match *match = add_match(matches, level, name);
	struct stat to;

	if (!match)
		return -1;
	if (S_ISLNK(from->st_mode))
		refuse_link(matches, match, matches->from);
	else if (!S_ISREG(from->st_mode) && !S_ISDIR(from->st_mode))
		refuse_special(matches, match, matches->from);
	else if (fstatat(level->to, name, &to, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT)
			refuse_missing(matches, match, S_ISDIR(from->st_mode));
		else
			refuse_error(matches, match, matches->to, errno);
	} else if (S_ISLNK(to.st_mode))
		refuse_link(matches, match, matches->to);
	else if (!S_ISREG(to.st_mode) || !S_ISREG(from->st_mode))
		refuse_kind(matches, match, from->st_mode, to.st_mode);
	else
		look_at_file(matches, match, level);
	return 0;
}

static int visit(struct matches *matches, const struct level *level, const char *name)
{
	struct stat from, to;

	show_files("compared", matches->count, 0);
	if (fstatat(level->from, name, &from, AT_SYMLINK_NOFOLLOW)) {
		struct match *match = add_match(matches, level, name);

		if (match)
			refuse_error(matches, match, matches->from, errno);
		return match ? 0 : -1;
	}
	if (S_ISDIR(from.st_mode) &&
	    fstatat(level->to, name, &to, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(to.st_mode))
		return enter(matches, level, name);
	return look_at_entry(matches, level, name, &from);
}

static int is_entry(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int walk(struct matches *matches, const struct level *level)
{
	struct dirent **entries;
	int count = scandirat(level->from, ".", &entries, is_entry, by_name), i, ret = 0;

	if (count < 0) {
		complain("%s%s%s: %s", matches->from, *level->path ? "/" : "", level->path,
			 strerror(errno));
		return -1;
	}
	for (i = 0; i < count; i++) {
		if (ret == 0)
			ret = visit(matches, level, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return ret;
}

/* The two that were named may be links. */
static int open_top(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		complain("%s: %s", path, errno == ENOENT ? "no such directory" :
			 errno == ENOTDIR ? "is not a directory; apply takes two" :
			 strerror(errno));
	return fd;
}

int find_matches(struct matches *matches)
{
	struct level top = { .from = open_top(matches->from), .to = -1, .path = "" };
	int ret = -1;

	if (top.from >= 0)
		top.to = open_top(matches->to);
	if (top.to >= 0) {
		if (exchrange_is_same(top.from, top.to))
			complain("%s and %s are one directory", matches->from, matches->to);
		else
			ret = walk(matches, &top);
	}
	show_files(NULL, 0, 0);
	exchrange_close(top.from);
	exchrange_close(top.to);
	return ret;
}
