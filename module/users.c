// SPDX-License-Identifier: GPL-2.0
/*
 * How many watches, and how many staging files, a user has.
 */
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/slab.h>

#include "users.h"

struct exchange_user {
	struct hlist_node	node;
	kuid_t			uid;
	unsigned int		count;
};

/* With the lock; NULL where @uid has none. */
static struct exchange_user *look_up(struct exchange_users *users, kuid_t uid)
{
	struct exchange_user *user;

	hash_for_each_possible(users->table, user, node, __kuid_val(uid))
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

struct exchange_user *exchange_charge_user(struct exchange_users *users, unsigned int most)
{
	struct exchange_user *new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	struct exchange_user *user;

	if (!new)
		return ERR_PTR(-ENOMEM);
	new->uid = current_uid();

	spin_lock(&users->lock);
	user = look_up(users, new->uid);
	if ((user ? user->count : 0) >= most) {
		user = ERR_PTR(-EUSERS);
	} else {
		if (!user) {
			user = new;
			hash_add(users->table, &user->node, __kuid_val(user->uid));
		}
		user->count++;
	}
	spin_unlock(&users->lock);
	if (user != new)
		kfree(new);
	return user;
}

void exchange_uncharge_user(struct exchange_users *users, struct exchange_user *user)
{
	spin_lock(&users->lock);
	if (--user->count)
		user = NULL;
	else
		hash_del(&user->node);
	spin_unlock(&users->lock);
	kfree(user);
}
