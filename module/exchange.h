/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The path of an exchange: ioctl.c calls exchange.c, which calls check.c and
 * then a back end.
 */
#ifndef EXCHRANGE_EXCHANGE_H
#define EXCHRANGE_EXCHANGE_H

#include "backend.h"
#include "compat.h"

struct private_symbol;

/* ioctl.c */
extern const struct file_operations exchange_fops;

/* exchange.c */
int exchange_start(void);
void exchange_stop(void);
int exchange_submit(struct exchange_vector *vector);
int exchange_query(struct file *file, struct exchrange_query *query);
int exchange_check_backend(struct file *file);
int exchange_check_readable(struct file *file);
const struct exchange_backend *exchange_find_backend(const struct file *file);
struct inode *exchange_data_inode(const struct file *file);
int exchange_watch(struct file *file);

/* vector.c */
int exchange_vector_index(struct exchange_vector *vector);
int exchange_vector_submit(struct exchrange_vector *argument);

/* locks.c */

/* What lockdep is told to stand for all locks of a kind: sb_start_write()'s. */
#define exchange_nest_lock(vector) \
	(&(vector)->inodes[0].inode->i_sb->s_writers.rw_sem[SB_FREEZE_WRITE - 1])

void exchange_lock_inodes(const struct exchange_vector *vector);
void exchange_unlock_inodes(const struct exchange_vector *vector);
void exchange_lock_mappings(const struct exchange_vector *vector);
void exchange_unlock_mappings(const struct exchange_vector *vector);

/* stage.c */
int exchange_stage(struct file *file, u32 flags);

/* staged.c */
int exchange_staged_start(void);
void exchange_staged_stop(void);
int exchange_staged_add(struct inode *inode);

/* hold.c */
void exchange_hold_start(void);
int exchange_hold(struct file *file);
void exchange_hold_query(const struct inode *inode, struct exchrange_query *query);

/* check.c */
int exchange_check_regular(const struct inode *inode);
int exchange_check_access(const struct file *file);
int exchange_check_request(const struct exchange_request *request);
int exchange_check_range(u64 offset, u64 length);

/* check_locked.c */
int exchange_check_locked(struct exchange_vector *vector, u32 alignment);

/* drop_pages.c */

/* How an exchange waits for those who have pinned its pages: { } before it has to. */
struct exchange_pin_wait {
	unsigned long	give_up;	/* jiffies */
	bool		begun;
};

int exchange_wait_for_pins(struct exchange_pin_wait *wait);
const struct private_symbol *exchange_drain_symbol(void);
bool exchange_has_transfers(const struct exchange_vector *vector);
bool exchange_has_pinned_pages(struct address_space *mapping, pgoff_t start, pgoff_t last);
bool exchange_is_held(struct folio *folio, int references);
int exchange_drop_pages(struct address_space *mapping, loff_t start, loff_t last,
			struct exchange_pin_wait *wait);

/* keep_pages.c */
struct exchange_kept;

struct exchange_kept *exchange_keep_pages(const struct exchange_vector *vector, bool awaits_ends);
void exchange_put_pages(struct exchange_kept *kept, bool exchanged);

/* rights.c */
const struct private_symbol *exchange_rights_symbol(void);
int exchange_check_rights(struct exchange_vector *vector);
int exchange_check_write(struct file *file);
bool exchange_can_check_overwrite(void);
int exchange_check_overwrite(struct file *file);

/* complete.c */
bool exchange_must_be_durable(const struct exchange_vector *vector);
void exchange_notify(const struct exchange_vector *vector);

#endif /* EXCHRANGE_EXCHANGE_H */
