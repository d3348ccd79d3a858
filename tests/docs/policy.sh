#!/bin/sh
# What docs/schedulers.md says about modules: the example, renamed, compiles as one, loads, and gives
# the same video as the default policy, without a warning of StarPU.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
setting() { sed -n "s/^$1 = //p" "$STARDIT_BUILD_DIR/Makefile"; }
sed 's/"example"/"mine"/' "$STARDIT_SOURCE_DIR/schedulers/example.c" >"$work/mine.c"
$(setting CC) -w -shared -fPIC -Wl,-Bsymbolic -DSTARDIT_POLICY_MODULE \
    -I"$STARDIT_SOURCE_DIR" $(setting STARPU_CFLAGS) -o "$work/mine.so" "$work/mine.c"

generate() {
    "$STARDIT_BUILD_DIR/stardit-generate" --model "$STARDIT_SOURCE_DIR/checkpoints/stardit-demo" --quiet \
        --prompt "a red circle" --num-inference-steps 2 --num-frames 5 --devices 3 "$@"
}
generate --scheduler pipedit --output "$work/pipedit.safetensors"
STARPU_SCHED_LIB=$work/mine.so STARPU_SCHED=mine \
    generate --output "$work/mine.safetensors" --stats "$work/mine.json" 2>"$work/messages" ||
    { cat "$work/messages" >&2; exit 1; }
cat "$work/messages"
[ ! -s "$work/messages" ]
grep '"scheduler": "mine"' "$work/mine.json"
cmp "$work/pipedit.safetensors" "$work/mine.safetensors"
