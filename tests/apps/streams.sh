#!/bin/sh
# Guidance's two forwards side by side or one after the other: the same bytes, less memory where it is planned
# and measured; what --plan auto and --streams auto choose is what runs.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

size="--token-ids 17,5,33,208,1 --height 160 --width 160 --num-frames 9 --num-inference-steps 2"

# run NAME OPTIONS...
run() {
    name=$1
    shift
    passes "$generate" --model "$demo" $size --quiet --force --output "$tmp/$name.safetensors" \
        --stats "$tmp/$name.json" "$@"
}

# value NAME KEY...
value() {
    name=$1
    shift
    "$tool" json "$tmp/$name.json" "$@"
}

run first --strategy single --devices 1
for options in "--devices 1" "--devices 3 --strategy pipesp" "--devices 4 --strategy ulysses" \
    "--dit-parallel-size 2 --vae-parallel-size 1 --strategy pipesp" \
    "--dit-parallel-size 2 --vae-parallel-size 1 --strategy ulysses --aco dynamic"; do
    for streams in 1 2; do
        run $streams $options --streams $streams
        same "$tmp/$streams.safetensors" "$tmp/first.safetensors"
        [ "$(value $streams placement streams)" -eq $streams ] || fail "$options: not $streams streams"
        [ "$(value $streams plan forwards_per_step)" -eq 2 ] || fail "$options: not 2 forwards"
    done
    case $options in
    *vae*) # a device that only denoises: its peak is that of the streams
        planned=$(($(value 2 plan device_peak_bytes 0) - $(value 1 plan device_peak_bytes 0)))
        measured=$(($(value 2 device 0 peak_bytes) - $(value 1 device 0 peak_bytes)))
        echo "$options: the second stream takes $measured bytes on device 0, planned $planned"
        [ $planned -gt 100000 ] || fail "$options: planned $planned bytes for the second stream"
        [ $((2 * measured)) -gt $planned ] && [ $measured -lt $((planned * 3 / 2)) ] ||
            fail "$options: $measured bytes measured, $planned planned"
        ;;
    esac
done

# One worker has nothing to hide; several devices have.
passes "$generate" --model "$demo" $size --devices 1 --workers-per-device 1 --plan auto --dry-run
grep -q "^  streams        1, one forward after the other" "$tmp/out" || fail "$(cat "$tmp/out")"
# Both may predict the same, and are one row then.
grep -Eq "streams 2 .* memory |the same: single streams 2" "$tmp/out" ||
    fail "no second stream among the candidates"
passes "$generate" --model "$demo" $size --devices 1 --workers-per-device 1 --streams auto --dry-run
grep -q "^  streams        1, " "$tmp/out" || fail "--streams auto: $(cat "$tmp/out")"
passes "$generate" --model "$demo" $size --devices 4 --strategy ulysses --streams auto --dry-run
grep -q "^    1  *predicted .* s a step, .* exposed, .* MB" "$tmp/out" || fail "no prediction"
# Where devices share a few cores, a second stream may gain nothing: then one is enough.
faster=$(awk '/^    [12]  *predicted/ { t[$1] = $3 } END { print t[2] < t[1] ? 2 : 1 }' "$tmp/out")
grep -q "^  streams        $faster, " "$tmp/out" || fail "--streams auto: $(cat "$tmp/out")"
for streams in 1 2; do
    run auto --devices 4 --plan auto --strategy ulysses --streams $streams
    [ "$(value auto placement streams)" -eq $streams ] || fail "--plan auto --streams $streams"
    same "$tmp/auto.safetensors" "$tmp/first.safetensors"
done
run auto --devices 1 --workers-per-device 1 --plan auto
[ "$(value auto placement streams)" -eq 1 ] || fail "--plan auto chose a second stream in vain"
same "$tmp/auto.safetensors" "$tmp/first.safetensors"
refuses 2 "$generate" --model "$demo" $size --streams 3 --output "$tmp/never.y4m"
says "1.*2.*auto"
finish
