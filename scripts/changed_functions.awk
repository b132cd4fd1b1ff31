# SPDX-License-Identifier: GPL-2.0
#
# For changed_functions: of a list of functions (file, first line, last line, name; by file)
# makes out/NAME of each, its file and its body without comments and white space, and
# out/.calls, which of them calls which.

# A line without its comments; in_comment goes on to the next line.
function without_comments(line,    result, start, end)
{
	result = ""
	while (line != "") {
		if (in_comment) {
			end = index(line, "*/")
			if (!end)
				return result
			line = substr(line, end + 2)
			in_comment = 0
			continue
		}
		start = match(line, /\/\*|\/\//)
		if (!start)
			return result line
		result = result substr(line, 1, start - 1)
		if (substr(line, start, 2) == "//")
			return result
		line = substr(line, start + 2)
		in_comment = 1
	}
	return result
}

function read_file(path,    line, number)
{
	split("", text)
	in_comment = number = 0
	while ((getline line <path) > 0)
		text[++number] = without_comments(line)
	close(path)
}

function note_calls(name, line,    word)
{
	while (match(line, /[A-Za-z_][A-Za-z_0-9]*[ ]*\(/)) {
		word = substr(line, RSTART, RLENGTH - 1)
		sub(/ +$/, "", word)
		if (word in is_function && word != name && !((name, word) in called)) {
			called[name, word] = 1
			print name, word >(out "/.calls")
		}
		line = substr(line, RSTART + RLENGTH)
	}
}

function write_body(name, from, to,    i, line)
{
	print file >>(out "/" name)
	for (i = from; i <= to; i++) {
		line = text[i]
		gsub(/[ \t]+/, " ", line)
		gsub(/^ | $/, "", line)
		if (line == "")
			continue
		print line >>(out "/" name)
		note_calls(name, line)
	}
	close(out "/" name)
}

BEGIN {
	while ((getline <ARGV[1]) > 0)
		is_function[$4] = 1
	close(ARGV[1])
	printf "" >(out "/.calls")
}

$1 != file {
	file = $1
	read_file(tree "/" file)
}

{ write_body($4, $2, $3) }
