// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps in the page cache what somebody reads there of file2.
 *
 * An exchange takes the pages of both files out of the cache.  Where file2 had a page there, or
 * has had no such page since it ended before it, and its new contents were cached in file1, as all
 * are that have just been written, these are put into file2's cache, as if they had been written
 * there, and nobody waits for the disk to read them.  They are clean: file1 was written back.
 * They are copied, for others may still have the page: a pipe that it was spliced to is not to
 * see what is written to file2.
 *
 * The caller holds the inodes' locks and invalidate_locks from before exchange_keep_pages() until
 * after exchange_put_pages(): no page comes into the cache in between, and none changes but by
 * who has a reference to it: a device by a transfer into a mapping that is there no more, or that
 * takes no pin (NFS); a debugger.  What these write to a page that has left the cache is
 * lost, and must not come to light before it is.  So a page that somebody else has, or has made
 * dirty, is not copied.
 *
 * No memory is waited for: a page that does not get any is read again.
 */
#include <linux/dax.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "compat.h"
#include "exchange.h"

/* The locks are held while they are copied, and while what is to be is looked for. */
#define MOST_PAGES	1024
#define MOST_LOOKS	(16 * MOST_PAGES)

struct kept_page {
	struct page		*from;		/* with a reference */
	struct address_space	*to;
	pgoff_t			index;
};

struct exchange_kept {
	const struct exchange_vector	*vector;
	bool				small_only;	/* no folio of several pages */
	u32				count, room, looks;
	struct kept_page		pages[];
};

/* Pages of file1 that become pages of file2, which are @ahead pages less far on. */
struct page_range {
	struct address_space	*from, *to;
	pgoff_t			start, end, ahead;
	pgoff_t			old_end;	/* of file2 */
};

/* What a file has from its range on, in bytes. */
static u64 tail_of(const struct exchange_request *request, int side)
{
	u64 size = i_size_read(file_inode(exchange_request_file(request, side)));
	u64 offset = exchange_request_offset(request, side);

	return size > offset ? size - offset : 0;
}

static bool resizes(const struct exchange_request *request)
{
	return request->flags & EXCHRANGE_TO_EOF && tail_of(request, 0) != tail_of(request, 1);
}

static bool any_resizes(const struct exchange_vector *vector)
{
	u32 i;

	for (i = 0; i < vector->count; i++)
		if (resizes(&vector->requests[i]))
			return true;
	return false;
}

/* Whether an end of file1 comes nearer, into a page. */
static bool cuts_a_page(const struct exchange_request *request)
{
	u64 tail = tail_of(request, 1);

	return resizes(request) && tail < tail_of(request, 0) &&
	       offset_in_page(request->file1_offset + tail);
}

/* Whether all of a range of file1 gets to pages of file2.  Of FILE1_WRITTEN nobody knows yet. */
static bool moves_pages(const struct exchange_request *request)
{
	const struct inode *inode1 = file_inode(request->file1);
	const struct inode *inode2 = file_inode(request->file2);

	return !(request->flags & EXCHRANGE_FILE1_WRITTEN) &&
	       !offset_in_page(request->file1_offset - request->file2_offset) &&
	       !IS_DAX(inode1) && !IS_DAX(inode2) && inode2->i_blkbits <= PAGE_SHIFT;
}

/* Whole pages: one that an end is in has zeroes behind it, that others see to. */
static struct page_range range_of(const struct exchange_request *request, bool awaits_ends)
{
	u64 offset1 = request->file1_offset, offset2 = request->file2_offset;
	u64 length = min(request->length, tail_of(request, 0));
	struct inode *inode2 = file_inode(request->file2);

	if (!moves_pages(request) || (awaits_ends && cuts_a_page(request)))
		return (struct page_range) { };
	return (struct page_range) {
		.from	= file_inode(request->file1)->i_mapping,
		.to	= inode2->i_mapping,
		.start	= DIV_ROUND_UP_ULL(offset1, PAGE_SIZE),
		.end	= (offset1 + length) >> PAGE_SHIFT,
		.ahead	= (offset1 >> PAGE_SHIFT) - (offset2 >> PAGE_SHIFT),
		.old_end = DIV_ROUND_UP_ULL(i_size_read(inode2), PAGE_SIZE),
	};
}

static bool is_wanted(const struct page_range *range, pgoff_t index)
{
	struct folio *folio;

	if (index >= range->old_end)
		return true;
	folio = filemap_get_folio(range->to, index);
	if (IS_ERR_OR_NULL(folio))
		return false;
	folio_put(folio);
	return true;
}

/* Each page of a folio of file1's that is in the range. */
static void keep_folio(struct exchange_kept *kept, const struct page_range *range,
		       struct folio *folio)
{
	pgoff_t index = max(folio->index, range->start);
	pgoff_t end = min(folio->index + folio_nr_pages(folio), range->end);

	if (!folio_test_uptodate(folio) || (kept->small_only && folio_test_large(folio)))
		return;
	for (; index < end && kept->count < kept->room && kept->looks; index++) {
		kept->looks--;
		if (!is_wanted(range, index - range->ahead))
			continue;
		folio_get(folio);
		kept->pages[kept->count++] = (struct kept_page) {
			.from	= folio_file_page(folio, index),
			.to	= range->to,
			.index	= index - range->ahead,
		};
	}
}

static void keep_range(struct exchange_kept *kept, const struct page_range *range)
{
	pgoff_t start = range->start;
	struct folio_batch batch;
	unsigned int i;

	if (range->start >= range->end ||
	    (!range->to->nrpages && range->end - range->ahead <= range->old_end))
		return;
	folio_batch_init(&batch);
	while (kept->count < kept->room && kept->looks && start < range->end &&
	       !fatal_signal_pending(current) &&
	       filemap_get_folios(range->from, &start, range->end - 1, &batch)) {
		for (i = 0; i < folio_batch_count(&batch); i++)
			keep_folio(kept, range, batch.folios[i]);
		folio_batch_release(&batch);
		cond_resched();
	}
}

/* How many there may be at most. */
static u32 count_pages(const struct exchange_vector *vector, bool awaits_ends)
{
	u64 count = 0;
	u32 i;

	for (i = 0; i < vector->count && count < MOST_PAGES; i++) {
		const struct page_range range = range_of(&vector->requests[i], awaits_ends);

		if (range.start < range.end)
			count += min(range.end - range.start, range.from->nrpages);
		cond_resched();
	}
	return min_t(u64, count, MOST_PAGES);
}

/*
 * What is to be kept, before it leaves the cache, or NULL.  With references: until
 * exchange_put_pages() nothing else takes the pages out of file1's cache.  A back end that
 * @awaits_ends waits until nobody has the folio of an end that changes: of that, there are none.
 */
struct exchange_kept *exchange_keep_pages(const struct exchange_vector *vector, bool awaits_ends)
{
	u32 room = count_pages(vector, awaits_ends), i;
	struct exchange_kept *kept;

	if (!room)
		return NULL;
	kept = kmalloc(struct_size(kept, pages, room), GFP_NOWAIT | __GFP_NOWARN);
	if (!kept)
		return NULL;
	kept->vector = vector;
	kept->small_only = awaits_ends && any_resizes(vector);
	kept->count = 0;
	kept->looks = MOST_LOOKS;
	kept->room = room;
	for (i = 0; i < vector->count && kept->count < room; i++) {
		const struct page_range range = range_of(&vector->requests[i], awaits_ends);

		keep_range(kept, &range);
		cond_resched();
	}
	return kept;
}

/*
 * Whether a file has ever failed to write back, or has had a page in the cache that a direct
 * write did not get out of it: then its pages, though clean, may not be what the disk has.
 * (XFS does not tell so of a direct write that has failed after a part of it.)
 */
static bool has_lost_writes(const struct exchange_vector *vector)
{
	u32 i;

	for (i = 0; i < vector->inode_count; i++)
		if (filemap_check_wb_err(vector->inodes[i].inode->i_mapping, 0))
			return true;
	return false;
}

/*
 * Whether a folio is what it was when it was written back, and stays so; @references to it are
 * ours.  What has not left the cache has not moved, as a hole for a hole.
 */
static bool is_still_clean(struct folio *folio, int references)
{
	if (folio->mapping || exchange_is_held(folio, references))
		return false;
	/* Who had it has made it dirty before letting go of it. */
	smp_acquire__after_ctrl_dep();
	return folio_test_uptodate(folio) && !folio_test_dirty(folio);
}

static void copy_kept(const struct kept_page *page)
{
	gfp_t gfp = mapping_gfp_mask(page->to) & ~__GFP_DIRECT_RECLAIM;
	struct folio *folio;

	/* To read what the hardware has lost stops the machine. */
	if (PageHWPoison(page->from))
		return;
	folio = __filemap_get_folio(page->to, page->index, FGP_LOCK | FGP_CREAT,
				    gfp | __GFP_NOWARN);
	if (IS_ERR_OR_NULL(folio))
		return;
	/* What the file system keeps of a page that was there tells of parts of it. */
	if (!folio_test_uptodate(folio) && !folio_test_private(folio) &&
	    folio_nr_pages(folio) == 1) {
		copy_highpage(folio_page(folio, 0), page->from);
		flush_dcache_folio(folio);
		folio_mark_uptodate(folio);
	}
	folio_unlock(folio);
	folio_put(folio);
}

/* Those of a folio are side by side then. */
static int compare_pages(const void *a, const void *b)
{
	const struct page *x = ((const struct kept_page *)a)->from;
	const struct page *y = ((const struct kept_page *)b)->from;

	return (x > y) - (x < y);
}

/* Copies the pages of the folio of the page @i if they are to be, and returns how many they are. */
static u32 put_folio(const struct exchange_kept *kept, u32 i, bool copy)
{
	struct folio *folio = page_folio(kept->pages[i].from);
	u32 count = 1, j;

	while (i + count < kept->count && page_folio(kept->pages[i + count].from) == folio)
		count++;
	copy = copy && is_still_clean(folio, count);
	for (j = i; j < i + count; j++) {
		if (copy)
			copy_kept(&kept->pages[j]);
		cond_resched();
	}
	folio_put_refs(folio, count);
	return count;
}

/* Puts that into file2's cache if it was @exchanged, and lets go of it. */
void exchange_put_pages(struct exchange_kept *kept, bool exchanged)
{
	u32 i = 0;

	if (!kept)
		return;
	exchanged = exchanged && !has_lost_writes(kept->vector);
	sort(kept->pages, kept->count, sizeof(kept->pages[0]), compare_pages, NULL);
	while (i < kept->count)
		i += put_folio(kept, i, exchanged);
	kfree(kept);
}
