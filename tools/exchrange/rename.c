// SPDX-License-Identifier: GPL-2.0
/*
 * The old way, where it is asked for: a temporary file that is renamed over the file.
 * It splits hard links, and most attributes and watches stay behind; who may do what does
 * not change, or the file is not replaced.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "command.h"
#include "place.h"

#define TRIES	100

/* Also for the signal handler. */
static struct exchrange_place place;
static char temporary[32];

static void remove_and_end(int signal_number)
{
	unlinkat(place.dir, temporary, 0);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static void watch_signals(void (*handler)(int signal_number))
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	size_t i;

	for (i = 0; i < COUNT(signals); i++)
		if (signal(signals[i], handler) == SIG_IGN)
			signal(signals[i], SIG_IGN);
}

static int open_temporary(mode_t mode)
{
	unsigned int number;
	int tries, fd = -1;

	for (tries = 0; tries < TRIES && fd < 0; tries++) {
		if (getrandom(&number, sizeof(number), 0) != sizeof(number))
			return -1;
		snprintf(temporary, sizeof(temporary), ".exchrange-%08x", number);
		fd = openat(place.dir, temporary,
			    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
		if (fd < 0 && errno != EEXIST)
			return -1;
	}
	return fd;
}

static int sync_directory(void)
{
	int fd = openat(place.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;

	if (fd < 0)
		return -1;
	ret = fsync(fd);
	close(fd);
	return ret;
}

/* --- who may do what ------------------------------------------------------------- */

/* The value of an attribute, to be freed; *size is -1 where there is none. */
static char *get_attribute(int fd, const char *name, ssize_t *size)
{
	char *value = malloc(XATTR_SIZE_MAX);

	*size = value ? fgetxattr(fd, name, value, XATTR_SIZE_MAX) : -1;
	return value;
}

/* Gives @to the attribute that @from has, or none. */
static int copy_attribute(const char *name, int from, int to)
{
	ssize_t its_size, our_size;
	char *its = get_attribute(from, name, &its_size);
	char *ours = get_attribute(to, name, &our_size);
	int ret = its && ours ? 0 : -1;

	if (ret == 0 && (its_size != our_size ||
			 (its_size > 0 && memcmp(its, ours, its_size))))
		ret = its_size >= 0 ? fsetxattr(to, name, its, its_size, 0) :
				      fremovexattr(to, name);
	free(its);
	free(ours);
	return ret;
}

/*
 * Owner, group, ACL, label and mode of the file that is there.  What the directory gave the
 * temporary file goes; the group's bits of a mode beside an ACL are its mask, so the ACL
 * comes before them.
 */
static int take_rights(int fd, int from)
{
	static const char * const names[] = {
		"system.posix_acl_access", "system.nfs4_acl",
		"security.selinux", "security.SMACK64",
	};
	struct stat st;
	size_t i;

	if (fstat(from, &st))
		return -1;
	if ((st.st_uid != geteuid() || st.st_gid != getegid()) &&
	    fchown(fd, st.st_uid, st.st_gid))
		return -1;
	for (i = 0; i < COUNT(names); i++)
		if (copy_attribute(names[i], from, fd))
			return -1;
	return fchmod(fd, st.st_mode & 0777);
}

/* --- the rename ------------------------------------------------------------------ */

struct source {
	int		fd;
	const char	*name;		/* as the user knows it */
};

/*
 * What the name is of, open for reading, if the user may write to it; -1 with success is
 * nothing.  Otherwise the user knows why.
 */
static int open_old(const char *path, int *old)
{
	int pin = exchrange_pin(&place), error = errno;
	struct stat st;

	*old = -1;
	if (pin < 0 && error == ENOENT)
		return 0;
	if (pin >= 0 && fstat(pin, &st) == 0 && !S_ISREG(st.st_mode)) {
		error = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	} else if (pin >= 0 && exchrange_check_planted(&place, pin)) {
		error = 0;
		explain_planted(path);
	} else if (pin >= 0) {
		*old = exchrange_open_place(&place, O_RDONLY);
		error = *old < 0 || exchrange_check_writable(*old) ? errno : -1;
	}
	exchrange_close(pin);
	if (error < 0)
		return 0;
	if (error)
		explain_open(path, error);
	exchrange_close(*old);
	return -1;
}

static int take_rights_of_old(int fd, const char *path)
{
	int old, ret;

	if (open_old(path, &old))
		return -1;
	ret = old < 0 ? 0 : take_rights(fd, old);
	if (ret)
		complain("%s: was not replaced, since its owner, group, ACL or label cannot be given to another file: %s",
			 path, strerror(errno));
	exchrange_close(old);
	return ret;
}

static int fill_and_rename(int fd, const char *path, const struct source *source,
			   bool dsync)
{
	bool reading;

	if (copy_stream(source->fd, fd, &reading)) {
		complain("%s: %s", reading ? source->name : path, strerror(errno));
		return -1;
	}
	if (take_rights_of_old(fd, path))
		return -1;
	if ((dsync && fsync(fd)) ||
	    renameat(place.dir, temporary, place.dir, place.name) ||
	    (dsync && sync_directory())) {
		explain_rename(path, errno);
		return -1;
	}
	return 0;
}

static int replace(const char *path, const struct source *source, bool is_new,
		   bool dsync)
{
	/* A new one gets what every file that is made there gets. */
	int fd = open_temporary(is_new ? 0666 : 0600), status;

	if (fd < 0) {
		explain_rename(path, errno);
		return -1;
	}
	watch_signals(remove_and_end);
	status = fill_and_rename(fd, path, source, dsync);
	watch_signals(SIG_DFL);
	if (status)
		unlinkat(place.dir, temporary, 0);
	close(fd);
	return status;
}

/*
 * Makes what comes from @from, which the user knows as @from_name, the contents of
 * @path: the link stays, what it points to is replaced.  -1, and the user knows why.
 */
int write_by_rename(const char *path, int from, const char *from_name, bool dsync)
{
	const struct source source = { from, from_name };
	int pin, old, status = -1;
	bool is_new;

	if (exchrange_find(path, true, &place, &pin)) {
		explain_open(path, errno);
		return -1;
	}
	exchrange_close(pin);
	if (place.follow)
		complain("%s: is a link of /proc, whose file has no name to rename over",
			 path);
	else if (open_old(path, &old) == 0) {
		is_new = old < 0;
		exchrange_close(old);
		status = replace(path, &source, is_new, dsync);
	}
	exchrange_drop_place(&place);
	return status;
}
