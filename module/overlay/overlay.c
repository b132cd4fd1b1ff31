// SPDX-License-Identifier: GPL-2.0
/*
 * Files on overlayfs.  One that is open for writing has been copied up: its data is a file of the
 * upper layer, which stays that for good.  So an exchange of two of them is one of the files in
 * the upper layer, by the back end of the file system there, and a lower layer is never touched.
 *
 * As overlayfs does it for a write:
 *
 *  - The caller's rights are asked for with the files that the caller has; what those below say
 *    is asked with the credentials of who has mounted the overlay.
 *  - The exchange itself is the caller's, with the caller's limits, and set-id bits go as they go
 *    for the caller.
 *  - overlayfs keeps size, times, mode and owners of its own inode.  They are taken up
 *    again with that inode's lock, which is held around the exchange, so that no write, truncate
 *    or chmod by the overlay comes in between.
 *
 * Locks: sb_start_write() of the overlay, the locks of its inodes in the order of locks.c, and
 * then what the back end takes.  The same order as of a write.
 *
 * The overlay's watchers hear of it by its file, those below by its name there.  A watch of a file
 * is one of the file in the upper layer, whichever way it is named; where it has not been copied up
 * yet, it is one of the overlay's inode, which an exchange counts too.
 */
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fsnotify.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/path.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "../exchange.h"
#include "../private_symbols.h"
#include "overlay.h"
#include "private.h"

DEFINE_PRIVATE_FUNCTIONS;

static const struct private_symbol functions[] = { PRIVATE_SYMBOL_TABLE };

static struct private_symbols overlay_symbols = {
	.module_name	= "overlay",
	.built_in	= PRIVATE_BUILT_IN,
	.purpose	= "what is on overlayfs",
	.btf_sha256	= PRIVATE_BTF_SHA256,
	.untested	= PRIVATE_UNTESTED,
	.symbols	= functions,
	.count		= ARRAY_SIZE(functions),
};

int exchange_overlay_start(void)
{
	return private_symbols_start(&overlay_symbols);
}

void exchange_overlay_stop(void)
{
	private_symbols_stop(&overlay_symbols);
}

static u32 bind_get(const struct file *file)
{
	return private_symbols_get(&overlay_symbols, file_inode(file)->i_sb->s_type);
}

static void bind_put(const struct file *file)
{
	private_symbols_put(file_inode(file)->i_sb->s_type);
}

/* --- the file below ------------------------------------------------------------------------- */

/* Either is NULL where there is none; both are the overlay's, which the caller holds by @file. */
static struct path upper_path(const struct file *file)
{
	struct path path;

	ovl_path_upper(file->f_path.dentry, &path);
	return path;
}

/* Unseen by those who watch it below, and by who has mounted the overlay.  fput() it. */
static struct file *open_below(const struct file *file, const struct path *path)
{
	const struct cred *caller = ovl_override_creds(file_inode(file)->i_sb);
	int flags = O_RDONLY | O_LARGEFILE | O_NOATIME;
	struct file *real;

#ifdef __FMODE_NONOTIFY
	flags |= __FMODE_NONOTIFY;
#endif
	real = dentry_open(path, flags, current_cred());
	revert_creds(caller);
#ifdef FMODE_FSNOTIFY_MASK
	if (!IS_ERR(real))
		real->f_mode = (real->f_mode & ~FMODE_FSNOTIFY_MASK) | FMODE_NONOTIFY;
#endif
	return real;
}

/* What overlayfs itself reads and writes where the caller does so with @file. */
static struct file *overlays_own(const struct file *file)
{
#ifdef HAVE_ovl_file
	return ((struct ovl_file *)file->private_data)->realfile;
#else
	return file->private_data;
#endif
}

/* The real file of @file, which is open for writing, and keeps it. */
static struct file *real_of(const struct file *file)
{
	struct file *real = overlays_own(file);
	struct path path = upper_path(file);

	if (!path.dentry || file_inode(real) != d_inode(path.dentry))
		return ERR_PTR(-EIO);
	return real;
}

/* --- queries ---------------------------------------------------------------------------------- */

/* What the back end of @real can do by itself: what it hands on has the caller's descriptors. */
static void query_real(struct file *real, struct exchrange_query *query)
{
	const struct exchange_backend *backend = exchange_find_backend(real);
	struct exchrange_query answer = { .fd = query->fd };

	query->reason = EXCHRANGE_REASON_OVERLAY_UPPER;
	if (!backend || backend->query(real, &answer))
		return;
	if (answer.features & EXCHRANGE_FEATURE_VECTOR)
		*query = answer;
	else if (answer.reason != EXCHRANGE_REASON_NONE)
		query->reason = answer.reason;
}

/* The real file, or the root of the upper layer where it has not been copied up yet. */
static int query_upper(struct file *file, struct exchrange_query *query)
{
	struct path path = upper_path(file);
	struct file *real;

	if (!path.mnt) {
		query->reason = EXCHRANGE_REASON_OVERLAY_READ_ONLY;
		return 0;
	}
	if (!path.dentry)
		path.dentry = path.mnt->mnt_root;
	real = open_below(file, &path);
	if (IS_ERR(real))
		return PTR_ERR(real);
	query_real(real, query);
	fput(real);
	return 0;
}

int exchange_overlay_query(struct file *file, struct exchrange_query *query)
{
	int error;

	query->reason = bind_get(file);
	if (query->reason != EXCHRANGE_REASON_NONE)
		return 0;
	error = query_upper(file, query);
	bind_put(file);
	return error;
}

/* What watches and holds know the file by.  The caller's reference to @file keeps it. */
struct inode *exchange_overlay_inode(const struct file *file)
{
	struct inode *inode = file_inode(file);
	struct path path;

	if (bind_get(file) != EXCHRANGE_REASON_NONE)
		return inode;
	path = upper_path(file);
	if (path.dentry)
		inode = d_inode(path.dentry);
	bind_put(file);
	return inode;
}

/* --- samples ---------------------------------------------------------------------------------- */

/*
 * The commit will be of the file in the upper layer, so it is copied up before it is sampled: who
 * may not write to it has no commit to make.
 */
static int copy_up(struct file *file)
{
	struct dentry *dentry = file->f_path.dentry;
	int error;

	if (ovl_already_copied_up(dentry, O_RDWR))
		return 0;
	error = exchange_check_overwrite(file) ?: mnt_want_write(file->f_path.mnt);
	if (error)
		return error;
	error = ovl_maybe_copy_up(dentry, O_RDWR);
	mnt_drop_write(file->f_path.mnt);
	return error;
}

static int sample_real(struct exchange_request *request, struct file *real)
{
	const struct exchange_backend *backend = exchange_find_backend(real);
	struct exchange_single single = { .request = *request };
	int error;

	if (!backend)
		return -EOPNOTSUPP;
	single.request.file2 = real;
	exchange_init_single(&single);
	error = backend->submit(&single.vector);
	memcpy(request->freshness, single.request.freshness, sizeof(request->freshness));
	request->sampled = single.request.sampled;
	return error;
}

static int sample(struct exchange_request *request)
{
	struct file *file = request->file2, *real;
	struct path path;
	int error;

	error = exchange_check_backend(file) ?: copy_up(file);
	if (error)
		return error;
	path = upper_path(file);
	if (!path.dentry)
		return -EIO;
	real = open_below(file, &path);
	if (IS_ERR(real))
		return PTR_ERR(real);
	error = sample_real(request, real);
	fput(real);
	return error;
}

/* --- exchanges ------------------------------------------------------------------------------ */

/* The vector of the real files; its arrays are behind it, for as many inodes as the caller has. */
struct below {
	struct exchange_vector	vector;
	struct exchange_inode	*above;		/* the overlay's */
	struct file		**real;		/* in the order of above */
	struct exchange_request	requests[];
};

static struct below *alloc_below(const struct exchange_vector *vector)
{
	/* The index of a single exchange has two files, which may be one. */
	u32 inodes = max(vector->inode_count, 2u), count = vector->count;
	struct exchange_inode *below_inodes;
	struct below *below;
	u32 *order;

	below = kvzalloc(struct_size(below, requests, count) + 2 * count * sizeof(*order) +
			 inodes * (2 * sizeof(*below->above) + 2 * sizeof(*below->real)),
			 GFP_KERNEL_ACCOUNT);
	if (!below)
		return NULL;
	order = (u32 *)&below->requests[count];
	below_inodes = (struct exchange_inode *)&order[2 * count];
	below->above = &below_inodes[inodes];
	below->real = (struct file **)&below->above[inodes];
	below->vector = (struct exchange_vector) {
		.requests	= below->requests,
		.count		= count,
		.refused	= EXCHRANGE_REFUSED_NONE,
		.overlap	= EXCHRANGE_REFUSED_NONE,
		.flags		= vector->flags,
		.inodes		= below_inodes,
		.files		= &below->real[inodes],
		.order		= order,
		.above		= below->above,
		.above_count	= vector->inode_count,
	};
	return below;
}

/* Each real file once, whatever descriptors the caller has. */
static struct file *real_file(struct below *below, const struct exchange_request *request, int side)
{
	u8 index = request->inode_index[side];
	struct file *file = exchange_request_file(request, side), *real;

	if (below->real[index])
		return below->real[index];
	real = real_of(file);
	if (!IS_ERR(real)) {
		below->real[index] = real;
		below->above[index].inode = file_inode(file);
	}
	return real;
}

/* With DSYNC where a file of the caller's has it. */
static int set_requests(struct below *below, const struct exchange_vector *vector)
{
	u64 durable = exchange_must_be_durable(vector) ? EXCHRANGE_DSYNC : 0;
	u32 i;

	below->vector.flags |= durable;
	for (i = 0; i < vector->count; i++) {
		struct exchange_request *request = &below->requests[i];

		*request = vector->requests[i];
		request->flags |= durable;
		request->argument = NULL;
		request->file1 = real_file(below, &vector->requests[i], 0);
		if (IS_ERR(request->file1))
			return PTR_ERR(request->file1);
		request->file2 = real_file(below, &vector->requests[i], 1);
		if (IS_ERR(request->file2))
			return PTR_ERR(request->file2);
	}
	memcpy(below->vector.files, below->real, vector->inode_count * sizeof(*below->real));
	below->vector.file_count = vector->inode_count;
	return exchange_vector_index(&below->vector);
}

/* Which the back end does not do once more. */
static int check_rights_below(struct below *below, const struct file *file)
{
	const struct cred *caller = ovl_override_creds(file_inode(file)->i_sb);
	int error = exchange_check_rights(&below->vector);

	revert_creds(caller);
	below->vector.rights_asked = true;
	return error;
}

static bool is_protected(const struct file *file)
{
	return IS_IMMUTABLE(file_inode(file)) || IS_APPEND(file_inode(file));
}

/* overlayfs keeps these flags to itself: the real inodes have none of them.  With the locks. */
static int check_flags(struct exchange_vector *below, const struct exchange_vector *vector)
{
	u32 i;

	for (i = 0; i < vector->count; i++)
		if (is_protected(vector->requests[i].file1) ||
		    is_protected(vector->requests[i].file2)) {
			below->refused = i;
			return -EPERM;
		}
	return 0;
}

/* What XFS would have to take from the caller's struct is -EOPNOTSUPP: there is no argument. */
static int submit_below(struct below *below, const struct exchange_vector *vector)
{
	const struct exchange_backend *backend = exchange_find_backend(below->real[0]);
	int error;
	u32 i;

	if (!backend)
		return -EOPNOTSUPP;
	error = check_flags(&below->vector, vector);
	if (error)
		return error;
	error = backend->submit(&below->vector);
	for (i = 0; i < vector->inode_count; i++)
		ovl_copyattr(vector->inodes[i].inode);
	return error;
}

/* With nothing of the overlay's inodes in between. */
static int submit_locked(struct below *below, const struct exchange_vector *vector)
{
	int error;

	file_start_write(vector->files[0]);
	exchange_lock_inodes(vector);
	error = submit_below(below, vector);
	exchange_unlock_inodes(vector);
	file_end_write(vector->files[0]);
	return error;
}

/* Whether overlayfs has opened it so that who watches it below hears nothing, in some kernels. */
static bool is_unseen(const struct file *real)
{
#ifdef FMODE_FSNOTIFY_NONE
	return FMODE_FSNOTIFY_NONE(real->f_mode);
#else
	return real->f_mode & FMODE_NONOTIFY;
#endif
}

/* The back end has told of the files below that are not unseen. */
static void notify(const struct below *below, const struct exchange_vector *vector)
{
	u32 i;

	if (vector->flags & EXCHRANGE_DRY_RUN)
		return;
	exchange_notify(vector);
	for (i = 0; i < below->vector.above_count; i++)
		if (is_unseen(below->real[i]))
			fsnotify_dentry(file_dentry(below->real[i]), FS_MODIFY);
}

static int exchange(struct exchange_vector *vector)
{
	struct below *below;
	int error;

	error = exchange_check_rights(vector);
	if (error)
		return error;
	below = alloc_below(vector);
	if (!below)
		return -ENOMEM;
	error = set_requests(below, vector) ?: check_rights_below(below, vector->files[0]);
	if (!error)
		error = submit_locked(below, vector);
	if (!error)
		notify(below, vector);
	vector->refused = below->vector.refused;
	kvfree(below);
	return error;
}

/*
 * As a back end's submit: the requests of @vector have passed exchange_check_request(), and all
 * files are on one mount of an overlay.
 */
int exchange_overlay_submit(struct exchange_vector *vector)
{
	struct exchange_request *first = &vector->requests[0];
	const struct file *file = first->file2;
	int error;

	if (bind_get(file) != EXCHRANGE_REASON_NONE)
		return -EOPNOTSUPP;
	error = first->operation == EXCHANGE_OPERATION_START_COMMIT ? sample(first) :
								     exchange(vector);
	bind_put(file);
	return error;
}
