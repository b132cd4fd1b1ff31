// SPDX-License-Identifier: GPL-2.0
/*
 * libexchange's updates: what the file is afterwards, what stays, what a change
 * meanwhile leads to, and that nothing is left behind.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

static const struct file_spec small = { SHAPE_PLAIN, 5000 };
static const struct file_spec large = { SHAPE_PLAIN, 1 << 20 };

static const char new_text[] = "the new contents\n";
#define NEW_SIZE	(sizeof(new_text) - 1)

static struct exchrange_update *begin(const char *name, unsigned int flags)
{
	struct exchrange_update_options options = { .flags = flags, .mode = 0640 };
	struct exchrange_update *update;

	update = exchrange_update_begin(device, path_of(name), &options);
	if (!update)
		fail_msg("begin %s: %s", name, strerror(errno));
	return update;
}

static void assert_no_begin(const char *name, unsigned int flags, int error)
{
	struct exchrange_update_options options = { .flags = flags };

	assert_null(exchrange_update_begin(device, path_of(name), &options));
	assert_int_equal(errno, error);
}

static void write_new(struct exchrange_update *update)
{
	assert_int_equal(write(exchrange_update_fd(update), new_text, NEW_SIZE),
			 NEW_SIZE);
}

static void assert_new(int fd)
{
	char bytes[2 * NEW_SIZE];

	assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), NEW_SIZE);
	assert_memory_equal(bytes, new_text, NEW_SIZE);
}

static void assert_name_is_new(const char *name)
{
	int fd = open_path(path_of(name), O_RDONLY);

	assert_new(fd);
	close(fd);
}

/* errno of the commit, or 0. */
static int commit(struct exchrange_update *update, uint64_t flags)
{
	return exchrange_update_commit(update, flags) ? errno : 0;
}

static void test_contents_change_and_the_inode_stays(void **state)
{
	int fd = make_file("file", large, 1);
	struct picture before = take_picture(fd), old;
	struct exchrange_update *update = begin("file", 0);
	struct stat st;

	(void)state;
	write_new(update);
	assert_unchanged(&before, fd);
	assert_int_equal(commit(update, 0), 0);
	assert_new(fd);
	assert_name_is_new("file");
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_ino, before.st.st_ino);
	assert_int_equal(st.st_mode, before.st.st_mode);
	assert_int_equal(st.st_uid, NOBODY);

	/* The staging file has the old contents. */
	old = take_picture(exchrange_update_fd(update));
	assert_true(same_bytes(&before, &old));
	drop_picture(&old);
	drop_picture(&before);
	exchrange_update_drop(update);
	close(fd);
}

static void test_clone_begins_with_the_contents(void **state)
{
	int fd = make_file("file", large, 1);
	struct exchrange_update *update = begin("file", EXCHRANGE_UPDATE_CLONE);
	int staging = exchrange_update_fd(update);
	struct picture before = take_picture(fd), after = take_picture(staging);

	(void)state;
	assert_true(same_bytes(&before, &after));
	drop_picture(&after);
	assert_int_equal(pwrite(staging, "changed", 7, 70000), 7);
	assert_int_equal(commit(update, EXCHRANGE_DSYNC), 0);
	memcpy(before.bytes + 70000, "changed", 7);
	after = take_picture(fd);
	assert_true(same_bytes(&before, &after));
	drop_picture(&after);
	drop_picture(&before);
	exchrange_update_drop(update);
	close(fd);
}

/* From another file system it is a copy; holes stay holes. */
static void test_clone_of_any_file(void **state)
{
	int file = make_file("file", small, 1);
	int holes = make_file("holes", (struct file_spec) { SHAPE_HOLES, 90000 }, 2);
	int other = open_path("/root", O_TMPFILE | O_RDWR);
	struct exchrange_update *update = begin("file", 0);
	struct picture wanted = take_picture(holes), got;

	(void)state;
	assert_int_equal(exchrange_update_clone(update, holes), 0);
	got = take_picture(exchrange_update_fd(update));
	assert_true(same_bytes(&wanted, &got));
	assert_true(same_blocks(&wanted, &got));
	drop_picture(&got);

	/* Longer than what comes after it. */
	assert_int_equal(pwrite(other, wanted.bytes, BLOCK, 0), BLOCK);
	assert_int_equal(pwrite(other, "end", 3, 10 * BLOCK), 3);
	assert_int_equal(exchrange_update_clone(update, other), 0);
	got = take_picture(exchrange_update_fd(update));
	assert_int_equal(got.size, 10 * BLOCK + 3);
	assert_memory_equal(got.bytes, wanted.bytes, BLOCK);
	assert_memory_equal(got.bytes + 10 * BLOCK, "end", 3);
	assert_int_equal(got.blocks[5], '.');
	drop_picture(&got);
	drop_picture(&wanted);
	exchrange_update_drop(update);
	close(file);
	close(holes);
	close(other);
}

/* procfs says that it has no bytes; its end is where reading ends. */
static void test_clone_of_a_file_that_is_made_as_it_is_read(void **state)
{
	int file = make_file("file", small, 1), proc = open_path("/proc/filesystems", O_RDONLY);
	struct exchrange_update *update = begin("file", EXCHRANGE_UPDATE_CLONE);
	int staging = exchrange_update_fd(update);
	static char wanted[1 << 16], got[1 << 16];
	ssize_t count;

	(void)state;
	assert_int_equal(read(proc, got, 5), 5);
	assert_int_equal(exchrange_update_clone(update, proc), 0);
	/* Where the caller stood in it, it stands. */
	assert_int_equal(lseek(proc, 0, SEEK_CUR), 5);
	count = pread(proc, wanted, sizeof(wanted), 0);
	assert_uint_in_range(count, 100, sizeof(wanted) - 1);
	assert_int_equal(pread(staging, got, sizeof(got), 0), count);
	assert_memory_equal(wanted, got, count);
	exchrange_update_drop(update);
	close(file);
	close(proc);
}

/* A database: pages at their places in a sparse staging file, used again and again. */
static void test_pages_by_file1_written(void **state)
{
	int fd = make_file("file", large, 1);
	struct exchrange_update *update = begin("file", 0);
	int staging = exchrange_update_fd(update);
	struct picture model = take_picture(fd), after;
	uint8_t page[BLOCK];
	unsigned int round, i;

	(void)state;
	for (round = 1; round <= 3; round++) {
		memset(page, round, sizeof(page));
		assert_int_equal(ftruncate(staging, 0), 0);
		assert_int_equal(ftruncate(staging, large.size), 0);
		for (i = round; i < 200; i += 50) {
			assert_int_equal(pwrite(staging, page, BLOCK, i * BLOCK),
					 BLOCK);
			memcpy(model.bytes + i * BLOCK, page, BLOCK);
		}
		assert_int_equal(commit(update, EXCHRANGE_FILE1_WRITTEN |
					EXCHRANGE_DSYNC), 0);
		after = take_picture(fd);
		assert_true(same_bytes(&model, &after));
		drop_picture(&after);
	}
	drop_picture(&model);
	exchrange_update_drop(update);
	close(fd);
}

static void test_a_dry_run_changes_nothing(void **state)
{
	int fd = make_file("file", small, 1);
	struct picture before = take_picture(fd);
	struct exchrange_update *update = begin("file", EXCHRANGE_UPDATE_CREATE);

	(void)state;
	write_new(update);
	assert_int_equal(commit(update, EXCHRANGE_DRY_RUN), 0);
	assert_unchanged(&before, fd);
	assert_int_equal(unlink(path_of("file")), 0);
	assert_int_equal(commit(update, EXCHRANGE_DRY_RUN), 0);
	assert_int_equal(access(path_of("file"), F_OK), -1);
	/* And neither made the update unfit. */
	assert_int_equal(commit(update, 0), 0);
	assert_name_is_new("file");
	drop_picture(&before);
	exchrange_update_drop(update);
	close(fd);
}

static void test_a_drop_changes_nothing(void **state)
{
	int fd = make_file("file", small, 1);
	struct picture before = take_picture(fd);
	struct exchrange_update *update = begin("file", EXCHRANGE_UPDATE_UNCHANGED);

	(void)state;
	write_new(update);
	exchrange_update_drop(update);
	assert_unchanged(&before, fd);
	exchrange_update_drop(NULL);
	drop_picture(&before);
	close(fd);
}

static void test_an_open_file(void **state)
{
	int fd = make_file("file", small, 1);
	int appending = open_path(path_of("file"), O_RDWR | O_APPEND);
	int reading = open_path(path_of("file"), O_RDONLY);
	struct exchrange_update *update;

	(void)state;
	assert_null(exchrange_update_begin_fd(device, appending, NULL));
	assert_int_equal(errno, EBADF);
	assert_null(exchrange_update_begin_fd(device, reading, NULL));
	assert_int_equal(errno, EBADF);
	assert_null(exchrange_update_begin_fd(device, -1, NULL));
	assert_int_equal(errno, EBADF);

	/* Whatever its name is by then. */
	update = exchrange_update_begin_fd(device, fd, NULL);
	assert_non_null(update);
	write_new(update);
	assert_int_equal(rename(path_of("file"), path_of("renamed")), 0);
	assert_int_equal(commit(update, 0), 0);
	assert_name_is_new("renamed");
	exchrange_update_drop(update);
	close(fd);
	close(appending);
	close(reading);
}

/* Without a device, and a name, there is no directory to stage in, unless one is given. */
static void test_an_open_file_without_a_name(void **state)
{
	struct exchrange_update_options somewhere = { .staging = mount_point };
	const struct exchrange_update_options *options[] = { NULL, &somewhere };
	struct exchrange_update *update;
	size_t i;
	int fd;

	(void)state;
	for (i = 0; i < COUNT(options); i++) {
		fd = make_file("file", small, 1);
		assert_int_equal(unlink(path_of("file")), 0);
		update = exchrange_update_begin_fd(device, fd, options[i]);
		assert_non_null(update);
		write_new(update);
		assert_int_equal(commit(update, 0), 0);
		assert_new(fd);
		exchrange_update_drop(update);
		if (kind->alone) {
			assert_null(exchrange_update_begin_fd(-1, fd, NULL));
			assert_int_equal(errno, ENOENT);
		}
		close(fd);
	}
}

static void test_a_file_is_created_whole(void **state)
{
	struct exchrange_update *update;
	struct stat st;

	(void)state;
	unlink(path_of("file"));
	assert_no_begin("file", 0, ENOENT);
	umask(022);
	update = begin("file", EXCHRANGE_UPDATE_CREATE);
	write_new(update);
	assert_int_equal(access(path_of("file"), F_OK), -1);
	assert_int_equal(commit(update, EXCHRANGE_DSYNC), 0);
	assert_name_is_new("file");
	assert_int_equal(stat(path_of("file"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_nlink, 1);
	/* It has become the file: there is nothing to exchange it with. */
	assert_int_equal(commit(update, 0), EINVAL);
	assert_name_is_new("file");
	exchrange_update_drop(update);
}

static void test_a_file_that_somebody_else_creates(void **state)
{
	struct exchrange_update *update, *careful;
	int fd;

	(void)state;
	unlink(path_of("file"));
	update = begin("file", EXCHRANGE_UPDATE_CREATE);
	careful = begin("file", EXCHRANGE_UPDATE_CREATE |
			EXCHRANGE_UPDATE_UNCHANGED);
	write_new(update);
	fd = make_file("file", large, 1);
	assert_int_equal(commit(careful, 0), EBUSY);
	assert_int_equal(commit(update, 0), 0);
	assert_new(fd);
	exchrange_update_drop(update);
	exchrange_update_drop(careful);
	close(fd);
}

/* The commit is of the file that has the name then. */
static void test_a_file_that_is_replaced_or_removed(void **state)
{
	int fd = make_file("file", small, 1), other;
	struct exchrange_update *update = begin("file", EXCHRANGE_UPDATE_CREATE);
	struct exchrange_update *strict = begin("file", 0);
	struct exchrange_update *careful = begin("file", EXCHRANGE_UPDATE_UNCHANGED);
	struct picture before = take_picture(fd), after;

	(void)state;
	write_new(update);
	other = make_file("other", large, 2);
	assert_int_equal(rename(path_of("other"), path_of("file")), 0);
	assert_int_equal(commit(careful, 0), EBUSY);
	assert_int_equal(commit(update, 0), 0);
	assert_new(other);
	assert_name_is_new("file");

	assert_int_equal(unlink(path_of("file")), 0);
	assert_int_equal(commit(careful, 0), EBUSY);
	assert_int_equal(commit(strict, 0), ENOENT);
	assert_int_equal(access(path_of("file"), F_OK), -1);
	assert_int_equal(ftruncate(exchrange_update_fd(update), 0), 0);
	assert_int_equal(pwrite(exchrange_update_fd(update), new_text, NEW_SIZE,
				0), NEW_SIZE);
	assert_int_equal(commit(update, 0), 0);
	assert_name_is_new("file");

	/* Nobody touched the first one. */
	after = take_picture(fd);
	assert_true(same_bytes(&before, &after));
	drop_picture(&after);
	drop_picture(&before);
	exchrange_update_drop(update);
	exchrange_update_drop(strict);
	exchrange_update_drop(careful);
	close(other);
	close(fd);
}

/* A change of a file, at once after the sample: in the same tick of the clock. */
static void write_a_byte(int fd)
{
	assert_int_equal(pwrite(fd, "!", 1, 100), 1);
}

static void truncate_it(int fd)
{
	assert_int_equal(ftruncate(fd, 10), 0);
}

static void change_mode(int fd)
{
	assert_int_equal(fchmod(fd, 0600), 0);
}

static uint8_t *mapping;

static void store(int fd)
{
	(void)fd;
	mapping[200]++;
}

static const struct change {
	const char	*name;
	void		(*make)(int fd);
} changes[] = {
	{ "a write", write_a_byte },
	{ "a truncate", truncate_it },
	{ "a chmod", change_mode },
	{ "a store through a mapping", store },
};

static void test_a_change_meanwhile(void **state)
{
	const struct change *change = *state;
	int fd = make_file("file", small, 1);
	struct exchrange_update *update;
	struct picture before;
	int round;

	mapping = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(mapping != MAP_FAILED);
	for (round = 0; round < 20; round++) {
		/* The file has just changed, by this change too. */
		mapping[300]++;
		assert_int_equal(fchmod(fd, 0644), 0);
		update = begin("file", EXCHRANGE_UPDATE_UNCHANGED);
		change->make(fd);
		write_new(update);
		before = take_picture(fd);
		assert_int_equal(commit(update, 0), EBUSY);
		assert_unchanged(&before, fd);
		drop_picture(&before);
		exchrange_update_drop(update);
		assert_int_equal(ftruncate(fd, small.size), 0);
	}
	update = begin("file", EXCHRANGE_UPDATE_UNCHANGED);
	write_new(update);
	assert_int_equal(commit(update, 0), 0);
	assert_new(fd);
	/* It is over: the file has changed. */
	assert_int_equal(commit(update, 0), EBUSY);
	exchrange_update_drop(update);
	munmap(mapping, BLOCK);
	close(fd);
}

static void test_samples_tell_a_reader(void **state)
{
	int fd = make_file("file", small, 1);
	int reader = open_path(path_of("file"), O_RDONLY);
	struct exchrange_sample samples[3];
	struct exchrange_update *update = begin("file", 0);

	(void)state;
	write_new(update);
	assert_int_equal(exchrange_sample(device, reader, &samples[0]), 0);
	assert_int_equal(exchrange_sample(device, reader, &samples[1]), 0);
	assert_int_equal(commit(update, 0), 0);
	assert_int_equal(exchrange_sample(device, reader, &samples[2]), 0);
	assert_memory_equal(&samples[0], &samples[1], sizeof(samples[0]));
	assert_memory_not_equal(&samples[0], &samples[2], sizeof(samples[0]));
	exchrange_update_drop(update);
	close(reader);
	close(fd);
}

static void test_symbolic_links(void **state)
{
	int fd = make_file("file", small, 1);
	struct exchrange_update *update;

	(void)state;
	assert_int_equal(run("cd %s && rm -f new && ln -sfn file link && ln -sfn loop loop && ln -sfn $PWD/new dangling",
			     mount_point), 0);
	assert_no_begin("link", EXCHRANGE_UPDATE_NOFOLLOW, ELOOP);
	assert_no_begin("loop", EXCHRANGE_UPDATE_CREATE, ELOOP);
	assert_no_begin("dangling", 0, ENOENT);
	assert_no_begin("dangling", EXCHRANGE_UPDATE_CREATE |
			EXCHRANGE_UPDATE_NOFOLLOW, ELOOP);
	update = begin("link", 0);
	write_new(update);
	assert_int_equal(commit(update, 0), 0);
	assert_new(fd);
	exchrange_update_drop(update);

	update = begin("dangling", EXCHRANGE_UPDATE_CREATE);
	write_new(update);
	assert_int_equal(commit(update, 0), 0);
	assert_name_is_new("new");
	assert_int_equal(run("cd %s && test -L dangling && test ! -L new",
			     mount_point), 0);
	exchrange_update_drop(update);
	close(fd);
}

/* In /tmp, say, another user's link does not say where root writes to. */
static void test_a_link_of_another_in_a_sticky_directory(void **state)
{
	(void)state;
	assert_int_equal(run("cd %s && rm -rf sticky && mkdir -m 1777 sticky"
			     " && ln -s ../goal sticky/link && chown -h 1000 sticky/link"
			     " && rm -f goal", mount_point), 0);
	assert_no_begin("sticky/link", EXCHRANGE_UPDATE_CREATE, EACCES);
	assert_int_equal(access(path_of("goal"), F_OK), -1);
}

static void test_what_is_no_file(void **state)
{
	struct exchrange_update_options unknown = { .flags = 1u << 31 };
	struct exchrange_update *update;
	int fd = make_file("file", small, 1);

	(void)state;
	assert_int_equal(run("cd %s && rm -f fifo && mkfifo fifo", mount_point), 0);
	assert_no_begin(".", 0, EISDIR);
	assert_no_begin("", EXCHRANGE_UPDATE_CREATE, EISDIR);
	assert_no_begin("fifo", 0, EINVAL);
	assert_no_begin("missing/file", EXCHRANGE_UPDATE_CREATE, ENOENT);
	assert_no_begin("missing/", EXCHRANGE_UPDATE_CREATE, EISDIR);
	assert_null(exchrange_update_begin(device, path_of("file"), &unknown));
	assert_int_equal(errno, EINVAL);
	assert_null(exchrange_update_begin(device, "/dev/shm", NULL));
	assert_int_equal(errno, EISDIR);
	update = begin("file", 0);
	assert_int_equal(commit(update, EXCHRANGE_TO_EOF), EINVAL);
	exchrange_update_drop(update);
	close(fd);
}

/* Where there is no back end, only a new file can be made. */
static void test_another_file_system(void **state)
{
	struct exchrange_update_options options = { EXCHRANGE_UPDATE_CREATE, 0600 };
	struct exchrange_update *update;
	int fd;

	(void)state;
	unlink("/dev/shm/file");
	update = exchrange_update_begin(device, "/dev/shm/file", &options);
	assert_non_null(update);
	write_new(update);
	assert_int_equal(commit(update, 0), 0);
	exchrange_update_drop(update);
	assert_null(exchrange_update_begin(device, "/dev/shm/file", &options));
	assert_int_equal(errno, EOPNOTSUPP);
	fd = open_path("/dev/shm/file", O_RDONLY);
	assert_new(fd);
	close(fd);
	unlink("/dev/shm/file");
}

static void test_staging_on_another_mount(void **state)
{
	struct exchrange_update_options options = { .staging = "/root" };
	int fd = make_file("file", small, 1);
	struct picture before = take_picture(fd);

	(void)state;
	assert_null(exchrange_update_begin(device, path_of("file"), &options));
	assert_int_equal(errno, EXDEV);
	assert_unchanged(&before, fd);
	drop_picture(&before);
	close(fd);
}

/* A file that is mounted by itself, whose directory another mount shows. */
static void test_a_mounted_file(void **state)
{
	int fd = make_file("file", small, 1);
	struct exchrange_update *update;

	(void)state;
	assert_int_equal(run("touch '/root/mounted here' && mount --bind %s '/root/mounted here'",
			     path_of("file")), 0);
	update = exchrange_update_begin(device, "/root/mounted here", NULL);
	assert_non_null(update);
	write_new(update);
	assert_int_equal(commit(update, 0), 0);
	assert_new(fd);
	exchrange_update_drop(update);
	assert_int_equal(run("umount '/root/mounted here'"), 0);
	close(fd);
}

static int update_path(const char *path, const char *staging)
{
	struct exchrange_update_options options = { .staging = staging };
	struct exchrange_update *update;
	int error;

	update = exchrange_update_begin(device, path, &options);
	if (!update)
		return errno;
	error = write(exchrange_update_fd(update), new_text, NEW_SIZE) < 0 ? 252 :
		commit(update, 0);
	exchrange_update_drop(update);
	return error;
}

/* The same where nothing else shows it, as in a container: the device alone can help. */
static int in_container(void *argument)
{
	if (unshare(CLONE_NEWNS))
		return 250;
	if (run("mount --make-rprivate / && touch /root/mounted && mount --bind %s /root/mounted"
		" && umount -l %s", path_of("file"), mount_point))
		return 251;
	if (exchrange_update_begin(-1, "/root/mounted", NULL) ||
	    errno != (kind->alone ? EXDEV : EOPNOTSUPP))
		return 252;
	return update_path("/root/mounted", argument);
}

static void test_a_mounted_file_alone(void **state)
{
	int fd = make_file("file", small, 1);

	(void)state;
	assert_int_equal(as_root(in_container, NULL), 0);
	assert_new(fd);
	close(fd);
}

struct place {
	const char	*name;
	const char	*staging;
};

static int update_there(void *argument)
{
	const struct place *place = argument;

	return update_path(path_of(place->name), place->staging);
}

static int update_there_without_device(void *argument)
{
	device = -1;
	return update_there(argument);
}

/* Who may write the file need not have its directory, nor name another. */
static void test_a_directory_that_is_not_writable(void **state)
{
	char staging[64];
	struct place without = { "closed/file" };
	struct place with = { "closed/file", staging };

	(void)state;
	assert_int_equal(run("cd %s && rm -rf closed open && mkdir -m 755 closed && mkdir -m 777 open"
			     " && cp /etc/passwd closed/file && chmod 666 closed/file",
			     mount_point), 0);
	snprintf(staging, sizeof(staging), "%s/open", mount_point);
	assert_int_equal(as_nobody(update_there, &without), 0);
	assert_name_is_new("closed/file");
	assert_int_equal(run("cp /etc/passwd %s/closed/file", mount_point), 0);
	assert_int_equal(as_nobody(update_there, &with), 0);
	assert_name_is_new("closed/file");
	if (kind->alone)
		assert_int_equal(as_nobody(update_there_without_device, &without), EACCES);
	/* A user's file stays that user's. */
	assert_int_equal(run("test \"$(stat -c %%u %s)\" = 0",
			     path_of("closed/file")), 0);
}

static int count_names(void)
{
	struct outcome outcome = run_and_keep("ls -A %s | wc -l", mount_point);
	int count = atoi(outcome.out);

	drop_outcome(&outcome);
	return count;
}

static int be_killed(void *argument)
{
	struct exchrange_update *update = begin(argument, EXCHRANGE_UPDATE_CLONE);

	write_new(update);
	return raise(SIGSTOP);
}

static void test_a_killed_program_leaves_nothing(void **state)
{
	int fd = make_file("file", large, 1), status;
	struct picture before = take_picture(fd);
	int names = count_names();
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(be_killed("file"));
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(count_names(), names);
	assert_unchanged(&before, fd);
	drop_picture(&before);
	close(fd);
}

/* As after a write: set-id bits and capabilities go, ACLs and attributes stay. */
static void test_metadata(void **state)
{
	struct place place = { "file" };
	int fd = make_file("file", small, 1);

	(void)state;
	/* Root may keep the bits, by write(2) too. */
	assert_int_equal(run("cd %s && chmod 6755 file && setfacl -m u:33:rw file"
			     " && setfattr -n user.note -v kept file && ln -f file link"
			     " && setfattr -n security.capability -v 0x0000000200040000000000000000000000000000 file",
			     mount_point), 0);
	assert_int_equal(as_nobody(update_there, &place), 0);
	assert_int_equal(run("cd %s && test ! -u file && test ! -g file && getfacl -c file | grep -q '^user:.*:rw'"
			     " && getfattr -n user.note file | grep -q kept && test file -ef link"
			     " && ! getfattr -n security.capability file 2>/dev/null",
			     mount_point), 0);
	assert_name_is_new("link");
	close(fd);
}

/* btrfs: what is without checksums stays so, what is compressed too. */
static void btrfs_attributes(void)
{
	struct exchrange_update *update;
	int fd, staging, flags;

	assert_int_equal(run("cd %s && rm -f nocow packed && touch nocow && chattr +C nocow && echo old >nocow"
			     " && echo old >packed && btrfs property set packed compression zstd",
			     mount_point), 0);
	fd = open_path(path_of("nocow"), O_RDWR);
	update = begin("nocow", EXCHRANGE_UPDATE_CLONE);
	assert_int_equal(ftruncate(exchrange_update_fd(update), 0), 0);
	write_new(update);
	assert_int_equal(commit(update, 0), 0);
	assert_new(fd);
	exchrange_update_drop(update);
	close(fd);

	update = begin("packed", 0);
	staging = exchrange_update_fd(update);
	assert_int_equal(ioctl(staging, FS_IOC_GETFLAGS, &flags), 0);
	assert_true(flags & FS_COMPR_FL);
	exchrange_update_drop(update);
}

/* XFS: a project and an extent size are the file's. */
static void xfs_attributes(void)
{
	struct exchrange_update *update;
	struct fsxattr attributes;

	assert_int_equal(run("cd %s && rm -f hinted && touch hinted"
			     " && xfs_io -c 'extsize 65536' -c 'chproj 42' hinted && echo old >hinted",
			     mount_point), 0);
	update = begin("hinted", 0);
	assert_int_equal(ioctl(exchrange_update_fd(update), FS_IOC_FSGETXATTR,
			       &attributes), 0);
	assert_int_equal(attributes.fsx_extsize, 65536);
	assert_int_equal(attributes.fsx_projid, 42);
	write_new(update);
	assert_int_equal(commit(update, 0), 0);
	assert_name_is_new("hinted");
	exchrange_update_drop(update);
}

static void test_attributes(void **state)
{
	(void)state;
	/* Which are not set through overlayfs. */
	if (is_overlay())
		skip();
	if (is_btrfs())
		btrfs_attributes();
	else
		xfs_attributes();
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_contents_change_and_the_inode_stays),
		cmocka_unit_test(test_clone_begins_with_the_contents),
		cmocka_unit_test(test_clone_of_any_file),
		cmocka_unit_test(test_clone_of_a_file_that_is_made_as_it_is_read),
		cmocka_unit_test(test_pages_by_file1_written),
		cmocka_unit_test(test_a_dry_run_changes_nothing),
		cmocka_unit_test(test_a_drop_changes_nothing),
		cmocka_unit_test(test_an_open_file),
		cmocka_unit_test(test_an_open_file_without_a_name),
		cmocka_unit_test(test_a_file_is_created_whole),
		cmocka_unit_test(test_a_file_that_somebody_else_creates),
		cmocka_unit_test(test_a_file_that_is_replaced_or_removed),
		cmocka_unit_test(test_samples_tell_a_reader),
		cmocka_unit_test(test_symbolic_links),
		cmocka_unit_test(test_a_link_of_another_in_a_sticky_directory),
		cmocka_unit_test(test_what_is_no_file),
		cmocka_unit_test(test_another_file_system),
		cmocka_unit_test(test_staging_on_another_mount),
		cmocka_unit_test(test_a_mounted_file),
		cmocka_unit_test(test_a_mounted_file_alone),
		cmocka_unit_test(test_a_directory_that_is_not_writable),
		cmocka_unit_test(test_a_killed_program_leaves_nothing),
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_attributes),
	};
	struct table table = {
		.group		= "updates",
		.rows		= changes,
		.row_size	= sizeof(changes[0]),
		.row_count	= COUNT(changes),
		.test		= test_a_change_meanwhile,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	return run_table(&table);
}
