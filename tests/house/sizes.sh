#!/bin/sh
# Functions, files and lines that a reader can hold: no function above 80 lines, no file above 1000,
# no line above 100 columns. Of C, C++ and CUDA; a table that a program has written may be longer.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# FILE FUNCTION: why it may be longer.
exceptions='
kernels/cuda/conv.cu conv_bf16: one loop over tiles in shared memory, whose stages share registers
kernels/cuda/conv.cu conv_f32: the same in float32
'

cd "$source" || exit 99
for folder in */; do
    # Builds and distributions are no folders of the tree.
    case $folder in build/ | _build/ | _inst/ | stardit-*/) continue ;; esac
    [ -e "$folder/config.status" ] ||
        find "$folder" -type f \( -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cpp' \)
done | sort >"$tmp/files"
echo "$exceptions" | sed -n 's/^\([^ ]*\) \([a-z0-9_]*\): .*/\1 \2/p' >"$tmp/exceptions"

# As clang-format lays code out: a function begins with a line that begins with its type, and ends
# with "}" in the first column. The braces of structs and tables end with "};".
cat >"$tmp/sizes.awk" <<'EOF'
FNR == 1 { if (lines > 1000) print file ": " lines " lines; at most 1000, or part it"
           start = 0; file = FILENAME }
{ lines = FNR }
length($0) > 100 && $0 !~ /[^ -~]/ {
    print FILENAME ":" FNR ": " length($0) " columns; at most 100"
}
/^[A-Za-z_][^;=]*\(/ && !start { start = FNR; name = ""; body = 0 }
# The name stands before the parameters, which __launch_bounds__ of a kernel has before it.
start && name == "" {
    code = $0
    sub(/__launch_bounds__\([^)]*\)/, "", code)
    if (sub(/\(.*/, "", code)) {
        name = code
        sub(/.*[ *]/, "", name)
    }
}
start && /[{]$/ { body = 1 }
/^[^ ].*;$/ || (/;$/ && !body) { start = 0 } # a declaration, the latter of several lines
/^}/ {
    if (start && FNR - start >= 80) {
        if ((FILENAME " " name) in excepted)
            used[FILENAME " " name] = 1
        else
            print FILENAME ":" start ": " name " has " FNR - start + 1 \
                " lines; at most 80: cut it at its joints, or give a reason in \"exceptions\" in" \
                " tests/house/sizes.sh"
    }
    functions += start > 0
    start = 0
}
BEGIN { while ((getline line <exceptions) > 0) excepted[line] = 1 }
END {
    if (lines > 1000) print file ": " lines " lines; at most 1000, or part it"
    for (line in excepted)
        if (!(line in used)) print "tests/house/sizes.sh: " line " is not too long any more"
    print functions >count
}
EOF
xargs awk -v exceptions="$tmp/exceptions" -v count="$tmp/count" -f "$tmp/sizes.awk" <"$tmp/files" \
    >"$tmp/wrong"
echo "$(cat "$tmp/count") functions in $(wc -l <"$tmp/files") files"
[ "$(cat "$tmp/count")" -gt 1500 ] || fail "too few functions: this test cannot read the sources"
while read -r line; do
    fail "$line"
done <"$tmp/wrong"
finish
