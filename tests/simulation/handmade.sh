#!/bin/sh
# The hand-made case in simulated time (handmade.c): every strategy within 1% of what it should take and not below
# a bound; PipeSP within 1% of 43.77 ms too, which is what hiding whole chunks gives: 42 ms of work,
# the first chunk in and the last chunk out of three.
program=${STARDIT_BUILD_DIR:-.}/tests/simulation/handmade
if [ ! -x "$program" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
unset STARPU_SCHED STARPU_SCHED_LIB

{
    for variant in joined apart; do
        for strategy in ulysses pipesp; do
            "$program" $strategy $variant || echo "$strategy $variant failed"
        done
    done
} | awk '
    BEGIN {
        print "strategy q,k,v      ms/layer  expected    diff       work  transfer  moved/formula"
    }
    function far(value, wanted) { return value < 0.99 * wanted || value > 1.01 * wanted }
    { print }
    NF != 8 || far($3, $4) || $3 < $6 || $3 < $7 || $8 != 1 { print "FAIL: " $0; failed = 1 }
    $1 == "pipesp" && $2 == "joined" {
        whole = 42 + 5.3 / 3
        printf "pipesp against whole chunks, %.2f ms: %+.2f%%\n", whole, 100 * ($3 / whole - 1)
        if (far($3, whole)) { print "FAIL"; failed = 1 }
    }
    END { exit failed || NR != 4 }'
