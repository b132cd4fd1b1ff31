// SPDX-License-Identifier: MIT
/*
 * The commit: what one transaction has written, of one database or of several, is exchanged for
 * what their files have, by one vector.
 *
 * The moment is the deletion of the super-journal, or SQLITE_FCNTL_COMMIT_PHASETWO: SQLite
 * sends it when all else has succeeded, whatever the PRAGMAs are, and never when it rolls
 * back.  What fails there is SQLITE_FULL or an SQLITE_IOERR: SQLite then throws its cache
 * away and reads the file, which tells what happened even where the error does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/stage.h"
#include "database.h"

/* --- staging files -------------------------------------------------------------------- */

/* The directory that has the database; -1 and errno. */
static int open_directory(const char *name, int flags)
{
	const char *slash = strrchr(name, '/');
	char *directory;
	int fd;

	if (!slash)
		return open(".", flags | O_DIRECTORY | O_CLOEXEC);
	directory = strndup(name, slash == name ? 1 : slash - name);
	if (!directory)
		return -1;
	fd = open(directory, flags | O_DIRECTORY | O_CLOEXEC);
	free(directory);
	return fd;
}

/* By the device, which needs no directory; or else in the database's.  -1 and errno. */
static int make_staging(const struct database *database)
{
	int fd = -1, directory;

	if (database->device >= 0)
		fd = exchrange_stage(database->device, database->fd, 0);
	if (fd >= 0)
		return fd;
	directory = open_directory(database->name, O_PATH);
	if (directory < 0)
		return -1;
	fd = exchrange_stage_for_file(directory, database->fd);
	close(directory);
	return fd;
}

int prepare_pages(struct database *database)
{
	struct pages *pages = &database->pages;

	if (pages->slots < 0)
		pages->slots = make_staging(database);
	if (pages->slots >= 0 && pages->tail < 0)
		pages->tail = make_staging(database);
	if (pages_ready(pages))
		return SQLITE_OK;
	log_once(TOPIC_STAGING, SQLITE_WARNING, "%s: no staging file: %s", database->name,
		 strerror(errno));
	return SQLITE_IOERR_WRITE;
}

/* --- one vector ------------------------------------------------------------------------- */

/* A database that is new is found after a crash: its name is durable before its contents. */
static int sync_name(struct database *database)
{
	int fd, code = SQLITE_OK;

	if (!database->fresh)
		return SQLITE_OK;
	fd = open_directory(database->name, O_RDONLY);
	/* Where it cannot be opened, SQLite does without, too. */
	if (fd >= 0) {
		if (fsync(fd))
			code = SQLITE_IOERR_DIR_FSYNC;
		close(fd);
	}
	if (code == SQLITE_OK)
		database->fresh = false;
	return code;
}

/* The pairs of all members, one after the other; the caller frees *pairs.  0 or an errno. */
static int gather(const struct group *group, struct exchrange_pair **pairs, uint32_t *count)
{
	unsigned int i;

	*pairs = NULL;
	*count = 0;
	for (i = 0; i < group->count; i++) {
		struct database *member = group->members[i];
		struct exchrange_pair *its, *all;
		uint32_t its_count;
		int error = pages_pairs(&member->pages, member->chunk, &its, &its_count);

		if (error)
			return error;
		all = sqlite3_realloc64(*pairs, ((uint64_t)*count + its_count + 1) *
					sizeof(*all));
		if (!all) {
			sqlite3_free(its);
			return ENOMEM;
		}
		memcpy(all + *count, its, its_count * sizeof(*its));
		sqlite3_free(its);
		*pairs = all;
		*count += its_count;
	}
	return 0;
}

/* 0 or an errno. */
static int exchange(const struct group *group, bool sync)
{
	struct exchrange_vector vector = {
		.pair_size = sizeof(struct exchrange_pair),
		.flags = sync ? EXCHRANGE_DSYNC : 0,
	};
	struct exchrange_pair *pairs;
	int error;

	error = gather(group, &pairs, &vector.count);
	vector.pairs = (uintptr_t)pairs;
	if (!error && vector.count > EXCHRANGE_VECTOR_PAIRS)
		error = E2BIG;
	if (!error && vector.count &&
	    exchrange_exchange_vector(group->members[0]->device, &vector))
		error = errno;
	sqlite3_free(pairs);
	return error;
}

/*
 * What cannot be exchanged, though it could be written: more than the log or a user's limit
 * takes, files on two mounts, pinned pages, other attributes than the staging file has.
 */
static bool is_not_exchangeable(int error)
{
	return error == E2BIG || error == EXDEV || error == EBUSY || error == EINVAL ||
		error == EOPNOTSUPP || error == ENOTTY;
}

/* After the exchange: what the default VFS has to know of a size that has changed. */
static void settle_size(struct database *database)
{
	struct pages *pages = &database->pages;
	sqlite3_file *real = database->real;
	sqlite3_int64 size = pages->size;

	/* A file that is too long is a good database: its header has the number of pages. */
	if (pages->size < pages->old_size)
		(void)real->pMethods->xTruncate(real, size);
	else if (pages->size > pages->old_size)
		(void)real->pMethods->xFileControl(real, SQLITE_FCNTL_SIZE_HINT, &size);
}

/* @reuse: as pages_forget(). */
static void end_transaction(struct database *database, bool reuse)
{
	pages_forget(&database->pages, reuse);
	database->sync = false;
	database->ready = false;
	if (!database->super)
		return;
	list_lock();
	database->super = NULL;
	list_unlock();
}

/*
 * An exchange may have been done although it says that it was not.  SQLite reads again what
 * the file has, but not where it rolls back from its journal: several databases, or a
 * super-journal.  There the rollback has to fail.
 */
static void doubt(struct group *group)
{
	unsigned int i;

	if (group->count == 1 && !group->members[0]->super)
		return;
	for (i = 0; i < group->count; i++)
		group->members[i]->torn = true;
}

/* What certainly has changed nothing. */
static bool is_certain(int error)
{
	return error == ENOMEM || error == ENOSPC || error == EDQUOT;
}

/* *@reuse is whether the staging files may be overwritten. */
static int commit_members(struct group *group, const char *super, bool sync, bool *reuse)
{
	bool exchangeable = !super;
	unsigned int i;
	int error, code;

	for (i = 0; i < group->count; i++) {
		if (group->members[i]->device < 0)
			exchangeable = false;
		code = sync ? sync_name(group->members[i]) : SQLITE_OK;
		if (code != SQLITE_OK)
			return code;
	}
	if (!exchangeable)
		return commit_on_disk(group, super);

	error = exchange(group, sync);
	*reuse = sync && !error;
	if (error && is_not_exchangeable(error)) {
		log_once(TOPIC_DISK, SQLITE_NOTICE, "%s: %s: by a rollback journal",
			 group->members[0]->name, strerror(error));
		return commit_on_disk(group, NULL);
	}
	if (error) {
		log_once(TOPIC_ERRNO, SQLITE_WARNING, "%s: commit: %s", group->members[0]->name,
			 strerror(error));
		if (is_certain(error))
			return code_of_errno(error);
		for (i = 0; i < group->count; i++)
			pages_give_up(&group->members[i]->pages);
		doubt(group);
		return SQLITE_IOERR_COMMIT_ATOMIC;
	}
	for (i = 0; i < group->count; i++)
		settle_size(group->members[i]);
	return SQLITE_OK;
}

int commit_group(struct group *group, const char *super)
{
	unsigned int i, changed = 0;
	bool sync = false, reuse = true;
	int code = SQLITE_OK;

	/* One that wants to be durable makes all so: they are one transaction. */
	for (i = 0; i < group->count; i++) {
		struct database *member = group->members[i];

		if (!member->pages.begun)
			continue;
		sync |= member->sync;
		group->members[changed++] = member;
	}
	group->count = changed;
	if (changed || super)
		code = commit_members(group, super, sync, &reuse);
	for (i = 0; i < group->count; i++)
		end_transaction(group->members[i], reuse);
	return code;
}

int commit_alone(struct database *database)
{
	struct group group = { .members = { database }, .count = 1 };

	return commit_group(&group, NULL);
}

/*
 * Without a super-journal (synchronous=OFF; journal_mode MEMORY or OFF) SQLite first makes all
 * databases of a transaction ready, then sends each the second phase: the first of these is
 * for all.
 */
int commit_ready(struct database *database)
{
	struct group group = { .members = { database }, .count = 1 };
	struct database *other;

	list_lock();
	for (other = databases; other; other = other->next)
		if (other != database && other->connection &&
		    other->connection == database->connection && other->ready &&
		    pthread_equal(other->thread, pthread_self()) && group.count < GROUP_MAX)
			group.members[group.count++] = other;
	list_unlock();
	return commit_group(&group, NULL);
}

void roll_back(struct database *database)
{
	leave_super(database);
	end_transaction(database, true);
}
