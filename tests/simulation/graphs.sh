#!/bin/sh
# A real run and a simulated one of the same plan insert the same tasks: names, homes, layers, tiles, chunks, steps
# and dependencies, as --dot writes them, for each family and strategy. Of one group the files are equal; in two,
# whose threads insert side by side, tasks have other numbers, and the lines are compared with what tasks are in
# place of them. Weights are taken to be stored as the files say, so those that are converted are the same.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
here=$(cd "$golden" && pwd) || exit 99
compared=0

# platform DEVICES: that many CPU devices of one worker.
platform() {
    cat >"$tmp/$1.txt" <<END
kind cpu
cpu-workers 1
gflops 10
memory-gbps 5
memory-gb 8
devices $1
link-gbps 8
host-gbps 8
END
}
for devices in 1 2 3 4; do platform $devices; done

# by_task FILE: sorted, with what a task is in place of its number.
by_task() {
    awk '/label=/ { t = $1; sub(/^ *t[0-9]* /, ""); sub(/;$/, ""); what[t] = $0; print }
        / -> / { sub(/;$/, "", $3); print what[$1] " -> " what[$3] }' "$1" | sort
}

# same_graph HOW MODEL DEVICES OPTION...: HOW is "order", or "tasks" where two threads insert.
same_graph() {
    how=$1 model=$2 devices=$3
    shift 3
    # The prompt of a simulation of 6 tokens.
    # shellcheck disable=SC2086
    passes "$generate" --model "$model" $size --devices "$devices" --workers-per-device 1 --prompt aaaaaaaaaaaaaaaa \
        --max-sequence-length 6 --dot "$tmp/real.dot" --quiet --force --output "$tmp/v.safetensors" "$@" || return
    # shellcheck disable=SC2086
    passes "$simulate" --model "$model" $size --platform "$tmp/$devices.txt" --prompts 1 --max-sequence-length 6 \
        --dot "$tmp/simulated.dot" "$@" || return
    if [ "$how" = tasks ]; then
        for which in real simulated; do
            by_task "$tmp/$which.dot" >"$tmp/sorted" && mv "$tmp/sorted" "$tmp/$which.dot"
        done
    fi
    cmp -s "$tmp/real.dot" "$tmp/simulated.dot" ||
        fail "$model on $devices devices, $*: $(diff "$tmp/real.dot" "$tmp/simulated.dot" | head -5)"
    compared=$((compared + 1))
    echo "$(basename "$model") on $devices, $*: $(grep -v -- '->' "$tmp/real.dot" | grep -c 'label=') tasks, $(grep -c -- '->' "$tmp/real.dot") dependencies"
}

# all MODEL
all() {
    same_graph order "$1" 1 --strategy single
    same_graph order "$1" 2 --strategy ulysses
    same_graph order "$1" 3 --strategy pipesp
    same_graph order "$1" 2 --strategy ring
    same_graph order "$1" 4 --strategy usp --ulysses-degree 2
    same_graph tasks "$1" 3 --strategy pipesp --dit-devices 0-1 --vae-devices 2 --aco dynamic
}

if "$info" | grep -q "SentencePiece) yes"; then
    size="--height 32 --width 32 --num-frames 5 --num-inference-steps 2"
    all "$demo"
    same_graph order "$demo" 2 --strategy pipesp --streams 1 --chunk-heads 1

    # The same with float32, of which vectors are read in place.
    cp -r "$demo" "$tmp/float32" && chmod -R u+w "$tmp/float32" || exit 99
    for part in transformer/diffusion_pytorch_model text_encoder/model; do
        "$tool" store "$tmp/float32/$part.safetensors" "$tmp/stored" F32 &&
            mv "$tmp/stored" "$tmp/float32/$part.safetensors" || exit 99
    done
    same_graph order "$tmp/float32" 2 --strategy pipesp

    cp -r "$golden/opensora" "$tmp/opensora" && chmod -R u+w "$tmp/opensora" && mkdir "$tmp/opensora/vae" &&
        cp "$golden/wfvae/config.json" "$golden/wfvae/diffusion_pytorch_model.safetensors" "$tmp/opensora/vae" &&
        cp -r "$demo/tokenizer" "$tmp/opensora" || exit 99
    size="--height 48 --width 80 --num-frames 9 --num-inference-steps 2"
    all "$tmp/opensora"
fi
if "$info" | grep -q "BPE (PCRE2) yes"; then
    mkdir "$tmp/hunyuan" && ln -s "$here/hunyuan_text"/[mst]* "$tmp/hunyuan/" &&
        ln -s "$here/hunyuan_dit" "$tmp/hunyuan/transformer" && ln -s "$here/hunyuan_vae" "$tmp/hunyuan/vae" || exit 99
    size="--height 32 --width 48 --num-frames 5 --num-inference-steps 2"
    all "$tmp/hunyuan"
fi
echo "$compared graphs compared"
[ $compared -gt 0 ] || exit 77
finish
