#!/bin/sh
# Ctrl-C in the middle: exit 1, no video, no temporary file, the latent of the last whole step, which
# decodes.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# stop SIGNAL NAME OPTIONS...: sends the signal after the second step and waits for the end.
stop() {
    signal=$1 name=$2
    shift 2
    : >"$tmp/$name.err"
    "$generate" --model "$demo" --token-ids 5,6,1 --height 96 --width 96 --num-frames 17 \
        --num-inference-steps 1000 --progress plain --output "$tmp/$name.y4m" "$@" \
        2>"$tmp/$name.err" </dev/null &
    pid=$!
    await grep -q '^denoise \([2-9]\|[0-9][0-9]\)' "$tmp/$name.err"
    kill -"$signal" $pid
    wait $pid
    code=$?
    [ $code -eq 1 ] || fail "$name: exit $code: $(cat "$tmp/$name.err")"
}

stop INT one
grep -q "stopped on request" "$tmp/one.err" || fail "no reason: $(cat "$tmp/one.err")"
step=$(sed -n 's/.*the latent after step \([0-9]*\) of 1000 is in .*/\1/p' "$tmp/one.err")
[ "${step:-0}" -ge 2 ] || fail "no step named: $(cat "$tmp/one.err")"
[ -s "$tmp/one.latent.safetensors" ] || fail "the latent is not there"
passes "$generate" --model "$demo" --num-inference-steps 0 --quiet \
    --latents "$tmp/one.latent.safetensors" --output "$tmp/decoded.y4m"

# A second stop keeps the first latent.
cp "$tmp/one.latent.safetensors" "$tmp/kept"
stop TERM one --devices 3
same "$tmp/kept" "$tmp/one.latent.safetensors"
[ -s "$tmp/one.latent-2.safetensors" ] || fail "the second latent is not there"

# Before the first step is done there is nothing to keep.
rm -f "$tmp"/*.err "$tmp"/one.latent* "$tmp/kept" "$tmp/decoded.y4m" "$tmp/out" "$tmp/err"
left=$(ls "$tmp")
[ -z "$left" ] || fail "files were left: $left"
finish
