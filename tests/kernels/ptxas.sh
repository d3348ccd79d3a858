#!/bin/sh
# What ptxas says of each CUDA kernel, for all GPU architectures of the build, against limits: registers
# of a thread, bytes that it spills to memory, bytes of shared memory of a block (what a launch adds is
# not among them). The build keeps what ptxas says in kernels/cuda/NAME.ptxas.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
grep -q '^#define HAVE_CUDA 1' "$build/config.h" || { echo "skipped: built without CUDA"; exit 77; }
command -v c++filt >/dev/null || { echo "skipped: no c++filt"; exit 77; }

# FILE KERNEL REGISTERS SPILLED SHARED: the most that any of its variants may have. Registers decide how
# many blocks share a multiprocessor: 65536 / (registers * threads of a block).
cat >"$tmp/limits" <<'LIST'
attention        exact         216   80     0
attention        flash         248    0     0
attention        flash_single  128    0     0
attention        merge          48    0     0
conv             conv_bf16     128   16 49152
conv             conv_f32       96    0  8704
cudnn_conv       make_clip      40    0     0
elementwise      check_finite   32    0     0
elementwise      convert        32    0     0
elementwise      gated_gelu     48    0     0
elementwise      gated_silu     48    0     0
elementwise      gelu           40    0     0
elementwise      mean_rows      40    0     0
elementwise      quick_gelu     40    0     0
elementwise      sampler_step   48    0     0
elementwise      silu           40    0     0
elementwise      sinusoid       40    0     0
elementwise      sum            40    0     0
frame_attention  softmax_rows   40    0    32
group_norm       group_moments  48    0     0
group_norm       group_norm     48    0     0
group_norm       group_sums     40    0  4096
group_norm       row_sums       96   32  4096
group_attention  copy_group     40    0     0
heads            copy_part      32    0     0
heads            gather         32    0     0
heads            merge_heads    40    0     0
heads            rotate_halves  40    0     0
heads            split_halves   96    0   128
heads            split_heads    72    0   128
latent           blend_columns  48    0     0
latent           blend_rows     48    0     0
latent           latent_window  40    0     0
latent           pad_row        32    0     0
latent           patch_order    40    0     0
latent           patchify       48    0     0
latent           place_tile     48    0     0
latent           put_frame      40    0     0
latent           unpatchify     48    0     0
linear           add_residual   56    0     0
linear           finish         40    0     0
linear           plain          64    0  8320
norm             channel_layer_norm 64 0  128
norm             channel_norm   64    0   128
norm             layer_norm     96    0   128
norm             rms_norm       64    0   128
upsample         inverse_haar   48    0     0
upsample         linear_upsample 64   0     0
LIST

for file in "$source"/kernels/cuda/*.cu; do
    name=${file##*/} name=${name%.cu}
    grep -q __global__ "$file" || continue
    grep -q 'Compiling entry function' "$build/kernels/cuda/$name.ptxas" 2>/dev/null || {
        fail "no figures of kernels/cuda/$name.cu: remove kernels/cuda/$name.lo and build"
        continue
    }
    c++filt <"$build/kernels/cuda/$name.ptxas" | sed 's/(anonymous namespace):://g; s/(sdt_dtype)//g' |
        awk -v file="$name" '
        function most(table, key, value) { if (value > table[key] + 0) table[key] = value + 0 }
        /Compiling entry function/ {
            split($0, quoted, "\047"); kernel = quoted[2]; sub(/^void /, "", kernel)
            sub(/[<(].*/, "", kernel); variants[kernel]++ }
        /spill stores/ { sub(/.*frame, /, ""); most(spilled, kernel, $1 + $5) }
        /Used [0-9]+ registers/ {
            for (i = 1; i < NF; i++) {
                if ($(i + 1) ~ /^registers/) most(registers, kernel, $i)
                if ($i == "bytes" && $(i + 1) ~ /^smem/) most(shared, kernel, $(i - 1)) } }
        END { for (k in variants)
                  print file, k, registers[k] + 0, spilled[k] + 0, shared[k] + 0, variants[k] }'
done >"$tmp/found"
sort -o "$tmp/found" "$tmp/found"
[ "$(wc -l <"$tmp/found")" -gt 20 ] || fail "ptxas says too little: this test cannot read it"

awk '
    BEGIN { printf "%-16s %-20s %9s %8s %8s   %s\n", "file", "kernel", "registers", "spilled", "shared",
                   "of all variants, and the limits" }
    FILENAME == ARGV[1] { if (NF == 5) { limit[$1 " " $2] = $3 " " $4 " " $5; unseen[$1 " " $2] = 1 } next }
    { key = $1 " " $2; delete unseen[key]
      split(limit[key], most, " ")
      over = limit[key] == "" || $3 > most[1] + 0 || $4 > most[2] + 0 || $5 > most[3] + 0
      printf "%-16s %-20s %9d %8d %8d   %d, %s%s\n", $1, $2, $3, $4, $5, $6,
             limit[key] == "" ? "no row" : limit[key], over ? "  OVER" : "" }
    END { for (key in unseen) print key, "has a row and is no kernel: OVER" }
' "$tmp/limits" "$tmp/found" >"$tmp/table"
cat "$tmp/table"
grep -q OVER "$tmp/table" && fail "kernels over their limits (see OVER)"
finish
