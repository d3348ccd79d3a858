#!/bin/sh
# cuDNN and NCCL with the right names and without functions: a program says what they lack, and goes on.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
"$build/stardit-info" >"$tmp/info" 2>&1
grep -q 'CUDA yes' "$tmp/info" || { echo "built without CUDA"; exit 77; }
setting() { sed -n "s/^$1 = //p" "$build/Makefile"; }
mkdir "$tmp/stubs"
echo 'int nothing;' >"$tmp/nothing.c"

# stub NAME WORDS: what stardit-info says of a library of that name.
stub() {
    # shellcheck disable=SC2046  # a compiler's options are words
    $(setting CC) -shared -fPIC -Wl,-soname,"$1" -o "$tmp/stubs/$1" "$tmp/nothing.c" || fail "$1 is not made"
    LD_LIBRARY_PATH=$tmp/stubs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} passes "$build/stardit-info"
    grep '^CUDA:' "$tmp/out" | grep -q "$2" || fail "$1 without functions: $(grep '^CUDA:' "$tmp/out")"
    sed -n 's/^CUDA: */stubs: /p' "$tmp/out"
}
stub libcudnn.so.9 'cuDNN libcudnn.so.9 lacks cudnnGetVersion'
grep -q 'NCCL no' "$tmp/info" || stub libnccl.so.2 'NCCL libnccl.so.2 lacks nccl'
finish
