#!/bin/sh
# What `make install` installs is enough: the examples compile with what pkg-config says of stardit
# (and libm, which they call themselves) and run.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

setting() { sed -n "s/^$1 = //p" "$build/Makefile"; }
pkg_config=$(setting PKG_CONFIG)
case "$(setting STARDIT_LDFLAGS)" in
*-fsanitize*) echo "a program without sanitizers cannot use a library with them"; exit 77 ;;
esac
# The make that runs the tests must not lend this one its options and job slots.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
(cd "$build" && make install DESTDIR="$tmp/root") >"$tmp/log" 2>&1 ||
    { fail "make install"; tail -20 "$tmp/log" >&2; finish; }

pc=$(find "$tmp/root" -name stardit.pc)
[ -n "$pc" ] || fail "no stardit.pc"
libraries=$(dirname "$(find "$tmp/root" -name libstardit.so)")
export PKG_CONFIG_PATH="${pc%/*}" PKG_CONFIG_SYSROOT_DIR="$tmp/root"
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
flags=$($pkg_config --cflags --libs stardit) || fail "pkg-config"
echo "$flags" | sed "s,$tmp/root,,g"
cd "$tmp" || exit 99
for example in generate graph; do
    cp "$source/docs/examples/$example.c" .
    $(setting CC) -std=c11 -Wall -Wextra -Werror -o $example $example.c $flags -lm ||
        fail "$example.c does not compile"
done
passes ./graph
cat out
./generate none 1.y4m 2.y4m 2>err && fail "made videos without a checkpoint"
grep -q '^SDT_ERROR_' err || fail "not said: $(cat err)"
finish
