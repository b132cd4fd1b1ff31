// SPDX-License-Identifier: MIT
/* The databases that are open in this process and are committed by exchanges. */
#include <string.h>

#include "database.h"

struct database *databases;

/* Held for moments only, and never while a file is read or written. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void list_lock(void)
{
	pthread_mutex_lock(&mutex);
}

void list_unlock(void)
{
	pthread_mutex_unlock(&mutex);
}

/* The one with this pointer: several connections have the same database. */
struct database *database_of_name(const char *name)
{
	struct database *database;

	list_lock();
	for (database = databases; database; database = database->next)
		if (database->name == name)
			break;
	list_unlock();
	return database;
}

/*
 * Of several connections to it, one with an open journal: there is one at the most, since
 * that takes a lock.
 */
struct database *database_of_journal(const char *journal)
{
	struct database *database, *found = NULL;

	list_lock();
	for (database = databases; database; database = database->next) {
		if (strcmp(sqlite3_filename_journal(database->name), journal))
			continue;
		if (!found || database->journal)
			found = database;
	}
	list_unlock();
	return found;
}

bool is_torn(const char *journal)
{
	struct database *database;

	list_lock();
	for (database = databases; database; database = database->next)
		if (database->torn && !strcmp(sqlite3_filename_journal(database->name), journal))
			break;
	list_unlock();
	return database;
}

void add_database(struct database *database)
{
	list_lock();
	database->next = databases;
	databases = database;
	list_unlock();
}

void remove_database(struct database *database)
{
	struct database **link = &databases;

	list_lock();
	while (*link && *link != database)
		link = &(*link)->next;
	if (*link)
		*link = database->next;
	list_unlock();
}
