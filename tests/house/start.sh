#!/bin/sh
# Nothing starts with cuBLAS, cuBLASLt, cuDNN or NCCL: loading them takes most of a start (docs/performance.md), and a
# GPU worker loads them when it needs them. stardit-bench measures cuBLAS. What StarPU needs is
# starpu/build.sh's.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
command -v objdump >/dev/null || { echo "no objdump"; exit 77; }
count=0
for file in libstardit.so stardit-generate stardit-eval stardit-info; do
    [ -e "$build/.libs/$file" ] && file=.libs/$file
    objdump -p "$build/$file" >"$tmp/needs" || fail "$file cannot be read"
    grep -q 'NEEDED.*libstarpu' "$tmp/needs" || fail "$file needs no StarPU: this test cannot read it"
    if grep 'NEEDED.*\(cublas\|cudnn\|nccl\)' "$tmp/needs"; then
        fail "$file loads this at its start"
    fi
    count=$((count + 1))
done
echo "$count files"
finish
