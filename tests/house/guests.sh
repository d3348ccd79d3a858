#!/bin/sh
# A family and a strategy that the tree does not know (toy_family.c, toy_strategy.c) through all
# that stardit-generate does: plans, the choice among them, every strategy, two groups, aco.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
generate=$build/tests/house/generate

for forwards in 1 2; do
    mkdir "$tmp/toy$forwards" && "$build/tests/house/toy" "$tmp/toy$forwards" $forwards || exit 99
    for part in vae text_encoder tokenizer scheduler; do
        ln -s "$(cd "$demo" && pwd)/$part" "$tmp/toy$forwards/$part"
    done
done
toy=$tmp/toy1

# video NAME OPTIONS...
video() {
    name=$1
    shift
    passes "$generate" --model "$toy" --num-frames 5 --workers-per-device 1 --quiet --force \
        --output "$tmp/$name.safetensors" --stats "$tmp/$name.json" "$@"
}

# exact OPTIONS...: the bytes of one device.
exact() {
    video v "$@" && same "$tmp/v.safetensors" "$tmp/single.safetensors" ||
        fail "other bytes: $*"
}

passes "$generate" --help
tr -s ' \n' '  ' <"$tmp/out" | grep -q 'dualparal, layers' ||
    fail "--help does not name the guest strategy"

# One forward a step; text of 15 tokens behind the video's.
prompt="a small red circle moves to the left of a large blue square"
set -- --prompt "$prompt"
video single --devices 1 --strategy single "$@"
exact --devices 1 --strategy layers "$@"
for devices in 2 3; do
    for strategy in ulysses pipesp layers; do
        exact --devices $devices --strategy $strategy "$@"
    done
done
exact --devices 3 --strategy pipesp --transport nccl "$@"
exact --devices 3 --strategy layers --scheduler scatter "$@"
for aco in off static dynamic; do
    exact --dit-devices 0-1 --vae-devices 2 --strategy pipesp --aco $aco "$@"
done
exact --dit-devices 0-1 --vae-devices 2 --strategy layers "$@"
for strategy in ring usp; do
    video $strategy --devices 3 --strategy $strategy "$@"
    video v --devices 3 --strategy $strategy --scheduler lws "$@"
    same "$tmp/v.safetensors" "$tmp/$strategy.safetensors"
done
# Guidance is an input, and so is the text.
video other --devices 1 --guidance-scale 5 "$@"
cmp -s "$tmp/other.safetensors" "$tmp/single.safetensors" && fail "guidance changes nothing"
video other --devices 1 --prompt "$prompt."
cmp -s "$tmp/other.safetensors" "$tmp/single.safetensors" && fail "the prompt changes nothing"

# Requests that follow one another, with texts of other lengths: each as if it were alone.
printf '%s\n' "red" "$prompt" "red" >"$tmp/prompts"
video red --devices 1 --prompt red
for groups in "--devices 2" "--dit-devices 0-1 --vae-devices 2 --aco static"; do
    passes "$generate" --model "$toy" --num-frames 5 --workers-per-device 1 --quiet --force \
        --output "$tmp/many%d.safetensors" --prompt-file "$tmp/prompts" --seed 0 $groups
    same "$tmp/many1.safetensors" "$tmp/red.safetensors"
    same "$tmp/many2.safetensors" "$tmp/single.safetensors"
    same "$tmp/many3.safetensors" "$tmp/red.safetensors"
done

# Two forwards a step, whose texts differ in length.
toy=$tmp/toy2
set -- --prompt red --negative-prompt "$prompt"
video single --devices 1 --strategy single "$@"
exact --devices 3 --strategy pipesp "$@"
exact --devices 3 --strategy ulysses --streams 1 "$@"
exact --devices 3 --strategy layers "$@"
exact --dit-devices 0-1 --vae-devices 2 --aco static "$@"
toy=$tmp/toy1

# Two text encoders, the second with a template ("it is ...!", 12 tokens): text is what the ids say
# that a tokenizer makes of it, given states count, and halves are refused.
mkdir "$tmp/two" && "$build/tests/house/toy" "$tmp/two" 1 96 || exit 99
for part in vae text_encoder tokenizer scheduler; do
    ln -s "$(cd "$demo" && pwd)/$part" "$tmp/two/$part"
done
toy=$tmp/two
refuses 1 "$generate" --model "$toy" --prompt x --output "$tmp/v.mp4" --dry-run
says "has no text_encoder_2 folder; --text-encoder-2"
ln -s "$(cd "$demo" && pwd)/text_encoder" "$tmp/two/text_encoder_2"
refuses 1 "$generate" --model "$toy" --prompt x --output "$tmp/v.mp4" --dry-run
says "neither spiece.model nor tokenizer.json"
ln -s "$(cd "$demo" && pwd)/tokenizer" "$tmp/two/tokenizer_2"
set -- --prompt "a small red circle"
video single --devices 1 "$@"
exact --devices 3 --strategy pipesp "$@"
exact --dit-devices 0-1 --vae-devices 2 --text-encoder-group vae "$@"
red=263,364,345,260,425,493,1
exact --devices 1 --token-ids $red --token-ids-2 260,899,279,260,899,281,263,364,345,260,425,1
video other --devices 1 --token-ids $red --token-ids-2 260,899,1
cmp -s "$tmp/other.safetensors" "$tmp/single.safetensors" &&
    fail "the second text encoder changes nothing"
exact --devices 1 --text-encoder-2 "$demo/text_encoder/model.safetensors" \
    --tokenizer-2 "$demo/tokenizer/spiece.model" "$@"
"$tool" tensor "$tmp/states.safetensors" prompt_embeds 1 6 96
"$tool" tensor "$tmp/row.safetensors" pooled_prompt_embeds 1 96
"$tool" tensor "$tmp/wide.safetensors" pooled_prompt_embeds 1 95
for row in row wide; do
    printf '%s\n' "prompt_embeds prompt_embeds" "pooled_prompt_embeds pooled_prompt_embeds" |
        "$tool" rename "$tmp/$row.both.safetensors" "$tmp/states.safetensors" \
            "$tmp/$row.safetensors" || exit 99
done
video given --devices 1 --prompt-embeds "$tmp/row.both.safetensors"
cmp -s "$tmp/given.safetensors" "$tmp/single.safetensors" && fail "given states change nothing"
set -- --model "$toy" --output "$tmp/v.mp4" --dry-run
refuses 2 "$generate" "$@" --prompt-embeds "$tmp/states.safetensors"
says "given for the first alone"
refuses 2 "$generate" "$@" --prompt-embeds "$tmp/wide.both.safetensors"
says "must be \[96\] or \[1, 96\]"
refuses 2 "$generate" "$@" --token-ids 5,1
says "given for the first alone"
refuses 2 "$generate" "$@" --token-ids 5,1 --token-ids-2 1,2,3,4,5,6,7,8,9,10,11,12,13
says "13 token ids of the second text encoder; 1 to 12 work"
passes "$generate" "$@" --prompt red
toy=$tmp/toy1

# What the plan says is exchanged is what StarPU moves, with as much text as the plan knows.
for way in "3 ulysses" "3 pipesp" "3 ring" "3 layers"; do
    set -- $way
    for steps in 2 4; do
        video s$steps --token-ids 17,5,33,208,1 --max-sequence-length 5 --devices $1 --strategy $2 \
            --num-inference-steps $steps
    done
    moved=$(($("$tool" json "$tmp/s4.json" moved between_devices_bytes) - \
        $("$tool" json "$tmp/s2.json" moved between_devices_bytes)))
    formula=$("$tool" json "$tmp/s4.json" plan exchanged_bytes_per_step)
    [ "$moved" -gt 0 ] && [ $moved -eq $((2 * ${formula%.*})) ] ||
        fail "$2 on $1 devices: 2 steps move $moved bytes, the plan says $formula a step"
done

# Plans.
set -- --prompt "$prompt" --output "$tmp/v.mp4" --dry-run
passes "$generate" --model "$toy" --devices 3 --strategy layers "$@"
grep -q "strategy layers" "$tmp/out" || fail "the plan does not name the strategy"
grep -q "1 forward a step" "$tmp/out" || fail "the plan has not one forward a step"
for model in "$toy" "$demo"; do
    passes "$generate" --model "$model" --devices 3 --plan auto "$@"
    grep -q "^ .*layers" "$tmp/out" || fail "$model: layers is not among the candidates"
done
# Large enough that tasks' overheads on the cores that devices share are not what counts.
passes "$generate" --model "$toy" --devices 3 --plan auto --num-frames 33 --height 256 --width 256 "$@"
grep -q "layers .*(exposed 0\.[0-9]* s)" "$tmp/out" || fail "nobody waits for other layers: $(grep "layers " "$tmp/out")"
refuses 2 "$generate" --model "$toy" --dit-devices 0-1 --vae-devices 2 --aco static \
    --strategy layers "$@"
says "strategy layers exchanges no heads"
refuses 2 "$generate" --model "$toy" --devices 8 --strategy layers "$@"
says "has 6 layers"
refuses 1 "$build/stardit-generate" --model "$toy" "$@"
says "the pipeline is ToyPipeline; this version runs WanPipeline"

# The guest strategy carries the demo's transformer as well.
toy=$demo
set -- --token-ids 17,5,33,208,1 --height 48 --width 80 --num-inference-steps 2
video single --devices 1 "$@"
exact --devices 2 --strategy layers "$@"
exact --devices 3 --strategy layers --streams 1 "$@"
finish
