// SPDX-License-Identifier: GPL-2.0
/*
 * The private copy that an editor works on: it has the file's name, in a directory of its
 * own, where nobody else can go and for which nobody else can put another one.
 *
 * The editor gets a path; what we read afterwards is found by the directory's descriptor.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "command.h"
#include "contents.h"
#include "private.h"

#define TRIES		100
#define MAX_DEPTH	64	/* of folders that an editor may leave */

/* Who is shown as the owner where a user namespace does not know the real one. */
#define OVERFLOW_USER	65534

/* --- a safe place ----------------------------------------------------------------- */

/* Nobody else can rename what is ours in it.  @system: it may be of an unknown root. */
static bool is_ours(int dir, bool system)
{
	struct stat st;

	if (fstat(dir, &st) ||
	    (st.st_uid != 0 && st.st_uid != geteuid() &&
	     !(system && st.st_uid == OVERFLOW_USER)))
		return false;
	return st.st_mode & 01000 || !(st.st_mode & 00022);
}

/* The same holds for all that is above it. */
static bool is_safe(int dir, bool system)
{
	int at = openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC), above;
	bool safe = at >= 0, top = false;

	while (safe && !top) {
		above = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		safe = above >= 0 && is_ours(at, system);
		top = safe && exchrange_is_same(at, above) &&
		      exchrange_mount_of(at) == exchrange_mount_of(above);
		exchrange_close(at);
		at = above;
	}
	exchrange_close(at);
	return safe;
}

/* The path of @dir, if it has one here that leads there.  -1 where not. */
static int path_of_directory(int dir, char path[PATH_MAX])
{
	int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), there = -1, ret = -1;
	bool found;

	if (here < 0 || fchdir(dir))
		goto out;
	found = getcwd(path, PATH_MAX) && path[0] == '/';
	if (fchdir(here) || !found)
		goto out;
	there = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (there >= 0 && exchrange_is_same(there, dir) &&
	    exchrange_mount_of(there) == exchrange_mount_of(dir))
		ret = 0;
out:
	exchrange_close(here);
	exchrange_close(there);
	return ret;
}

/* --- the directory ---------------------------------------------------------------- */

/* Keeps what is there by now, if that is a directory that nobody else can enter. */
static int take_directory(struct private *private, int parent, const char *name)
{
	private->dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
			      O_CLOEXEC);
	if (private->dir < 0)
		return -1;
	if (fstat(private->dir, &private->st) == 0 &&
	    private->st.st_uid == geteuid() && !(private->st.st_mode & 0077))
		return 0;
	exchrange_close(private->dir);
	private->dir = -1;
	errno = EPERM;
	return -1;
}

static int make_directory(struct private *private, int parent, const char *prefix)
{
	char path[PATH_MAX], name[40];
	unsigned int number;
	int tries;

	if (path_of_directory(parent, path))
		return -1;
	for (tries = 0; tries < TRIES; tries++) {
		if (getrandom(&number, sizeof(number), 0) != sizeof(number))
			return -1;
		snprintf(name, sizeof(name), "%sexchrange-edit-%08x", prefix, number);
		if (mkdirat(parent, name, 0700) == 0)
			break;
		if (errno != EEXIST)
			return -1;
	}
	if (snprintf(private->directory, sizeof(private->directory), "%s/%s",
		     strcmp(path, "/") ? path : "", name) >= (int)sizeof(private->directory) ||
	    take_directory(private, parent, name)) {
		unlinkat(parent, name, AT_REMOVEDIR);
		return -1;
	}
	return 0;
}

/* In a directory for temporary files, if that is safe. */
static int make_temporary(struct private *private, const char *path, bool system)
{
	int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int ret = dir >= 0 && is_safe(dir, system) ? make_directory(private, dir, "") : -1;

	exchrange_close(dir);
	return ret;
}

/* Beside the file, where it can be a reflink; else where temporary files go. */
int make_private(struct private *private, const struct exchrange_place *place)
{
	const char *temporary = getenv("TMPDIR");

	private->dir = -1;
	snprintf(private->name, sizeof(private->name), "%s", place->name);
	snprintf(private->original, sizeof(private->original), ".exchrange-original");
	if (!strcmp(private->original, private->name))
		strcat(private->original, "-");
	if (!(is_safe(place->dir, false) &&
	      make_directory(private, place->dir, ".") == 0) &&
	    !(temporary && *temporary && make_temporary(private, temporary, false) == 0) &&
	    make_temporary(private, "/var/tmp", true))
		return -1;
	snprintf(private->path, sizeof(private->path), "%s/%s", private->directory,
		 private->name);
	return 0;
}

/* --- the copy --------------------------------------------------------------------- */

static int fill(const struct private *private, const char *name, int from)
{
	int fd = openat(private->dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int ret = fd < 0 ? -1 : exchrange_copy(from, fd);

	exchrange_close(fd);
	return ret;
}

int fill_private(const struct private *private, int from)
{
	int copy, ret;

	if (fill(private, private->name, from))
		return -1;
	copy = open_copy(private);
	ret = copy < 0 ? -1 : fill(private, private->original, copy);
	exchrange_close(copy);
	return ret;
}

static int open_private(const struct private *private, const char *name)
{
	int fd = openat(private->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
			O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)))
		return fd;
	exchrange_close(fd);
	errno = EINVAL;
	return -1;
}

int open_copy(const struct private *private)
{
	return open_private(private, private->name);
}

int open_original(const struct private *private)
{
	return open_private(private, private->original);
}

/* --- its end ---------------------------------------------------------------------- */

static int empty_directory(int dir, int depth);

static int remove_folder(int dir, const char *name, int depth)
{
	int folder = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int ret = -1;

	/* What is mounted there is not the editor's. */
	if (folder >= 0 && depth < MAX_DEPTH &&
	    exchrange_mount_of(folder) == exchrange_mount_of(dir))
		ret = empty_directory(folder, depth + 1);
	exchrange_close(folder);
	return ret || unlinkat(dir, name, AT_REMOVEDIR) ? -1 : 0;
}

static int empty_directory(int dir, int depth)
{
	struct dirent *entry;
	DIR *stream = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	int ret = stream ? 0 : -1;

	while (stream && (entry = readdir(stream))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
		    unlinkat(dir, entry->d_name, 0) == 0)
			continue;
		if ((errno != EISDIR && errno != EPERM) ||
		    remove_folder(dir, entry->d_name, depth))
			ret = -1;
	}
	if (stream)
		closedir(stream);
	return ret;
}

int remove_private(struct private *private)
{
	const char *name = strrchr(private->directory, '/');
	int above, ret;

	if (private->dir < 0)
		return 0;
	ret = empty_directory(private->dir, 0);
	above = openat(private->dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (above < 0 || unlinkat(above, name + 1, AT_REMOVEDIR))
		ret = -1;
	exchrange_close(above);
	exchrange_close(private->dir);
	private->dir = -1;
	return ret;
}
