/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * exchrange: swap byte ranges of two files atomically, through /dev/exchrange.
 *
 * Offsets and lengths are in bytes.  file1_fd and file2_fd are descriptors of
 * the caller, open for reading and writing and without O_APPEND, of regular
 * files on one mount.  Every struct may grow at its end: the size travels in
 * the ioctl number, and what one side does not know must be zero.
 *
 * After an error both files hold what they held; the exceptions are in
 * Documentation/uapi.md.  Errors that every call knows:
 * EBADF (a bad descriptor), EFAULT (a bad pointer), EINVAL (unknown flags,
 * padding that is not zero, a struct that is too short), E2BIG (a longer struct
 * with something in it that this module does not know), ENOTTY (not a call of
 * this device).
 */
#ifndef _UAPI_LINUX_EXCHRANGE_H
#define _UAPI_LINUX_EXCHRANGE_H

#include <linux/const.h>
#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * Swap everything from the offsets to the ends of both files, and the sizes
 * with it.  length is ignored.
 */
#define EXCHRANGE_TO_EOF	_BITULL(0)

/* Return when data and metadata of both files are on stable storage. */
#define EXCHRANGE_DSYNC		_BITULL(1)

/* Check everything, change nothing. */
#define EXCHRANGE_DRY_RUN	_BITULL(2)

/*
 * Swap only those parts of the range that file1 has written: its holes and
 * preallocated blocks stay, and so do file2's bytes there.
 */
#define EXCHRANGE_FILE1_WRITTEN	_BITULL(3)

/*
 * EXCHRANGE_IOC_EXCHANGE.  Offsets are multiples of the alignment that
 * EXCHRANGE_IOC_QUERY tells, and so is the length unless the range ends at the
 * end of a file.  The first 40 bytes are those of struct xfs_exchange_range.
 */
struct exchrange_range {
	__s32	file1_fd;
	__u32	pad;		/* must be zero */
	__u64	file1_offset;	/* bytes */
	__u64	file2_offset;	/* bytes */
	__u64	length;		/* bytes */
	__u64	flags;		/* EXCHRANGE_TO_EOF and the like */
	__s32	file2_fd;
	__u32	pad2;		/* must be zero */
};

/*
 * EXCHRANGE_IOC_START_COMMIT samples file2 into file2_freshness and looks at
 * nothing else but the padding and the flags, which must be valid.
 * EXCHRANGE_IOC_COMMIT is EXCHRANGE_IOC_EXCHANGE that answers EBUSY where file2
 * changed since the sample, too.  What file2_freshness holds is the file system's
 * own business.  The first 88 bytes are those of struct xfs_commit_range.
 */
struct exchrange_commit {
	__s32	file1_fd;
	__u32	pad;		/* must be zero */
	__u64	file1_offset;	/* bytes */
	__u64	file2_offset;	/* bytes */
	__u64	length;		/* bytes */
	__u64	flags;		/* EXCHRANGE_TO_EOF and the like */
	__u64	file2_freshness[6];
	__s32	file2_fd;
	__u32	pad2;		/* must be zero */
};

/* exchrange_query.backend: who does the exchange */
#define EXCHRANGE_BACKEND_NONE			0	/* nobody; see reason */
#define EXCHRANGE_BACKEND_XFS			1	/* XFS's own ioctl */
#define EXCHRANGE_BACKEND_XFS_TRANSACTION	2	/* one XFS transaction */
#define EXCHRANGE_BACKEND_BTRFS			3	/* one btrfs transaction */

/* exchrange_query.reason: why there is no back end, or no EXCHRANGE_TO_EOF */
#define EXCHRANGE_REASON_NONE		0	/* both are there */
#define EXCHRANGE_REASON_FILE_SYSTEM	1	/* not a supported file system */
#define EXCHRANGE_REASON_XFS_FEATURE	2	/* XFS made without exchange=1 */
#define EXCHRANGE_REASON_XFS_KERNEL	3	/* XFS of this kernel has no such ioctl */
#define EXCHRANGE_REASON_BUILD		4	/* the module was built without it */
#define EXCHRANGE_REASON_BTF		5	/* built for another build of the file system */
#define EXCHRANGE_REASON_SYMBOL		6	/* the file system lacks a function */
#define EXCHRANGE_REASON_XFS_REALTIME	7	/* a realtime file */
#define EXCHRANGE_REASON_XFS_FORMAT	8	/* XFS of a format that is not known here */
#define EXCHRANGE_REASON_UNTESTED	9	/* built without it: not tested with this kernel */
#define EXCHRANGE_REASON_LOOKUP		10	/* this kernel has no kprobes, or no kallsyms */
#define EXCHRANGE_REASON_BTRFS_FORMAT	11	/* btrfs with a feature that is not known here */
#define EXCHRANGE_REASON_OVERLAY_UPPER	12	/* overlayfs, and none for its upper layer */
#define EXCHRANGE_REASON_OVERLAY_READ_ONLY 13	/* overlayfs without an upper layer */

/* exchrange_query.features: what there is besides */
#define EXCHRANGE_FEATURE_VECTOR	_BITUL(0)	/* EXCHRANGE_IOC_EXCHANGE_VECTOR */
#define EXCHRANGE_FEATURE_HOLD		_BITUL(1)	/* EXCHRANGE_IOC_HOLD */

/*
 * EXCHRANGE_IOC_QUERY: what can be done with a regular file, whatever its
 * descriptor was opened for (O_PATH aside).  Only fd is read, of this version of
 * the struct: the rest may hold anything.  ENOMEM or EAGAIN, on XFS whose private
 * functions are not bound, where a page more in the caller's address space would pass its
 * limits.
 */
struct exchrange_query {
	__s32	fd;		/* in */
	__u32	backend;	/* out: EXCHRANGE_BACKEND_* */
	__u32	alignment;	/* out: bytes, 0 where there is no back end */
	__u32	reason;		/* out: EXCHRANGE_REASON_* */
	__u64	flags;		/* out: the EXCHRANGE_* flags that work here */
	__u32	alternative;	/* out: EXCHRANGE_BACKEND_* that could do it too, or NONE */
	__u32	features;	/* out: EXCHRANGE_FEATURE_*; zero from older modules */
	__u32	holds;		/* out: EXCHRANGE_IOC_HOLD: how many of the file; 10,000 if more */
	__s32	holder;		/* out: a process that called for one; 0: it is gone, or not seen */
	__u64	reserved[2];	/* out: zero */
};

/*
 * EXCHRANGE_IOC_WATCH: returns a new descriptor, close-on-exec, that tells of the
 * exchanges of a file, made through this device by whomever.  Not of writes.
 *
 *	poll	readable when there were exchanges since the last read, or the call
 *	read	their number, as a __u64; waits for one, or is EAGAIN with O_NONBLOCK;
 *		EINVAL where there is less room
 *	mmap	one page at offset 0, for reading: struct exchrange_watch_page
 *
 * fd is open for reading, of a regular file with a back end.  EISDIR, EOPNOTSUPP as
 * for an exchange, and the errors of EXCHRANGE_IOC_QUERY; ENOSPC where the user has as
 * many watches as the module's watches_max_user; EMFILE, ENFILE, ENOMEM.
 *
 * Until the watch is closed, and its page unmapped, the file's mount is busy.
 */
struct exchrange_watch {
	__s32	fd;
	__u32	flags;		/* must be zero */
};

/*
 * The page of a file, the same for all its watches; other bytes of the page are zero.
 *
 * sequence is odd from before the first byte that an exchange changes, for whoever
 * reads or has mapped the file, until the contents are stable, whether it succeeds or
 * fails, and another number afterwards.  A reader
 *
 *	1. loads sequence, with acquire order, until it is even;
 *	2. reads of the file what it needs, by any means, and what else is in here;
 *	3. has an acquire fence, loads sequence again, and begins anew if it differs.
 *
 * What it has read then is of one moment, as far as exchanges go.
 */
struct exchrange_watch_page {
	__u32	sequence;
	__u32	size;		/* bytes of this struct that the module knows */
	__u64	count;		/* exchanges since the file's first watch */
	__s64	time;		/* of the last, in ns of CLOCK_REALTIME; 0 for none */
	__u64	reserved[5];	/* zero */
};

/* exchrange_stage.flags: it begins as a reflink of the file, not empty */
#define EXCHRANGE_STAGE_CLONE	_BITUL(0)

/*
 * EXCHRANGE_IOC_STAGE: returns a new descriptor, O_RDWR and close-on-exec, of a staging file for
 * fd's: one to be exchanged with it.  It has no name and can never get one, is on fd's mount, and
 * has the file's owner, group, project and all that decides how data is stored; its mode
 * is 0600, less the umask.  It takes no right to any directory.
 *
 * fd is open for reading and writing, and not O_APPEND, of a regular file with a back end.
 * EBADF, EISDIR, EINVAL, EOPNOTSUPP, EPERM, ETXTBSY as for an exchange, and what security modules
 * answer to a write of the file, and to opening the staging file (EACCES); EXDEV where nothing
 * is known of the directories of the file's subvolume; EUSERS where the user has as many staging
 * files as the module's staging_max_user; EROFS, ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM; with
 * EXCHRANGE_STAGE_CLONE those of ioctl_ficlone(2), EOPNOTSUPP where blocks cannot be shared.
 */
struct exchrange_stage {
	__s32	fd;
	__u32	flags;		/* EXCHRANGE_STAGE_* */
	__u64	reserved[3];	/* must be zero */
};

/*
 * EXCHRANGE_IOC_HOLD: returns a new descriptor, close-on-exec.  As long as it, or a copy of it, is
 * open, the contents of the file stay what they are: to open it for writing or to truncate it is
 * ETXTBSY for everybody, as where a program runs, and so nobody has the descriptor that an exchange
 * takes.  A file may have many holds.  Its names, owner, mode and attributes may change.
 *
 * fd is open for reading, of a regular file with a back end, and the caller might open it for
 * writing, too: EACCES, EPERM, EROFS, or what a security module answers, where not.  ETXTBSY where
 * somebody has it open for writing; EBADF, EISDIR, EINVAL, EOPNOTSUPP; EUSERS where the user has as
 * many holds as the module's holds_max_user; EMFILE, ENFILE, ENOMEM.
 *
 * Until it is closed, the file's mount is busy.
 */
struct exchrange_hold {
	__s32	fd;
	__u32	flags;		/* must be zero */
	__u64	reserved[3];	/* must be zero */
};

/*
 * EXCHRANGE_IOC_EXCHANGE_VECTOR: many ranges, of several files, change places: all or none, for
 * a crash, a snapshot, an error, and for who has watches on the files.
 *
 * Each pair is what EXCHRANGE_IOC_EXCHANGE takes, or EXCHRANGE_IOC_COMMIT with a sample.  All
 * files are on one mount; ranges of one file do not overlap, and one with EXCHRANGE_TO_EOF is
 * the last there (EINVAL).  E2BIG where there are too many pairs or files.
 */
struct exchrange_pair {
	__s32	file1_fd;
	__s32	file2_fd;
	__u64	file1_offset;	/* bytes */
	__u64	file2_offset;	/* bytes */
	__u64	length;		/* bytes */
	__u64	flags;		/* EXCHRANGE_TO_EOF, EXCHRANGE_FILE1_WRITTEN */
	__u64	freshness;	/* pointer to __u64[6], file2's sample; 0: no condition */
	__u64	reserved[3];	/* must be zero */
};

#define EXCHRANGE_VECTOR_PAIRS	65536	/* at the most */
#define EXCHRANGE_VECTOR_FILES	64	/* likewise, however many descriptors they have */

/* exchrange_vector.refused: no pair in particular */
#define EXCHRANGE_REFUSED_NONE	0xffffffffU

struct exchrange_vector {
	__u64	pairs;		/* pointer to struct exchrange_pair[count] */
	__u32	count;
	__u32	pair_size;	/* bytes from one pair to the next */
	__u64	flags;		/* EXCHRANGE_DSYNC, EXCHRANGE_DRY_RUN */
	__u32	refused;	/* out: the pair that an error is about, from 0 on */
	__u32	pad;		/* must be zero */
	__u64	reserved[2];	/* must be zero */
};

#define EXCHRANGE_IOC_MAGIC	'x'

#define EXCHRANGE_IOC_EXCHANGE \
	_IOW(EXCHRANGE_IOC_MAGIC, 0, struct exchrange_range)
#define EXCHRANGE_IOC_START_COMMIT \
	_IOWR(EXCHRANGE_IOC_MAGIC, 1, struct exchrange_commit)
#define EXCHRANGE_IOC_COMMIT \
	_IOW(EXCHRANGE_IOC_MAGIC, 2, struct exchrange_commit)
#define EXCHRANGE_IOC_QUERY \
	_IOWR(EXCHRANGE_IOC_MAGIC, 3, struct exchrange_query)
#define EXCHRANGE_IOC_WATCH \
	_IOW(EXCHRANGE_IOC_MAGIC, 4, struct exchrange_watch)
#define EXCHRANGE_IOC_STAGE \
	_IOW(EXCHRANGE_IOC_MAGIC, 5, struct exchrange_stage)
#define EXCHRANGE_IOC_EXCHANGE_VECTOR \
	_IOWR(EXCHRANGE_IOC_MAGIC, 6, struct exchrange_vector)
#define EXCHRANGE_IOC_HOLD \
	_IOW(EXCHRANGE_IOC_MAGIC, 7, struct exchrange_hold)

#endif /* _UAPI_LINUX_EXCHRANGE_H */
