// SPDX-License-Identifier: GPL-2.0
/*
 * What others than the file system have to say about an exchange: the flag of append-only
 * files, security modules, and who listens to fanotify's permission events.  They are asked as
 * for the calls that it stands for: a read and a write of both ranges, and with TO_EOF a
 * truncate of both files.  A dry run asks them too.
 *
 * Without a lock, and with the file system free to be frozen: they may ask a process, and wait
 * for its answer as long as for any read, until the caller is killed.
 */
#include <linux/fs.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/mount.h>
#include <linux/sched/signal.h>
#include <linux/static_call.h>
#include <linux/stringify.h>

#include "compat.h"
#include "exchange.h"
#include "private_symbols.h"

/*
 * The hook of ftruncate(2) is not exported.  Its prototype is the public header's, which has an
 * empty one where the kernel knows no such hook.
 */
#ifdef COMPAT_HAS_TRUNCATE_HOOK
DEFINE_STATIC_CALL_NULL(truncate_hook, compat_truncate_hook);

static const struct private_symbol truncate_symbol = {
	.name		= __stringify(compat_truncate_hook),
	.key		= &STATIC_CALL_KEY(truncate_hook),
	.trampoline	= STATIC_CALL_TRAMP_ADDR(truncate_hook),
};

/* What has to be bound before a truncate can be asked for, or NULL. */
const struct private_symbol *exchange_rights_symbol(void)
{
	return &truncate_symbol;
}

static bool has_hook(void)
{
	return static_call_query(truncate_hook);
}

static int ask_hook(struct file *file)
{
	/* Unbound, no back end offers TO_EOF. */
	if (!has_hook())
		return -EOPNOTSUPP;
	return static_call(truncate_hook)(compat_truncate_subject(file));
}
#else
const struct private_symbol *exchange_rights_symbol(void)
{
	return NULL;
}

static bool has_hook(void)
{
	return true;
}

static int ask_hook(struct file *file)
{
	return 0;
}
#endif

/* As ftruncate(2), whatever the new size: it may be another one by the time of the locks. */
static int ask_truncate(const struct exchange_request *request)
{
	if (!(request->flags & EXCHRANGE_TO_EOF))
		return 0;
	return ask_hook(request->file1) ?: ask_hook(request->file2);
}

static u64 tail(const struct file *file, u64 offset)
{
	u64 size = i_size_read(file_inode(file));

	return size > offset ? size - offset : 0;
}

/* Bytes of each range.  With TO_EOF as both files are now: who appends meanwhile is not seen. */
static size_t asked_length(const struct exchange_request *request)
{
	u64 length = request->length;

	if (request->flags & EXCHRANGE_TO_EOF)
		length = max(tail(request->file1, request->file1_offset),
			     tail(request->file2, request->file2_offset));
	return min_t(u64, length, SSIZE_MAX);
}

static int ask_both(const struct exchange_request *request, int direction)
{
	const loff_t offset1 = request->file1_offset, offset2 = request->file2_offset;
	size_t length = asked_length(request);

	return rw_verify_area(direction, request->file1, &offset1, length) ?:
	       rw_verify_area(direction, request->file2, &offset2, length);
}

static int ask_all(const struct exchange_request *request)
{
	if (IS_APPEND(file_inode(request->file1)) ||
	    IS_APPEND(file_inode(request->file2)))
		return -EPERM;

	/* Reads last: they may ask a process, which need not hear of what is refused anyway. */
	return ask_both(request, WRITE) ?:
	       ask_truncate(request) ?:
	       ask_both(request, READ);
}

/*
 * -EPERM, what a security module answers (-EACCES mostly), or -ERESTARTSYS for a caller that is
 * being killed.  The caller holds no lock; exchange_check_locked() looks at the flags again.
 */
int exchange_check_rights(struct exchange_vector *vector)
{
	int error = 0;
	u32 i;

	if (vector->rights_asked)
		return 0;
	for (i = 0; i < vector->count && !error; i++) {
		cond_resched();
		error = fatal_signal_pending(current) ? -EINTR :
							ask_all(&vector->requests[i]);
		if (error)
			vector->refused = i;
	}
	return error;
}

/*
 * What those answer who are asked about a write of @file, at no particular place: -EPERM,
 * -ETXTBSY, a security module's.  The caller holds no lock.
 */
int exchange_check_write(struct file *file)
{
	const struct inode *inode = file_inode(file);
	const loff_t offset = 0;

	if (IS_APPEND(inode) || IS_IMMUTABLE(inode))
		return -EPERM;
	if (IS_SWAPFILE(inode))
		return -ETXTBSY;
	return rw_verify_area(WRITE, file, &offset, 0);
}

/* Whether exchange_check_overwrite() can ask all that it has to. */
bool exchange_can_check_overwrite(void)
{
	return has_hook();
}

/*
 * Whether the caller might open @file, which is open for reading, for writing, and truncate it.
 * -EROFS, -EACCES, -EPERM, -ETXTBSY, a security module's answer; -EOPNOTSUPP where that cannot be
 * asked for.  Without a lock.
 */
int exchange_check_overwrite(struct file *file)
{
	if (__mnt_is_readonly(file->f_path.mnt))
		return -EROFS;
	/* Landlock knows the right to truncate of each open file, that to write not. */
	return file_permission(file, MAY_WRITE) ?: exchange_check_write(file) ?: ask_hook(file);
}
