#!/bin/sh
# The tests under a tool that watches memory or threads, for `make check-asan` and its like:
#   sanitize.sh asan|tsan|valgrind [TEST...]
# Builds stardit for the tool in the folder long/KIND of the build folder, configured as the
# build is, runs the tests that make sense there, or those given, and ends with a line that counts
# them. Exit 0: none failed; 77: the tool is not here.
#
# StarPU, hwloc and OpenBLAS are as they are: what the tools would say of them is in KIND.supp.
set -u
source=${STARDIT_SOURCE_DIR:?} build=${STARDIT_BUILD_DIR:?}
kind=${1-}
[ $# -eq 0 ] || shift
here=$source/tests/long
. "$here/tree.sh"
folder=$build/long/$kind

absent() {
    echo "check-$kind: $*" >&2
    exit 77
}

# Can the compiler build and run a program with this sanitizer?
try_sanitizer() {
    echo 'int main(void) { return 0; }' >"$folder/try.c"
    "${CC:-cc}" -fsanitize="$1" "$folder/try.c" -o "$folder/try" 2>"$folder/try.log" &&
        $wrapper "$folder/try" >>"$folder/try.log" 2>&1 ||
        absent "${CC:-cc} -fsanitize=$1 makes no program that runs here:" \
            "$(head -n 1 "$folder/try.log")"
}

# What looks at objects, at other compilers or at the memory of a whole process, and what needs a
# GPU: the build itself tests these, no tool sees more of them.
skipped='tests/house/* tests/docs/* tests/examples/* tests/cuda/* tests/kernels/cuda
    tests/kernels/cudnn_plans tests/models/umt5_memory tests/apps/man.sh tests/apps/allowance.sh'

mkdir -p "$folder" || exit 99
wrapper=
flags='-g -O1'
options=
case $kind in
    asan)
        try_sanitizer address,undefined
        options=--enable-sanitizers=address,undefined
        # The kernels take half the time so, and nearly all time is theirs.
        flags='-g -O2'
        export STARDIT_TEST_LIGHT=1
        # Of StarPU, which frees little when it is shut down; a leak of ours has a frame of ours.
        export ASAN_OPTIONS="detect_stack_use_after_return=1:strict_string_checks=1"
        export LSAN_OPTIONS="suppressions=$here/asan.supp:print_suppressions=0"
        export UBSAN_OPTIONS=print_stacktrace=1
        skipped="$skipped tests/apps/quality.sh" # what stardit-generate does, over and over
        ;;
    tsan)
        # Old runtimes know fewer layouts of a process than new kernels choose from.
        ! command -v setarch >/dev/null || wrapper="setarch -R"
        try_sanitizer thread
        options=--enable-sanitizers=thread
        export TSAN_OPTIONS="suppressions=$here/tsan.supp:print_suppressions=0:history_size=4"
        TSAN_OPTIONS=$TSAN_OPTIONS:ignore_noninstrumented_modules=1
        ;;
    valgrind)
        command -v valgrind >/dev/null || absent "valgrind is not installed"
        # It knows no AVX-512, and runs one thread at a time.
        options=--disable-native
        wrapper="valgrind --quiet --error-exitcode=1 --leak-check=full --fair-sched=yes
            --show-leak-kinds=definite --errors-for-leak-kinds=definite
            --suppressions=$here/valgrind.supp"
        export OPENBLAS_CORETYPE=Haswell
        # An hour in place of many: a case of each kind of what takes long (tests/light.h), and these
        # not at all: what they run, others run in small, as named here.
        export STARDIT_TEST_LIGHT=least
        skipped="$skipped
            tests/apps/shapes         # looks at pixels, in arrays of its own
            tests/graph/ten_prompts   # tests/graph/jobs: two groups
            tests/graph/dedivae       # tests/graph/jobs: two groups
            tests/graph/weights       # tests/graph/jobs: two groups
            tests/graph/memory        # tests/graph/limits, tests/graph/jobs: plans and runs
            tests/graph/candidates    # tests/graph/limits: plans
            tests/graph/faults        # make check-faults, make check-asan: failures of allocations
            tests/kernels/cpu         # tests/models/wfvae, tests/graph/scatter: every operation
            tests/models/diffusers    # tests/graph/jobs: from prompt to pixels
            tests/models/hunyuan      # tests/models/hunyuan_pipeline: from prompt to pixels
            tests/models/hunyuan_vae  # tests/models/hunyuan_pipeline: from prompt to pixels
            tests/models/pipelines    # tests/graph/jobs: from prompt to pixels
            tests/kernels/cuda_bodies # bodies of CUDA kernels, whose stacks valgrind cannot follow"
        skipped=$(echo "$skipped" | sed 's/ #.*//')
        ;;
    *)
        echo "usage: sanitize.sh asan|tsan|valgrind [TEST...]" >&2
        exit 2
        ;;
esac

# ---- the build ---------------------------------------------------------------------------------

cd "$folder" || exit 99
configure_tree $options CFLAGS="$flags" CXXFLAGS="$flags"
# Programs of C need no more than themselves.
goal='check-TESTS check_PROGRAMS= check_LTLIBRARIES='
case "$* " in
    ' ' | *'.sh '*)
        goal=check
        make ${STARDIT_JOBS:+-j$STARDIT_JOBS} all >make.log 2>&1 ||
            { tail -n 20 make.log >&2; exit 99; }
        ;;
esac

# ---- the tests ---------------------------------------------------------------------------------

chosen=$*
if [ -z "$chosen" ]; then
    for test in $(make -s list-tests); do
        for pattern in $skipped; do
            # shellcheck disable=SC2254  # patterns on purpose
            case $test in $pattern) continue 2 ;; esac
        done
        # The tests in C alone: the programs of a script do the same, and would take hours.
        case $kind/$test in tsan/*.sh | valgrind/*.sh) continue ;; esac
        chosen="$chosen $test"
    done
fi
for test in $chosen; do
    rm -f "${test%.sh}.trs"
done
export STARDIT_TEST_WRAPPER="$wrapper" STARDIT_TEST_TIMEOUT="${STARDIT_TEST_TIMEOUT:-3000}"
make ${STARDIT_JOBS:+-j$STARDIT_JOBS} $goal TESTS="$chosen" >check.log 2>&1
passed=0 failed=0 other=0
for test in $chosen; do
    result=$(sed -n 's/^:test-result: //p' "${test%.sh}.trs" 2>/dev/null)
    case $result in
        PASS) passed=$((passed + 1)) ;;
        SKIP) other=$((other + 1)) ;;
        *)
            failed=$((failed + 1))
            echo "failed: $test, $folder/${test%.sh}.log"
            ;;
    esac
done
echo "check-$kind: $passed passed, $failed failed, $other skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
