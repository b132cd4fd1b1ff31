// SPDX-License-Identifier: MIT
/*
 * Where a file lies: its directory, on the same mount, which is where a staging file
 * for it can be made.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "place.h"

/* As many as the kernel follows. */
#define MAX_LINKS	40

static int fail(int error)
{
	errno = error;
	return -1;
}

static void close_quietly(int fd)
{
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
}

void exchrange_drop_place(struct exchrange_place *place)
{
	close_quietly(place->dir);
	place->dir = -1;
}

static bool same_inode(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* -1 where the kernel does not tell. */
static int64_t mount_of(int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) ||
	    !(st.stx_mask & STATX_MNT_ID))
		return -1;
	return st.stx_mnt_id;
}

/* Opens the directory of @path as seen from @from, and takes its last name. */
static int open_directory(int from, const char *path,
			  struct exchrange_place *place)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	int length = slash ? (int)(name - path) : 1;
	char directory[PATH_MAX];

	place->dir = -1;
	if (!*path)
		return fail(ENOENT);
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return fail(EISDIR);
	if (strlen(path) >= sizeof(directory) ||
	    strlen(name) >= sizeof(place->name))
		return fail(ENAMETOOLONG);
	snprintf(place->name, sizeof(place->name), "%s", name);
	snprintf(directory, sizeof(directory), "%.*s", length,
		 slash ? path : ".");
	place->dir = openat(from, directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return place->dir < 0 ? -1 : 0;
}

int exchrange_find_place(int fd, struct exchrange_place *place)
{
	char link[32], path[PATH_MAX];
	struct stat here, there;
	ssize_t length;

	place->dir = -1;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return -1;
	path[length] = '\0';
	if (path[0] != '/')
		return fail(ENOENT);
	if (open_directory(AT_FDCWD, path, place))
		return -1;
	if (fstat(fd, &here) ||
	    fstatat(place->dir, place->name, &there, AT_SYMLINK_NOFOLLOW))
		goto drop;
	errno = ENOENT;		/* the name is gone, or another file's */
	if (!same_inode(&here, &there))
		goto drop;
	errno = EXDEV;
	if (mount_of(fd) != mount_of(place->dir))
		goto drop;
	return 0;
drop:
	exchrange_drop_place(place);
	return -1;
}

/*
 * The rule of fs.protected_symlinks: in a directory where everybody makes files, a
 * link is followed where it is the caller's or of the directory's owner.
 */
static int check_link(int dir, const struct stat *link)
{
	struct stat st;

	if (fstat(dir, &st))
		return -1;
	if ((st.st_mode & 01002) == 01002 &&
	    link->st_uid != geteuid() && link->st_uid != st.st_uid)
		return fail(EACCES);
	return 0;
}

/* Replaces @place, which is a link, by what it points to. */
static int follow_link(struct exchrange_place *place, const struct stat *link)
{
	struct exchrange_place next;
	char target[PATH_MAX];
	ssize_t length;

	if (check_link(place->dir, link))
		return -1;
	length = readlinkat(place->dir, place->name, target, sizeof(target));
	if (length < 0)
		return -1;
	if (length == sizeof(target))
		return fail(ENAMETOOLONG);
	target[length] = '\0';
	if (open_directory(place->dir, target, &next))
		return -1;
	exchrange_drop_place(place);
	*place = next;
	return 0;
}

int exchrange_find_new_place(const char *path, int follow,
			     struct exchrange_place *place)
{
	struct stat st;
	int links;

	if (open_directory(AT_FDCWD, path, place))
		return -1;
	for (links = 0; ; links++) {
		if (fstatat(place->dir, place->name, &st, AT_SYMLINK_NOFOLLOW)) {
			if (errno == ENOENT)
				return 0;
			break;
		}
		if (!S_ISLNK(st.st_mode))
			return 0;
		errno = ELOOP;
		if (!follow || links == MAX_LINKS || follow_link(place, &st))
			break;
	}
	exchrange_drop_place(place);
	return -1;
}

/* --- the same file through another mount --------------------------------------- */

/* What is needed of a line of /proc/self/mountinfo; the strings are in the line. */
struct mount {
	int64_t	id;
	char	*device;	/* major:minor of the file system */
	char	*root;		/* what of the file system is mounted */
	char	*target;	/* where */
};

/* Blanks and the like are written as three octal digits. */
static void decode(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (text[0] == '\\' && text[1] && text[2] && text[3]) {
			*to++ = (text[1] - '0') << 6 | (text[2] - '0') << 3 |
				(text[3] - '0');
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
}

static bool parse_mount(char *line, struct mount *mount)
{
	char *rest = line, *id = strsep(&rest, " ");

	strsep(&rest, " ");	/* the parent's id */
	mount->device = strsep(&rest, " ");
	mount->root = strsep(&rest, " ");
	mount->target = strsep(&rest, " ");
	if (!mount->target)
		return false;
	mount->id = strtoll(id, NULL, 10);
	decode(mount->root);
	decode(mount->target);
	return true;
}

/*
 * The path of what @root names through @mount; false where that does not show it
 * below a directory.
 */
static bool path_through(const struct mount *mount, const char *root,
			 char path[PATH_MAX])
{
	size_t length = strcmp(mount->root, "/") ? strlen(mount->root) : 0;

	if (strncmp(root, mount->root, length) || root[length] != '/')
		return false;
	return snprintf(path, PATH_MAX, "%s%s", mount->target, root + length) <
	       PATH_MAX;
}

/* Opens @path if it is the inode of @fd, on the mount @id, in a directory of that. */
static int open_there(const char *path, int64_t id, int fd)
{
	int flags = fcntl(fd, F_GETFL) & O_ACCMODE;
	int there = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
			 O_NOFOLLOW);
	struct exchrange_place place;
	struct stat st1, st2;

	if (there < 0)
		return -1;
	if (fstat(fd, &st1) == 0 && fstat(there, &st2) == 0 &&
	    same_inode(&st1, &st2) && mount_of(there) == id &&
	    exchrange_find_place(there, &place) == 0) {
		exchrange_drop_place(&place);
		return there;
	}
	close(there);
	return -1;
}

/* Calls for each line until one has found something: what it returned, or -1. */
static int each_mount(int (*look)(const struct mount *mount, void *argument),
		      void *argument)
{
	FILE *stream = fopen("/proc/self/mountinfo", "re");
	struct mount mount;
	size_t size = 0;
	char *line = NULL;
	int found = -1;

	if (!stream)
		return -1;
	while (found < 0 && getline(&line, &size, stream) > 0)
		if (parse_mount(line, &mount))
			found = look(&mount, argument);
	free(line);
	fclose(stream);
	return found;
}

struct search {
	int	fd;
	int64_t	id;		/* of its mount */
	char	*device;	/* of that mount */
	char	*root;
};

static int is_its_mount(const struct mount *mount, void *argument)
{
	struct search *search = argument;

	if (mount->id != search->id)
		return -1;
	search->device = strdup(mount->device);
	search->root = strdup(mount->root);
	return 0;
}

static int is_another_mount(const struct mount *mount, void *argument)
{
	const struct search *search = argument;
	char path[PATH_MAX];

	if (mount->id == search->id || strcmp(mount->device, search->device) ||
	    !path_through(mount, search->root, path))
		return -1;
	return open_there(path, mount->id, search->fd);
}

int exchrange_open_elsewhere(int fd)
{
	struct search search = { .fd = fd, .id = mount_of(fd) };
	int there = -1;

	if (search.id >= 0 && each_mount(is_its_mount, &search) == 0 &&
	    search.device && search.root)
		there = each_mount(is_another_mount, &search);
	free(search.device);
	free(search.root);
	return there < 0 ? fail(EXDEV) : there;
}
