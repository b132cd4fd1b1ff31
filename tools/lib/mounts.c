// SPDX-License-Identifier: MIT
/*
 * The mounts of this process, and a file that is mounted by itself, found through another
 * mount that shows its directory.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"

void exchrange_decode(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (text[0] == '\\' && text[1] && text[2] && text[3]) {
			*to++ = (text[1] & 7) << 6 | (text[2] & 7) << 3 |
				(text[3] & 7);
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
}

/* ID PARENT DEVICE ROOT TARGET OPTIONS [TAG]... - TYPE SOURCE OPTIONS */
static bool parse_mount(char *line, struct exchrange_mount *mount)
{
	char *rest = line, *id = strsep(&rest, " "), *tag;

	strsep(&rest, " ");
	mount->device = strsep(&rest, " ");
	mount->root = strsep(&rest, " ");
	mount->target = strsep(&rest, " ");
	do
		tag = strsep(&rest, " ");
	while (tag && strcmp(tag, "-"));
	mount->type = strsep(&rest, " ");
	mount->source = strsep(&rest, " ");
	if (!mount->source)
		return false;
	mount->id = strtoll(id, NULL, 10);
	exchrange_decode(mount->root);
	exchrange_decode(mount->target);
	exchrange_decode(mount->source);
	return true;
}

int exchrange_each_mount(int (*look)(const struct exchrange_mount *mount, void *argument),
			 void *argument)
{
	FILE *stream = fopen("/proc/self/mountinfo", "re");
	struct exchrange_mount mount;
	size_t size = 0;
	char *line = NULL;
	int found = -1;

	if (!stream)
		return -1;
	while (found < 0 && getline(&line, &size, stream) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (parse_mount(line, &mount))
			found = look(&mount, argument);
	}
	free(line);
	fclose(stream);
	return found;
}

/* --- the same file through another mount --------------------------------------- */

struct search {
	int			pin;
	int64_t			id;		/* of its mount */
	char			*device;	/* of that mount */
	char			*root;
	struct exchrange_place	*place;		/* found */
	int			there;
};

/*
 * The path of what @root names through @mount; false where that does not show it
 * below a directory.
 */
static bool path_through(const struct exchrange_mount *mount, const char *root,
			 char path[PATH_MAX])
{
	size_t length = strcmp(mount->root, "/") ? strlen(mount->root) : 0;

	if (strncmp(root, mount->root, length) || root[length] != '/')
		return false;
	return snprintf(path, PATH_MAX, "%s%s", mount->target, root + length) <
	       PATH_MAX;
}

static int is_its_mount(const struct exchrange_mount *mount, void *argument)
{
	struct search *search = argument;

	if (mount->id != search->id)
		return -1;
	search->device = strdup(mount->device);
	search->root = strdup(mount->root);
	return 0;
}

/* The path is a hint: it counts where it leads to the very file, on that mount. */
static int is_another_mount(const struct exchrange_mount *mount, void *argument)
{
	struct search *search = argument;
	char path[PATH_MAX];

	if (mount->id == search->id || strcmp(mount->device, search->device) ||
	    !path_through(mount, search->root, path) ||
	    exchrange_find(path, false, search->place, &search->there))
		return -1;
	if (search->there >= 0 && exchrange_is_same(search->there, search->pin) &&
	    exchrange_mount_of(search->there) == mount->id &&
	    exchrange_mount_of(search->place->dir) == mount->id)
		return 0;
	exchrange_close(search->there);
	search->there = -1;
	exchrange_drop_place(search->place);
	return -1;
}

int exchrange_find_elsewhere(int pin, struct exchrange_place *place, int *there)
{
	struct search search = {
		.pin = pin, .id = exchrange_mount_of(pin), .place = place, .there = -1,
	};
	int found = -1;

	place->dir = -1;
	if (search.id >= 0 && exchrange_each_mount(is_its_mount, &search) == 0 &&
	    search.device && search.root)
		found = exchrange_each_mount(is_another_mount, &search);
	free(search.device);
	free(search.root);
	*there = search.there;
	if (found)
		errno = EXDEV;
	return found;
}
