// SPDX-License-Identifier: GPL-2.0
/*
 * Takes a range out of the page cache, and out of all mappings, without losing a byte.
 *
 * The cache is never truncated: truncation zeroes its part of a large folio that cannot be
 * split, and where that has become dirty again the zeroes are written back.  It also forgets
 * what a device has just written to a page.  What is dirty is written back here, and only
 * clean folios are let go of, whole.
 *
 * A device writes to a page through a pin (O_DIRECT reads into a mapping): once the folio
 * has left the cache, what comes goes nowhere, also what comes to pages of the folio that
 * are outside the range.  So pins are waited for.  New ones cannot come: they take an entry
 * of a page table that may be written to, and to make one takes the invalidate_lock.
 */
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "exchange.h"

static bool unmap_and_look(struct address_space *mapping, struct folio *folio)
{
	bool pinned = false;

	/* Whoever makes an entry of a page table writable has this lock. */
	folio_lock(folio);
	if (folio->mapping == mapping) {
		if (folio_mapped(folio))
			unmap_mapping_pages(mapping, folio->index,
					    folio_nr_pages(folio), false);
		pinned = folio_maybe_dma_pinned(folio);
	}
	folio_unlock(folio);
	return pinned;
}

static bool has_pinned(struct address_space *mapping, pgoff_t start, pgoff_t last)
{
	struct folio_batch batch;
	bool pinned = false;
	unsigned int i;

	folio_batch_init(&batch);
	while (!pinned && filemap_get_folios(mapping, &start, last, &batch)) {
		for (i = 0; i < folio_batch_count(&batch); i++)
			pinned |= unmap_and_look(mapping, batch.folios[i]);
		folio_batch_release(&batch);
		cond_resched();
	}
	return pinned;
}

/*
 * Whether a folio of the pages @start to @last is pinned.  They are unmapped then.  Pins count
 * only where somebody has mapped the file for writing: else who may only read it could keep
 * it pinned.  The caller holds what keeps entries of page tables from becoming writable.
 */
bool exchange_has_pinned_pages(struct address_space *mapping, pgoff_t start, pgoff_t last)
{
	return mapping_writably_mapped(mapping) && has_pinned(mapping, start, last);
}

/*
 * Whether anyone but the caller, who has @references, has a reference to @folio, which has left
 * the cache.  One that is on no LRU list is in a CPU's batch of those that go there, or was taken
 * from one: that is a reference too.
 */
bool exchange_is_held(struct folio *folio, int references)
{
	return folio_ref_count(folio) > references + (folio_test_lru(folio) ? 0 : 1);
}

/* -EBUSY: a folio is pinned or has become dirty again. */
static int try_to_drop(struct address_space *mapping, loff_t start, loff_t last)
{
	pgoff_t first_page = start >> PAGE_SHIFT, last_page = last >> PAGE_SHIFT;

	if (exchange_has_pinned_pages(mapping, first_page, last_page))
		return -EBUSY;
	return filemap_write_and_wait_range(mapping, start, last) ?:
	       invalidate_inode_pages2_range(mapping, first_page, last_page);
}

/*
 * Nothing of [start, last], in bytes, is cached or mapped when this returns 0, nor comes back
 * before the locks go: the caller holds the inode's lock and the invalidate_lock exclusively.
 * Folios that are partly in the range go whole.  -EBUSY where some were still pinned when
 * jiffies came to @give_up; -EINTR for a caller that is being killed; errors of writing back.
 */
int exchange_drop_pages(struct address_space *mapping, loff_t start, loff_t last,
			unsigned long give_up)
{
	int error;

	while ((error = try_to_drop(mapping, start, last)) == -EBUSY) {
		if (fatal_signal_pending(current))
			return -EINTR;
		if (time_after(jiffies, give_up))
			return -EBUSY;
		schedule_timeout_killable(1);
	}
	return error;
}
