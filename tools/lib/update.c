// SPDX-License-Identifier: MIT
/*
 * An update: a staging file without a name, written by the caller, whose contents
 * become the file's at once.
 *
 * Until the commit the file is held by an O_PATH descriptor: programs run it, others have
 * leases of it, and nobody is told that it was closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contents.h"
#include "exchrange.h"
#include "place.h"
#include "stage.h"

#define BEGIN_FLAGS	(EXCHRANGE_UPDATE_CLONE | EXCHRANGE_UPDATE_UNCHANGED | \
			 EXCHRANGE_UPDATE_CREATE | EXCHRANGE_UPDATE_NOFOLLOW | \
			 EXCHRANGE_UPDATE_KEEP_LOCKS)
#define COMMIT_FLAGS	(EXCHRANGE_DSYNC | EXCHRANGE_DRY_RUN | \
			 EXCHRANGE_FILE1_WRITTEN)

/* So often a name may be another file's when it is looked at. */
#define MAX_TRIES	1000

struct exchrange_update {
	int			device;		/* the caller's */
	unsigned int		flags;
	mode_t			mode;
	bool			named;		/* begun by a path: commit looks again */
	bool			created;	/* the staging file is the file now */
	bool			can_be_named;	/* the staging file */
	bool			elsewhere;	/* place is not what was named, but has that file */
	bool			by_device;	/* makes staging files, without a directory */
	int			file;		/* begun by a descriptor: open for writing */
	int			pin;		/* the file, O_PATH; -1: there is none */
	int			home;		/* directory for staging files; -1: place.dir */
	int			staging;
	struct exchrange_place	place;
	struct exchrange_sample	sample;
};

static int fail(int error)
{
	errno = error;
	return -1;
}

static void replace(int *fd, int with)
{
	exchrange_close(*fd);
	*fd = with;
}

/* --- the file -------------------------------------------------------------------- */

/* There is a back end that exchanges it whole. */
static int check_back_end(int device, int fd)
{
	struct exchrange_query query = { .fd = fd };

	if (exchrange_query(device, &query))
		return -1;
	return query.backend == EXCHRANGE_BACKEND_NONE ||
	       !(query.flags & EXCHRANGE_TO_EOF) ? fail(EOPNOTSUPP) : 0;
}

/* As for one who creates a file, and finds that of another. */
static int check_planted(const struct exchrange_update *update, int pin)
{
	return update->flags & EXCHRANGE_UPDATE_CREATE ?
	       exchrange_check_planted(&update->place, pin) : 0;
}

/* Only names of regular files are opened. */
static int check_kind(int pin)
{
	struct stat st;

	if (fstat(pin, &st))
		return -1;
	if (S_ISREG(st.st_mode))
		return 0;
	return fail(S_ISDIR(st.st_mode) ? EISDIR : S_ISLNK(st.st_mode) ? ELOOP : EINVAL);
}

/*
 * Opens @pin, which is what the place is of.  -1, with errno 0 where that is another
 * file by now, or none.
 */
static int open_pinned(const struct exchrange_update *update, int pin, int flags)
{
	int fd = exchrange_open_place(&update->place, flags);

	if (fd >= 0 && exchrange_is_same(fd, pin))
		return fd;
	if (fd >= 0 || errno == ENOENT || errno == ELOOP)
		errno = 0;
	exchrange_close(fd);
	return -1;
}

/*
 * The file, pinned, and in *reader open for reading; neither where it is not there and may
 * be created.
 */
static int look_up(struct exchrange_update *update, const char *path, int *reader)
{
	bool follow = !(update->flags & EXCHRANGE_UPDATE_NOFOLLOW);
	int tries;

	for (tries = 0; tries < MAX_TRIES; tries++) {
		if (exchrange_find(path, follow, &update->place, &update->pin))
			return -1;
		if (update->pin < 0)
			return update->flags & EXCHRANGE_UPDATE_CREATE ? 0 : fail(ENOENT);
		if (check_kind(update->pin))
			return -1;
		*reader = open_pinned(update, update->pin, O_RDONLY);
		if (*reader >= 0 || errno)
			return *reader < 0 ? -1 : 0;
		replace(&update->pin, -1);
		exchrange_drop_place(&update->place);
	}
	return fail(ENOENT);
}

/* --- where to stage -------------------------------------------------------------- */

/*
 * A file that is mounted by itself has no directory on its own mount: then it is taken
 * through another mount.
 */
static int go_elsewhere(struct exchrange_update *update, int *reader)
{
	struct exchrange_place place;
	int there;

	if (exchrange_find_elsewhere(update->pin, &place, &there))
		return -1;
	exchrange_drop_place(&update->place);
	update->place = place;
	update->elsewhere = true;
	replace(&update->pin, there);
	replace(reader, open_pinned(update, there, O_RDONLY));
	return *reader < 0 ? fail(errno ? errno : ENOENT) : 0;
}

/* The directory of a file that was reached through a link of procfs. */
static int find_home_by_fd(struct exchrange_update *update, int fd)
{
	struct exchrange_place place;

	if (exchrange_find_by_fd(fd, &place))
		return -1;
	update->home = place.dir;
	return 0;
}

static int open_home(struct exchrange_update *update, const char *directory)
{
	update->home = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return update->home < 0 ? -1 : 0;
}

static int home_of(const struct exchrange_update *update)
{
	return update->home < 0 ? update->place.dir : update->home;
}

static int check_mount(const struct exchrange_update *update, int file)
{
	return exchrange_mount_of(home_of(update)) == exchrange_mount_of(file) ?
	       0 : fail(EXDEV);
}

/*
 * -1 and errno where there is none.  A directory that was named may be on another mount that
 * shows the file too.
 */
static int find_home(struct exchrange_update *update, int *reader,
		     const char *directory)
{
	if (directory && open_home(update, directory))
		return -1;
	if (update->place.follow && !directory)
		return find_home_by_fd(update, *reader);
	if (check_mount(update, update->pin) == 0)
		return 0;
	if (!directory)
		return -1;
	return go_elsewhere(update, reader) ? -1 : check_mount(update, update->pin);
}

/* What the device may help with. */
static bool is_of_a_directory(int error)
{
	return error == EXDEV || error == EACCES || error == EPERM || error == EROFS ||
	       error == ENOENT || error == EOPNOTSUPP;
}

/* Where it is too old, or somebody has forbidden it. */
static bool is_of_the_device(int error)
{
	return error == ENOTTY || error == EOPNOTSUPP || error == EACCES || error == EPERM ||
	       error == EXDEV;
}

/* The same for a file that was given; one elsewhere takes its place. */
static int find_home_of_fd(struct exchrange_update *update, const char *directory)
{
	int there;

	if (directory) {
		if (open_home(update, directory))
			return -1;
		if (check_mount(update, update->file) == 0)
			return 0;
	} else {
		if (find_home_by_fd(update, update->file) == 0)
			return 0;
		if (errno != EXDEV)
			return -1;
	}
	/* Another descriptor would be closed in the end, and that ends locks. */
	if (update->flags & EXCHRANGE_UPDATE_KEEP_LOCKS)
		return fail(EXDEV);
	if (exchrange_find_elsewhere(update->file, &update->place, &update->pin))
		return -1;
	there = open_pinned(update, update->pin, O_RDWR);
	if (there < 0)
		return fail(errno ? errno : ENOENT);
	replace(&update->file, there);
	return check_mount(update, update->file);
}

/* --- the exchange ---------------------------------------------------------------- */

static int exchange(struct exchrange_update *update, int file, __u64 flags)
{
	struct exchrange_commit commit = {
		.file1_fd	= update->staging,
		.file2_fd	= file,
		.flags		= flags | EXCHRANGE_TO_EOF,
	};
	struct exchrange_range range = {
		.file1_fd	= update->staging,
		.file2_fd	= file,
		.flags		= flags | EXCHRANGE_TO_EOF,
	};

	if (!(update->flags & EXCHRANGE_UPDATE_UNCHANGED))
		return exchrange_exchange(update->device, &range);
	memcpy(commit.file2_freshness, update->sample.freshness,
	       sizeof(commit.file2_freshness));
	return exchrange_commit(update->device, &commit);
}

/* --- begin ----------------------------------------------------------------------- */

/* What was sampled once is gone; what was not there shall stay away. */
static int take_sample(struct exchrange_update *update, int fd,
		       const struct exchrange_sample *sample)
{
	struct exchrange_sample now;

	if (!(update->flags & EXCHRANGE_UPDATE_UNCHANGED))
		return 0;
	if (fd < 0)
		return sample ? fail(EBUSY) : 0;
	if (!sample)
		return exchrange_sample(update->device, fd, &update->sample);
	/* The commit decides; this spares the work.  What has no sample now had one then. */
	if (exchrange_sample(update->device, fd, &now))
		return errno == EAGAIN || errno == EOVERFLOW ? fail(EBUSY) : -1;
	if (memcmp(&now, sample, sizeof(now)))
		return fail(EBUSY);
	update->sample = *sample;
	return 0;
}

/* @file is open for reading and writing. */
static int stage_by_device(struct exchrange_update *update, int file)
{
	update->staging = exchrange_stage(update->device, file, 0);
	update->by_device = update->staging >= 0;
	return update->by_device ? 0 : -1;
}

/* The file that is pinned. */
static int stage_pinned_by_device(struct exchrange_update *update)
{
	int file, ret;

	if (update->device < 0)
		return fail(EOPNOTSUPP);
	file = open_pinned(update, update->pin, O_RDWR);
	if (file < 0)
		return fail(errno ? errno : ENOENT);
	ret = stage_by_device(update, file);
	exchrange_close(file);
	return ret;
}

static int stage_at_home(struct exchrange_update *update, int reader)
{
	update->staging = exchrange_stage_for_file(home_of(update), reader);
	return update->staging < 0 ? -1 : 0;
}

/*
 * *@reader is of the file, open for reading: in its directory, so that the file need not be
 * opened for writing; else by the device; else where another mount shows it.
 */
static int stage_for_reader(struct exchrange_update *update, int *reader,
			    const char *directory)
{
	int error;

	if (find_home(update, reader, directory) == 0 &&
	    stage_at_home(update, *reader) == 0)
		return 0;
	error = errno;
	if (directory || !is_of_a_directory(error))
		return -1;
	if (stage_pinned_by_device(update) == 0)
		return 0;
	if (!is_of_the_device(errno))
		return -1;
	if (error != EXDEV)
		return fail(error);
	return go_elsewhere(update, reader) || check_mount(update, update->pin) ||
	       stage_at_home(update, *reader) ? -1 : 0;
}

/* @fd is of the file; -1 where it is not there. */
static int clone(struct exchrange_update *update, int fd)
{
	return fd >= 0 && update->flags & EXCHRANGE_UPDATE_CLONE ?
	       exchrange_copy(fd, update->staging) : 0;
}

/* A directory that was named is for a file that comes meanwhile. */
static int stage_for_name(struct exchrange_update *update, const char *directory)
{
	if (directory && open_home(update, directory))
		return -1;
	update->can_be_named = true;
	update->staging = exchrange_stage_for_name(update->place.dir, update->mode);
	return update->staging < 0 ? -1 : 0;
}

static const struct exchrange_update_options nothing;

static int begin_by_path(struct exchrange_update *update, const char *path,
			 const struct exchrange_update_options *options)
{
	int reader = -1, ret;

	update->named = true;
	ret = look_up(update, path, &reader);
	if (ret == 0 && reader >= 0)
		ret = exchrange_check_writable(reader) || check_planted(update, update->pin) ||
		      check_back_end(update->device, reader);
	if (ret == 0)
		ret = take_sample(update, reader, options->sample) ||
		      (reader < 0 ? stage_for_name(update, options->staging) :
		       stage_for_reader(update, &reader, options->staging)) ||
		      clone(update, reader);
	exchrange_close(reader);
	return ret;
}

/* In a directory where one was named, or where the device does not do it. */
static int stage_open_file(struct exchrange_update *update, const char *directory)
{
	if (!directory) {
		if (stage_by_device(update, update->file) == 0)
			return 0;
		if (!is_of_the_device(errno) && errno != EUSERS)
			return -1;
	}
	return find_home_of_fd(update, directory) ||
	       stage_at_home(update, update->file) ? -1 : 0;
}

/* The dry run tells what cannot be committed; a change since, the commit. */
static int begin_by_fd(struct exchrange_update *update, int fd,
		       const struct exchrange_update_options *options)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -1;
	if ((flags & O_ACCMODE) != O_RDWR || flags & (O_APPEND | O_PATH))
		return fail(EBADF);
	update->file = update->flags & EXCHRANGE_UPDATE_KEEP_LOCKS ?
		       fd : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (update->file < 0)
		return -1;
	if (check_back_end(update->device, fd) ||
	    stage_open_file(update, options->staging) ||
	    take_sample(update, update->file, options->sample) ||
	    clone(update, update->file))
		return -1;
	/* Without the sample: that a file changes is nothing wrong yet. */
	flags = update->flags;
	update->flags &= ~EXCHRANGE_UPDATE_UNCHANGED;
	fd = exchange(update, update->file, EXCHRANGE_DRY_RUN);
	update->flags = flags;
	return fd;
}

static struct exchrange_update *
new_update(int device, const struct exchrange_update_options *options,
	   unsigned int known)
{
	struct exchrange_update *update;

	if (options->flags & ~known) {
		errno = EINVAL;
		return NULL;
	}
	update = calloc(1, sizeof(*update));
	if (!update)
		return NULL;
	update->device = device;
	update->flags = options->flags;
	update->mode = options->mode;
	update->file = update->pin = update->home = update->staging = -1;
	update->place.dir = -1;
	return update;
}

struct exchrange_update *
exchrange_update_begin(int device, const char *path,
		       const struct exchrange_update_options *options)
{
	struct exchrange_update *update;

	options = options ? options : &nothing;
	update = new_update(device, options,
			    BEGIN_FLAGS & ~EXCHRANGE_UPDATE_KEEP_LOCKS);
	if (update && begin_by_path(update, path, options)) {
		exchrange_update_drop(update);
		update = NULL;
	}
	return update;
}

struct exchrange_update *
exchrange_update_begin_fd(int device, int fd,
			  const struct exchrange_update_options *options)
{
	struct exchrange_update *update;

	options = options ? options : &nothing;
	update = new_update(device, options, BEGIN_FLAGS);
	if (!update)
		return NULL;
	/* An open file is there, and no link. */
	update->flags &= ~(EXCHRANGE_UPDATE_CREATE | EXCHRANGE_UPDATE_NOFOLLOW);
	if (begin_by_fd(update, fd, options)) {
		exchrange_update_drop(update);
		update = NULL;
	}
	return update;
}

int exchrange_update_fd(const struct exchrange_update *update)
{
	return update->staging;
}

int exchrange_update_clone(struct exchrange_update *update, int fd)
{
	return exchrange_copy(fd, update->staging);
}

void exchrange_update_drop(struct exchrange_update *update)
{
	if (!update)
		return;
	if (!(update->flags & EXCHRANGE_UPDATE_KEEP_LOCKS))
		exchrange_close(update->file);
	exchrange_close(update->pin);
	exchrange_close(update->home);
	exchrange_close(update->staging);
	exchrange_drop_place(&update->place);
	free(update);
}

/* --- another file by the same name ----------------------------------------------- */

/*
 * Another staging file takes the place of the first, by its descriptor: for the file that
 * has the name now, or, where @file is -1, one that can get the name.
 */
static int stage_again(struct exchrange_update *update, int file)
{
	off_t position = lseek(update->staging, 0, SEEK_CUR);
	int staging, ret;

	if (file < 0)
		staging = exchrange_stage_for_name(update->place.dir, update->mode);
	else if (update->by_device)
		staging = exchrange_stage(update->device, file, 0);
	else
		staging = exchrange_stage_for_file(home_of(update), file);
	if (staging < 0)
		return -1;
	ret = exchrange_copy(update->staging, staging) ||
	      lseek(staging, position, SEEK_SET) < 0 ||
	      dup3(staging, update->staging, O_CLOEXEC) < 0 ? -1 : 0;
	exchrange_close(staging);
	if (ret == 0)
		update->can_be_named = file < 0;
	return ret;
}

/* The directory may be one that can be written to and not read. */
static int sync_directory(const struct exchrange_update *update)
{
	int dir = openat(update->place.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret;

	if (dir < 0)
		return syncfs(update->staging);
	ret = fsync(dir);
	exchrange_close(dir);
	return ret;
}

/*
 * Gives the staging file the name.  Its contents are on the disk before: else a crash
 * might leave the name without them.
 */
static int create(struct exchrange_update *update, __u64 flags)
{
	if (!(update->flags & EXCHRANGE_UPDATE_CREATE))
		return fail(ENOENT);
	if (flags & EXCHRANGE_DRY_RUN)
		return 0;
	if ((!update->can_be_named && stage_again(update, -1)) ||
	    fsync(update->staging) ||
	    exchrange_name_staging(update->staging, update->place.dir,
				   update->place.name))
		return -1;
	update->created = true;
	if (!(flags & EXCHRANGE_DSYNC))
		return 0;
	return fsync(update->staging) ? -1 : sync_directory(update);
}

/* The file that the name is of now is taken instead of the one that it was of. */
static int adopt(struct exchrange_update *update, int file)
{
	if (check_planted(update, file) || check_back_end(update->device, file) ||
	    (!update->by_device && check_mount(update, file)))
		return -1;
	return stage_again(update, file);
}

/* --- what a commit changes ------------------------------------------------------- */

/* The file of an update, while a commit goes on. */
struct goal {
	int	pin;	/* O_PATH; -1: begun by a descriptor, or not there */
	int	file;	/* open for writing; -1: not there */
};

/* Closes it; after a commit it is the update's file. */
static void end_goal(struct exchrange_update *update, const struct goal *goal,
		     bool committed)
{
	if (!update->named)
		return;
	exchrange_close(goal->file);
	if (committed && goal->pin >= 0)
		replace(&update->pin, goal->pin);
	else
		exchrange_close(goal->pin);
}

/*
 * Opens @pin, which the name is of now, for writing.  -1 and errno, which is 0 where the
 * name is of something else by then.
 */
static int open_named(struct exchrange_update *update, int pin, bool same)
{
	int file;

	if (check_kind(pin))
		return -1;
	file = open_pinned(update, pin, O_RDWR);
	if (file < 0 || same || adopt(update, file) == 0)
		return file;
	exchrange_close(file);
	return -1;
}

/* As open_named(); 0 also where there is nothing. */
static int look_at_name(struct exchrange_update *update, struct goal *goal)
{
	bool same;

	goal->file = -1;
	goal->pin = exchrange_pin(&update->place);
	if (goal->pin < 0 && errno != ENOENT)
		return -1;
	same = goal->pin < 0 ? update->pin < 0 :
	       update->pin >= 0 && exchrange_is_same(update->pin, goal->pin);
	if (!same && update->flags & EXCHRANGE_UPDATE_UNCHANGED)
		return fail(EBUSY);
	if (!same && update->elsewhere)
		return fail(EXDEV);
	if (goal->pin < 0)
		return 0;
	goal->file = open_named(update, goal->pin, same);
	return goal->file < 0 ? -1 : 0;
}

/* For end_goal(), unless it fails: -1 and errno. */
static int open_goal(struct exchrange_update *update, struct goal *goal)
{
	int tries;

	*goal = (struct goal) { .pin = -1, .file = update->file };
	if (!update->named)
		return 0;
	for (tries = 0; tries < MAX_TRIES; tries++) {
		if (look_at_name(update, goal) == 0)
			return 0;
		end_goal(update, goal, false);
		if (errno)
			return -1;
	}
	return fail(ENOENT);
}

/* --- one update ------------------------------------------------------------------ */

/* 1 where somebody else has created the file. */
static int commit_goal(struct exchrange_update *update, const struct goal *goal,
		       __u64 flags)
{
	int ret;

	if (goal->file >= 0)
		return exchange(update, goal->file, flags);
	ret = create(update, flags);
	return ret && errno == EEXIST ? 1 : ret;
}

int exchrange_update_commit(struct exchrange_update *update, __u64 flags)
{
	struct goal goal;
	int tries, ret = 1;

	if (flags & ~(__u64)COMMIT_FLAGS || update->created)
		return fail(EINVAL);
	for (tries = 0; ret > 0 && tries < MAX_TRIES; tries++) {
		if (open_goal(update, &goal))
			return -1;
		ret = commit_goal(update, &goal, flags);
		end_goal(update, &goal, ret == 0);
	}
	return ret > 0 ? fail(ENOENT) : ret;
}

/* --- several --------------------------------------------------------------------- */

/* A pair's sample is what the module reads through a pointer. */
_Static_assert(sizeof(((struct exchrange_sample *)NULL)->freshness) ==
	       sizeof(((struct exchrange_commit *)NULL)->file2_freshness),
	       "an update's sample is not a pair's");

static struct exchrange_pair pair_of(const struct exchrange_update *update, int file,
				     __u64 flags)
{
	bool condition = update->flags & EXCHRANGE_UPDATE_UNCHANGED;

	return (struct exchrange_pair) {
		.file1_fd	= update->staging,
		.file2_fd	= file,
		.flags		= EXCHRANGE_TO_EOF | (flags & EXCHRANGE_FILE1_WRITTEN),
		.freshness	= condition ? (uintptr_t)update->sample.freshness : 0,
	};
}

static int exchange_all(struct exchrange_update *const *updates, const struct goal *goals,
			unsigned int count, __u64 flags, __u32 *refused)
{
	struct exchrange_pair pairs[EXCHRANGE_UPDATES_MAX];
	struct exchrange_vector vector = {
		.pairs		= (uintptr_t)pairs,
		.count		= count,
		.pair_size	= sizeof(pairs[0]),
		.flags		= flags & (EXCHRANGE_DSYNC | EXCHRANGE_DRY_RUN),
		.refused	= EXCHRANGE_REFUSED_NONE,
	};
	unsigned int i;
	int ret;

	for (i = 0; i < count; i++)
		pairs[i] = pair_of(updates[i], goals[i].file, flags);
	ret = exchrange_exchange_vector(updates[0]->device, &vector);
	*refused = vector.refused;
	return ret;
}

/* A name cannot appear in the same moment. */
static int open_goal_of_many(struct exchrange_update *update, struct goal *goal)
{
	if (update->created)
		return fail(EINVAL);
	if (update->device < 0)
		return fail(EOPNOTSUPP);
	if (open_goal(update, goal))
		return -1;
	if (goal->file >= 0)
		return 0;
	end_goal(update, goal, false);
	return fail(ENOENT);
}

static int commit_many(struct exchrange_update *const *updates, unsigned int count,
		       __u64 flags, __u32 *refused)
{
	struct goal goals[EXCHRANGE_UPDATES_MAX];
	unsigned int opened;
	int ret = 0;

	for (opened = 0; opened < count; opened++) {
		ret = open_goal_of_many(updates[opened], &goals[opened]);
		if (ret) {
			*refused = opened;
			break;
		}
	}
	if (ret == 0)
		ret = exchange_all(updates, goals, count, flags, refused);
	while (opened--)
		end_goal(updates[opened], &goals[opened], ret == 0);
	return ret;
}

int exchrange_update_commit_all(struct exchrange_update *const *updates,
				unsigned int count, __u64 flags, __u32 *refused)
{
	__u32 nobody = EXCHRANGE_REFUSED_NONE;

	refused = refused ? refused : &nobody;
	*refused = EXCHRANGE_REFUSED_NONE;
	if (flags & ~(__u64)COMMIT_FLAGS)
		return fail(EINVAL);
	if (count > EXCHRANGE_UPDATES_MAX)
		return fail(E2BIG);
	if (count != 1)
		return count ? commit_many(updates, count, flags, refused) : 0;
	if (exchrange_update_commit(updates[0], flags) == 0)
		return 0;
	*refused = 0;
	return -1;
}
