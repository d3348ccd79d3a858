#!/bin/sh
# bench/gpu-check over programs that do nothing but say how they were called, as on a machine with one GPU: the
# order of its steps, their limits, what a kill leaves, and what pack refuses.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
command -v python3 >/dev/null || { echo "no python3"; exit 77; }
check=$source/bench/gpu-check
json() { python3 -c "import json, sys; r = json.load(open(sys.argv[1])); print($2)" "$1/gpu-check.json"; }

# What the archive holds. A program writes its name and libraries to $tmp/calls; `behave` may say what else it does.
mkdir -p "$tmp/stage/build/tests/kernels" "$tmp/stage/build/tests/cuda" "$tmp/stage/lib" "$tmp/pack" "$tmp/bin"
cat >"$tmp/program" <<END
#!/bin/sh
echo "\$(basename "\$0") \$*" >>"$tmp/calls"
echo "\$(basename "\$0") \$STARDIT_STALL_SECONDS \$LD_LIBRARY_PATH" >>"$tmp/surroundings"
echo "first words of \$(basename "\$0")"
case "\$(cat "$tmp/behave" 2>/dev/null)" in
"\$(basename "\$0") fails") echo "wrong by 3" >&2; exit 1 ;;
"\$(basename "\$0") hangs") exec sleep 1000 ;;
esac
END
chmod +x "$tmp/program"
for name in stardit-generate stardit-eval stardit-info stardit-bench tests/kernels/cuda; do
    cp "$tmp/program" "$tmp/stage/build/$name"
done
printf '#!/bin/sh\necho "gpus 1"; echo "name Not A GPU"\n' >"$tmp/stage/build/tests/cuda/gpu"
chmod +x "$tmp/stage/build/tests/cuda/gpu"
tar -C "$tmp/stage" -czf "$tmp/pack/stardit-gpu.tar.gz" build lib

# The schedule: our own kernels before anything that makes plans, and all limits within a call's ten minutes.
passes "$check" schedule
[ "$(sed -n 2p "$tmp/out" | awk '{ print $1, $NF }')" = "kernels-own --own" ] || fail "own kernels are not first"
together=$(sed -n '/^side by side:/,$p' "$tmp/out" | awk '/^  / && $2 > most { most = $2 } END { print most }')
[ "$together" -le 220 ] || fail "steps side by side take up to $together s"
passes "$check" schedule --deep
refuses 2 "$check" schedule --only golden,silver
says 'only silver: steps are kernels-own '
refuses 2 "$check" run "$tmp/pack" --minutes soon
refuses 1 "$check" run "$tmp/nowhere"
says 'nowhere/stardit-gpu.tar.gz is not there'

# Few plans: each takes cuDNN a second.
if [ -x "$build/tests/kernels/cuda" ] && "$build/tests/kernels/cuda" --small --plans >"$tmp/plans" 2>&1 &&
    grep -q plans "$tmp/plans"; then
    plans=$(sed -n 's/ plans$//p' "$tmp/plans")
    [ "$plans" -gt 10 ] && [ "$plans" -lt 25 ] || fail "--small asks cuDNN for $plans plans"
fi

# A step that fails is shown with its last words, and the others run.
echo "cuda fails" >"$tmp/behave"
"$check" run "$tmp/pack" --out "$tmp/one" --only kernels-own,stardit-step,info >"$tmp/out" 2>&1
[ $? -eq 1 ] || fail "a failed step is no failure"
grep -q '^kernels-own: failed, .* exit 1: wrong by 3$' "$tmp/out" || fail "not said: $(cat "$tmp/out")"
[ "$(cut -d ' ' -f 1 "$tmp/calls" | tr '\n' ' ')" = "cuda stardit-bench stardit-info " ] ||
    fail "the order is $(cat "$tmp/calls")"
[ "$(json "$tmp/one" '[s["result"] for s in r["steps"]], r["machine"]["name"]')" = \
    "['failed', 'passed', 'passed'] Not A GPU" ] || fail "$(cat "$tmp/one/gpu-check.json")"
refuses 1 "$check" run "$tmp/pack" --out "$tmp/one"
says "has another run's output"

# What hangs names its tasks within a step's time; PyTorch gets the libraries that it would have without us.
python=$(command -v python3)
cat >"$tmp/bin/python3" <<END
#!/bin/sh
case "\$*" in
*pytorch_block*) echo "pytorch \$LD_LIBRARY_PATH" >>"$tmp/surroundings" ;;
*) exec "$python" "\$@" ;;
esac
END
chmod +x "$tmp/bin/python3"
rm -f "$tmp/behave" "$tmp/surroundings"
PATH=$tmp/bin:$PATH LD_LIBRARY_PATH=/usr/lib/mine passes "$check" run "$tmp/pack" --out "$tmp/around" \
    --only stardit-block-11k,pytorch-block-11k
grep -q '^stardit-bench 60 .*/lib:.*/usr/lib/mine$' "$tmp/surroundings" || fail "ours: $(cat "$tmp/surroundings")"
grep -qx 'pytorch /usr/lib/mine' "$tmp/surroundings" || fail "PyTorch's libraries: $(cat "$tmp/surroundings")"

# Where cuDNN refuses a shape, the kernel that took its place has not reached what cuDNN was to reach.
mkdir "$tmp/refused"
for way in own own; do
    echo "attention  16384 tokens, 24 heads x 128, $way  1e-3 1e-2 900.0 us 40.0 TFLOP/s 45.0% of large GEMM"
done >"$tmp/refused/bench-kernels.out"
passes python3 "$source/bench/gpu_report.py" "$tmp/refused"
[ "$(json "$tmp/refused" '[(k["aim"], k["reached"]) for k in r["kernels"]]')" = "[(60, False), (35, True)]" ] ||
    fail "aims of a refused shape: $(cat "$tmp/refused/gpu-check.json")"

# A step that hangs is stopped when its time is over.
echo "cuda hangs" >"$tmp/behave"
STARDIT_GPU_CHECK_SECONDS=2 "$check" run "$tmp/pack" --out "$tmp/two" --only kernels-own >"$tmp/out" 2>&1
grep -q '^kernels-own: stopped, [0-9]* s, after 2 s$' "$tmp/out" || fail "not stopped: $(cat "$tmp/out")"

# A kill in the middle: what has ended is in the report, and the words of the step that ran are kept.
echo "stardit-bench hangs" >"$tmp/behave"
setsid "$check" run "$tmp/pack" --out "$tmp/three" --only kernels-own,stardit-step,info >"$tmp/out" 2>&1 &
pid=$!
while look && ! [ -s "$tmp/three/stardit-step.out" ]; do sleep 0.1; done
kill -KILL "-$pid"
wait $pid 2>/dev/null
[ "$(json "$tmp/three" '[s["name"] + " " + s["result"] for s in r["steps"]]')" = "['kernels-own passed']" ] ||
    fail "after a kill: $(cat "$tmp/three/gpu-check.json")"
grep -q 'first words of stardit-bench' "$tmp/three/stardit-step.out" || fail "its words are lost"
grep -qx 'stardit-step began' "$tmp/three/steps.txt" || fail "which step ran is not known"

# Asked to end, it ends its steps and reports.
setsid "$check" run "$tmp/pack" --out "$tmp/four" --only kernels-own,stardit-step,info >"$tmp/out" 2>&1 &
pid=$!
while look && ! [ -s "$tmp/four/stardit-step.out" ]; do sleep 0.1; done
kill -TERM $pid
wait $pid
[ "$(json "$tmp/four" '[s["name"] for s in r["steps"]], r["failed"]')" = \
    "['kernels-own', 'stardit-step'] ['stardit-step']" ] || fail "$(cat "$tmp/four/gpu-check.json")"
rm -f "$tmp/behave"

# Without a GPU: one line and 77. With code for one kind of CPU there is nothing to carry.
printf '#!/bin/sh\necho "skipped: no GPU to use" >&2; exit 77\n' >"$tmp/stage/build/tests/cuda/gpu"
tar -C "$tmp/stage" -czf "$tmp/pack/stardit-gpu.tar.gz" build lib
refuses 77 "$check" run "$tmp/pack" --out "$tmp/five"
mkdir "$tmp/native" && echo '#define STARDIT_NATIVE 1' >"$tmp/native/config.h"
refuses 1 "$check" pack "$tmp/pack" "$tmp/native"
says 'configure it with --disable-native'
finish
