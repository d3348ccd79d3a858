#!/bin/sh
# Several prompts on two groups: numbered files with the bytes that each prompt alone gives; Ctrl-C in the
# middle of request 4 keeps videos 1 to 3 and latent 4; refusals name what would work.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

groups="--dit-devices 0-1 --vae-devices 2 --strategy pipesp --aco dynamic"

# The same bytes as alone, on one device.
printf 'a red ball\n\nsnow on a hill\n' >"$tmp/prompts"
passes "$generate" --model "$demo" --prompt-file "$tmp/prompts" --prompt "two cats" $groups \
    --num-inference-steps 3 --quiet --output "$tmp/v%02d.y4m"
number=1
for prompt in "two cats" "a red ball" "snow on a hill"; do
    passes "$generate" --model "$demo" --prompt "$prompt" --num-inference-steps 3 --quiet \
        --output "$tmp/alone.y4m" --force
    same "$tmp/alone.y4m" "$tmp/v0$number.y4m"
    number=$((number + 1))
done

# Once nothing is left to denoise, the other devices decode too; the bytes stay.
long="--num-inference-steps 1 --guidance-scale 1 --num-frames 33 --max-latents 5 --quiet"
spill="--dit-devices 0-1 --vae-devices 2 --vae-spill"
passes "$generate" --model "$demo" --prompt a --prompt b --prompt c --prompt d --prompt e $spill \
    $long --output "$tmp/s%d.y4m" --stats "$tmp/s.json"
[ "$("$tool" json "$tmp/s.json" device 0 roles vae tasks)" -gt 0 ] || fail "device 0 decodes nothing"
passes "$generate" --model "$demo" --prompt e $long --output "$tmp/e.y4m"
same "$tmp/e.y4m" "$tmp/s5.y4m"

# Ctrl-C while request 4, or one that came since, is being denoised.
: >"$tmp/many"
for n in 1 2 3 4 5 6; do echo "prompt number $n" >>"$tmp/many"; done
: >"$tmp/many.err"
"$generate" --model "$demo" --prompt-file "$tmp/many" $groups --num-inference-steps 200 \
    --progress plain --output "$tmp/w%d.y4m" 2>"$tmp/many.err" </dev/null &
pid=$!
await grep -q '^4/6 denoise \([2-9]\|[0-9][0-9]\)' "$tmp/many.err"
kill -INT $pid
wait $pid
code=$?
[ $code -eq 1 ] || fail "stopped: exit $code: $(tail -3 "$tmp/many.err")"
stopped=$(sed -n 's/.*the latent after step .*\/w\([0-9]\)\.latent.*/\1/p' "$tmp/many.err" | head -1)
[ "${stopped:-0}" -ge 4 ] || fail "no latent is kept: $(cat "$tmp/many.err")"
[ -s "$tmp/w$stopped.latent.safetensors" ] || fail "latent $stopped is lost: $(cat "$tmp/many.err")"
for n in 1 2 3 4 5 6; do
    [ "$n" -lt "$stopped" ] || break
    [ -s "$tmp/w$n.y4m" ] || fail "video $n is lost: $(cat "$tmp/many.err")"
done
for n in 4 5 6; do
    [ "$n" -ge "$stopped" ] || continue
    [ ! -e "$tmp/w$n.y4m" ] || fail "video $n was written after the stop"
done

# Refusals: one line, exit 2, nothing written.
refuses() {
    expected=$1
    shift
    "$generate" --model "$demo" --output "$tmp/never.y4m" "$@" >"$tmp/out" 2>"$tmp/err"
    code=$?
    [ $code -eq 2 ] || fail "$*: exit $code"
    [ "$(wc -l <"$tmp/err")" -eq 1 ] || fail "$*: $(cat "$tmp/err")"
    grep -q -- "$expected" "$tmp/err" || fail "$*: not '$expected' but $(cat "$tmp/err")"
    [ ! -e "$tmp/never.y4m" ] || fail "$*: a file was written"
}
refuses "out-%03d.mp4" --prompt a --prompt b
refuses "needs two groups" --prompt a --aco static
refuses "go together" --prompt a --dit-devices 0
refuses "go together" --prompt a --dit-parallel-size 2
refuses "must be a list of devices" --prompt a --dit-devices 0-x --vae-devices 1
refuses "the groups name device 3; --devices 3 has 0 to 2" --prompt a --dit-devices 0-4 --vae-devices 5 --devices 3
refuses "stands twice" --prompt a --dit-devices 0,0 --vae-devices 1
refuses "does not divide" --prompt a --devices 4 --strategy usp --ulysses-degree 3
refuses "does not divide the 4 devices" --prompt a --devices 4 --strategy usp --ring-degree 3
refuses "does not go with" --prompt a --dit-devices 0-1 --vae-devices 2 --strategy ring --aco static
refuses "needs --devices 2" --prompt a --vae-devices auto
finish
