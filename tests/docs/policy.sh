#!/bin/sh
# The policy of docs/schedulers.md compiles, loads, and gives the same video as ours.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
setting() { sed -n "s/^$1 = //p" "$STARDIT_BUILD_DIR/Makefile"; }
sed -n '/^```c$/,/^```$/{/^```/d;p}' "$STARDIT_SOURCE_DIR/docs/schedulers.md" >"$work/fifo.c"
$(setting CC) -w -shared -fPIC $(setting STARPU_CFLAGS) -o "$work/fifo.so" "$work/fifo.c"

generate() {
    "$STARDIT_BUILD_DIR/stardit-generate" --model "$STARDIT_SOURCE_DIR/models/stardit-demo" --quiet \
        --prompt "a red circle" --num-inference-steps 2 --num-frames 5 --devices 3 "$@"
}
generate --scheduler pipedit --output "$work/pipedit.safetensors"
STARPU_SCHED_LIB=$work/fifo.so STARPU_SCHED=fifo \
    generate --output "$work/fifo.safetensors" --stats "$work/fifo.json"
grep '"scheduler": "fifo"' "$work/fifo.json"
cmp "$work/pipedit.safetensors" "$work/fifo.safetensors"
