#!/bin/sh
# The installed headers stand alone: none includes StarPU's, which rename main in a simulation, or one
# that is not installed; each compiles on its own, as C and as C++. And the library exports sdt_ names
# only.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

setting() { sed -n "s/^$1 = //p" "$build/Makefile"; }
include=$source/include
installed=$(tr '\n' ' ' <"$source/Makefile.am" | sed 's/.*pkginclude_HEADERS = \\//; s/# .*//' |
    tr -d '\\' | tr -s ' \t' '\n\n' | sed -n 's,^include/,,p')
[ "$(echo "$installed" | wc -l)" -ge 7 ] || fail "headers: $installed"

for header in $installed; do
    grep -n 'starpu[a-z_]*\.h' "$include/$header" | grep include && fail "$header needs StarPU"
    for wanted in $(sed -n 's/^ *# *include *"\(.*\)"/\1/p' "$include/$header"); do
        echo "$installed" | grep -qx "$wanted" || fail "$header needs $wanted, which is not installed"
    done
    for language in c c++; do
        case $language in
        c) compile="$(setting CC) -std=c11 -Wall -Wextra -Wstrict-prototypes" ;;
        *) compile="$(setting CXX) -std=c++11 -Wall -Wextra" ;;
        esac
        printf '#include <%s>\n#include <%s>\n' "$header" "$header" >"$tmp/header.$language"
        $compile -Werror -x $language -I"$include" -fsyntax-only "$tmp/header.$language" ||
            fail "$header does not compile alone as $language"
    done
done
for header in "$include"/stardit/*.h; do
    echo "$installed" | grep -qx "stardit/${header##*/}" || fail "$header is not installed"
done

library=$build/.libs/libstardit.so
if [ -e "$library" ] && command -v nm >/dev/null; then
    nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' >"$tmp/names"
    [ "$(grep -c '^sdt_' "$tmp/names")" -gt 50 ] || fail "no names in $library"
    grep -v '^sdt_' "$tmp/names" >"$tmp/others" && fail "exported: $(head -5 "$tmp/others" | tr '\n' ' ')"
fi
finish
