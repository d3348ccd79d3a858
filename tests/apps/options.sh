#!/bin/sh
# No option and no variable of the environment is taken and ignored: a table of all of them, each with a value
# and what must be another then: the plan, the run, a message, or that it is refused. Options come from the
# programs' own tables (--help), variables from the sources and the man pages: one without a row fails.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
unset COLUMNS NO_COLOR HF_HOME HF_HUB_CACHE HUGGINGFACE_HUB_CACHE STARDIT_STALL_SECONDS STARDIT_SCATTER_SEED

# ---- what rows need -------------------------------------------------------------------------

in=$tmp/in
mkdir "$in" "$tmp/known"
cd "$tmp" || exit 99
size="--height 32 --width 32 --num-frames 5 --num-inference-steps 1"
ids="--token-ids 5,6,7,1"

# linked FOLDER COMPONENT FILE: a checkpoint of links, but for a folder of links without that file.
linked() {
    mkdir -p "$1/$2"
    for part in "$demo"/*; do [ "${part##*/}" = "$2" ] || ln -s "$part" "$1/"; done
    for part in "$demo/$2"/*; do [ "${part##*/}" = "$3" ] || ln -s "$part" "$1/$2/"; done
}

"$tool" tensor "$in/latent.safetensors" latent 1 8 2 4 4
"$tool" tensor "$in/embeds.safetensors" prompt_embeds 1 6 96
"$tool" fill "$in/flat.safetensors" prompt_embeds 0.1 1 6 96
"$tool" tensor "$in/clip.safetensors" latents 1 8 5 8 8
printf 'devices 2\ngflops 1000\nmemory-gbps 100\nlink-gbps 10\n' >"$in/platform.txt"
echo red >"$in/red"
echo blue >"$in/blue"
echo "a red circle moving right over a blue background" >"$in/caption"
(cat "$in/caption" && echo "a blue square moving left over a red background") >"$in/captions"
weights=diffusion_pytorch_model.safetensors
linked "$in/nan" vae $weights
"$tool" poison "$demo/vae/$weights" "$in/nan/vae/$weights" decoder.mid_block.resnets.0.conv2.bias nan
linked "$in/variant" transformer none
"$tool" poison "$demo/transformer/$weights" "$in/variant/transformer/diffusion_pytorch_model.fp16.safetensors" \
    scale_shift_table nan
"$tool" poison "$demo/text_encoder/model.safetensors" "$in/text.safetensors" encoder.final_layer_norm.weight inf
"$tool" lora "$demo/transformer/$weights" "$in/lora.safetensors" "$in/merged.safetensors" F32
cp -r "$golden/wan_dit" "$in/dit"
chmod -R u+w "$in/dit"
"$tool" change "$golden/wan_dit/$weights" "$in/changed" blocks.1.attn1.to_k.weight
mv -f "$in/changed" "$in/dit/$weights"
hub=$in/hub
mkdir -p "$hub/models--org--demo/refs" "$hub/models--org--demo/snapshots" "$in/xdg/huggingface" \
    "$in/user/.cache/huggingface"
for commit in 1111111 2222222; do
    ln -s "$demo" "$hub/models--org--demo/snapshots/$commit$commit"
done
printf 11111111111111 >"$hub/models--org--demo/refs/main"
printf 22222222222222 >"$hub/models--org--demo/refs/v1"
ln -s "$hub" "$in/xdg/huggingface/hub"
ln -s "$hub" "$in/user/.cache/huggingface/hub"
printf '#!/bin/sh\nexec script -qec "$*" /dev/null\n' >"$in/terminal"
chmod +x "$in/terminal"
# A state that a run left whose decode failed.
# shellcheck disable=SC2086
"$generate" --model "$in/nan" $size $ids --checkpoint-every 1 --quiet --output "$in/s.y4m" 2>"$in/s.err" </dev/null
state=$in/s.state.safetensors
[ -s "$state" ] || fail "no state: $(cat "$in/s.err")"

# ---- one row --------------------------------------------------------------------------------

# same_as OPTIONS...: them in one order, where each is given once.
same_as() {
    printf '%s\n' "$@" | awk '
        BEGIN { n = 0 }
        /^--/ { n++; twice = twice || seen[$0]++ }
        { all = all " " $0; word[n] = word[n] " " $0 }
        END {
            for (i = 1; i <= n && !twice; i++) # few: by insertion
                for (j = i; j > 1 && word[j] < word[j - 1]; j--) { t = word[j]; word[j] = word[j - 1]; word[j - 1] = t }
            for (i = 0; i <= n && !twice; i++)
                printf "%s", word[i]
            print twice ? all : ""
        }'
}

# run LINK VARIABLE COMMAND...: the folder LINK with there.*, out, err and code; what has been run before is not
# run again.
run() {
    link=$1
    shift
    folder=known/$(same_as "$@" | cksum | tr -d ' ')
    if mkdir "$folder" 2>/dev/null; then
        (
            cd "$folder" || exit 99
            echo there >there.y4m
            echo there >there.safetensors
            env "$@" >out 2>err </dev/null
            echo $? >code
        )
        runs=$((runs + 1))
    fi
    ln -sfn "$folder" "$link"
}

# lines FOLDER REGEX: of standard output, without what differs each time.
lines() {
    grep -a -e "$2" "$1/out" | sed 's/predicted [0-9.e-]* s/predicted/; s/[0-9.e-]* s of it/it/'
}

# first A B: the first line in which they differ, from and to, shortened.
first() {
    diff "$1" "$2" | sed -n 's/^< *//p' | tr -s ' ' | cut -c1-60 | sed q | tr '\n' ' '
    printf -- '-> '
    diff "$1" "$2" | sed -n 's/^> *//p' | tr -s ' ' | cut -c1-60 | sed q
}

# row WHAT: what is another in `given` than in `base`; $change, empty: nothing.
row() {
    kind=${1%%:*} word=${1#*:} change=
    case $kind in
    plan)
        lines base "$word" >base/lines
        lines given "$word" >given/lines
        cmp -s base/lines given/lines || change="prints $(first base/lines given/lines)"
        # What fails without a line is no other plan, but where a build has none.
        [ -s given/lines ] || [ "$(cat given/code)" -eq 0 ] || grep -q "has no CUDA" given/err || change=
        ;;
    bytes)
        [ -s "given/$word" ] && ! cmp -s "base/$word" "given/$word" && change="other bytes in $word"
        ;;
    file)
        [ ! -e "base/$word" ] && [ -s "given/$word" ] && change="writes $word"
        ;;
    stats)
        # shellcheck disable=SC2086
        from=$("$tool" json base/s.json $word) to=$("$tool" json given/s.json $word)
        [ "$from" != "$to" ] && change="$(echo "$word" | tr ' ' .) in --stats: $from -> $to"
        ;;
    out)
        ! grep -q -a -e "$word" base/out && grep -q -a -e "$word" given/out &&
            change="prints $(grep -a -e "$word" given/out | tr -s ' ' | cut -c1-90 | sed q)"
        ;;
    says)
        ! grep -q -a -e "$word" base/err && grep -q -a -e "$word" given/err &&
            change="says $(grep -a -e "$word" given/err | sed 's/^[a-z]*-*[a-z ]*: //' | tr -d '\033\r' | cut -c1-90 | sed q)"
        ;;
    omits)
        grep -q -a -e "$word" base/out && ! grep -q -a -e "$word" given/out && change="does not print $word"
        ;;
    hushes)
        grep -q -a -e "$word" base/err && ! grep -q -a -e "$word" given/err && change="does not say $word"
        ;;
    refused)
        [ "$(cat base/code)" -eq 0 ] && [ "$(cat given/code)" -ne 0 ] && grep -q -e "$word" given/err &&
            change="refused: $(sed 's/^[a-z-]*: //' given/err | cut -c1-100 | sed q)"
        ;;
    allows)
        grep -q -e "$word" base/err && [ "$(cat given/code)" -eq 0 ] && change="allows: $word"
        ;;
    *) fail "$kind: no such kind of row" ;;
    esac
}

rows=0 runs=0
# try PROGRAM NAME FROM TO WHAT: prints and counts it.
try() {
    row "$5"
    rows=$((rows + 1))
    printf '%-22s %-26s %-24s %s\n' "$1" "$2" "$(printf '%s' "${4#"$in"/}" | sed "s|$source/||; s|$tmp/||g" | cut -c1-24)" \
        "${change:-NOTHING}" | sed "s|$in/||g; s|$source/||g; s|$tmp/||g"
    [ -n "$change" ] ||
        fail "$1 $2 ${3:+from $3 }to $4: not '$5': exit $(cat given/code), $(tail -n 3 given/out) $(tail -n 3 given/err)"
}

# table PROGRAM COMMAND...: rows from standard input, NAME|FROM|TO|BESIDE|WHAT. The option NAME is given as TO
# (+: it takes no value; none in BESIDE, which both runs have), against FROM, or against none.
table() {
    program=$1
    shift
    while IFS='|' read -r name from to beside what; do
        [ -n "$name" ] || continue
        echo "$program --$name" >>"$tmp/rows"
        before="--$name $from" after="--$name $to"
        [ -n "$from" ] || before=
        case $name in help | version) before=--no-such-option ;; esac
        [ "$to" != + ] || after="--$name"
        # shellcheck disable=SC2086
        run base A= "$@" $beside $before
        # shellcheck disable=SC2086
        run given A= "$@" $beside $after
        try "$program" "--$name" "$from" "$to" "$what"
    done
}

# ---- stardit-generate -----------------------------------------------------------------------

export HF_HUB_CACHE="$hub"
plan="--dry-run"
two="--dit-devices 0 --vae-devices 1 --devices 3"
table stardit-generate "$generate" --model "$demo" $size --output v.y4m <<END
help||+||out:^Usage
version||+||out:StarPU
model|$demo|$in/variant|$ids $plan|plan:^Plan for
revision||v1|--model org/demo $ids $plan|plan:^Plan for
variant||fp16|--model $in/variant $ids|refused:scale_shift_table holds NaN
transformer||$in/variant/transformer/diffusion_pytorch_model.fp16.safetensors|$ids|refused:scale_shift_table holds NaN
vae||$in/nan/vae/$weights|$ids|refused:conv2.bias holds NaN
text-encoder||$in/text.safetensors|$ids|refused:final_layer_norm.weight holds infinity
text-encoder-2||$demo/text_encoder|$ids $plan|refused:has one text encoder, not two
lora||$in/lora.safetensors|$ids|bytes:v.y4m
lora|$in/lora.safetensors|$in/lora.safetensors:-0.5|$ids|bytes:v.y4m
tokenizer||$in|--prompt red $plan|refused:neither spiece.model
tokenizer-2||$in|--prompt red $plan|refused:has one text encoder, not two
prompt|red|blue||bytes:v.y4m
prompt-file|$in/red|$in/blue||bytes:v.y4m
negative-prompt||blue|--prompt red|bytes:v.y4m
token-ids|5,1|6,1||bytes:v.y4m
token-ids-2||6,1|$ids|refused:has no second text encoder
prompt-embeds|$in/embeds.safetensors|$in/flat.safetensors|--guidance-scale 1|bytes:v.y4m
negative-prompt-embeds||$in/flat.safetensors|$ids|bytes:v.y4m
height||48|$ids $plan|plan:^  video
width||48|$ids $plan|plan:^  video
num-frames||9|$ids $plan|plan:^  video
num-inference-steps||2|$ids|bytes:v.y4m
guidance-scale||2|$ids|bytes:v.y4m
true-cfg-scale||2|$ids|refused:by two forwards already
flow-shift||5|$ids --num-inference-steps 2|bytes:v.y4m
sampler||euler|$ids --num-inference-steps 2|bytes:v.y4m
sampler||renoise|$ids --num-inference-steps 2 --guidance-scale 1|bytes:v.y4m
sampler||euler-ancestral|$ids|refused:unipc, euler and renoise work
sigmas||0.9|$ids --guidance-scale 1|bytes:v.y4m
force-guidance||+|$ids --sigmas 0.9|file:v.y4m
cfg-gate||0-0|$ids --num-inference-steps 2|bytes:v.y4m
cfg-gate|0-0|0-0,delta|$ids --num-inference-steps 2|bytes:v.y4m
step-cache||4|$ids --num-inference-steps 8|bytes:v.y4m
warmup-steps||4|$ids --num-inference-steps 8 --strategy pipefusion|bytes:v.y4m
refresh-steps||4|$ids --num-inference-steps 9 --step-cache 3-8|bytes:v.y4m
sampler-schedule||old|$ids --num-inference-steps 2|bytes:v.y4m
max-sequence-length||64|$ids|bytes:v.y4m
seed||1|$ids|bytes:v.y4m
latents||$in/latent.safetensors|$ids|bytes:v.y4m
resume||$state|$ids --model $in/nan|says:goes on after step 1 of 1
dtype||bfloat16|$ids|refused:compute in float32
output|v.y4m|other.y4m|$ids|file:other.y4m
fps||5|$ids|bytes:v.y4m
save-latent||l.safetensors|$ids|file:l.safetensors
checkpoint-every||1|$ids --model $in/nan|file:v.state.safetensors
contact-sheet||s.png|$ids|file:s.png
sheet-columns||2|$ids --contact-sheet s.png|bytes:s.png
sheet-scale||2|$ids --contact-sheet s.png|bytes:s.png
force||+|$ids --output there.y4m|allows:exists already
devices||2|$ids $plan|plan:^  devices
workers-per-device||3|$ids $plan|plan:^  devices
device-speed||1,3|$ids --devices 2 --height 256 --width 256 $plan|plan:device 1
strategy||pipesp|$ids --devices 2 $plan|plan:^  devices
chunk-heads||1|$ids --devices 2 --strategy ulysses --stats s.json|stats:tasks total
ulysses-degree||1|$ids --devices 2 --strategy usp --stats s.json|stats:tasks total
patches||2|$ids --num-inference-steps 8 --strategy pipefusion --num-frames 9|bytes:v.y4m
block-frames||4|$ids --num-inference-steps 8 --strategy dualparal --num-frames 9|bytes:v.y4m
overlap-frames||0|$ids --num-inference-steps 8 --strategy dualparal --num-frames 9 --block-frames 4|bytes:v.y4m
ring-degree||2|$ids --devices 2 $plan|plan:^  devices
dit-devices|0|0-1|$ids --devices 3 --vae-devices 2 $plan|plan:^  groups
vae-devices|1|1-2|$ids --devices 3 --dit-devices 0 $plan|plan:^  groups
dit-parallel-size|1|2|$ids --devices 3 --vae-parallel-size 1 $plan|plan:^  groups
vae-parallel-size|1|2|$ids --devices 3 --dit-parallel-size 1 $plan|plan:^  groups
text-encoder-group||vae|$ids $two $plan|plan:^  groups
transport||nccl|$ids --devices 2 --strategy ulysses --height 64 --stats s.json|stats:moved collective_bytes
aco||static|$ids --strategy ulysses $two $plan|plan:^  groups
max-latents||1|$ids $two $plan|plan:^  groups
vae-spill||+|$ids $two $plan|plan:^  groups
streams||1|$ids --guidance-scale 3 $plan|plan:^  streams
use-cfg-parallel||+|$ids --guidance-scale 3 --devices 2 $plan|plan:^  exchanged
plan||auto|$ids --devices 2 $plan|out:^Candidates
scheduler||eager|$ids --stats s.json|stats:scheduler
enable-tiling||+|$ids $plan|plan:^  decode tiles
tile-size||16|$ids|bytes:v.y4m
tile-stride||8|$ids --tile-size 24 $plan|plan:^  decode tiles
dry-run||+|$ids|out:^Plan for
stats||s.json|$ids|file:s.json
trace||t.json|$ids|file:t.json
dot||t.dot|$ids|file:t.dot
progress||bar|$ids|says:\\[K
quiet||+|$ids|hushes:seed 0
END

# ---- stardit-eval ---------------------------------------------------------------------------

dit="--component transformer --model $golden/wan_dit --input $golden/wan_dit/io.safetensors"
table stardit-eval "$eval" <<END
help||+||out:^Usage
version||+||out:StarPU
model|$golden/wan_dit|$in/dit|--component transformer --input $golden/wan_dit/io.safetensors --compare|plan:^out.y
component|vae|transformer|--model $golden/wan_dit --input $golden/wan_dit/io.safetensors --compare|out:^out.y .* ok
input|$golden/wan_vae/io.safetensors|$golden/wan_dit/io.safetensors|--component transformer --model $golden/wan_dit --compare|out:^out.y .* ok
output||y.safetensors|$dit --compare|file:y.safetensors
compare||+|$dit --output y.safetensors|out:^out.y .* ok
atol||1e-12|$dit --compare|plan:^out.y
metrics||$in/embeds.safetensors $in/flat.safetensors||out:PSNR
force||+|$dit --output there.safetensors|allows:exists already
devices||2|$dit --stats s.json|stats:devices
dtype||bfloat16|$dit --compare|refused:compute in float32
workers-per-device||3|$dit --stats s.json|stats:device 0 workers
device-speed||1,9|$dit --devices 2 --stats s.json|stats:device 1 tiles
strategy||pipesp|$dit --stats s.json|stats:strategy
chunk-heads||1|$dit --devices 2 --strategy ulysses --stats s.json|stats:tasks total
ulysses-degree||1|$dit --devices 2 --strategy usp --stats s.json|stats:tasks total
scheduler||eager|$dit --stats s.json|stats:scheduler
stats||s.json|$dit --compare|file:s.json
END

# ---- stardit-info ---------------------------------------------------------------------------

table stardit-info "$info" <<END
help||+||out:^Usage
version||+||out:StarPU
codelets||+||out:^codelet
model||$demo||out:^Checkpoint
platform||p.txt|--model $demo|file:p.txt
transformer||/nowhere|--model $demo|refused:nowhere
vae||/nowhere|--model $demo|refused:nowhere
text-encoder||/nowhere|--model $demo|refused:nowhere
text-encoder-2||/nowhere|--model $demo|refused:nowhere
height||96|--model $demo|plan:^Size
width||96|--model $demo|plan:^Size
num-frames||5|--model $demo|plan:^Size
devices||2||plan:^Devices
workers-per-device||3||plan:device 0
device-speed||1,3|--devices 2|plan:device 1
END

# ---- stardit-bench --------------------------------------------------------------------------

tiny="--layers 1 --heads 2 --head-dim 8 --ffn 8 --latent-frames 1 --latent-height 4 --latent-width 4 --repeats 1"
model="--repeats 1 --case small"
gpu='refused:no CUDA\|no GPU'
! "$bench" kernels --device cuda blend_rows >/dev/null 2>&1 || gpu=plan:.
table "stardit-bench kernels" "$bench" kernels <<END
help||+||out:^Usage
version||+||out:StarPU
device|cpu blend_rows|cuda blend_rows||$gpu
END
table "stardit-bench runtime" "$bench" runtime <<END
help||+||out:^Usage
version||+||out:StarPU
repeats||2|$tiny|plan:^best of
case|small|small-vae|--repeats 1|out:^small-vae
devices||2|$model|plan:^on
dtype||bfloat16|$model|refused:compute in float32
strategy||ulysses|$tiny|plan:^one
scheduler||eager|$model|plan:^on
workers-per-device||3|$model|plan:^on
device-speed||1,3|$model --devices 2|plan:^on
layers||2|$tiny|plan:^one
heads||4|$tiny|plan:^one
head-dim||16|$tiny|plan:^one
ffn||16|$tiny|plan:^one
latent-frames||2|$tiny|plan:^one
latent-height||8|$tiny|plan:^one
latent-width||8|$tiny|plan:^one
END
few="--repeats 1 --workers 2"
table "stardit-bench sched" "$bench" sched <<END
help||+||out:^Usage
version||+||out:StarPU
tasks|100|200|$few --brief|plan:^empty
repeats|1|2|--tasks 100 --workers 2 --brief|plan:^empty
workers|2|8|--tasks 100 --repeats 1 --brief|out:^8
brief||+|--tasks 100 $few|omits:dmda
END
if [ -x "$simulate" ]; then
    one="--scenario tiny --layers 2"
    table "stardit-bench policies" "$bench" policies --platforms "$source/platforms" <<END
help||+||out:^Usage
version||+||out:StarPU
scheduler|static|lws|$one|out:lws
scenario|tiny|paper|--scheduler static --layers 2|out:^paper
layers|2|4|--scenario tiny --scheduler static|plan:^tiny
platforms||/nowhere|$one --scheduler static|refused:nowhere
gantt||pictures|$one --scheduler static|file:pictures/tiny-static.svg
END
fi
simulated="refused:with-starpu-simgrid"
[ ! -x "$simulate" ] || simulated="plan:^seconds"
table "stardit-bench predict" "$bench" predict <<END
help||+||out:^Usage
version||+||out:StarPU
model|/nowhere|$demo|--case demo --repeats 1|out:^demo
case|demo|block|--repeats 1 --model $demo|refused:goes with --case demo
repeats|1|2|--model $demo --case demo|plan:^seconds
simulate||+|--model $demo --case demo --repeats 1|$simulated
END
score="--model $demo --prompt-file $in/caption --num-inference-steps 1 --seeds 1"
table "stardit-bench quality" "$bench" quality <<END
help||+||out:^Usage
version||+||out:StarPU
model|$in/nan|$demo|--prompt-file $in/caption --num-inference-steps 1 --seeds 1|out:^colour
prompt-file|$in/caption|$in/captions|--model $demo --num-inference-steps 1 --seeds 1|plan:^colour
latents||$in/clip.safetensors|--model $demo --prompt-file $in/caption --verbose|plan:seed 0
latents||$in/latent.safetensors|--model $demo --prompt-file $in/caption|refused:shape
seeds||2|$score|plan:^colour
num-inference-steps|1|0|--model $demo --prompt-file $in/caption|refused:out of range
guidance-scale||1|$score --verbose|plan:seed 0
sigmas||0.9,0.7|$score|refused:alone says how many
cfg-gate||0-0|$score --num-inference-steps 2|out:^PSNR
force-guidance||+|$score|refused:not one of a checkpoint distilled
step-cache||5|$score --num-inference-steps 8|out:^PSNR
warmup-steps||4|$score|refused:reads no keys of steps before
refresh-steps||4|$score --num-inference-steps 9 --step-cache 3-8|plan:^PSNR
devices||2|$score|plan:^on
workers-per-device||3|$score|plan:^on
strategy||pipesp|$score|plan:^on
chunk-heads||1|$score|plan:^on
patches|4|2|$score --num-inference-steps 8 --strategy pipefusion|plan:^PSNR
scheduler||eager|$score|plan:^on
verbose||+|$score|out:seed 0
END

# ---- stardit-simulate -----------------------------------------------------------------------

if [ -x "$simulate" ]; then
    table stardit-simulate "$simulate" --num-frames 5 --height 256 --width 256 --layers 2 --devices 2 <<END
help||+||out:^Usage
version||+||out:StarPU
model||wan-14b||plan:^Model
height||320||plan:^Model
width||320||plan:^Model
num-frames||9||plan:^Model
max-sequence-length||64||plan:^Step
forwards||1||plan:^Strategy
layers||4||plan:^Simulated
strategy||pipesp||plan:^Strategy
arrivals||none||refused:does not go with --arrivals
deadline-scale||2||refused:goes with --arrivals
chunk-heads||1||plan:^Strategy
ulysses-degree||1|--strategy usp|plan:^Step
streams||1||plan:^Strategy
tile-rows||64||plan:^Strategy
scheduler||eager||plan:^Step
scheduler||rings||refused:rings
scheduler||none.so||refused:none.so
platform||$in/platform.txt||plan:^Machine
platform||$tmp/none||refused:none
devices||3||plan:^Machine
gpu-gflops||1e5||plan:^Machine
attention-gflops||1e5||plan:^Machine
memory-gbps||1e3||plan:^Machine
launch-us||50||plan:^Step
launch-us||-1||refused:launch-us
memory-gb||0.33||plan:^Step
memory-gb||0.001||refused:needs at least
link-gbps||10||plan:^Machine
link-latency-us||50||plan:^Machine
host-gbps|50|5|--devices 1 --strategy single --layers 4 --memory-gb 0.45|plan:^Step
device-speed||1,0.5||plan:^Step
split||equal|--device-speed 1,0.5|plan:^Step
trace||t.json||file:t.json
dot||g.dot||file:g.dot
stats||s.json||file:s.json
sweep||forwards=1,2||out:^forwards
csv||t.csv|--sweep forwards=1|file:t.csv
svg||t.svg|--sweep forwards=1|file:t.svg
END
    groups="--dit-devices 0 --vae-devices 1"
    table stardit-simulate "$simulate" --model "$demo" --num-frames 5 --height 64 --width 64 --prompts 1 \
        --num-inference-steps 1 --devices 2 <<END
prompts||2||plan:^Total
num-inference-steps||2||plan:^Plan
sigmas||0.9,0.7||refused:alone says how many
cfg-gate||0-0|--num-inference-steps 4|plan:^Total
use-cfg-parallel||+||plan:^Plan
force-guidance||+||refused:not one of a checkpoint distilled
step-cache||4|--num-inference-steps 8|plan:^Total
warmup-steps||4|--num-inference-steps 8 --strategy pipefusion --height 512 --width 512|plan:^Total
patches||2|--num-inference-steps 8 --strategy pipefusion --height 512 --width 512|plan:^Total
block-frames||4|--num-inference-steps 8 --strategy dualparal --num-frames 17|plan:^Total
overlap-frames||0|--num-inference-steps 8 --strategy dualparal --num-frames 17 --block-frames 4|plan:^Total
refresh-steps||4|--num-inference-steps 9 --step-cache 3-8|plan:^Total
layers||2||plan:^Model
prompt-embeds||+||plan:^  text
queue||fcfs||out:^  delivered
priorities|0,0,1|0,1,0|--prompts 3 --queue priority|plan:^  delivered
deadlines|3,2,1|3,1,2|--prompts 3 --queue edf|plan:^  delivered
fast-forward||+|--num-inference-steps 8|plan:^  tasks
dit-devices|0|0-1|--devices 3 --vae-devices 2|plan:^Plan
vae-devices|1|2|--devices 3 --dit-devices 0|plan:^Plan
text-encoder-group||vae|$groups --num-frames 17 --prompts 6 --max-latents 6|plan:^Total
aco||static|$groups|plan:^Plan
max-latents|1|3|$groups --prompts 4|plan:^Total
vae-spill||+|$groups --num-frames 17 --prompts 6 --max-latents 6|plan:^Total
plan||auto||plan:^Plan
enable-tiling||+|--height 512 --width 512|plan:^cuda
stats||s.json||file:s.json
gantt||g.svg||file:g.svg
END
    printf 'system X Y --model %s --devices 3\nrow X Y 64 64 5 1 1 -\n' "$demo" >"$in/table.txt"
    table stardit-simulate "$simulate" --model "$demo" --num-frames 5 --height 64 --width 64 --prompts 2 \
        --devices 3 <<END
compare|1|2||plan:^offload
their-strategy||ring|--compare 1|plan:^dedivae
their-attention||0.001|--compare 8 --height 256 --width 256|plan:^dedivae
their-mask-bytes||100|--compare 8 --height 240 --width 240|plan:^dedivae
their-step||2|--compare 1|plan:^dedivae
their-group-step||2|--compare 1|plan:^dedivae
their-overhead||1|--compare 1|plan:^dedivae
their-group-overhead||1|--compare 1|plan:^dedivae
their-decode||50|--compare 1|plan:^offload
their-offload||50|--compare 1|plan:^offload
padded-frames||+|--compare 1|plan:^offload
ablation||+|--compare 1|plan:^dedivae
baseline||+|--compare 1|plan:^dedivae
ingredients||+|--compare 1|plan:^as
table||$in/table.txt||refused:--table
END
fi

# ---- variables ------------------------------------------------------------------------------

# NAME|FROM|TO|WHAT|COMMAND: as above, for the environment; FROM -: it is not set.
variables() {
    while IFS='|' read -r name from to what command; do
        [ -n "$name" ] || continue
        echo "$name" >>"$tmp/variables"
        set_from=$name=$from
        [ "$from" != - ] || set_from="-u $name"
        # shellcheck disable=SC2086
        run base $set_from $command
        # shellcheck disable=SC2086
        run given $name=$to $command
        try environment "$name" "$from" "$to" "$what"
    done
}
unset HF_HUB_CACHE
small="$generate --model $demo $size $ids --output v.y4m"
org="$generate --model org/demo $size $ids $plan"
variables <<END
HF_HUB_CACHE|-|$hub|out:^Plan for|$org
HUGGINGFACE_HUB_CACHE|-|$hub|out:^Plan for|$org
HF_HOME|-|$in|out:^Plan for|$org
XDG_CACHE_HOME|/nowhere|$in/xdg|out:^Plan for|$org
HOME|/nowhere|$in/user|out:^Plan for|env -u XDG_CACHE_HOME $org
TMPDIR|/tmp|/nowhere|refused:TMPDIR|$small
TERM|dumb|xterm|out:\\[K|env COLUMNS=80 $in/terminal $small
NO_COLOR|-|1|hushes:\\[32m|$small --progress bar --num-inference-steps 9
COLUMNS|80|9|hushes:###|$small --progress bar --num-inference-steps 9
STARDIT_STALL_SECONDS|-|soon|refused:must be a number|$small
STARPU_SCHED|-|eager|stats:scheduler|$small --stats s.json
STARPU_SCHED_LIB|-|/nonexistent.so|refused:STARPU_SCHED must name|$small
STARPU_NCPU|-|1|says:not read here: STARPU_NCPU|$small --workers-per-device 2
STARPU_NCUDA|-|1|says:not read here: STARPU_NCUDA|$small
STARPU_USE_NUMA|-|0|says:not read here: STARPU_USE_NUMA|$small --devices 2
STARPU_WORKERS_NOBIND|-|0|says:not read here: STARPU_WORKERS_NOBIND|$small --devices 2
STARPU_RESERVE_NCPU|-|1|says:not read here: STARPU_RESERVE_NCPU|$small
STARPU_NTHREADS_PER_CORE|-|9|says:not read here: STARPU_NTHREADS_PER_CORE|$small
STARPU_MAIN_THREAD_BIND|-|1|says:not read here: STARPU_MAIN_THREAD_BIND|$small --devices 2
STARPU_MPI_THREAD_CPUID|-|1|says:not read here: STARPU_MPI_THREAD_CPUID|$small --devices 2
STARPU_MPI_THREAD_COREID|-|1|says:not read here: STARPU_MPI_THREAD_COREID|$small --devices 2
STARPU_DISK_SWAP|-|/tmp|says:not read here: STARPU_DISK_SWAP|$small
STARPU_SIMGRID|-|1|says:not read here: STARPU_SIMGRID|$small
STARPU_SINK|-|1|says:not read here: STARPU_SINK|$small
STARPU_WORKERS_CPUID|-|0|says:not read here: STARPU_WORKERS_CPUID|$small --devices 2
STARPU_WORKERS_COREID|-|0|says:not read here: STARPU_WORKERS_COREID|$small --devices 2
STARPU_WORKERS_CUDAID|-|x|says:not read here: STARPU_WORKERS_CUDAID|$small
STARPU_NWORKER_PER_CUDA|-|0|says:not read here: STARPU_NWORKER_PER_CUDA|$small
STARPU_PERF_MODEL_DIR|-|$in|says:not read here: STARPU_PERF_MODEL_DIR|$small
STARPU_HOSTNAME|-|box|says:not read here: STARPU_HOSTNAME|$small
HWLOC_SYNTHETIC|-|core:1|says:not read here: HWLOC_SYNTHETIC|$small --devices 2
END

# ---- complete -------------------------------------------------------------------------------

# options COMMAND...: "PROGRAM --option" of its help.
options() {
    name=$(basename "$*")
    "$@" --help | sed -n 's/^  \(--[a-z0-9-]*\).*/\1/p' | sed "s|^|$name |"
}
{
    for program in "$generate" "$eval" "$info"; do options "$program"; done
    for command in kernels runtime sched predict quality; do options "$bench" $command; done
    [ ! -x "$simulate" ] || options "$bench" policies
    [ ! -x "$simulate" ] || options "$simulate"
} | sort -u >"$tmp/all"
sort -u "$tmp/rows" -o "$tmp/rows"
missing=$(comm -23 "$tmp/all" "$tmp/rows") more=$(comm -13 "$tmp/all" "$tmp/rows")
[ -z "$missing" ] || fail "options without a row in tests/apps/options.sh: $missing"
[ -z "$more" ] || fail "rows for options that are not there: $more"

# Not tried here: NAME why.
cat >"$tmp/elsewhere" <<'END'
CUDA_VISIBLE_DEVICES needs a GPU
STARPU_LIMIT_CUDA_MEM needs a GPU
STARPU_LIMIT_CUDA_ needs a GPU: followed by its number
STARPU_HOME only its folder's mode is asked for, with GPUs
STARPU_SILENT what StarPU says is not stardit's
PMIX_RANK what mpirun tells its processes: tests/apps/ranks.sh
STARPU_MPI_NOBIND the same: stand-ins are not bound
STARDIT_SCATTER_SEED changes who runs what at random, and no figure
STARDIT_SIMULATION what stardit-simulate tells itself, and the next
STARDIT_SIMGRID_LINKS_ONLY
STARPU_CUDA_PIPELINE
END
{
    grep -rhoE 'getenv\("[A-Z_]+"' "$source"/apps "$source"/base "$source"/bench "$source"/codelets "$source"/graph \
        "$source"/kernels "$source"/runtime "$source"/schedulers --include='*.[ch]' --include='*.c*'
    # Lists of names that getenv() is called with, in files that do so.
    grep -rlE '[^n]getenv\([^"]' "$source"/apps "$source"/base "$source"/graph "$source"/runtime \
        "$source"/schedulers --include='*.c' |
        xargs grep -hoE '"(STARPU|STARDIT|HWLOC|CUDA_V|XDG|HF|HUGGINGFACE)_[A-Z_]+"|"HOME"'
    sed -n '/^.SH ENVIRONMENT/,/^.SH [^E]/s/^\.BR* //p' "$source"/man/*.1 | sed 's/\\f.//g' |
        grep -oE '\b[A-Z]+(_[A-Z]+)*\b'
} | grep -oE '[A-Z_]{3,}' | sort -u >"$tmp/read"
cut -d' ' -f1 "$tmp/elsewhere" | sort -u - "$tmp/variables" >"$tmp/tried"
missing=$(comm -23 "$tmp/read" "$tmp/tried")
[ -z "$missing" ] || fail "variables without a row in tests/apps/options.sh: $missing"
echo "$rows rows, $runs runs, $(wc -l <"$tmp/all") options, $(wc -l <"$tmp/variables") variables; not tried here:"
cat "$tmp/elsewhere"
finish
