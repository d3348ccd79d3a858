/* StarPU's environment variables that hold numbers, and lists of them. StarPU aborts, hangs or
 * floods the terminal where one holds something else, at its start or at any time later, so they
 * are read here first. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/start.h"

/* What StarPU 1.4 reads as whole numbers, 0 or more; STARPU_ is left out here and below. */
static const char *const whole[] = {"AUTOHETEROPRIO_FREEZE_GATHERING",
                                    "AUTOHETEROPRIO_ORDERING_INTERVAL",
                                    "AUTOHETEROPRIO_PRINT_AFTER_ORDERING",
                                    "AUTOHETEROPRIO_PRINT_DATA_ON_UPDATE",
                                    "AUTOHETEROPRIO_PRIORITY_ORDERING_POLICY",
                                    "AUTOHETEROPRIO_TIME_ESTIMATION_POLICY",
                                    "BUS_CALIBRATE",
                                    "BUS_STATS",
                                    "CALIBRATE",
                                    "CALIBRATE_MINIMUM",
                                    "CATCH_SIGNALS",
                                    "CODELET_PROFILING",
                                    "CUDA_ONLY_FAST_ALLOC_OTHER_MEMNODES",
                                    "CUDA_PIPELINE",
                                    "CUDA_THREAD_PER_DEV",
                                    "CUDA_THREAD_PER_WORKER",
                                    "DATA_LOCALITY_ENFORCE",
                                    "DISABLE_ASYNCHRONOUS_COPY",
                                    "DISABLE_ASYNCHRONOUS_CUDA_COPY",
                                    "DISABLE_ASYNCHRONOUS_HIP_COPY",
                                    "DISABLE_ASYNCHRONOUS_MAX_FPGA_COPY",
                                    "DISABLE_ASYNCHRONOUS_MPI_MS_COPY",
                                    "DISABLE_ASYNCHRONOUS_OPENCL_COPY",
                                    "DISABLE_ASYNCHRONOUS_TCPIP_MS_COPY",
                                    "DISABLE_KERNELS",
                                    "DISABLE_PINNING",
                                    "DISK_SWAP_SIZE",
                                    "DISPLAY_BINDINGS",
                                    "ENABLE_CUDA_GPU_GPU_DIRECT",
                                    "ENABLE_MAP",
                                    "ENERGY_PROFILING",
                                    "EXPECTED_TRANSFER_TIME_WRITEBACK",
                                    "FXT_TRACE",
                                    "GLOBAL_ARBITER",
                                    "HETEROPRIO_CODELET_GROUPING_STRATEGY",
                                    "HETEROPRIO_USE_AUTO_CALIBRATION",
                                    "HETEROPRIO_USE_LA",
                                    "HISTORY_MAX_ERROR",
                                    "LIMIT_BANDWIDTH",
                                    "LIMIT_CPU_MEM",
                                    "LIMIT_CPU_NUMA_MEM",
                                    "LIMIT_CUDA_MEM",
                                    "LIMIT_MAX_SUBMITTED_TASKS",
                                    "LIMIT_MIN_SUBMITTED_TASKS",
                                    "MAIN_THREAD_BIND",
                                    "MAIN_THREAD_COREID",
                                    "MAIN_THREAD_CPUID",
                                    "MAX_MEMORY_USE",
                                    "MAX_PRIO",
                                    "MAX_WORKERSIZE",
                                    "MEMORY_STATS",
                                    "MINIMUM_AVAILABLE_MEM",
                                    "MINIMUM_CLEAN_BUFFERS",
                                    "MIN_PRIO",
                                    "MIN_WORKERSIZE",
                                    "MPI_THREAD_COREID",
                                    "MPI_THREAD_CPUID",
                                    "NCPU",
                                    "NCPUS",
                                    "NCUDA",
                                    "NHIP",
                                    "NMAX_FPGA",
                                    "NMPI_MS",
                                    "NOPENCL",
                                    "NTASKS_THRESHOLD",
                                    "NTCPIP_MS",
                                    "NTHREADS_PER_CORE",
                                    "NWORKER_PER_CUDA",
                                    "PCI_FLAT",
                                    "PERF_MODEL_HOMOGENEOUS_CPU",
                                    "PREFETCH",
                                    "RAND_SEED",
                                    "RESERVE_NCPU",
                                    "SCHED_GRAPH_TEST_DESCENDANTS",
                                    "SCHED_READY",
                                    "SCHED_SORTED_ABOVE",
                                    "SCHED_SORTED_BELOW",
                                    "SILENT",
                                    "SIMGRID",
                                    "SINGLE_COMBINED_WORKER",
                                    "STATS",
                                    "SUBALLOCATOR",
                                    "SYNTHESIZE_ARITY_COMBINED_WORKER",
                                    "TARGET_AVAILABLE_MEM",
                                    "TARGET_CLEAN_BUFFERS",
                                    "TASK_BREAK_ON_EXEC",
                                    "TASK_BREAK_ON_POP",
                                    "TASK_BREAK_ON_PUSH",
                                    "TASK_BREAK_ON_SCHED",
                                    "TASK_PROGRESS",
                                    "TRACE_BUFFER_SIZE",
                                    "USE_NUMA",
                                    "WATCHDOG_CRASH",
                                    "WATCHDOG_DELAY",
                                    "WORKERS_GETBIND",
                                    "WORKERS_NOBIND",
                                    "WORKER_TREE"};

static const char *const real[] = {"EXP_LEN_THRESHOLD",
                                   "HETEROPRIO_BEST_NODS_SCORE_EXP_SELECTIVITY",
                                   "HETEROPRIO_NOD_TIME_COMBINATION_EXP_SELECTIVITY",
                                   "HETEROPRIO_NOD_TIME_COMBINATION_NOD_MULTIPLIER",
                                   "HETEROPRIO_URTS_TIME_COMBINATION_EXP_SELECTIVITY",
                                   "HETEROPRIO_URTS_TIME_COMBINATION_NOD_MULTIPLIER",
                                   "HETEROPRIO_URT_URT_MULTIPLIER",
                                   "IDLE_POWER",
                                   "SCHED_ALPHA",
                                   "SCHED_BETA",
                                   "SCHED_GAMMA",
                                   "WINDOW_TIME_SIZE"};

/* What makes no sense outside of limits: a worker that backs off longer never comes back, and a
 * watchdog that barks more often says nothing else. */
static const struct {
    const char *suffix;
    long least, most;
    const char *unit;
} limited[] = {{"BACKOFF_MIN", 0, 1000000, "loops of waiting"},
               {"BACKOFF_MAX", 0, 1000000, "loops of waiting"},
               {"WATCHDOG_TIMEOUT", 1000, 1000000000000, "microseconds"}};

/* Processing units or cores: numbers and ranges (2-3; 2- is up to the last one), with commas or
 * spaces between. */
static const char *const lists[] = {"WORKERS_CPUID", "WORKERS_COREID"};

/* One processing unit of the machine. StarPU looks it up without asking whether it is there. */
static const char *const unit[] = {"MAIN_THREAD_COREID", "MAIN_THREAD_CPUID"};

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* NULL: it is not set. */
static const char *value_of(const char *suffix, char name[64]) {
    snprintf(name, 64, "STARPU_%s", suffix);
    return getenv(name);
}

/* Takes a number from `least` to below `units` off *text. */
static bool take_number(const char **text, long least, long units, long *number) {
    char *end;
    if (!isdigit((unsigned char)**text))
        return false;
    *number = strtol(*text, &end, 10);
    *text = end;
    return *number >= least && *number < units;
}

/* Is it a list as above, of numbers below `units`? */
static bool is_list(const char *text, long units) {
    for (;; text++) {
        long first, last;
        if (!take_number(&text, 0, units, &first))
            return false;
        if (*text == '-' && isdigit((unsigned char)*++text) &&
            !take_number(&text, first, units, &last))
            return false;
        if (!*text)
            return true;
        if (*text != ',' && *text != ' ')
            return false;
    }
}

enum sdt_status sdt__environment_check(struct sdt_error *err) {
    long units = sysconf(_SC_NPROCESSORS_CONF), number;
    char name[64], *end = NULL;
    const char *value;

    for (size_t i = 0; i < COUNT(whole); i++)
        if ((value = value_of(whole[i], name)) && (strtol(value, &end, 10) < 0 || *end))
            return sdt_fail(err, SDT_ERROR_USAGE, "%s=%.80s: must be a whole number, 0 or more",
                            name, value);
    for (size_t i = 0; i < COUNT(real); i++)
        if ((value = value_of(real[i], name)) && (strtof(value, &end), *end))
            return sdt_fail(err, SDT_ERROR_USAGE, "%s=%.80s: must be a number", name, value);
    for (size_t i = 0; i < COUNT(limited); i++)
        if ((value = value_of(limited[i].suffix, name)) &&
            (number = strtol(value, &end, 10),
             end == value || *end || number < limited[i].least || number > limited[i].most))
            return sdt_fail(err, SDT_ERROR_USAGE, "%s=%.80s: must be %s, %ld to %ld", name, value,
                            limited[i].unit, limited[i].least, limited[i].most);
    for (size_t i = 0; i < COUNT(lists); i++)
        if ((value = value_of(lists[i], name)) && !is_list(value, units))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "%s=%.80s: must be a list as 0-1 or 0,1; this machine has 0 to %ld",
                            name, value, units - 1);
    for (size_t i = 0; i < COUNT(unit); i++)
        if ((value = value_of(unit[i], name)) && strtol(value, NULL, 10) >= units)
            return sdt_fail(err, SDT_ERROR_USAGE, "%s=%.80s: this machine has 0 to %ld", name,
                            value, units - 1);
    return SDT_OK;
}
