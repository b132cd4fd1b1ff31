/* SPDX-License-Identifier: MIT */
/*
 * libexchange: swap byte ranges of two files atomically.
 *
 * The functions repeat the calls of <linux/exchrange.h>, whose structs they take:
 * offsets and lengths are in bytes, descriptors stay the caller's.  Each call
 * goes to the device of the exchrange module; where the module is not loaded
 * and the files are on an XFS that has an ioctl of its own for this, it goes
 * there.  Nothing here ever falls back to something that is not atomic.
 *
 * All return 0, or -1 and set errno; after an error both files hold what they
 * held (Documentation/uapi.md has what XFS keeps back of that).  All may be called by
 * any number of threads at once; an update, though, belongs to one at a time.  None
 * keeps a lock, a descriptor or memory when it returns, but for an update that is
 * begun and a watch or a hold that is open.
 */
#ifndef EXCHRANGE_H
#define EXCHRANGE_H

#include <linux/exchrange.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a call with this device and file comes to: exchrange_route(). */
enum exchrange_route {
	EXCHRANGE_ROUTE_NONE,	/* neither can do it; exchrange_query() says why */
	EXCHRANGE_ROUTE_DEVICE,	/* /dev/exchrange */
	EXCHRANGE_ROUTE_XFS,	/* XFS's own ioctl */
};

/*
 * In exchrange_query.reason, where there is no device to ask: the file is not on
 * XFS, which alone could do without.
 */
#define EXCHRANGE_REASON_NO_DEVICE	0x10000

/*
 * Opens the device.  The descriptor is close-on-exec; close it with close(2).
 * The other functions take it as device.  -1 where it cannot be opened (errno
 * says why: ENOENT where the module is not loaded) may be passed on too: calls
 * then go to XFS's own ioctl.
 */
int exchrange_open(void);

/*
 * Swaps the two ranges of *range.
 *
 * errno: EBADF, EISDIR, EINVAL, EXDEV, EOPNOTSUPP, EPERM, ETXTBSY, EFBIG, ENOSPC,
 * EDQUOT, E2BIG: Documentation/uapi.md says when.  Without a device EOPNOTSUPP,
 * before anything else, where file2 is not on an XFS that can do it alone.
 */
int exchrange_exchange(int device, const struct exchrange_range *range);

/*
 * Samples commit->file2_fd into commit->file2_freshness.  The other fields must
 * hold what exchrange_commit() may be given, or zero.
 */
int exchrange_start_commit(int device, struct exchrange_commit *commit);

/*
 * Swaps the two ranges of *commit if file2 is what it was at
 * exchrange_start_commit().  errno: EBUSY where it is not, else those of
 * exchrange_exchange().
 */
int exchrange_commit(int device, const struct exchrange_commit *commit);

/*
 * Swaps all pairs of ranges of *vector, or none: of up to 64 files, 65,536 pairs.  A pair with
 * a sample is as exchrange_commit(), one without as exchrange_exchange().
 *
 * errno: those of these two, of any pair; E2BIG for too many pairs or files; EINVAL where ranges
 * of one file overlap; ENOMEM; EOPNOTSUPP where there is no device, ENOTTY where the module is
 * too old.  vector->refused is the pair that an error is about, from 0 on, or
 * EXCHRANGE_REFUSED_NONE.
 */
int exchrange_exchange_vector(int device, struct exchrange_vector *vector);

/*
 * Tells in *query what can be done with query->fd, a regular file opened for
 * anything.  errno: EBADF, EISDIR, EINVAL (neither file nor directory), ENOMEM or
 * EAGAIN (no room for a page in the address space, which the device borrows).
 */
int exchrange_query(int device, struct exchrange_query *query);

/*
 * A staging file for fd, by the device alone: no name, no path, no right to a directory.  The
 * descriptor is the caller's, O_RDWR and close-on-exec.  flags: EXCHRANGE_STAGE_CLONE.
 *
 * fd is a regular file, open for reading and writing, and not O_APPEND.  errno: those of
 * EXCHRANGE_IOC_STAGE, in <linux/exchrange.h>; EOPNOTSUPP where there is no device, ENOTTY
 * where the module is too old.
 */
int exchrange_stage(int device, int fd, unsigned int flags);

/*
 * Holds fd, a regular file that is open for reading, and not for writing: until the descriptor
 * that this returns, which is close-on-exec, and all copies of it are closed, the contents of the
 * file stay what they are.  fd may be closed then.  Whoever opens the file for writing, truncates
 * it or exchanges it gets ETXTBSY.
 *
 * errno: those of EXCHRANGE_IOC_HOLD, in <linux/exchrange.h>: ETXTBSY where somebody has it open
 * for writing; EACCES, EPERM, EROFS where the caller may not write to it; EOPNOTSUPP where there
 * is no device, ENOTTY where the module is too old.
 */
int exchrange_hold(int device, int fd);

/*
 * Which way calls with this device go for the file fd.  EXCHRANGE_ROUTE_NONE
 * also where exchrange_query() fails.
 */
enum exchrange_route exchrange_route(int device, int fd);

/* --- samples ------------------------------------------------------------------- */

/* A file as it was; what it holds is the file system's own business. */
struct exchrange_sample {
	__u64	freshness[6];
};

/*
 * Samples fd, a regular file opened for anything, so that every later change is seen:
 * by a commit with this sample, and as a difference of two samples (memcmp).  On
 * XFS, where exchrange_start_commit() alone misses some, this waits until the clock has
 * moved on from the last change, 10 ms at most, and writes the file back, without a flush
 * of the disk.
 *
 * errno: those of exchrange_query(); EOPNOTSUPP where there is no back end; EAGAIN
 * where the file changes without a pause, or the clock stands; EOVERFLOW where it is past
 * the last time that the file system knows; EIO, ENOSPC, EDQUOT of writing it back.
 */
int exchrange_sample(int device, int fd, struct exchrange_sample *sample);

/* --- updates -------------------------------------------------------------------- */

/*
 * An update: a staging file without a name, on the file's mount, whose contents
 * become the file's at once.  Whatever ends the program or the machine, no staging
 * file is left.
 */
struct exchrange_update;

/* The staging file begins as a reflink of the file, not empty. */
#define EXCHRANGE_UPDATE_CLONE		(1u << 0)

/* The commit shall fail (EBUSY) if the file has changed, or the path is another's. */
#define EXCHRANGE_UPDATE_UNCHANGED	(1u << 1)

/* A file that is not there is created, with all its contents. */
#define EXCHRANGE_UPDATE_CREATE		(1u << 2)

/* The path must not be a symbolic link: ELOOP. */
#define EXCHRANGE_UPDATE_NOFOLLOW	(1u << 3)

/*
 * With exchrange_update_begin_fd(): no descriptor of the file is closed, which would end
 * this process's fcntl(2) locks on it (F_SETLK).  fd itself is used, and must stay open
 * until exchrange_update_drop().
 */
#define EXCHRANGE_UPDATE_KEEP_LOCKS	(1u << 4)

struct exchrange_update_options {
	unsigned int			flags;		/* EXCHRANGE_UPDATE_* */
	unsigned int			mode;		/* with _CREATE, as for open(2) */
	const char			*staging;	/* directory for the staging file; NULL: the file's own */
	const struct exchrange_sample	*sample;	/* with _UNCHANGED: since then; NULL: since the begin */
};

/*
 * Begins an update of the file that path names.  options may be NULL: all zero.
 *
 * The staging file is made in options->staging, a directory on the same mount, or else in
 * the file's directory.  Where that cannot be done (no right to write there, a file
 * that is mounted by itself), the device makes it, as exchrange_stage().  It has the file's
 * attributes that decide how data is stored (nodatacow, compression, realtime,
 * extent size, project) and, where the device has made it or the caller may give files away,
 * its owner, so that quotas are charged as for a write.  It can never get a name.  One for a
 * file that is not there is made where that will be, whatever options->staging says, and has
 * the group, the ACL and the project of every file that is made there.  Without the device a
 * file that is mounted by itself is taken through another mount that shows its directory.
 *
 * The file is open for writing only while exchrange_update_commit() runs: until then
 * programs can run it, and others may have leases of it.  Where the device makes the staging
 * file, it is open for writing for that moment too.  A lease is waited for, as long
 * as the kernel grants it.  Descriptors of the file are opened and closed: that ends this
 * process's fcntl(2) locks on it; EXCHRANGE_UPDATE_KEEP_LOCKS has the way that does not.
 *
 * NULL and errno: those of open(2) for reading and writing, for the file and with
 * O_TMPFILE for the staging file (ETXTBSY is told by the commit); of exchrange_query() and
 * exchrange_sample(), exchrange_stage(); EACCES: with _CREATE, another user has made the file, and
 * fs.protected_regular (proc_sys_fs(5)) forbids to write to it; EISDIR, EINVAL: not a
 * regular file, or unknown flags; EOPNOTSUPP: no back end for whole files; EXDEV: without a
 * device the file is mounted by itself, and nothing else shows it, or options->staging is on
 * another mount;
 * EBUSY: it is not as options->sample says.
 */
struct exchrange_update *
exchrange_update_begin(int device, const char *path,
		       const struct exchrange_update_options *options);

/*
 * The same for a file that is open for reading and writing, and not O_APPEND (EBADF).
 * fd stays the caller's.  The commit does not look at names.  Unless options->staging is
 * given, the device makes the staging file where it can; else it is made in the file's directory:
 * ENOENT where the file has no name any more, or /proc is not there to tell it.
 * What a dry run of the commit answers is told here.
 */
struct exchrange_update *
exchrange_update_begin_fd(int device, int fd,
			  const struct exchrange_update_options *options);

/*
 * The staging file's descriptor, open for reading and writing, good until
 * exchrange_update_drop(), which closes it.  Write to it, truncate it, map it.
 */
int exchrange_update_fd(const struct exchrange_update *update);

/*
 * Makes the contents of the staging file those of fd: a reflink, or a copy without
 * the holes where blocks cannot be shared, of all that reading gives, whatever the size
 * is said to be (procfs).  errno: those of ioctl_ficlone(2), read(2) and write(2);
 * EAGAIN where fd changes while it is copied.  The staging file may hold a part then.
 */
int exchrange_update_clone(struct exchrange_update *update, int fd);

/*
 * Makes the staging file's contents, with its size, the file's, at once.  flags:
 * EXCHRANGE_DSYNC, EXCHRANGE_FILE1_WRITTEN (the staging file is sparse: only what was
 * written of it, and its size), EXCHRANGE_DRY_RUN.
 *
 * An update by path takes the file that the path names now, if that is another one,
 * unless it is _UNCHANGED.  With _CREATE it gives the staging file the name where
 * there is none; its contents are made durable before, the name with EXCHRANGE_DSYNC.
 *
 * Where the name is of another file than at the begin, the staging file is made anew for
 * that one, with the same contents and descriptor; what was mapped of it is another file's.
 *
 * After success the staging file holds the old contents; it may be written again and
 * committed again, unless the update is _UNCHANGED (EBUSY) or the commit has created
 * the file, which the descriptor is of then (EINVAL).  After a commit without EXCHRANGE_DSYNC
 * truncate it to 0 first: until that commit is durable its blocks are, on the disk, the file's
 * (Documentation/uapi.md).  After a crash at any moment the file has its old or its new contents, whole: the new ones if a commit with
 * EXCHRANGE_DSYNC had returned 0.
 *
 * errno: those of open(2) for reading and writing (EAGAIN where a lease does not end), of
 * exchrange_exchange(), linkat(2), fsync(2); EBUSY where the file or what the path names has
 * changed; ENOENT where it is gone, without _CREATE, or its directory is, or a file is to be
 * created without /proc, before Linux 6.10.  After an
 * error the file holds what it held, and so does the staging file: the commit may be
 * tried again.  EIO and EROFS aside, and what fails after a file was created, with
 * EXCHRANGE_DSYNC: look at the file then.
 */
int exchrange_update_commit(struct exchrange_update *update, __u64 flags);

/* Each has two files, of those that can be in a vector. */
#define EXCHRANGE_UPDATES_MAX	(EXCHRANGE_VECTOR_FILES / 2)

/*
 * Commits count updates at once: all of them or none, for a crash, a snapshot, an error, and for
 * who has watches on the files.  Each is as exchrange_update_commit() with these flags, and
 * each may be _UNCHANGED or not.  All files are on one mount.  Of two or more none is created:
 * a name cannot appear in the same moment.
 *
 * errno: those of exchrange_update_commit() and exchrange_exchange_vector(); *refused, where
 * refused is not NULL, is the update that the error is about, from 0 on, or
 * EXCHRANGE_REFUSED_NONE.  And of two or more: ENOENT: there is no such file, with _CREATE too;
 * EXDEV: it is on another mount than the first; EINVAL: two are of one file; EOPNOTSUPP: there is
 * no device, or the file cannot be in a vector; ENOTTY: the module is too old; E2BIG: there are
 * more than EXCHRANGE_UPDATES_MAX.  They are never committed one after the other instead.
 *
 * After an error all files and staging files hold what they held, with the same exceptions.
 */
int exchrange_update_commit_all(struct exchrange_update *const *updates,
				unsigned int count, __u64 flags, __u32 *refused);

/*
 * Ends an update, committed or not; frees all that it holds.  NULL is nothing to
 * drop.  errno stays.
 */
void exchrange_update_drop(struct exchrange_update *update);

/* --- watches -------------------------------------------------------------------- */

/*
 * A watch of a file: the protocol by which one who reads it by several calls, or through
 * a mapping, knows that what was read is of one moment, as far as exchanges go:
 *
 *	do {
 *		sequence = exchrange_watch_read_begin(&watcher);
 *		... read what is needed, by any means ...
 *	} while (exchrange_watch_read_retry(&watcher, sequence));
 *
 * Until _retry() has said 0, what was read may be a mixture: do not follow it further
 * than it can be checked.  Where an exchange makes the file shorter, a mapping has no
 * pages behind its new end (SIGBUS): exchrange_watch_open(3) has what to do about that.
 *
 * Exchanges through the device are seen, by whomever; writes and other changes are not.
 */
struct exchrange_watcher {
	int					fd;	/* to poll for reading; O_NONBLOCK */
	const struct exchrange_watch_page	*page;
};

/*
 * Watches fd, a regular file that is open for reading, which may be closed then.  The
 * watch keeps the file's mount busy until it is closed.  A child of fork(2) has it too;
 * exec(2) closes it.
 *
 * errno: those of exchrange_query(); EBADF: not open for reading; EOPNOTSUPP: no device,
 * or no back end; ENOTTY: the module is too old; ENOSPC: the user has as many watches as
 * the module's watches_max_user; EMFILE, ENFILE, ENOMEM.
 */
int exchrange_watch_open(int device, int fd, struct exchrange_watcher *watcher);

/* Ends a watch, and no other one: those that a fork has made stay.  errno stays. */
void exchrange_watch_close(struct exchrange_watcher *watcher);

/*
 * Waits for exchanges since the last call of this, or since the watch was opened, for
 * timeout milliseconds at most; -1 is without end.  Puts their number into *count, 0 after
 * the timeout.  Of several waiters one gets them.  errno: EINTR.
 */
int exchrange_watch_wait(const struct exchrange_watcher *watcher, int timeout,
			 __u64 *count);

/* Waits while an exchange is under way; for exchrange_watch_read_begin(). */
__u32 exchrange_watch_read_settle(const struct exchrange_watcher *watcher);

/*
 * Begins to read.  A load, and no call unless an exchange is under way: then it waits for
 * the end of that.  Acquire: nothing that follows is read before it.
 */
static inline __u32
exchrange_watch_read_begin(const struct exchrange_watcher *watcher)
{
	__u32 sequence = __atomic_load_n(&watcher->page->sequence, __ATOMIC_ACQUIRE);

	return sequence & 1 ? exchrange_watch_read_settle(watcher) : sequence;
}

/*
 * Whether what was read since _begin() has to be read again.  A fence and a load: all
 * that was read before is read before the load.
 */
static inline int
exchrange_watch_read_retry(const struct exchrange_watcher *watcher, __u32 sequence)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&watcher->page->sequence, __ATOMIC_RELAXED) != sequence;
}

#ifdef __cplusplus
}
#endif

#endif /* EXCHRANGE_H */
