/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Trace events, one for each step of an exchange:
 *
 *	exchrange_request	a call came in: its files, ranges, flags
 *	exchrange_backend	it passed the checks, and goes to this back end
 *	exchrange_btrfs_prepare	the extents of both ranges, and the metadata reserved
 *	exchrange_btrfs_transaction	the transaction, and what of that it left
 *	exchrange_xfs_plan	the pieces of both ranges, what they take of log and disk
 *	exchrange_xfs_transaction	the first transaction, and what of that it used
 *	exchrange_watch_begin	a file that is watched is going to change
 *	exchrange_watch_end	it has, or has not: the count tells
 *	exchrange_result	its answer, and how long it took
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM exchrange

#if !defined(EXCHRANGE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define EXCHRANGE_TRACE_H

#include <linux/tracepoint.h>

#include "backend.h"

#define show_exchange_operation(operation) \
	__print_symbolic(operation, \
		{ EXCHANGE_OPERATION_EXCHANGE,		"exchange" }, \
		{ EXCHANGE_OPERATION_START_COMMIT,	"start_commit" }, \
		{ EXCHANGE_OPERATION_COMMIT,		"commit" })

#define show_exchange_flags(flags) \
	__print_flags(flags, "|", \
		{ EXCHRANGE_TO_EOF,		"to_eof" }, \
		{ EXCHRANGE_DSYNC,		"dsync" }, \
		{ EXCHRANGE_DRY_RUN,		"dry_run" }, \
		{ EXCHRANGE_FILE1_WRITTEN,	"file1_written" })

#define show_exchange_backend(backend) \
	__print_symbolic(backend, \
		{ EXCHRANGE_BACKEND_XFS,		"xfs" }, \
		{ EXCHRANGE_BACKEND_XFS_TRANSACTION,	"xfs_transaction" }, \
		{ EXCHRANGE_BACKEND_BTRFS,		"btrfs" })

TRACE_EVENT(exchrange_request,
	    TP_PROTO(const struct exchange_request *request),
	    TP_ARGS(request),
	    TP_STRUCT__entry(__field(dev_t, dev)
			     __field(unsigned int, operation)
			     __field(u64, ino1)
			     __field(u64, ino2)
			     __field(u64, file1_offset)
			     __field(u64, file2_offset)
			     __field(u64, length)
			     __field(u64, flags)),
	    TP_fast_assign(__entry->dev = file_inode(request->file2)->i_sb->s_dev;
			   __entry->operation = request->operation;
			   __entry->ino1 = request->file1 ?
				    file_inode(request->file1)->i_ino : 0;
			   __entry->ino2 = file_inode(request->file2)->i_ino;
			   __entry->file1_offset = request->file1_offset;
			   __entry->file2_offset = request->file2_offset;
			   __entry->length = request->length;
			   __entry->flags = request->flags;),
	    TP_printk("dev %d:%d %s ino1 0x%llx pos1 0x%llx ino2 0x%llx pos2 0x%llx len 0x%llx flags %s",
		      MAJOR(__entry->dev), MINOR(__entry->dev),
		      show_exchange_operation(__entry->operation),
		      __entry->ino1, __entry->file1_offset,
		      __entry->ino2, __entry->file2_offset,
		      __entry->length, show_exchange_flags(__entry->flags))
);

TRACE_EVENT(exchrange_backend,
	    TP_PROTO(const struct exchange_request *request, u32 backend),
	    TP_ARGS(request, backend),
	    TP_STRUCT__entry(__field(dev_t, dev)
			     __field(u64, ino2)
			     __field(u32, backend)),
	    TP_fast_assign(__entry->dev = file_inode(request->file2)->i_sb->s_dev;
			   __entry->ino2 = file_inode(request->file2)->i_ino;
			   __entry->backend = backend;),
	    TP_printk("dev %d:%d ino2 0x%llx backend %s",
		      MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino2,
		      show_exchange_backend(__entry->backend))
);

TRACE_EVENT(exchrange_btrfs_prepare,
	    TP_PROTO(const struct exchange_request *request, u32 extents1,
		     u32 extents2, u64 bytes, int error),
	    TP_ARGS(request, extents1, extents2, bytes, error),
	    TP_STRUCT__entry(__field(dev_t, dev)
			     __field(u64, ino2)
			     __field(u32, extents1)
			     __field(u32, extents2)
			     __field(u64, bytes)
			     __field(int, error)),
	    TP_fast_assign(__entry->dev = file_inode(request->file2)->i_sb->s_dev;
			   __entry->ino2 = file_inode(request->file2)->i_ino;
			   __entry->extents1 = extents1;
			   __entry->extents2 = extents2;
			   __entry->bytes = bytes;
			   __entry->error = error;),
	    TP_printk("dev %d:%d ino2 0x%llx extents1 %u extents2 %u reserved %llu error %d",
		      MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino2,
		      __entry->extents1, __entry->extents2, __entry->bytes,
		      __entry->error)
);

TRACE_EVENT(exchrange_btrfs_transaction,
	    TP_PROTO(const struct exchange_request *request, u64 transid,
		     u64 reserved, u64 left, int error),
	    TP_ARGS(request, transid, reserved, left, error),
	    TP_STRUCT__entry(__field(dev_t, dev)
			     __field(u64, ino2)
			     __field(u64, transid)
			     __field(u64, reserved)
			     __field(u64, left)
			     __field(int, error)),
	    TP_fast_assign(__entry->dev = file_inode(request->file2)->i_sb->s_dev;
			   __entry->ino2 = file_inode(request->file2)->i_ino;
			   __entry->transid = transid;
			   __entry->reserved = reserved;
			   __entry->left = left;
			   __entry->error = error;),
	    TP_printk("dev %d:%d ino2 0x%llx transid %llu reserved %llu left %llu error %d",
		      MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino2,
		      __entry->transid, __entry->reserved, __entry->left,
		      __entry->error)
);

TRACE_EVENT(exchrange_xfs_plan,
	    TP_PROTO(const struct exchange_request *request, u64 pieces,
		     u64 replaced1, u64 replaced2, u64 rmaps, u64 log_bytes,
		     u64 log_limit, u64 blocks, bool forks, int error),
	    TP_ARGS(request, pieces, replaced1, replaced2, rmaps, log_bytes,
		    log_limit, blocks, forks, error),
	    TP_STRUCT__entry(__field(dev_t, dev)
			     __field(u64, ino2)
			     __field(u64, pieces)
			     __field(u64, replaced1)
			     __field(u64, replaced2)
			     __field(u64, rmaps)
			     __field(u64, log_bytes)
			     __field(u64, log_limit)
			     __field(u64, blocks)
			     __field(bool, forks)
			     __field(int, error)),
	    TP_fast_assign(__entry->dev = file_inode(request->file2)->i_sb->s_dev;
			   __entry->ino2 = file_inode(request->file2)->i_ino;
			   __entry->pieces = pieces;
			   __entry->replaced1 = replaced1;
			   __entry->replaced2 = replaced2;
			   __entry->rmaps = rmaps;
			   __entry->log_bytes = log_bytes;
			   __entry->log_limit = log_limit;
			   __entry->blocks = blocks;
			   __entry->forks = forks;
			   __entry->error = error;),
	    TP_printk("dev %d:%d ino2 0x%llx pieces %llu replaced %llu %llu rmaps %llu log %llu of %llu blocks %llu forks %d error %d",
		      MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino2,
		      __entry->pieces, __entry->replaced1,
		      __entry->replaced2, __entry->rmaps,
		      __entry->log_bytes, __entry->log_limit,
		      __entry->blocks, __entry->forks, __entry->error)
);

TRACE_EVENT(exchrange_xfs_transaction,
	    TP_PROTO(const struct exchange_request *request, u64 log_bytes,
		     u64 log_used, u64 blocks, u64 blocks_used,
		     u64 rmaps_in_place, int error),
	    TP_ARGS(request, log_bytes, log_used, blocks, blocks_used,
		    rmaps_in_place, error),
	    TP_STRUCT__entry(__field(dev_t, dev)
			     __field(u64, ino2)
			     __field(u64, log_bytes)
			     __field(u64, log_used)
			     __field(u64, blocks)
			     __field(u64, blocks_used)
			     __field(u64, rmaps_in_place)
			     __field(int, error)),
	    TP_fast_assign(__entry->dev = file_inode(request->file2)->i_sb->s_dev;
			   __entry->ino2 = file_inode(request->file2)->i_ino;
			   __entry->log_bytes = log_bytes;
			   __entry->log_used = log_used;
			   __entry->blocks = blocks;
			   __entry->blocks_used = blocks_used;
			   __entry->rmaps_in_place = rmaps_in_place;
			   __entry->error = error;),
	    TP_printk("dev %d:%d ino2 0x%llx log %llu used %llu blocks %llu used %llu rmaps_in_place %llu error %d",
		      MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino2,
		      __entry->log_bytes, __entry->log_used, __entry->blocks,
		      __entry->blocks_used, __entry->rmaps_in_place,
		      __entry->error)
);

DECLARE_EVENT_CLASS(exchrange_watch_class,
		    TP_PROTO(const struct inode *inode,
			     const struct exchrange_watch_page *page, u32 under_way),
		    TP_ARGS(inode, page, under_way),
		    TP_STRUCT__entry(__field(dev_t, dev)
				     __field(u64, ino)
				     __field(u64, count)
				     __field(u32, sequence)
				     __field(u32, under_way)),
		    TP_fast_assign(__entry->dev = inode->i_sb->s_dev;
				   __entry->ino = inode->i_ino;
				   __entry->count = page->count;
				   __entry->sequence = page->sequence;
				   __entry->under_way = under_way;),
		    TP_printk("dev %d:%d ino 0x%llx sequence %u count %llu under_way %u",
			      MAJOR(__entry->dev), MINOR(__entry->dev),
			      __entry->ino, __entry->sequence, __entry->count,
			      __entry->under_way)
);

DEFINE_EVENT(exchrange_watch_class, exchrange_watch_begin,
	     TP_PROTO(const struct inode *inode,
		      const struct exchrange_watch_page *page, u32 under_way),
	     TP_ARGS(inode, page, under_way));

DEFINE_EVENT(exchrange_watch_class, exchrange_watch_end,
	     TP_PROTO(const struct inode *inode,
		      const struct exchrange_watch_page *page, u32 under_way),
	     TP_ARGS(inode, page, under_way));

TRACE_EVENT(exchrange_result,
	    TP_PROTO(const struct exchange_request *request, int error, u64 ns),
	    TP_ARGS(request, error, ns),
	    TP_STRUCT__entry(__field(dev_t, dev)
			     __field(u64, ino2)
			     __field(int, error)
			     __field(u64, ns)),
	    TP_fast_assign(__entry->dev = file_inode(request->file2)->i_sb->s_dev;
			   __entry->ino2 = file_inode(request->file2)->i_ino;
			   __entry->error = error;
			   __entry->ns = ns;),
	    TP_printk("dev %d:%d ino2 0x%llx error %d ns %llu",
		      MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino2,
		      __entry->error, __entry->ns)
);

#endif /* EXCHRANGE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
