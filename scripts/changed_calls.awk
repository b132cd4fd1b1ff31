# SPDX-License-Identifier: GPL-2.0
#
# For changed_functions: walks from the functions of a list, in the new tree, along the calls,
# and prints each whose body is another one than in the old tree, with the shortest way there.

# The body, behind the name of its file; "" where there is no such function.
function body_of(folder, name,    path, line, result)
{
	path = folder "/" name
	result = ""
	if ((getline line <path) > 0)
		file_of[path] = line
	while ((getline line <path) > 0)
		result = result line "\n"
	close(path)
	return result
}

function report(what, name, way)
{
	printf "%-8s %-40s %-36s %s\n", what, name, file_of[new "/" name], way
}

function look_at(name, way,    before, after)
{
	before = body_of(old, name)
	after = body_of(new, name)
	# Also a form that neither has.
	if (after == before)
		return
	if (after == "")
		report("gone", name, way)
	else if (before == "")
		report("added", name, way)
	else
		report("changed", name, way)
}

function add(name, way, level)
{
	if (name in seen)
		return
	seen[name] = 1
	queue[++last] = name
	way_to[last] = way
	level_of[last] = level
}

BEGIN {
	while ((getline line <(new "/.calls")) > 0) {
		split(line, pair, " ")
		calls[pair[1]] = calls[pair[1]] " " pair[2]
	}
}

{ add($1, $1, 0) }

END {
	for (i = 1; i <= last; i++) {
		look_at(queue[i], way_to[i])
		if (level_of[i] >= depth)
			continue
		count = split(calls[queue[i]], callee, " ")
		for (j = 1; j <= count; j++)
			add(callee[j], way_to[i] " > " callee[j], level_of[i] + 1)
	}
}
