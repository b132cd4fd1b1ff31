/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How many of something each user has.
 */
#ifndef EXCHRANGE_USERS_H
#define EXCHRANGE_USERS_H

#include <linux/hashtable.h>
#include <linux/spinlock.h>

struct exchange_user;

/* Those who have some, by their real uid. */
struct exchange_users {
	DECLARE_HASHTABLE(table, 6);
	spinlock_t lock;	/* of the table, and of the counts */
};

/* An empty table is all zero. */
#define EXCHANGE_USERS(name)	{ .lock = __SPIN_LOCK_UNLOCKED((name).lock) }

/*
 * Counts one more for the caller: ERR_PTR(-EUSERS) where it has @most, or -ENOMEM.  May
 * sleep.  Taking it back does not, and may be done by anybody.
 */
struct exchange_user *exchange_charge_user(struct exchange_users *users, unsigned int most);
void exchange_uncharge_user(struct exchange_users *users, struct exchange_user *user);

#endif /* EXCHRANGE_USERS_H */
