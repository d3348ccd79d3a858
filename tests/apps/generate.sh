#!/bin/sh
# stardit-generate from a prompt to files: the same command gives the same bytes, outputs agree with one
# another, a saved latent decodes to the same video, statistics say what happened.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

g="$generate --model $demo --height 48 --width 80 --num-frames 9 --num-inference-steps 4 --quiet"
if "$info" | grep -q "SentencePiece) yes"; then
    prompt() { passes $g --prompt "A red ball, slowly." "$@"; }
else
    prompt() { passes $g --token-ids 5,6,7,1 "$@"; }
fi
endings="y4m safetensors"
"$info" | grep -q "(libav) yes" && endings="$endings mp4"

for ending in $endings; do
    for i in 1 2; do
        prompt --output "$tmp/$i.$ending"
        [ -s "$tmp/err" ] && fail "--quiet prints: $(cat "$tmp/err")"
    done
    same "$tmp/1.$ending" "$tmp/2.$ending"
done
[ "$(head -c 20 "$tmp/1.y4m")" = "YUV4MPEG2 W80 H48 F8" ] || fail "the y4m header"

# Another seed, another negative prompt, another solver: other videos.
prompt --output "$tmp/seed.safetensors" --seed 1
prompt --output "$tmp/negative.safetensors" --negative-prompt "blurred"
prompt --output "$tmp/euler.safetensors" --sampler euler
prompt --output "$tmp/old.safetensors" --sampler-schedule old
for other in seed negative euler old; do
    cmp -s "$tmp/1.safetensors" "$tmp/$other.safetensors" && fail "--$other changes nothing"
done

# A prompt from a file; PNG files; a contact sheet; the latent, which decodes to the same video.
printf 'A  red ball,\n slowly.\n' >"$tmp/words"
if "$info" | grep -q "SentencePiece) yes"; then
    passes $g --prompt "@$tmp/words" --output "$tmp/words.safetensors"
    same "$tmp/words.safetensors" "$tmp/1.safetensors"
fi
prompt --output "$tmp/frames/" --contact-sheet "$tmp/sheet.png" --save-latent "$tmp/l.safetensors"
[ "$(ls "$tmp/frames" | wc -l)" -eq 9 ] || fail "not 9 PNG files"
[ -s "$tmp/sheet.png" ] || fail "no contact sheet"
passes "$generate" --model "$demo" --num-inference-steps 0 --latents "$tmp/l.safetensors" --quiet \
    --output "$tmp/decoded.safetensors"
same "$tmp/decoded.safetensors" "$tmp/1.safetensors"
refuses 2 $g --token-ids 1 --latents "$tmp/l.safetensors" --height 64 --output "$tmp/no.y4m"
says "not of the 9 frames of 64x80"

# Tiles of the decoder change the video only a little, and a single tile that covers all not at all.
passes "$generate" --model "$demo" --num-inference-steps 0 --latents "$tmp/l.safetensors" --quiet \
    --output "$tmp/tiled.safetensors" --tile-size 32 --tile-stride 16x24
cmp -s "$tmp/tiled.safetensors" "$tmp/1.safetensors" && fail "tiling changes nothing"
passes "$generate" --model "$demo" --num-inference-steps 0 --latents "$tmp/l.safetensors" --quiet \
    --output "$tmp/covering.safetensors" --enable-tiling
same "$tmp/covering.safetensors" "$tmp/1.safetensors"

# Given states in place of a prompt, of a wrong width too.
"$tool" tensor "$tmp/states.safetensors" prompt_embeds 1 6 96
passes $g --prompt-embeds "$tmp/states.safetensors" --guidance-scale 1 --output "$tmp/states.y4m"
"$tool" tensor "$tmp/wide.safetensors" prompt_embeds 1 6 97
refuses 2 $g --prompt-embeds "$tmp/wide.safetensors" --output "$tmp/no.y4m"
says "96"

# What was replaced, and what was not.
refuses 2 $g --token-ids 1 --output "$tmp/1.y4m"
prompt --output "$tmp/seed.safetensors" --force
same "$tmp/seed.safetensors" "$tmp/1.safetensors"

# Statistics, trace and graph. Memory does not grow with the steps; it varies a little, as the weights of
# one phase go while those of the next come.
for steps in 4 40; do
    passes $g --token-ids 5,6,7,1 --num-inference-steps $steps --workers-per-device 1 \
        --output "$tmp/$steps.y4m" --stats "$tmp/$steps.json" --trace "$tmp/$steps.trace" \
        --dot "$tmp/$steps.dot"
done
peak4=$("$tool" json "$tmp/4.json" device 0 peak_bytes)
peak40=$("$tool" json "$tmp/40.json" device 0 peak_bytes)
[ "$peak4" -gt 1000000 ] && [ "$peak40" -lt $((peak4 * 6 / 5)) ] ||
    fail "peaks: $peak4 and $peak40 bytes"
planned=$("$tool" json "$tmp/40.json" plan device_peak_bytes 0)
[ "$peak40" -lt $((planned * 6 / 5)) ] || fail "the plan's peak $planned is below the real $peak40"
[ "$("$tool" json "$tmp/4.json" prompt_tokens)" -eq 4 ] || fail "prompt_tokens"
[ "$("$tool" json "$tmp/4.json" seed)" -eq 0 ] || fail "seed"
tasks=$("$tool" json "$tmp/4.json" tasks total)
[ "$("$tool" json "$tmp/4.trace" traceEvents)" -ge "$tasks" ] || fail "the trace misses tasks"
[ "$(grep -c ' \[label=' "$tmp/4.dot")" -eq "$tasks" ] || fail "the graph misses tasks"
passes $g --token-ids 1 --output "$tmp/stdout.y4m" --stats -
"$tool" json "$tmp/out" seconds total >/dev/null || fail "--stats -"

# Progress: plain lines where stderr is no terminal.
passes "$generate" --model "$demo" --num-inference-steps 2 --height 32 --width 32 --num-frames 5 \
    --token-ids 1 --output "$tmp/p.y4m"
grep -q "^denoise 2/2, .* elapsed" "$tmp/err" || fail "no plain progress"
grep -q "5 frames of 32x32" "$tmp/err" || fail "no last line"
passes "$generate" --model "$demo" --num-inference-steps 2 --height 32 --width 32 --num-frames 5 \
    --token-ids 1 --output "$tmp/q.y4m" --progress bar
printf '\033' >"$tmp/escape"
grep -q -f "$tmp/escape" "$tmp/err" || fail "no bar"
finish
