#!/bin/sh
# The man pages list exactly the options that --help lists.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

options() {
    grep -o -e '--[a-z][a-z0-9-]*' | sort -u
}

programs="generate eval info bench"
[ ! -x "$build/stardit-simulate" ] || programs="$programs simulate"
[ ! -x "$build/stardit-serve" ] || programs="$programs serve"
for program in $programs; do
    page=$source/man/stardit-$program.1
    case $program in
    bench) for c in kernels runtime sched policies predict quality; do "$bench" $c --help; done ;;
    *) "$build/stardit-$program" --help ;;
    esac | grep -o -e '^  --[a-z0-9-]*' | options >"$tmp/help"
    # Only what is set bold or italic at the start of a paragraph or request names an option.
    grep -e '^\.B' "$page" | sed 's/\\-/-/g' | options >"$tmp/man"
    diff "$tmp/help" "$tmp/man" >"$tmp/diff" || fail "$program: $(cat "$tmp/diff")"
    if command -v man >/dev/null && man --version >/dev/null 2>&1; then
        warnings=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 \
            man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
        [ -z "$warnings" ] || fail "$page: $warnings"
    fi
done
finish
