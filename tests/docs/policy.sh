#!/bin/sh
# What docs/schedulers.md says about modules: the example, renamed, compiles as one, loads, and gives
# the same video as the default policy, without a warning of StarPU.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
setting() { sed -n "s/^$1 = //p" "$STARDIT_BUILD_DIR/Makefile"; }
sed 's/"example"/"mine"/' "$STARDIT_SOURCE_DIR/schedulers/example.c" >"$work/mine.c"
# shellcheck disable=SC2046
$(setting CC) -shared -fPIC -Wl,-Bsymbolic -DSTARDIT_POLICY_MODULE -I"$STARDIT_SOURCE_DIR" \
    $(setting STARPU_CFLAGS | sed 's/-I/-isystem /g') -o "$work/mine.so" "$work/mine.c" 2>"$work/warnings"
cat "$work/warnings"
[ ! -s "$work/warnings" ]
# A flavour that is not in the cache is said to be none.
! XDG_CACHE_HOME=$work "$STARDIT_SOURCE_DIR/starpu/build.sh" --find cpu >"$work/found" 2>"$work/said"
[ ! -s "$work/found" ]
grep -q "no StarPU of the flavour cpu in $work/stardit; .* builds one" "$work/said"

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
