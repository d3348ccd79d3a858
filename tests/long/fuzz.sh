#!/bin/sh
# Builds the libFuzzer targets of tests/fuzz with clang, AddressSanitizer and
# UndefinedBehaviorSanitizer, runs each for FUZZ_SECONDS (60), or with FUZZ_RUNS for so many
# executions, however long they take (with both, whichever comes first), and prints a line for each:
# executions, executions a second, edges reached, lines reached of the sources that it covers,
# crashes. For `make check-fuzz`:
#   fuzz.sh [TARGET...]      tests/fuzz/TARGET.c; all of them by default
#
# What was found to reach more is kept in the folder long/fuzz/corpus of the build folder, for the
# next time; what crashes in long/fuzz/crashes. Seeds are the files of the tests' own cases
# (tests/seeds.h), the demo checkpoint, and commands.
# Exit 0: no crash; 1: a crash; 77: no clang with libFuzzer.
set -u
source=${STARDIT_SOURCE_DIR:?} build=${STARDIT_BUILD_DIR:?}
folder=$build/long/fuzz
most_runs=${FUZZ_RUNS:--1} # -1: any number
seconds=${FUZZ_SECONDS:-60}
[ -z "${FUZZ_RUNS:-}" ] || seconds=${FUZZ_SECONDS:-0} # 0: for ever
for number in "${FUZZ_RUNS:-1}" "${FUZZ_SECONDS:-1}"; do
    case $number in
        *[!0-9]* | 0*)
            echo "check-fuzz: '$number' in FUZZ_RUNS or FUZZ_SECONDS; whole numbers from 1 work" >&2
            exit 2
            ;;
    esac
done
clang=${FUZZ_CC:-clang}
. "$source/tests/long/tree.sh"

mkdir -p "$folder/seeds" "$folder/corpus" "$folder/crashes" || exit 99
cat >"$folder/try.c" <<'END'
#include <stddef.h>
#include <stdint.h>
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return size > 9 && data[9] == 1; }
END
if ! "$clang" -fsanitize=fuzzer,address "$folder/try.c" -o "$folder/try" 2>"$folder/try.log" ||
    ! "$folder/try" -runs=1 >>"$folder/try.log" 2>&1; then
    echo "check-fuzz: $clang -fsanitize=fuzzer makes no program that runs here; install clang and" \
        "its libclang-rt, or name another one by FUZZ_CC" >&2
    exit 77
fi

# ---- the build ---------------------------------------------------------------------------------

cd "$folder" || exit 99
configure_tree --enable-sanitizers=address,undefined CC="$clang" CXX="$clang++" \
    CFLAGS='-g -O1' CXXFLAGS='-g -O1'
# Nothing is computed, so kernels are as they are, by the compiler that they are written for.
make ${STARDIT_JOBS:+-j$STARDIT_JOBS} kernel-objects CC="${CC:-cc}" CFLAGS='-g -O1' \
    STARDIT_CFLAGS='-std=gnu11 -march=native' >make.log 2>&1 || { tail -n 20 make.log >&2; exit 99; }
flags="-g -O1 -fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping"
make ${STARDIT_JOBS:+-j$STARDIT_JOBS} fuzzers CFLAGS="$flags" \
    CXXFLAGS="$flags -fno-sanitize=vptr" >>make.log 2>&1 ||
    { tail -n 20 make.log >&2; exit 99; }

# ---- seeds -------------------------------------------------------------------------------------

# Files of the tests' cases, by tests that are built in the build folder.
export STARDIT_SEEDS="$folder/seeds"
for test in checkpoint/malformed checkpoint/valid text/malformed; do
    { make -C "$build" "tests/$test" && "$build/tests/$test"; } >seeds.log 2>&1 ||
        { tail -n 5 seeds.log >&2; exit 99; }
done
unset STARDIT_SEEDS

# Files of checkpoints behind the byte that says which one, as in tests/fuzz/checkpoint.c.
mkdir -p seeds/checkpoint seeds/command seeds/files seeds/form seeds/format seeds/platform seeds/prompt \
    seeds/state seeds/tokenizer
demo=$source/checkpoints/stardit-demo
golden=$source/tests/golden
rm -f seeds/checkpoint/*
byte=36 # its remainder by 18 is the file's number
for file in "$demo"/model_index.json "$demo"/scheduler/scheduler_config.json "$demo"/transformer/config.json \
    "$demo"/vae/config.json "$demo"/text_encoder/config.json "$demo"/tokenizer/tokenizer_config.json \
    "$demo"/stardit.json "$golden"/hunyuan_text/model_index.json \
    "$golden"/hunyuan_text/scheduler/scheduler_config.json "$golden"/hunyuan_dit/config.json \
    "$golden"/hunyuan_vae/config.json "$golden"/hunyuan_text/text_encoder/config.json \
    "$golden"/hunyuan_text/text_encoder_2/config.json "$golden"/opensora/model_index.json \
    "$golden"/opensora/scheduler/scheduler_config.json "$golden"/opensora/transformer/config.json \
    "$golden"/wfvae/config.json "$golden"/opensora/text_encoder/config.json; do
    { printf "\\$(printf %o $byte)" && cat "$file"; } >"seeds/checkpoint/$byte"
    byte=$((byte + 1))
done
# Others of their kinds in their places.
{ printf "\\$(printf %o 46)" && cat "$golden/hunyuan_vae2/config.json"; } >seeds/checkpoint/vae
{ printf "\\$(printf %o 52)" && cat "$golden/wfvae13/config.json"; } >seeds/checkpoint/wfvae
{ printf "\\$(printf %o 51)" && cat "$golden/osp13_dit/config.json"; } >seeds/checkpoint/opensora
{ printf "\\$(printf %o 47)" && cat "$golden/llama/config.json"; } >seeds/checkpoint/llama
{ printf "\\$(printf %o 48)" && cat "$golden/clip/config.json"; } >seeds/checkpoint/clip
{ printf "\\$(printf %o 53)" && cat "$golden/umt5/config.json"; } >seeds/checkpoint/umt5

# Lists of tensors behind the byte that says how to open them, as in tests/fuzz/files.c: the published
# layouts in small, with ComfyUI's prefixes as well, and files of the demo and of other families.
. "$source/tests/apps/layouts.sh"
make -C "$build" tests/apps/tool >>seeds.log 2>&1 || { tail -n 5 seeds.log >&2; exit 99; }
tensors() {
    "$build/tests/apps/tool" shapes "$1"
}
transformer 1 128 256 BF16 2 >layout-0
vae >layout-1
text 1 >layout-2
tensors "$demo"/transformer/diffusion_pytorch_model.safetensors >layout-4
tensors "$demo"/vae/diffusion_pytorch_model.safetensors >layout-5
tensors "$demo"/text_encoder/model.safetensors >layout-6
{
    sed 's/^/model.diffusion_model./' layout-0
    sed 's/^/vae./' layout-1
    sed 's/^/text_encoders.umt5xxl.transformer./' layout-2
    echo "text_encoders.umt5xxl.spiece_model U8 1 100"
} >layout-3
for layout in 0 1 2 3 4 5 6; do
    for way in 0 4 8 12; do # with and without configurations
        { printf "\\$(printf %o $((layout % 4 + way)))" && cat layout-$layout; } \
            >"seeds/files/$layout-$way"
    done
done
# file PART CHECKPOINT FILE: of another family, alone and beside its configuration.
file() {
    tensors "$golden/$3" >"layout-$(echo "$3" | tr / -)"
    for way in 0 4 12; do
        { printf "\\$(printf %o $(($1 + way + 16 * $2)))" && tensors "$golden/$3"; } \
            >"seeds/files/$1-$2-$way"
    done
}
file 0 1 hunyuan_dit/diffusion_pytorch_model.safetensors
file 1 1 hunyuan_vae/diffusion_pytorch_model.safetensors
file 2 1 llama/model.safetensors
file 0 2 opensora/transformer/diffusion_pytorch_model.safetensors
file 1 2 wfvae/diffusion_pytorch_model.safetensors
file 2 2 opensora/text_encoder/model.safetensors
file 0 3 osp13_dit/diffusion_pytorch_model.safetensors
file 1 3 hunyuan_vae2/diffusion_pytorch_model.safetensors
file 2 3 clip/model.safetensors
sed 's/^/"/; s/$/"/' layout-* | tr ' ' '\n' | grep '^"[a-z]' | sed 's/"*$/"/' | sort -u >files.dict

printf '1\200\002}q.' >seeds/format/pickle
printf '2PK\003\004..........................x/data.pkl' >seeds/format/zip
printf '3PK\003\004..........................x/version' >seeds/format/version
printf '1\002\0\0\0\0\0\0\0{}' >seeds/format/safetensors

cat >seeds/tokenizer/small <<'END'
1{"model":{"type":"Unigram","unk_id":2,"vocab":[["<pad>",0.0],["</s>",0.0],["<unk>",0.0],
["\u2581",-2.0],["a",-3.0],["\u2581a",-1.5]],"byte_fallback":false},
"normalizer":{"type":"Precompiled","precompiled_charsmap":""},
"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"always"},
"added_tokens":[{"id":0,"content":"<pad>","single_word":false,"lstrip":false,"rstrip":true}]}
END

{ printf 5 && cat "$source/tests/golden/bpe/llama/tokenizer.json"; } >seeds/tokenizer/llama
{ printf 5 && cat "$source/tests/golden/bpe/clip/json/tokenizer.json"; } >seeds/tokenizer/clip
{ printf 3 && cat "$source/tests/golden/bpe/clip/vocab/vocab.json"; } >seeds/tokenizer/vocab
{ printf 4 && head -n 300 "$source/tests/golden/bpe/clip/vocab/merges.txt"; } >seeds/tokenizer/merges

for file in "$source"/platforms/*/platform.txt; do
    cp "$file" "seeds/platform/$(basename "$(dirname "$file")")"
done
printf 'gpus 8\n' >seeds/platform/unknown
printf 'devices 1e999\nlink-gbps -1 # no\nhost-gbps 1 2\n' >seeds/platform/numbers

printf '%s\n' 'a red &lt;circle&gt; moving  right' '' ' @ &amp;amp;#x41; ' 1,2,3 256x192 \
    cuda:0-3,cpu:0 >seeds/prompt/lines
printf '0-6\r\n2,1,1\n1,1,0.5\n&#0;&#x110000;&nbsp;&notit;\n\343\200\200x\302\240\n</s>\n' \
    >seeds/prompt/more

# Of byte-level BPE: strings whose ids are known, as prompts.
sed -n 's/^{"text":"\(.*\)","llama":.*/\1/p' "$golden/bpe/cases.json" |
    while read -r line; do printf '%b\n' "$line"; done >bpe.lines
split -l 20 bpe.lines seeds/prompt/bpe-

# Every option by its name with some value, and the commands of the documents.
make -C "$build" stardit-generate >>seeds.log 2>&1 || { tail -n 5 seeds.log >&2; exit 99; }
"$build/stardit-generate" --help >help || exit 99
: >command.dict
for option in $(grep -o -e '^  --[a-z-]*' help); do
    echo "\"$option\"" >>command.dict
    for value in 1 2 0.5 auto 1,1 cuda:0-1 x.mp4; do
        printf '%s\n' --model m --prompt p --output o.mp4 "$option" $value \
            >"seeds/command/${option#--}-$(echo $value | tr -dc 'a-z0-9')"
    done
done
for word in unipc euler new old linear float32 bfloat16 auto single ulysses pipesp ring usp off \
    static dynamic given starpu nccl dit vae cpu: cuda: 0-3 256x192 -1 0x; do
    echo "\"$word\"" >>command.dict
done
cat "$source"/README.md "$source"/docs/*.md | sed -n 's/\\$//; s/^ *stardit-generate //p' |
    while read -r line; do
        echo "$line" | tr ' ' '\n' >"seeds/command/$(echo "$line" | cksum | tr -dc 0-9)"
    done
# Commands that go further: with files that are there, groups, splits.
mkdir -p inputs
tool=$build/tests/apps/tool
"$tool" tensor inputs/latent.safetensors latent 1 8 5 8 8
"$tool" tensor inputs/embeds.safetensors prompt_embeds 1 6 96
printf 'a red ball\n\na blue square\r\n' >inputs/lines
ids="--token-ids 5,6,1"
while read -r line; do
    echo "--model m $line" | tr ' ' '\n' >"seeds/command/$(echo "$line" | cksum | tr -dc 0-9)"
done <<END
--prompt-file $folder/inputs/lines --output o%02d.mp4
--prompt @$folder/inputs/lines --output o.webm --seed -1 --fps 23.976
$ids --latents $folder/inputs/latent.safetensors --output o.gif
--num-inference-steps 0 --latents $folder/inputs/latent.safetensors --output o/
--prompt-embeds $folder/inputs/embeds.safetensors --guidance-scale 1 --output o.y4m
--prompt x --negative-prompt-embeds $folder/inputs/embeds.safetensors --output o.y4m
$ids --resume $folder/state-unipc.state.safetensors --output o.y4m
--resume $folder/state-euler.state.safetensors --output o.y4m
$ids --devices 5 --dit-devices 0-2 --vae-devices 3,4 --aco dynamic --strategy pipesp --max-latents 3
$ids --devices 4 --dit-parallel-size 3 --vae-parallel-size 1 --text-encoder-group vae --vae-spill
$ids --devices 3 --workers-per-device 2,1,1 --device-speed 2,1,1 --chunk-heads auto --dry-run
$ids --devices 4 --strategy usp --ulysses-degree 2 --ring-degree 2 --streams 2 --dry-run
$ids --devices cuda:0-1,cpu:0 --dtype bfloat16 --transport nccl --dry-run
$ids --devices 2 --plan auto --dry-run
$ids --enable-tiling --tile-size 32x24 --tile-stride 16x16 --dry-run
$ids --output o.mp4 --contact-sheet s.png --sheet-columns 3 --sheet-scale 2 --save-latent l.safetensors
$ids --output - --stats s.json --trace t.json --dot d.dot --progress plain --quiet
-m m -p x -o o.mp4 -H 32 -W48 --steps 3 --cfg-scale=2 -t 1 -s=5 --num_frames 5
--help
--version
END

cat >json.dict <<'END'
"{\"" "\":" "[" "]" "null" "true" "false" "1e9" "-1" "9223372036854775807" "\\u0000" "\"F32\""
END
tr ' ' '\n' <json.dict >json.words && mv json.words json.dict

# States of runs that are stopped on their way.
for sampler in unipc euler; do
    "$build/stardit-generate" --model "$demo" --token-ids 5,6,1 --height 16 --width 16 \
        --num-frames 1 --num-inference-steps 1000 --sampler $sampler --progress none \
        --checkpoint-every 1 --force --workers-per-device 1 \
        --output "state-$sampler.y4m" 2>>seeds.log </dev/null &
    pid=$!
    while kill -0 $pid 2>/dev/null && [ ! -s "state-$sampler.state.safetensors" ]; do
        sleep 0.1
    done
    kill -TERM $pid
    wait $pid
    cp "state-$sampler.state.safetensors" "seeds/state/$sampler" || exit 99
done

# ---- the runs ----------------------------------------------------------------------------------

# What callers of stardit-serve send: every field, by JSON and by a form.
cat >seeds/form/json <<'END'
{"prompt": "snow \u00e9t\u00e9", "negative_prompt": "night", "width": 64, "height": 48, "num_frames": 9,
"num_inference_steps": 4, "guidance_scale": 2.5, "flow_shift": 4, "fps": 12.5, "max_sequence_length": 64,
"seed": "18446744073709551615", "sampler": "euler", "sampler_schedule": "linear", "tile_size": 32,
"tile_stride": "24x16", "priority": 3, "deadline_seconds": 1000, "model": null, "metadata": {"a": [1, {}]}}
END
cat >seeds/form/form <<'END'
5prompt=a red circle
size=64x64
seconds=2
seed=-1
request_id=abc
model=b
true_cfg_scale=2
negative_prompt=
END
sed -n 's/^    {"\([a-z_]*\)", \(TEXT\|WHOLE\|REAL\).*/"\\"\1\\":"/p' "$source/apps/serve/request.c" >form.words
cat json.dict form.words >form.dict

# Where files cost nothing.
scratch=$(mktemp -d /dev/shm/stardit-fuzz-XXXXXX 2>/dev/null || mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
export STARDIT_BUILD_DIR="$scratch" XDG_CACHE_HOME="$scratch" STARPU_HOME="$scratch" STARPU_SILENT=1
# libsentencepiece is not instrumented, so that lengths of its containers look wrong.
export ASAN_OPTIONS=detect_container_overflow=0:symbolize=1 UBSAN_OPTIONS=print_stacktrace=1
# Of the same clang.
profdata=$("$clang" -print-prog-name=llvm-profdata) cov=$("$clang" -print-prog-name=llvm-cov)

# lines TARGET: how many lines of its sources a run has reached, in percent.
lines() {
    # shellcheck disable=SC2046  # file names without spaces
    "$profdata" merge -o "$scratch/$1.data" "$scratch/$1.raw" 2>>cover.log &&
        "$cov" report "tests/fuzz/$1" -instr-profile="$scratch/$1.data" \
            $(sed -n '/Covers:/,/\*\//p' "$source/tests/fuzz/$1.c" |
                grep -o '[a-z0-9_/]*\.c\>' | sed "s,^,$source/,") \
            2>>cover.log | awk '$1 == "TOTAL" { print $10 }'
}

[ $# -gt 0 ] || set -- $(make -s list-fuzzers | tr ' ' '\n' | sed 's,.*/,,')
crashed=0
for target; do
    mkdir -p "corpus/$target" "seeds/$target"
    dict=json.dict most=8192
    case $target in
        command) dict=command.dict ;;
        files) dict=files.dict most=20000 ;;
        form) dict=form.dict ;;
        state) most=65536 ;;
        tokenizer) most=32768 ;;
    esac
    : >"$scratch/begin"
    LLVM_PROFILE_FILE="$scratch/$target.raw" "tests/fuzz/$target" \
        -runs="$most_runs" -max_total_time="$seconds" -timeout=60 -max_len=$most -dict=$dict -print_final_stats=1 \
        -close_fd_mask=3 -rss_limit_mb=4096 -artifact_prefix="crashes/$target-" "corpus/$target" "seeds/$target" \
        >"$target.log" 2>&1 </dev/null
    code=$?
    crashes=$(find crashes -name "$target-*" -newer "$scratch/begin" | wc -l)
    [ $code -eq 0 ] || { crashed=$((crashed + 1)); [ "$crashes" -gt 0 ] || crashes=1; }
    sed -n 's/^stat::number_of_executed_units: *//p; s/^stat::average_exec_per_sec: *//p' \
        "$target.log" >"$scratch/counts"
    runs=$(sed -n 1p "$scratch/counts") rate=$(sed -n 2p "$scratch/counts")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$target.log" | tail -n 1)
    echo "$target: ${runs:-?} executions, ${rate:-?} a second, ${edges:-?} edges," \
        "$(lines "$target" || echo ?) of lines, $crashes crashes"
    if [ $code -ne 0 ]; then
        grep -m 1 -e '^SUMMARY' -e 'ERROR: ' "$target.log"
        tail -n 1 "$target.log"
    fi
done
[ $crashed -eq 0 ]
