// SPDX-License-Identifier: GPL-2.0
/*
 * What those without CAP_SYS_ADMIN may exchange within one transaction.
 *
 * Whoever waits for a commit, as everybody's fsync after an exchange, waits for all references
 * that changed in the transaction.  So there is a limit for a call (transaction.c counts),
 * and one for all calls in one transaction, which is here: who would pass it commits the
 * transaction first.
 */
#include <linux/capability.h>
#include <linux/hash.h>
#include <linux/moduleparam.h>
#include <linux/spinlock.h>

#include "exchange.h"

static unsigned int btrfs_max_extents_user = 4096;
module_param(btrfs_max_extents_user, uint, 0644);
MODULE_PARM_DESC(btrfs_max_extents_user,
		 "Most extents of both files, on btrfs, for callers without CAP_SYS_ADMIN (default: 4096)");

/* What was exchanged in the transaction that is running on a file system. */
struct work {
	const struct btrfs_fs_info	*fs_info;
	u64				transid;
	u64				extents;
};

#define WORK_BITS	4
/* By fs_info; two that share one are taken together. */
static struct work works[1 << WORK_BITS];
static DEFINE_SPINLOCK(works_lock);

/* Extents of both files that anybody may exchange in one call. */
u32 btrfs_user_limit(void)
{
	return min(READ_ONCE(btrfs_max_extents_user), MAX_EXTENTS);
}

static bool has_room(const struct work *work, u64 extents)
{
	return !work->extents || work->extents + extents <= btrfs_user_limit();
}

/*
 * Counts @extents to what was exchanged in the transaction @transid of @fs_info, which is
 * running and cannot be committed meanwhile.  False where it is too much: the caller commits
 * it and comes again.
 */
bool btrfs_admit_work(const struct btrfs_fs_info *fs_info, u64 transid, u64 extents)
{
	struct work *work = &works[hash_ptr(fs_info, WORK_BITS)];
	bool admitted;

	spin_lock(&works_lock);
	if (work->fs_info == fs_info && work->transid != transid)
		work->extents = 0;
	work->fs_info = fs_info;
	work->transid = transid;
	admitted = has_room(work, extents);
	if (admitted)
		work->extents += extents;
	spin_unlock(&works_lock);
	return admitted || capable(CAP_SYS_ADMIN);
}
