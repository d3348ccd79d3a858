#!/bin/sh
# Help, versions and every kind of wrong command line: exit 2 (a wrong request too), one line on stderr,
# nothing written.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

for program in generate eval info bench; do
    passes "$build/stardit-$program" --help
    grep -q "^Usage: stardit-$program" "$tmp/out" || fail "stardit-$program --help"
    [ -s "$tmp/err" ] && fail "stardit-$program --help writes on stderr"
    awk 'length > 100 { exit 1 }' "$tmp/out" || fail "stardit-$program --help is too wide"
    passes "$build/stardit-$program" --version
    grep -q "^stardit-$program [0-9.]* (StarPU [0-9.]*)$" "$tmp/out" || fail "--version"
    refuses 2 "$build/stardit-$program" --no-such-option
done
passes "$bench" kernels --help
passes "$bench" runtime --help
passes "$bench" sched --help

# Whoever reads the message may be gone, as in "2>&1 | true": the exit code is the same.
mkfifo "$tmp/gone"
(: <"$tmp/gone") &
exec 3>"$tmp/gone"
wait
for program in generate eval info bench simulate serve; do
    [ -x "$build/stardit-$program" ] || continue
    "$build/stardit-$program" --no-such-option 2>&3
    code=$?
    [ $code -eq 2 ] || fail "stardit-$program --no-such-option, whose message nobody reads: exit $code"
done
"$generate" --model "$demo" --token-ids 1 --height 50 --output "$tmp/v.y4m" 2>&3
code=$?
[ $code -eq 2 ] || fail "a request that is refused and nobody reads why: exit $code"
exec 3>&-
rm "$tmp/gone"

cd "$tmp" || exit 99
g="$generate --model $demo --token-ids 5,1 --output $tmp/v.safetensors"
blocks="--model $demo --token-ids 1 --num-inference-steps 8 --strategy dualparal --output v.y4m"
say=$tmp/words
mkdir "$tmp/dir"
echo "a prompt" >"$say"
: >"$tmp/there.safetensors"

# each line: words that the message must have | arguments behind "stardit-generate"
while IFS='|' read -r words arguments; do
    case $words in '' | '#'*) continue ;; esac
    # shellcheck disable=SC2086
    refuses 2 $generate $arguments
    says "$words"
done <<EOF
did you mean --num-inference-steps|--num-inference-step 4
--height and --width|--size 64x64
did you mean --enable-tiling|--vae-tiling
--prompt several times|--num-videos-per-prompt 2
unexpected argument|-q
--seed needs a value|--model x -s
did you mean --guidance-scale|--guidance_scal=3
--transport mpi: must be one of starpu|--model $demo --token-ids 1 --output v.y4m --transport mpi
unexpected argument|model
--model is needed|--prompt x --output v.mp4
--prompt is needed|--model $demo --output v.y4m
--output is needed|--model $demo --prompt x
exclude one another|--model $demo --prompt x --token-ids 1 --output v.y4m
exclude one another|--model $demo --token-ids 1 --negative-prompt x --negative-prompt-embeds y --output v.y4m
--height x: must be an integer|--height x
--height 0: out of range|--height 0
--height 1e3: must be an integer|--height 1e3
--height needs a value|--height
--height needs a value|--height --width 64
--guidance-scale nan: must be a number|--guidance-scale nan
--guidance-scale -1: out of range|--guidance-scale -1
--seed -2: must be an integer|--seed -2
--seed 99999999999999999999: must be|--seed 99999999999999999999
--sampler heun: must be one of unipc|--sampler heun
schedule old is one of UniPC|--model $demo --token-ids 1 --output v.y4m --sampler euler --sampler-schedule old
schedule linear is one of euler|--model $demo --token-ids 1 --output v.y4m --sampler-schedule linear
--progress never: must be one of|--progress never
--force takes no value|--force=yes
compute in float32|--model $demo --prompt x --output v.y4m --dtype bfloat16
--latents is needed|--model $demo --num-inference-steps 0 --output v.y4m
exists already|--model $demo --token-ids 1 --output $tmp/there.safetensors
exists already|--model $demo --token-ids 1 --output v.y4m --stats $tmp/there.safetensors
exists already|--model $demo --token-ids 1 --output v.y4m --save-latent $tmp/there.safetensors
no folder|--model $demo --token-ids 1 --output v.y4m --trace $tmp/none/t.json
are one file|--model $demo --token-ids 1 --output v.safetensors --save-latent v.safetensors
must end in .png|--model $demo --token-ids 1 --output v.y4m --contact-sheet sheet.jpg
avi|--model $demo --token-ids 1 --output v.avi
--save-latent x.y4m: what is written is safetensors; the name must end in .safetensors, or have no|--model $demo --token-ids 1 --output v.y4m --save-latent x.y4m
one .png holds one frame|--model $demo --token-ids 1 --output v.png
both take standard output|--model $demo --token-ids 1 --output - --stats -
--contact-sheet s.png: 4 x 4 frames of 4096x4096, enlarged 64 times, make .* work (--sheet-columns, --sheet-scale)|--model $demo --token-ids 1 --output v.y4m --contact-sheet s.png --height 4096 --width 4096 --sheet-scale 64
goes with --contact-sheet|--model $demo --token-ids 1 --output v.y4m --sheet-columns 2
--checkpoint-every 0: out of range|--checkpoint-every 0
nothing lies beside standard output|--model $demo --token-ids 1 --output - --checkpoint-every 2
takes no steps|--model $demo --latents x --steps 0 --output v.y4m --checkpoint-every 2
takes no steps|--model $demo --latents x --steps 0 --output v.y4m --token-ids 5,1
no text is read|--model $demo --prompt-embeds x --guidance-scale 1 --max-sequence-length 9 --output v.y4m
takes no steps|--model $demo --latents x --steps 0 --output v.y4m --guidance-scale 2
latents and --resume exclude|--model $demo --latents x --resume y --output v.y4m
takes the place of its noise|--model $demo --token-ids 1 --output v.y4m --latents x --seed 2
prints no progress|--model $demo --token-ids 1 --output v.y4m --quiet --progress bar
has no frame rate|--model $demo --token-ids 1 --output v.safetensors --fps 8
takes one forward|--model $demo --token-ids 1 --output v.y4m --streams 2 --guidance-scale 1
scale of 1 takes none|--model $demo --token-ids 1 --output v.y4m --negative-prompt x --guidance-scale 1
usp has a ring|--model $demo --token-ids 1 --output v.y4m --devices 2 --strategy pipesp --ring-degree 2
usp has a ring|--model $demo --token-ids 1 --output v.y4m --devices 2 --strategy ulysses --ulysses-degree 2
^stardit-generate: --prompt-file: nope.txt: No such file|--model $demo --output v%d.y4m --prompt-file nope.txt
^stardit-generate: --prompt: nope.txt: No such file|--model $demo --output v.y4m --prompt @nope.txt
^stardit-generate: --prompt-file: $tmp/dir: is a folder; a text file works|--model $demo --output v%d.y4m --prompt-file $tmp/dir
^stardit-generate: --prompt: $tmp/dir: is a folder; a text file works|--model $demo --output v.y4m --prompt @$tmp/dir
^stardit-generate: blocks of 6 frames (--block-frames): multiples of 4 work, as 4$|$blocks --block-frames 6
^stardit-generate: blocks of 1 frames (--block-frames): multiples of 4 work, as 4$|$blocks --block-frames 1
^stardit-generate: an overlap of 6 frames (--overlap-frames): multiples of 4 work, as 4$|$blocks --overlap-frames 6
^stardit-generate: an overlap of 6 frames (--overlap-frames): multiples of 4 work, as 4$|$blocks --block-frames 4 --overlap-frames 6
an overlap of 36 frames (--overlap-frames) is longer than a block, which adds 32 (--block-frames); 32 and less|$blocks --overlap-frames 36
none|--model $demo --token-ids 1 --output $tmp/none/v.y4m
multiple of 16|--model $demo --token-ids 1 --output v.y4m --height 100
4 k + 1|--model $demo --token-ids 1 --output v.y4m --num-frames 16
unknown strategy|--model $demo --token-ids 1 --output v.y4m --strategy rings
unknown scheduler|--model $demo --token-ids 1 --output v.y4m --scheduler fastest
16: out of range|--model $demo --token-ids 1 --output v.y4m --devices 16
workers per device|--model $demo --token-ids 1 --output v.y4m --devices 15 --workers-per-device 9
workers per device|--model $demo --token-ids 1 --output v.y4m --devices 2 --workers-per-device 1,40
3 numbers for 2 devices|--model $demo --token-ids 1 --output v.y4m --devices 2 --workers-per-device 2,1,1
whole numbers|--model $demo --token-ids 1 --output v.y4m --devices 2 --workers-per-device 1.5
numbers above 0|--model $demo --token-ids 1 --output v.y4m --devices 2 --workers-per-device 2,
2 numbers for 3 devices|--model $demo --token-ids 1 --output v.y4m --devices 3 --device-speed 1,0.5
numbers above 0|--model $demo --token-ids 1 --output v.y4m --devices 2 --device-speed 1,0
must be numbers|--model $demo --token-ids 1,x --output v.y4m
is not 0 to|--model $demo --token-ids 1,100000 --output v.y4m
must be one number of pixels|--model $demo --token-ids 1 --output v.y4m --tile-size 32x
tile|--model $demo --token-ids 1 --output v.y4m --tile-size 32 --tile-stride 48
32x32 pixels (--tile-size) at a stride of 48x48 (--tile-stride)|--model $demo --token-ids 1 --output v.y4m --tile-size 32 --tile-stride 48
--tile-size 99999999999: must be one number of pixels, .* each at most 65536|--model $demo --token-ids 1 --output v.y4m --tile-size 99999999999
--tile-size 32x-8: must be one number|--model $demo --token-ids 1 --output v.y4m --tile-size 32x-8
^stardit-generate: --ring-degree 3 does not divide the 2 devices that denoise$|--model $demo --token-ids 1 --output v.y4m --devices 2 --ring-degree 3
--ulysses-degree 3 x --ring-degree 1 must be the 4 devices|--model $demo --token-ids 1 --output v.y4m --devices 4 --ulysses-degree 3 --ring-degree 1
^stardit-generate: a Ulysses degree of 3 (--ulysses-degree) does not|--model $demo --token-ids 1 --output v.y4m --devices 2 --ulysses-degree 3
(--cfg-gate): the request has one forward a step, .*; a guidance above 1 has two|--model $demo --token-ids 1 --output v.y4m --cfg-gate 0-3 --guidance-scale 1
step 0 cannot skip the layers (--step-cache): it is the first|--model $demo --token-ids 1 --output v.y4m --step-cache 0
^stardit-generate: --model wan-1.3b: is a size without a checkpoint, which --dry-run plans|--model wan-1.3b --token-ids 1 --output v.y4m
EOF

while IFS='|' read -r words arguments; do
    # shellcheck disable=SC2086
    refuses 2 $eval $arguments
    says "$words"
done <<EOF
--component is needed|--input $golden/wan_dit/io.safetensors --compare
--input is needed|--component vae --compare
--component dit: must be one of|--component dit
--model is needed|--component vae --input $golden/wan_vae/io.safetensors --compare
nothing to|--component scheduler --input $golden/schedulers/io.safetensors
exists already|--component scheduler --input $golden/schedulers/io.safetensors --output $tmp/there.safetensors
out of range|--component vae --model x --input y --compare --devices 0
unknown strategy|--component transformer --model x --input y --compare --strategy rings
goes with --component transformer|--component vae --model x --input y --compare --strategy ulysses
computed here, without StarPU|--component scheduler --input y --compare --devices 2
goes with --compare|--component vae --model x --input y --output $tmp/no --atol 1
no ring of Ulysses groups|--component transformer --model x --input y --compare --strategy ulysses --ulysses-degree 2
EOF
refuses 2 "$info" --model "$demo" --height 50
refuses 2 "$info" --devices 99
refuses 2 "$info" --model wan-1.3b --vae "$demo/vae"
says "^stardit-info: --vae: goes with --model of a checkpoint, or without it; wan-1.3b is a size"
rmdir "$tmp/dir"
for option in latents prompt-embeds negative-prompt-embeds; do
    other="--token-ids 1"
    [ $option != prompt-embeds ] || other=
    # shellcheck disable=SC2086
    refuses 1 "$generate" --model "$demo" $other --output v.y4m --$option nope
    says "^stardit-generate: --$option nope: No such file or directory"
done
refuses 1 "$generate" --model "$demo" --token-ids 1 --output v.y4m --tokenizer nope
says "^stardit-generate: --tokenizer nope: No such file or directory"
refuses 1 "$generate" --model "$demo" --token-ids 1 --output v.y4m --num-frames 1048573
says "1048573 frames of 64x64 (height x width) are too many for one video; of that size 349525 work"
refuses 2 "$info" --height 64
says "goes with --model"
refuses 2 "$info" --model "$demo" --devices 2
says "goes without --model"
refuses 2 "$bench"
refuses 2 "$bench" runtimes
refuses 2 "$bench" kernels --device gpu
refuses 2 "$bench" kernels linears
refuses 2 "$bench" runtime --layers 0
refuses 2 "$bench" sched --tasks 0
refuses 2 "$bench" sched --workers 3

# Underscores, "=", and the last of two count as users expect; --dry-run writes nothing.
passes "$generate" --model="$demo" --token_ids=5,1 --num_frames=5 --num-frames=9 --dry-run
grep -q "9 frames" "$tmp/out" || fail "the last --num-frames does not count"
passes $g --dry-run --stats "$tmp/s.json" --trace "$tmp/t.json"
passes "$generate" --model "$demo" --prompt "@$say" --dry-run
refuses 2 "$generate" --model "$demo" --prompt "@$tmp/none" --dry-run

# As other programs call them; xDiT's degrees mean its strategy.
passes "$generate" -m "$demo" -p a -H 32 -W48 --steps 2 --cfg-scale 2 -t 1 -s=-1 --num-frames 5 --dry-run
grep -q "5 frames" "$tmp/out" || fail "short options: $(cat "$tmp/out")"
passes "$generate" --model "$demo" --token-ids 5,1 --devices 2 --ring-degree 2 --dry-run
grep -q "usp" "$tmp/out" || fail "--ring-degree alone: $(cat "$tmp/out")"

# Variables that would be ignored.
run="$generate --model $demo --token-ids 5,1 --height 32 --width 32 --num-frames 5 --steps 1 --quiet --output $tmp/v.y4m"
refuses 2 env STARPU_SCHED_LIB=/nonexistent.so $run
says "STARPU_SCHED must name"
refuses 2 env STARPU_SCHED_LIB=/nonexistent.so STARPU_SCHED=mine $run
says "STARPU_SCHED_LIB=/nonexistent.so: No such file"
refuses 2 env STARPU_SCHED=mine $run
says "unknown scheduler"
# StarPU would abort.
for variable in STARPU_NCPU STARPU_NCUDA STARPU_USE_NUMA STARPU_WORKERS_NOBIND STARPU_NWORKER_PER_CUDA \
    STARPU_MAX_PRIO STARPU_CATCH_SIGNALS STARPU_LIMIT_CPU_MEM STARPU_WORKERS_GETBIND; do
    refuses 2 env $variable=many $run
    says "$variable=many: must be a whole number, 0 or more"
done
refuses 2 env STARPU_MAX_MEMORY_USE=-1 $run
says "STARPU_MAX_MEMORY_USE=-1: must be a whole number, 0 or more"
refuses 2 env STARPU_SCHED_ALPHA=x $run
says "STARPU_SCHED_ALPHA=x: must be a number"
refuses 2 env STARPU_MAIN_THREAD_CPUID=4444 $run
says "STARPU_MAIN_THREAD_CPUID=4444: this machine has 0 to"
for variable in STARPU_WORKERS_CPUID STARPU_WORKERS_COREID; do
    for value in x -1 0-x 1-0 0, 0,,0 4444 "" 0-0-0; do
        refuses 2 env $variable="$value" $run
        says "$variable=$value: must be a list as 0-1 or 0,1; this machine has 0 to"
    done
    for value in 0 0- 0-0 "0 0" 0,0-0; do
        passes env $variable="$value" $run --force && rm "$tmp/v.y4m"
    done
done
# It would say so thousands of times a second, or wait for minutes.
for value in x 0 -1 1 ""; do
    refuses 2 env STARPU_WATCHDOG_TIMEOUT="$value" $run
    says "STARPU_WATCHDOG_TIMEOUT=$value: must be microseconds, 1000 to"
done
refuses 2 env STARPU_BACKOFF_MIN=123456789 $run
says "STARPU_BACKOFF_MIN=123456789: must be loops of waiting, 0 to"
for value in soon -1 1e30 5s; do
    refuses 2 env STARDIT_STALL_SECONDS=$value $run
    says "STARDIT_STALL_SECONDS=$value: must be a number"
done

# What is in the way and never is replaced: --force is no help, and is not named.
mkdir folder.mp4
mkfifo pipe.y4m
for output in folder.mp4 pipe.y4m /dev/null /dev/full; do
    for force in '' --force; do
        refuses 2 $g --output $output $force
        says "$output: not replaced, it is not a .* but a .*; give the output a name of its own"
        ! grep -q -e --force "$tmp/err" || fail "$(cat "$tmp/err")"
    done
done
rmdir folder.mp4
rm pipe.y4m

# Standard output that is closed or full; standard error that is closed takes no file's place.
refuses 2 sh -c 'exec "$@" >&-' sh $run --output -
says "standard output is closed"
for command in "$generate --help" "$generate --version" "$info" "$bench sched --tasks 50 --repeats 1 --brief" \
    "$bench kernels blend_rows" "$g --dry-run"; do
    for to in '>/dev/full' '>&-'; do
        # shellcheck disable=SC2086
        refuses 1 sh -c "exec \"\$@\" $to" sh $command
        says "standard output cannot be written"
    done
done
sh -c 'exec "$@" >/dev/full' sh $run --output - 2>"$tmp/err" </dev/null && fail "a full standard output: exit 0"
says "No space left.*" && says "latent after step 1 of 1 is in stdout.latent.safetensors"
[ -s stdout.latent.safetensors ] || fail "no latent"
passes sh -c 'exec "$@" 2>&- >&- <&-' sh "$generate" --resume stdout.latent.safetensors --output closed.y4m
passes $run --output open.y4m
same closed.y4m open.y4m
rm -f stdout.latent.safetensors closed.y4m open.y4m

# Files that StarPU wants and that cannot be written.
refuses 1 sh -c 'ulimit -f 1; exec "$@"' sh $run --output v.y4m
says "stardit.bandwidth: File too large (TMPDIR names a folder with room"

# Thousands of prompts are a run, more are refused; a number in the name counts for one prompt as well.
awk 'BEGIN { for (i = 1; i < 4097; i++) print "prompt", i }' >lines
many="$generate --model $demo --prompt-file lines --output many%d.y4m --dry-run"
passes $many
echo more >>lines
refuses 2 $many
says "more than 4096 prompts; parts of it would work"
rm lines
passes $run --output n%03d.y4m
[ -s n001.y4m ] || fail "one prompt: $(ls)"
refuses 2 $run --output n%03d.y4m
says "n001.y4m exists already"
rm n001.y4m
passes $run --output t.y4m --tile-size 8 --dry-run

# What does nothing here, and may in other placements, is told.
loud=$(echo "$run" | sed 's/ --quiet//')
passes $loud --output idle.y4m --transport nccl --checkpoint-every 2
says "^stardit-generate: --transport does nothing where one device denoises$"
says "^stardit-generate: --checkpoint-every is more than there are steps, and keeps no state on the way$"
passes $loud --output idle.y4m --force --checkpoint-every 1
! grep -q "does nothing\|more than there are" "$tmp/err" || fail "$(cat "$tmp/err")"
rm idle.y4m

rm -f "$tmp/out" "$tmp/err"
left=$(ls "$tmp")
[ "$left" = "there.safetensors
words" ] || fail "files were written: $left"
[ -s "$tmp/there.safetensors" ] && fail "a file was changed"
finish
