#!/bin/sh
# The library keeps nothing between calls but what is listed here: whoever opens a machine, a checkpoint or a
# flow holds all of its state. Reads the sections of writable data in the built objects.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
command -v objdump >/dev/null || { echo "no objdump"; exit 77; }

# File, variable, why it may stand. A shell pattern may stand for names.
cat >"$tmp/allowed" <<'LIST'
codelets/*            *_codelet            StarPU writes its profile into a codelet
runtime/task.c        sdt__cost_models     StarPU keeps performance models for the process
runtime/collective.c  *_codelet            StarPU writes its profile into a codelet
runtime/collective.c  *_model              StarPU keeps a performance model for the process
graph/jobs/fast.c     *_codelet            StarPU writes its profile into a codelet
runtime/simulation.c  in_use               the platform, found as a process finds its GPUs
runtime/simulation.c  running              the machine that is simulated, for the watch over deadlocks
runtime/simulated_locks.c  own             StarPU's functions, which have no argument of ours
runtime/simulated_locks.c  mark            what all its mutexes that are taken point to
runtime/ranks.c       process              MPI is the process's, and can be started once
runtime/cuda.c        context              a codelet finds its worker by a number only
runtime/cuda.c        busy                 and its events, while a benchmark times it
runtime/cuda.c        planner              what these workers share, as long as they are there
runtime/allowance.c   folder.*             a buffer of one call, too large for a thread's stack
schedulers/*          sdt_policy_*         StarPU takes a policy by its address
schedulers/*          all.*                StarPU asks a module for its list of policies
schedulers/*          empty_pops           of a worker's thread; a policy's pop has no other argument
schedulers/yielding.c wrapped              StarPU takes a policy by its address
schedulers/yielding.c stock_pop            and hands its functions no argument of ours
kernels/cuda/cublas_lt.c  cublas_lt        where its functions are, the same whoever asks
kernels/cpu/*         chosen               which instructions the CPU has, the same whoever asks
graph/output/mp4.c    capture              libav's log has no argument of ours
graph/output/mp4.c    once.*               and is set once
graph/checkpoint/finite.c  block.*         a buffer of one call, too large for a thread's stack
LIST

find "$build" -name '*.o' -path '*/.libs/*' ! -path '*/tests/*' ! -path "$build/long/*" >"$tmp/objects"
[ -s "$tmp/objects" ] || { echo "built without a shared library"; exit 77; }
while read -r object; do
    folder=${object#"$build"/} folder=${folder%/.libs/*}
    name=${object##*/} name=${name##*la-} name=${name%.o}
    objdump -t "$object" | awk -v file="$folder/$name.c" '
        { for (i = 2; i <= NF; i++)
              if ($i ~ /^\.(bss|data|tbss|tdata)/ && $i !~ /^\.data\.rel\.ro/ && $0 !~ / d  /)
                  if ($NF !~ /^(\.|DW\.ref)/) { print file, $NF; break } }'
done <"$tmp/objects" | sort -u >"$tmp/all"
# What nvcc writes into every object is not ours.
grep -v '__device_stub__\|__cudaFatCubinHandle' "$tmp/all" >"$tmp/found"
[ "$(wc -l <"$tmp/found")" -gt 20 ] || fail "objdump shows too little: this test cannot read it"

while read -r file variable; do
    allowed=no
    while read -r at name _; do
        # shellcheck disable=SC2254  # patterns on purpose
        case $file in $at) case $variable in $name) allowed=yes ;; esac ;; esac
    done <"$tmp/allowed"
    [ $allowed = yes ] || fail "$file keeps $variable between calls: hand it in, or list it in tests/house/statics.sh with a reason"
done <"$tmp/found"
echo "$(wc -l <"$tmp/found") variables that outlive a call, all listed"
finish
