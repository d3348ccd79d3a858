#!/bin/sh
# libstardit.so exports what the installed headers declare, all of it and nothing else.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
library=$build/.libs/libstardit.so
[ -e "$library" ] || { echo "built without a shared library"; exit 77; }

nm -D --defined-only "$library" | awk '{ print $3 }' | grep -v '^_' | sort -u >"$tmp/exported"
# Declarations: a name in front of "(" or, of data, in front of "[" or ";" behind extern. Comments, macros and
# inline functions do not count.
cat "$source"/include/stardit/*.h |
    awk '{ while (match($0, /\/\*/)) {
               head = substr($0, 1, RSTART - 1); rest = substr($0, RSTART + 2)
               while (!(end = index(rest, "*/"))) if ((getline rest) <= 0) break
               $0 = head " " substr(rest, end + 2) }
           if ($0 ~ /^#/) { while ($0 ~ /\\$/ && (getline) > 0) ; next }
           print }' |
    tr '\n' ' ' | sed 's/(\*[^)]*)([^)]*)//g; s/[;{}]/&\n/g' >"$tmp/statements"
{
    grep -v 'typedef\|static inline\|=\|return' "$tmp/statements" |
        grep -o 'sdt_[a-z0-9_]* *(' | tr -d ' ('
    grep 'extern const' "$tmp/statements" | grep -o 'sdt_[a-z0-9_]*\[\]' | tr -d '[]'
} | sort -u >"$tmp/declared"
echo "$(wc -l <"$tmp/exported") exported, $(wc -l <"$tmp/declared") declared"
comm -23 "$tmp/exported" "$tmp/declared" | sed 's/^/exported and not declared: /' >"$tmp/wrong"
comm -13 "$tmp/exported" "$tmp/declared" | sed 's/^/declared and not exported: /' >>"$tmp/wrong"
[ "$(wc -l <"$tmp/declared")" -gt 100 ] || fail "the headers declare too little: this test cannot read them"
[ ! -s "$tmp/wrong" ] || fail "$(cat "$tmp/wrong")"
finish
