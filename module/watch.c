// SPDX-License-Identifier: GPL-2.0
/*
 * Watches: a page for each watched file, whose sequence is odd while an exchange
 * changes the file, and descriptors that count exchanges.
 *
 * A table of buckets, by inode, has the files that are watched, and the exchanges that
 * are under way, watched or not: who watches a file in the middle of an exchange begins
 * with an odd sequence.  An exchange of a file that nobody watches looks into its bucket
 * twice.  All watches of a file share one page, so each exchange writes one.
 *
 * Locks: a bucket's spin lock is inside all of a file system's, and wakes who waits with
 * it held; only one of them is held at a time.
 *
 * Why a reader is right to trust the sequence, on CPUs that reorder, too:
 *
 *  - One that has seen anything new sees, after an acquire fence, another sequence than
 *    before.  The odd one is written before the smp_wmb() of exchange_watch_begin(), the
 *    page cache is dropped and the block maps change after it.  New contents come to a
 *    reader through a page that somebody brought into the cache under the invalidate_lock
 *    (or the inode lock) that the exchange had held, so after its release, or that the exchange
 *    itself has put there, so after the odd store; and to a
 *    mapping through a page table entry that was written after that, which the CPU
 *    reads before it reads the page.
 *
 *  - One that begins with the even sequence afterwards, loaded with acquire, sees nothing
 *    old.  smp_store_release() writes it after the pages have gone from the cache, and
 *    after the unmapping of them has returned: the entries were cleared under the page
 *    table lock, and no CPU has them in its TLB any more.  A later access by that reader
 *    faults, or finds an entry that is new, and waits for the exchange's locks if it has to
 *    read the page.
 *
 * count and time are written while the sequence is odd.
 */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/path.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <linux/wait.h>

#include "compat.h"
#include "exchange.h"
#include "trace.h"
#include "users.h"

#define BUCKET_BITS	8

static_assert(sizeof(struct exchrange_watch_page) == 64);

static unsigned int watches_max_user = 1024;
module_param(watches_max_user, uint, 0644);
MODULE_PARM_DESC(watches_max_user, "Most watches that a user may have (default: 1024)");

struct bucket {
	spinlock_t		lock;		/* of all that is in it */
	struct hlist_head	watched;	/* struct watched_file */
	struct hlist_head	under_way;	/* struct exchange_inode */
} ____cacheline_aligned_in_smp;

static struct bucket buckets[1 << BUCKET_BITS];

/* A file that is watched.  Under its bucket's lock. */
struct watched_file {
	struct hlist_node		node;
	const struct inode		*inode;
	unsigned int			watches;
	unsigned int			under_way;	/* exchanges; odd while there are some */
	u64				count;
	wait_queue_head_t		wait;
	struct exchrange_watch_page	*page;
};

static struct exchange_users users = EXCHANGE_USERS(users);

/*
 * One watch.  Its path keeps the inode, and the mount; a reference to the file would keep
 * the locks and leases of its owner, too.
 */
struct watch {
	struct path		path;
	struct watched_file	*watched;
	struct exchange_user	*user;
	u64			seen;	/* of watched->count; under the bucket's lock */
};

/* --- watched files ----------------------------------------------------------------- */

static struct bucket *bucket_of(const struct inode *inode)
{
	return &buckets[hash_ptr((void *)inode, BUCKET_BITS)];
}

/* With the bucket's lock; NULL where nobody watches. */
static struct watched_file *find_watched(const struct bucket *bucket,
					 const struct inode *inode)
{
	struct watched_file *watched;

	hlist_for_each_entry(watched, &bucket->watched, node)
		if (watched->inode == inode)
			return watched;
	return NULL;
}

/* With the bucket's lock. */
static unsigned int count_under_way(const struct bucket *bucket,
				    const struct inode *inode)
{
	const struct exchange_inode *file;
	unsigned int count = 0;

	hlist_for_each_entry(file, &bucket->under_way, node)
		count += file->inode == inode;
	return count;
}

static void free_watched(struct watched_file *watched)
{
	if (!watched)
		return;
	free_page((unsigned long)watched->page);
	kfree(watched);
}

static struct watched_file *alloc_watched(const struct inode *inode)
{
	struct watched_file *watched = kzalloc(sizeof(*watched), GFP_KERNEL_ACCOUNT);

	if (!watched)
		return NULL;
	watched->page = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!watched->page) {
		kfree(watched);
		return NULL;
	}
	watched->page->size = sizeof(*watched->page);
	watched->inode = inode;
	init_waitqueue_head(&watched->wait);
	return watched;
}

/* With the bucket's lock: the file's @watched, or else @new; NULL where both are. */
static struct watched_file *join_watched(struct bucket *bucket,
					 const struct inode *inode,
					 struct watched_file *new)
{
	struct watched_file *watched = find_watched(bucket, inode);

	if (!watched && new) {
		watched = new;
		watched->under_way = count_under_way(bucket, inode);
		watched->page->sequence = watched->under_way ? 1 : 0;
		hlist_add_head(&watched->node, &bucket->watched);
	}
	return watched;
}

/* The file's page for @watch; one is made where there is none yet. */
static int watch_file(struct watch *watch, const struct inode *inode)
{
	struct bucket *bucket = bucket_of(inode);
	struct watched_file *new = NULL, *watched;
	bool tried = false;

	for (;;) {
		spin_lock(&bucket->lock);
		watched = join_watched(bucket, inode, new);
		if (watched) {
			watched->watches++;
			watch->watched = watched;
			watch->seen = watched->count;
		}
		spin_unlock(&bucket->lock);
		if (watched || tried)
			break;
		new = alloc_watched(inode);
		tried = true;
	}
	if (watched != new)
		free_watched(new);
	return watched ? 0 : -ENOMEM;
}

static void unwatch_file(struct watch *watch)
{
	struct watched_file *watched = watch->watched;
	struct bucket *bucket = bucket_of(watched->inode);

	spin_lock(&bucket->lock);
	if (--watched->watches)
		watched = NULL;
	else
		hlist_del(&watched->node);
	spin_unlock(&bucket->lock);
	free_watched(watched);
}

/* --- exchanges --------------------------------------------------------------------- */

static void begin_file(struct exchange_inode *file)
{
	struct bucket *bucket = bucket_of(file->inode);
	struct watched_file *watched;

	spin_lock(&bucket->lock);
	hlist_add_head(&file->node, &bucket->under_way);
	watched = find_watched(bucket, file->inode);
	if (watched) {
		struct exchrange_watch_page *page = watched->page;

		if (!watched->under_way++)
			WRITE_ONCE(page->sequence, page->sequence + 1);
		trace_exchrange_watch_begin(file->inode, page, watched->under_way);
	}
	spin_unlock(&bucket->lock);
}

/* With the bucket's lock. */
static void end_watched(struct watched_file *watched, bool exchanged)
{
	struct exchrange_watch_page *page = watched->page;

	if (exchanged) {
		page->count = ++watched->count;
		page->time = ktime_get_real_ns();
	}
	if (!--watched->under_way) {
		/* After all that a reader can see; its first load is the other half. */
		smp_store_release(&page->sequence, page->sequence + 1);
	}
	trace_exchrange_watch_end(watched->inode, page, watched->under_way);
	if (exchanged)
		wake_up_interruptible_poll(&watched->wait, EPOLLIN | EPOLLRDNORM);
}

/* One that did not begin is of a dry run. */
static void end_file(struct exchange_inode *file, bool exchanged)
{
	struct watched_file *watched;
	struct bucket *bucket;

	if (hlist_unhashed(&file->node))
		return;
	bucket = bucket_of(file->inode);
	spin_lock(&bucket->lock);
	hlist_del_init(&file->node);
	watched = find_watched(bucket, file->inode);
	if (watched)
		end_watched(watched, exchanged);
	spin_unlock(&bucket->lock);
}

/* All files, before any changes: who reads two of them is told by either. */
void exchange_watch_begin(struct exchange_vector *vector)
{
	u32 i;

	if (vector->flags & EXCHRANGE_DRY_RUN)
		return;
	for (i = 0; i < vector->inode_count; i++)
		begin_file(&vector->inodes[i]);
	for (i = 0; i < vector->above_count; i++)
		begin_file(&vector->above[i]);
	/* Before anything that a reader can see; its acquire fence is the other half. */
	smp_wmb();
}

void exchange_watch_end(struct exchange_vector *vector, bool exchanged)
{
	u32 i;

	for (i = 0; i < vector->inode_count; i++)
		end_file(&vector->inodes[i], exchanged);
	for (i = 0; i < vector->above_count; i++)
		end_file(&vector->above[i], exchanged);
}

void exchange_watch_empty(struct exchange_vector *vector)
{
	exchange_watch_begin(vector);
	exchange_watch_end(vector, true);
}

/* --- the descriptor ---------------------------------------------------------------- */

/* How many exchanges the watch has not been read for; @take: it is now. */
static u64 count_unseen(struct watch *watch, bool take)
{
	struct watched_file *watched = watch->watched;
	struct bucket *bucket = bucket_of(watched->inode);
	u64 count;

	spin_lock(&bucket->lock);
	count = watched->count - watch->seen;
	if (take)
		watch->seen = watched->count;
	spin_unlock(&bucket->lock);
	return count;
}

static ssize_t watch_read(struct kiocb *iocb, struct iov_iter *to)
{
	struct watch *watch = iocb->ki_filp->private_data;
	u64 count;
	int error;

	if (iov_iter_count(to) < sizeof(count))
		return -EINVAL;
	/* Another reader may be faster. */
	while (!(count = count_unseen(watch, true))) {
		if (iocb->ki_filp->f_flags & O_NONBLOCK ||
		    iocb->ki_flags & IOCB_NOWAIT)
			return -EAGAIN;
		error = wait_event_interruptible(watch->watched->wait,
						 count_unseen(watch, false));
		if (error)
			return error;
	}
	if (copy_to_iter(&count, sizeof(count), to) != sizeof(count))
		return -EFAULT;
	return sizeof(count);
}

static __poll_t watch_poll(struct file *file, poll_table *table)
{
	struct watch *watch = file->private_data;

	poll_wait(file, &watch->watched->wait, table);
	return count_unseen(watch, false) ? EPOLLIN | EPOLLRDNORM : 0;
}

/* The mapping holds the descriptor's file, and so the page. */
static vm_fault_t watch_fault(struct vm_fault *vmf)
{
	struct watch *watch = vmf->vma->vm_file->private_data;

	vmf->page = virt_to_page(watch->watched->page);
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct watch_vm_ops = {
	.fault	= watch_fault,
};

/* Not for writing, a private copy neither: what would that tell? */
static int watch_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_WRITE)
		return -EACCES;
	if (vma->vm_pgoff || vma_pages(vma) != 1)
		return -EINVAL;
	compat_vm_flags_mod(vma, VM_DONTEXPAND, VM_MAYWRITE);
	vma->vm_ops = &watch_vm_ops;
	return 0;
}

static void watch_show_fdinfo(struct seq_file *out, struct file *file)
{
	const struct watch *watch = file->private_data;
	const struct inode *inode = watch->watched->inode;

	seq_printf(out, "exchrange-watch ino:%lx sdev:%x\n",
		   (unsigned long)inode->i_ino, inode->i_sb->s_dev);
}

static void drop_watch(struct watch *watch)
{
	unwatch_file(watch);
	exchange_uncharge_user(&users, watch->user);
	path_put(&watch->path);
	kfree(watch);
}

static int watch_release(struct inode *inode, struct file *file)
{
	drop_watch(file->private_data);
	return 0;
}

static const struct file_operations watch_fops = {
	.owner		= THIS_MODULE,
	.release	= watch_release,
	.read_iter	= watch_read,
	.poll		= watch_poll,
	.mmap		= watch_mmap,
	.show_fdinfo	= watch_show_fdinfo,
	.llseek		= noop_llseek,
};

/*
 * A new descriptor that watches @file, a regular file of a file system with a back end.
 * -ENOSPC: the user has too many; -EMFILE, -ENFILE, -ENOMEM.
 */
int exchange_watch_open(struct file *file)
{
	struct watch *watch = kzalloc(sizeof(*watch), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!watch)
		return -ENOMEM;
	watch->user = exchange_charge_user(&users, READ_ONCE(watches_max_user));
	if (IS_ERR(watch->user)) {
		ret = PTR_ERR(watch->user);
		/* As inotify has it. */
		ret = ret == -EUSERS ? -ENOSPC : ret;
		goto out_free;
	}
	ret = watch_file(watch, exchange_data_inode(file));
	if (ret)
		goto out_uncharge;
	watch->path = file->f_path;
	path_get(&watch->path);

	ret = anon_inode_getfd("[exchrange-watch]", &watch_fops, watch,
			       O_RDONLY | O_CLOEXEC);
	if (ret < 0)
		drop_watch(watch);
	return ret;

out_uncharge:
	exchange_uncharge_user(&users, watch->user);
out_free:
	kfree(watch);
	return ret;
}

/* When the module comes.  When it goes, nobody watches: descriptors hold it. */
void exchange_watch_start(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(buckets); i++)
		spin_lock_init(&buckets[i].lock);
}
