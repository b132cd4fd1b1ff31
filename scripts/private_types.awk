# SPDX-License-Identifier: GPL-2.0
#
# private_types.awk: from bpftool's dumps of a module's BTF, a C header of the
# module's private types and functions: those that a list asks for, and what these
# contain.  Types of the kernel itself come from its own headers.
#
# Input, in this order, each after an assignment of what it is:
#
#	what=list	lines "type NAME", "enum ENUMERATOR", "function NAME PROTOTYPE"
#			("tested" is for scripts/private_types)
#			and, for a function that other kernels have in another form,
#			"variant NAME LABEL PROTOTYPE"
#	what=uapi	public headers, whose types are not private
#	what=headers	names of more types that are not private, of a module that is built
#			into the kernel: then there is no what=kernel
#	what=kernel	bpftool btf dump, of the kernel's own BTF
#	what=module	bpftool btf dump, of the module's BTF over the kernel's
#	what=c		bpftool btf dump ... format c, of the same
#
# A function that has none of its known forms is an error.  Where it has a variant's,
# the label is defined in the header.  Each type comes with assertions that the compiler lays it out as the module's own
# compiler did.

function fail(text)
{
	print "private_types: " text >"/dev/stderr"
	failed = 1
	exit 1
}

# What a line says of a function after its first words.
function rest(line, words)
{
	while (words--)
		sub(/^[^ \t]+[ \t]+/, "", line)
	return line
}

what == "list" && ($1 == "type" || $1 == "enum") {
	wanted[$2] = asked[$2] = 1
	next
}

what == "list" && $1 == "function" {
	functions[++function_count] = $2
	known[$2, rest($0, 2)] = "."
	next
}

what == "list" && $1 == "variant" {
	known[$2, rest($0, 3)] = $3
	next
}

# What not every kernel has: HAVE_name is defined where it is there.
what == "list" && $1 == "optional" && ($2 == "type" || $2 == "enum") {
	wanted[$3] = optional[$3] = 1
	next
}

what == "list" && $1 == "optional" && $2 == "function" {
	if (!($3 in optional))
		functions[++function_count] = $3
	optional[$3] = 1
	known[$3, rest($0, 3)] = "."
	next
}

what == "list" && $1 == "member" {
	members_asked[$2, $3] = 1
	next
}

what == "uapi" && $1 ~ /^(struct|union|enum)$/ && $3 == "{" {
	public[$2] = 1
	next
}

what == "headers" {
	public[$1] = 1
	next
}

# --- bpftool's dump: a type a line, its members or parameters in those below ------

function value(name,	i)
{
	for (i = 3; i <= NF; i++)
		if (index($i, name "=") == 1)
			return substr($i, length(name) + 2)
	return 0
}

function unquoted(text)
{
	gsub(/'/, "", text)
	return text
}

# Of a type's own line, which $0 is.
function take_type(id)
{
	kind[id] = $2
	name[id] = unquoted($3)
	if (name[id] == "(anon)")
		name[id] = ""
	target[id] = $2 == "FUNC_PROTO" ? value("ret_type_id") : value("type_id")
	size[id] = value("size")
	member_count[id] = 0
}

function take_member(id,	member)
{
	member = ++member_count[id]
	member_name[id, member] = unquoted($1)
	if ($2 ~ /^type_id=/)
		member_type[id, member] = substr($2, 9)
	if ($0 ~ /bits_offset=/ && $0 !~ /bitfield_size=/)
		member_offset[id, member] = value("bits_offset") / 8
}

# The kernel has a quarter of a million lines, of which a few are needed: see load().
what == "kernel" {
	kernel[++kernel_lines] = $0
	if (/^\[/) {
		first_line[++kernel_types] = kernel_lines
		if (/^\[[0-9]+\] (STRUCT|UNION|ENUM|ENUM64|TYPEDEF) /)
			public[unquoted($3)] = 1
	}
	next
}

what == "module" && /^\[/ {
	id = substr($1, 2) + 0
	take_type(id)
	if ($2 ~ /^(STRUCT|UNION|ENUM|ENUM64|TYPEDEF)$/ && name[id] != "") {
		private[name[id]] = id
		copies[name[id]] = copies[name[id]] " " id
	}
	if ($2 == "FUNC")
		prototype[name[id]] = target[id]
	next
}

what == "module" && /^\t'/ {
	take_member(id)
	next
}

# A type of the kernel's, before it is asked for; $0 is gone then.
function load(id,	line)
{
	if ((id in kind) || !(id in first_line))
		return
	$0 = kernel[line = first_line[id]]
	take_type(id)
	while (($0 = kernel[++line]) ~ /^\t'/)
		take_member(id)
}

# --- the C dump: definitions in the order of their need -----------------------------

# bpftool gives the copy of a type that the kernel has too, or another of the same name,
# a number.
what == "c" {
	gsub(/___[0-9]+/, "")
}

what == "c" && /^(struct|union|enum|typedef) / && !/^(struct|union) [A-Za-z0-9_]+;/ {
	chunk = ++chunk_count
	chunk_name[chunk] = $1 == "enum" && $2 == "{" ? "" : $2
	in_chunk = 1
	# Another copy of a type: the module's own assertions hold for the first.
	if ($1 != "typedef" && $3 == "{" && seen_chunk[$1, $2]++)
		printed[chunk] = 1
}

# An array without a size at the end of a struct has one of 0 in BTF, which the compiler takes
# at its word: then each access is beyond its end.
what == "c" && in_chunk && /^}/ && text[chunk] ~ /^struct [^\n]*\n.*\n\t[^\t\n]*\[0\];\n$/ {
	sub(/\[0\];\n$/, "[];\n", text[chunk])
}

what == "c" && in_chunk {
	text[chunk] = text[chunk] $0 "\n"
	if (chunk_name[chunk] == "" && match($1, /^[A-Z_0-9a-z]+$/) && $2 == "=")
		enumerators[chunk] = enumerators[chunk] " " $1
	if (/^}/ || (/;$/ && !/^\t/)) {
		in_chunk = 0
		if (text[chunk] ~ /^typedef / && match(text[chunk], /\(\*[a-z0-9_]+\)/))
			chunk_name[chunk] = substr(text[chunk], RSTART + 2, RLENGTH - 3)
		else if (text[chunk] ~ /^typedef /)
			chunk_name[chunk] = substr($NF, 1, length($NF) - 1)
	}
}

# --- the header -----------------------------------------------------------------------

function is_private(type)
{
	return (type in private) && !(type in public)
}

# What this chunk holds by value, or as a typedef, is wanted too.
function want_contents(chunk,	lines, words, count, i, j)
{
	count = split(text[chunk], lines, "\n")
	for (i = 1; i <= count; i++) {
		split(lines[i], words, /[^A-Za-z0-9_*]+/)
		for (j = 1; j in words; j++)
			if (is_private(words[j]) && !(words[j] in wanted) &&
			    lines[i] !~ ("(struct|union) " words[j] " \\*"))
				wanted[words[j]] = 1
	}
}

function is_wanted(chunk,	words, i)
{
	if (chunk_name[chunk] != "")
		return is_private(chunk_name[chunk]) && (chunk_name[chunk] in wanted)
	split(enumerators[chunk], words, " ")
	for (i = 1; i in words; i++)
		if (words[i] in wanted) {
			found[words[i]] = 1
			return 1
		}
	return 0
}

# Its size, and its members with their offsets.
function layout(id,	text, i)
{
	text = kind[id] " " size[id]
	for (i = 1; i <= member_count[id]; i++)
		text = text " " member_name[id, i] "@" member_offset[id, i]
	return text
}

# In the kernel's own BTF another file system may have a type of that name.
function assert_one(type,	ids, i)
{
	split(copies[type], ids, " ")
	for (i = 2; i in ids; i++)
		if (layout(ids[i]) != layout(ids[1]))
			fail("the kernel has more than one " type)
}

function assert_layout(type,	id, keyword, i)
{
	id = private[type]
	if (kind[id] != "STRUCT")
		return
	printf "PRIVATE_LAYOUT(sizeof(struct %s) == %d);\n", type, size[id]
	for (i = 1; i <= member_count[id]; i++)
		if (member_name[id, i] != "(anon)" && ((id, i) in member_offset))
			printf "PRIVATE_LAYOUT(offsetof(struct %s, %s) == %d);\n",
				type, member_name[id, i], member_offset[id, i]
	print ""
}

# A type as C writes it, for all that prototypes of functions are made of.
function spelled(id)
{
	if (id == 0)
		return "void"
	load(id)
	load(target[id])
	if (kind[id] == "PTR")
		return spelled(target[id]) " *"
	if (kind[id] == "CONST")
		return kind[target[id]] == "PTR" ? spelled(target[id]) "const" : \
						   "const " spelled(target[id])
	if (kind[id] == "STRUCT" || kind[id] == "FWD")
		return "struct " name[id]
	if (kind[id] == "UNION")
		return "union " name[id]
	if (kind[id] ~ /^ENUM/)
		return name[id] == "" ? "int" : "enum " name[id]
	if (kind[id] == "INT" || kind[id] == "TYPEDEF")
		return name[id]
	fail("no way to spell a " kind[id])
}

# The prototype of a function as the list has it, without the parameters' names.
function prototype_of(function_name,	id, i, text)
{
	if (!(function_name in prototype))
		fail("the module has no function " function_name)
	id = prototype[function_name]
	load(id)
	for (i = 1; i <= member_count[id]; i++)
		text = text (i > 1 ? ", " : "") spelled(member_type[id, i])
	text = spelled(target[id]) " (" (member_count[id] ? text : "void") ")"
	gsub(/\* \*/, "**", text)
	return text
}

function has_member(id, wanted_name,	i)
{
	load(id)
	for (i = 1; i <= member_count[id]; i++) {
		if (member_name[id, i] == wanted_name)
			return 1
		if (member_name[id, i] == "(anon)" && has_member(member_type[id, i], wanted_name))
			return 1
	}
	return 0
}

# Of an enum of a byte, bpftool before 7.2 does not say that it is one.
function with_size(chunk,	id)
{
	id = private[chunk_name[chunk]]
	if (text[chunk] ~ /^enum / && chunk_name[chunk] != "" && size[id] == 1)
		sub(/\n};\n$/, "\n} __attribute__((mode(byte)));\n", text[chunk])
	return text[chunk]
}

# Declares it, in the one form or the other, and makes its name the static call.
function declare(function_name,	text, label)
{
	text = prototype_of(function_name)
	if (!((function_name, text) in known))
		fail("no known form of " function_name " is " text)
	label = known[function_name, text]
	if (label != ".")
		print "#define " label
	sub(/\(/, function_name "(", text)
	print text ";"
	printf "DECLARE_STATIC_CALL(private_%s, %s);\n", function_name, function_name
	printf "#define %s(...) static_call(private_%s)(__VA_ARGS__)\n",
		function_name, function_name
}

END {
	if (failed)
		exit 1
	do {
		changed = 0
		for (i = 1; i <= chunk_count; i++)
			if (!(i in printed) && is_wanted(i)) {
				printed[i] = 2
				changed = 1
				want_contents(i)
			}
	} while (changed)

	print "/* Made by scripts/private_types from BTF: of this kernel alone. */"
	for (type in private)
		if (kind[private[type]] ~ /^(STRUCT|UNION)$/)
			forward[tolower(kind[private[type]]) " " type ";"]
	for (line in forward)
		print line | "sort"
	close("sort")
	print ""
	for (i = 1; i <= chunk_count; i++)
		if (printed[i] == 2) {
			found[chunk_name[i]] = 1
			print with_size(i)
			if (chunk_name[i] != "" && built_in == "true")
				assert_one(chunk_name[i])
			if (chunk_name[i] != "")
				assert_layout(chunk_name[i])
		}
	for (type in asked)
		if (!(type in found) && !(type in public))
			fail("the module has no " type)
	for (i = 1; i <= function_count; i++)
		if (!(functions[i] in optional) || (functions[i] in prototype)) {
			there[++there_count] = functions[i]
			found[functions[i]] = 1
		}
	function_count = there_count
	for (i = 1; i <= function_count; i++)
		functions[i] = there[i]
	for (name_ in optional)
		if (name_ in found)
			print "#define HAVE_" name_
	for (pair in members_asked) {
		split(pair, parts, SUBSEP)
		if ((parts[1] in private) && has_member(private[parts[1]], parts[2]))
			print "#define HAVE_" parts[1] "_" parts[2]
	}
	for (i = 1; i <= function_count; i++)
		declare(functions[i])
	print "\n#define DEFINE_PRIVATE_FUNCTIONS \\"
	for (i = 1; i <= function_count; i++)
		print "\tDEFINE_STATIC_CALL_NULL(private_" functions[i] ", " \
			functions[i] ")" (i < function_count ? "; \\" : "")
	print "\n#define PRIVATE_SYMBOL_TABLE \\"
	for (i = 1; i <= function_count; i++)
		print "\tPRIVATE_SYMBOL(" functions[i] ")" (i < function_count ? ", \\" : "")
	print "\n/* Whether it is part of the kernel, whose BTF that is then. */"
	print "#define PRIVATE_BUILT_IN " built_in
	print "\n#define PRIVATE_BTF_SHA256 \"" sha256 "\""
	print "\n/* The series of the kernel, where this version was not tested with it. */"
	print "#define PRIVATE_UNTESTED " (untested == "" ? "NULL" : "\"" untested "\"")
}
