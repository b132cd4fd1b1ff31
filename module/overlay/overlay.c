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

/* Unseen by watchers, who would take a close after writing for a change. */
static struct file *open_unseen(const struct path *path, int flags)
{
	struct file *file;

#ifdef __FMODE_NONOTIFY
	flags |= __FMODE_NONOTIFY;
#endif
	file = dentry_open(path, flags | O_LARGEFILE | O_NOATIME, current_cred());
	if (IS_ERR(file))
		return file;
#ifdef FMODE_FSNOTIFY_MASK
	file->f_mode &= ~FMODE_FSNOTIFY_MASK;
#endif
	file->f_mode |= FMODE_NONOTIFY;
	return file;
}

/* By who has mounted it.  fput() it. */
static struct file *open_path(const struct file *file, const struct path *path, int flags)
{
	const struct cred *caller = ovl_override_creds(file_inode(file)->i_sb);
	struct file *real = open_unseen(path, flags);

	revert_creds(caller);
	return real;
}

/* The real file of @file, which is open for writing. */
static struct file *open_real(const struct file *file)
{
	struct path path = upper_path(file);

	if (!path.mnt || !path.dentry)
		return ERR_PTR(-EIO);
	return open_path(file, &path, O_RDWR);
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
	real = open_path(file, &path, O_RDONLY);
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
	if (upper_path(file).dentry)
		return 0;
	return exchange_check_overwrite(file) ?:
	       ovl_maybe_copy_up(file->f_path.dentry, O_RDWR);
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
	real = open_path(file, &path, O_RDONLY);
	if (IS_ERR(real))
		return PTR_ERR(real);
	error = sample_real(request, real);
	fput(real);
	return error;
}

/* --- exchanges ------------------------------------------------------------------------------ */

/* The vector of the real files. */
struct below {
	struct exchange_vector	vector;
	struct exchange_inode	inodes[EXCHRANGE_VECTOR_FILES];
	struct exchange_inode	above[EXCHRANGE_VECTOR_FILES];	/* the overlay's */
	struct file		*real[EXCHRANGE_VECTOR_FILES];	/* in the order of above */
	struct file		*files[EXCHRANGE_VECTOR_FILES];
	u32			*order;
	struct exchange_request	requests[];
};

static void free_below(struct below *below)
{
	u32 i;

	for (i = 0; i < below->vector.above_count; i++)
		if (below->real[i])
			fput(below->real[i]);
	kvfree(below);
}

/* Of as many pairs as @vector has; the order of ranges lies behind the requests. */
static struct below *alloc_below(const struct exchange_vector *vector)
{
	struct below *below;
	size_t size = struct_size(below, requests, vector->count);

	below = kvzalloc(size + 2 * vector->count * sizeof(*below->order), GFP_KERNEL_ACCOUNT);
	if (!below)
		return NULL;
	below->vector = (struct exchange_vector) {
		.requests	= below->requests,
		.count		= vector->count,
		.refused	= EXCHRANGE_REFUSED_NONE,
		.overlap	= EXCHRANGE_REFUSED_NONE,
		.flags		= vector->flags,
		.inodes		= below->inodes,
		.files		= below->files,
		.order		= (void *)&below->requests[vector->count],
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
	real = open_real(file);
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
	for (i = 0; i < vector->inode_count; i++)
		below->files[i] = below->real[i];
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

static int check_backends(const struct below *below)
{
	u32 i;

	for (i = 0; i < below->vector.above_count; i++) {
		struct exchrange_query query = { };

		query_real(below->real[i], &query);
		if (query.backend == EXCHRANGE_BACKEND_NONE)
			return -EOPNOTSUPP;
	}
	return 0;
}

/* With nothing of the overlay's inodes in between. */
static int submit_locked(struct below *below, const struct exchange_vector *vector)
{
	const struct exchange_backend *backend = exchange_find_backend(below->real[0]);
	int error;
	u32 i;

	file_start_write(vector->files[0]);
	exchange_lock_inodes(vector);
	error = backend->submit(&below->vector);
	for (i = 0; i < vector->inode_count; i++)
		ovl_copyattr(vector->inodes[i].inode);
	exchange_unlock_inodes(vector);
	file_end_write(vector->files[0]);
	return error;
}

static void notify(const struct below *below, const struct exchange_vector *vector)
{
	u32 i;

	if (vector->flags & EXCHRANGE_DRY_RUN)
		return;
	exchange_notify(vector);
	for (i = 0; i < below->vector.above_count; i++)
		fsnotify_dentry(below->real[i]->f_path.dentry, FS_MODIFY);
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
	error = set_requests(below, vector) ?: check_backends(below) ?:
		check_rights_below(below, vector->files[0]);
	if (!error)
		error = submit_locked(below, vector);
	if (!error)
		notify(below, vector);
	vector->refused = below->vector.refused;
	free_below(below);
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
