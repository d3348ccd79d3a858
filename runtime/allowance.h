/* What this process may use of the machine: its affinity mask, the quotas and limits of its control
 * groups (versions 1 and 2, all levels), and its resource limits. cpusets show in the affinity
 * mask. */
#ifndef STARDIT_ALLOWANCE_H
#define STARDIT_ALLOWANCE_H

struct sdt_allowance {
    int cores;    /* that the mask reaches, each once however many threads it has; at least 1 */
    double quota; /* CPUs' worth of time a second; 0: no limit */
    int workers;  /* what to start by default: cores, or fewer where the quota feeds fewer */
    double cpus;  /* what these get together, as a number of cores: less than `workers` by quota */
    double total; /* bytes of memory that the machine has */
    double available; /* bytes that programs can have now without swapping */
    double memory;    /* bytes that this process may take at most, at most `total` */
    /* whose: "of this machine", "of its control group", "of ulimit -v", "of ulimit -d" */
    const char *memory_limit;
};

/* Never fails: what cannot be read limits nothing. `root` stands before /proc and /sys ("": the
 * real ones; tests have their own). */
void sdt__allowance_read(const char *root, struct sdt_allowance *allowance);
#endif
