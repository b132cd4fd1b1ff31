// SPDX-License-Identifier: GPL-2.0
/*
 * Readers that have the last page of a file, and not its size yet.
 *
 * A read takes no lock: it takes a reference to the page, looks at the size, and copies.  A
 * size that changed in between would show it an old page up to a new end.  So an exchange
 * that changes a size takes that page out of the cache, and waits until those who have it
 * are done.  With the locks only for as long as it takes to copy, since some of them wait
 * for these (readahead): then it begins anew.  And not for ever: a pipe may hold a page for
 * as long as somebody likes.
 */
#include <linux/delay.h>
#include <linux/fadvise.h>
#include <linux/jiffies.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "exchange.h"

/* So often an exchange waits for a page that is being read from the disk. */
#define READS		8
/* And looks at a page with all locks: copying takes microseconds; then half a millisecond. */
#define LOOKS		64
#define SLEEPS		5

/* The page of @side that has the nearer end, with a reference; NULL where there is none. */
static struct folio *get_end_folio(const struct btrfs_exchange *exchange, int side)
{
	struct folio *folio;
	pgoff_t index;

	if (!btrfs_exchange_end_page(exchange, side, &index))
		return NULL;
	folio = filemap_get_folio(btrfs_exchange_inode(exchange, side)->i_mapping,
				  index);
	return IS_ERR_OR_NULL(folio) ? NULL : folio;
}

/* One of the two that is being read from the disk. */
static struct folio *get_folio_being_read(const struct btrfs_exchange *exchange)
{
	int i;

	for (i = 0; i < 2; i++) {
		struct folio *folio = get_end_folio(exchange, i);

		if (folio && !folio_test_uptodate(folio))
			return folio;
		if (folio)
			folio_put(folio);
	}
	return NULL;
}

/*
 * Takes both files' invalidate_locks.  Whoever waits for a page to be read waits for this lock
 * too, with a reference, for which btrfs_exchange_drop_cache() would wait in vain.  So the
 * lock is taken when there is no such page.  The caller holds the inodes' locks, and has
 * set the new sizes.
 */
void btrfs_exchange_lock_cache(const struct btrfs_exchange *exchange)
{
	struct address_space *mapping1 = btrfs_exchange_inode(exchange, 0)->i_mapping;
	struct address_space *mapping2 = btrfs_exchange_inode(exchange, 1)->i_mapping;
	struct folio *folio;
	int reads;

	for (reads = 0;; reads++) {
		filemap_invalidate_lock_two(mapping1, mapping2);
		folio = reads < READS ? get_folio_being_read(exchange) : NULL;
		if (!folio)
			return;
		filemap_invalidate_unlock_two(mapping1, mapping2);
		folio_wait_locked(folio);
		folio_put(folio);
	}
}

void btrfs_exchange_unlock_cache(const struct btrfs_exchange *exchange)
{
	filemap_invalidate_unlock_two(btrfs_exchange_inode(exchange, 0)->i_mapping,
				      btrfs_exchange_inode(exchange, 1)->i_mapping);
}

/*
 * Whether anyone but the caller has a reference to @folio, which has left the cache.  One that
 * is on no LRU list is in a CPU's batch of those that go there, or was taken from one: that
 * is a reference too.
 */
static bool is_held(struct folio *folio)
{
	int ours = folio_test_lru(folio) ? 1 : 2;

	return folio_ref_count(folio) > ours;
}

/* Puts what this CPU keeps of pages on its way where it belongs: that has references. */
static void drain_batches(struct file *file, const struct folio *folio)
{
	vfs_fadvise(file, (loff_t)folio->index << PAGE_SHIFT, PAGE_SIZE,
		    POSIX_FADV_DONTNEED);
}

/* Whether nobody has @folio, or has it no longer after a moment. */
static bool is_let_go(struct file *file, struct folio *folio)
{
	int i;

	for (i = 0; i < LOOKS + SLEEPS; i++) {
		if (!is_held(folio)) {
			/* Who had it has read the old size, before the new is written. */
			smp_acquire__after_ctrl_dep();
			return true;
		}
		if (i < LOOKS) {
			cpu_relax();
			continue;
		}
		if (i == LOOKS)
			drain_batches(file, folio);
		usleep_range(50, 100);
	}
	return false;
}

/*
 * Drops the pages of what is going to move, as btrfs_exchange_drop_pages().  Where somebody
 * reads an end that is going to be another one, exchange->held has its page, and the answer
 * is -EBUSY: btrfs_exchange_await_readers() follows, without a lock.  An exchange that is
 * not patient does not look.
 */
int btrfs_exchange_drop_cache(struct btrfs_exchange *exchange)
{
	struct file *files[] = { exchange->request->file1, exchange->request->file2 };
	struct folio *end[2] = { };
	int i, error;

	for (i = 0; i < 2 && exchange->patient; i++)
		end[i] = get_end_folio(exchange, i);
	error = btrfs_exchange_drop_pages(exchange);
	exchange->pages_stay = error == -EBUSY;
	for (i = 0; i < 2; i++) {
		if (!end[i])
			continue;
		if (error || is_let_go(files[i], end[i])) {
			folio_put(end[i]);
			continue;
		}
		exchange->held[i] = end[i];
	}
	return error ?: exchange->held[0] || exchange->held[1] ? -EBUSY : 0;
}

/*
 * Waits until nobody has the pages that btrfs_exchange_drop_cache() has found held, or for
 * @patience jiffies, which become what is left of them.  -EINTR for a caller that is being
 * killed.
 */
int btrfs_exchange_await_readers(struct btrfs_exchange *exchange,
				 unsigned long *patience)
{
	unsigned long begin = jiffies, deadline = begin + *patience;
	int i, error = 0;

	for (i = 0; i < 2; i++) {
		struct folio *folio = exchange->held[i];

		if (!folio)
			continue;
		while (!error && is_held(folio) && time_before(jiffies, deadline)) {
			usleep_range(100, 500);
			if (fatal_signal_pending(current))
				error = -EINTR;
		}
		folio_put(folio);
	}
	*patience -= min(*patience, jiffies - begin);
	return error;
}
