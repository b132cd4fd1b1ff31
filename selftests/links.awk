# SPDX-License-Identifier: GPL-2.0
#
# awk -f links.awk FILE.md...: prints each link of these pages that leads nowhere in the tree:
# to a file that is not there, or to a heading that its page does not have.  And each section
# of a page of more than 200 lines that the page does not link to: its table of contents
# lacks it.

# The anchor that a repository site gives a heading.
function anchor_of(heading)
{
	heading = tolower(heading)
	gsub(/[^a-z0-9 _-]/, "", heading)
	gsub(/ /, "-", heading)
	return heading
}

# a/b/../c is a/c.
function shortest(path)
{
	while (sub(/(^|\/)[^\/.][^\/]*\/\.\.\//, "/", path))
		;
	sub(/^\//, "", path)
	return path
}

function add_link(target)
{
	if (target !~ /^[a-z]+:/)
		links[++count] = FILENAME SUBSEP FNR SUBSEP target
}

FNR == 1	{ fenced = 0 }
/^```/		{ fenced = !fenced }
fenced		{ next }

/^#+ / {
	anchor = anchor_of(substr($0, index($0, " ") + 1))
	times = seen[FILENAME, anchor]++
	anchors[FILENAME "#" anchor (times ? "-" times : "")] = 1
	if ($1 == "##")
		sections[FILENAME "#" anchor] = FNR
}

{ length_of[FILENAME] = FNR }

{
	line = $0
	while (match(line, /\]\([^)]*\)|(src|href)="[^"]*"/)) {
		target = substr(line, RSTART, RLENGTH)
		line = substr(line, RSTART + RLENGTH)
		gsub(/^(\]\(|src="|href=")|[)"]$/, "", target)
		add_link(target)
	}
}

END {
	for (i = 1; i <= count; i++) {
		split(links[i], part, SUBSEP)
		page = part[1]
		path = part[3]
		anchor = ""
		if (match(path, /#/)) {
			anchor = substr(path, RSTART)
			path = substr(path, 1, RSTART - 1)
		}
		folder = page
		sub(/[^\/]*$/, "", folder)
		path = path == "" ? page : shortest(folder path)
		if (system("test -e '" path "'") != 0 ||
		    (anchor != "" && !((path anchor) in anchors)))
			print page ":" part[2] ": " part[3] ": nothing is there"
		linked[page, path anchor] = 1
	}
	for (section in sections) {
		page = substr(section, 1, index(section, "#") - 1)
		if (length_of[page] > 200 && !((page, section) in linked))
			print page ":" sections[section] ": " section ": not in its table of contents"
	}
	if (!count)
		print "no link was found"
}
