# SPDX-License-Identifier: GPL-2.0
#
# header_types.awk: the names of the types that kernel headers define, one a line.

# Behind the last brace, or at the end of the line, without attributes and dimensions.
function last_name(line)
{
	gsub(/__attribute__[ \t]*\(\(.*\)\)|__aligned[ \t]*\([^)]*\)|__packed|\[[^]]*\]/, "", line)
	sub(/[ \t]*;.*$/, "", line)
	sub(/^.*[^A-Za-z0-9_]/, "", line)
	return line
}

/(struct|union|enum)[ \t]+[A-Za-z0-9_]+[ \t]*\{/ {
	match($0, /(struct|union|enum)[ \t]+[A-Za-z0-9_]+[ \t]*\{/)
	split(substr($0, RSTART, RLENGTH), words, /[ \t{]+/)
	print words[2]
}

/typedef[ \t].*\(\*[ \t]*[A-Za-z0-9_]+\)/ {
	match($0, /\(\*[ \t]*[A-Za-z0-9_]+\)/)
	name = substr($0, RSTART + 2, RLENGTH - 3)
	gsub(/[ \t]/, "", name)
	print name
	next
}

/typedef[ \t].*;/ {
	print last_name($0)
	next
}

# A structure of several lines.
/typedef[ \t].*\{/ {
	in_typedef = 1
}

in_typedef && /^}.*;/ {
	print last_name($0)
	in_typedef = 0
}
