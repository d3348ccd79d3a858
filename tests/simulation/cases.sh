#!/bin/sh
# Cases whose length can be told by hand (cases.c): tasks without dependencies, a chain with a transfer, PCIe
# switches and the host's memory shared by several, all-to-all, and data that come and go; and when a busy worker
# takes an exchange, or a task away from home. Within 1%.
program=${STARDIT_BUILD_DIR:-.}/tests/simulation/cases
if [ ! -x "$program" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
unset STARPU_SCHED STARPU_SCHED_LIB

{
    for name in independent chain switches contention all-to-all eviction exchange-here exchange-away visitor; do
        "$program" $name || echo "$name failed"
    done
} | awk '
    BEGIN { print "case            ms   expected" }
    { print }
    NF != 3 || $2 < 0.99 * $3 || $2 > 1.01 * $3 { print "FAIL: " $0; failed = 1 }
    END { exit failed || NR != 9 }'
