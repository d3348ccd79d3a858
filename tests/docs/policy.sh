#!/bin/sh
# What docs/schedulers.md says about modules: the example, renamed, compiles as one, loads, and gives
# the same video as the default policy, without a warning of StarPU; one for real runs is refused in simulated time,
# and the other way round, and so is what is no module.
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

# refused WHAT COMMAND...: exit 2 and one line that says so.
refused() {
    what=$1 code=0
    shift
    "$@" 2>"$work/messages" || code=$?
    cat "$work/messages"
    [ $code -eq 2 ]
    [ "$(grep -c . "$work/messages")" -eq 1 ]
    grep -q "$what" "$work/messages"
}
cp "$work/mine.c" "$work/text.so"
refused "scheduler $work/text.so: no module" generate --scheduler "$work/text.so" --output "$work/none.safetensors"

# "See what a policy does", as it stands there; StarPU is the one that this was configured with.
[ -x "$STARDIT_BUILD_DIR/stardit-simulate" ] || exit 0
simulate() {
    "$STARDIT_BUILD_DIR/stardit-simulate" --model "$STARDIT_SOURCE_DIR/checkpoints/stardit-demo" --num-frames 5 \
        --height 32 --width 32 --prompts 1 --num-inference-steps 2 "$@"
}
refused "^stardit-simulate: scheduler $work/mine.so: compiled with a StarPU for real runs" simulate --scheduler "$work/mine.so"
STARPU_SCHED_LIB=$work/mine.so STARPU_SCHED=mine refused "STARPU_SCHED_LIB=$work/mine.so: compiled with a StarPU for real" simulate
mkdir "$work/here" "$work/bin"
for name in schedulers platforms starpu; do ln -s "$(realpath "$STARDIT_SOURCE_DIR")/$name" "$work/here/"; done
for name in bench simulate; do ln -s "$(realpath "$STARDIT_BUILD_DIR")/stardit-$name" "$work/bin/"; done
export PATH="$work/bin:$PATH"
sed -n '/^## See what a policy does/,/^## Choosing/s/^    //p' "$STARDIT_SOURCE_DIR/docs/schedulers.md" |
    sed "s,^export PKG_CONFIG_PATH=.*,export PKG_CONFIG_PATH=$(setting STARPU_SIMGRID_LIBDIR)/pkgconfig," >"$work/commands"
grep -c . "$work/commands"
(cd "$work/here" && sh -eux "$work/commands") >"$work/printed" 2>"$work/messages" ||
    { cat "$work/printed" "$work/messages" >&2; exit 1; }
cat "$work/printed"
grep -q '^ *pipedit  *lws  *mine.so$' "$work/printed"
grep -q '</svg>' "$work/here/pictures/tiny-mine.so.svg"
grep -q '</svg>' "$work/here/static.svg"
refused "scheduler $work/here/mine.so: compiled with StarPU over SimGrid" \
    generate --scheduler "$work/here/mine.so" --output "$work/none.safetensors"
