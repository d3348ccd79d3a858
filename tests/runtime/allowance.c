/* What a process may use, from files made here: control groups of both versions, nested, in
 * containers, without limits, and nonsense; and from a real affinity mask. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/allowance.h"

#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/folder.h"
#include "tests/check.h"

static char *root;
static int number;

/* Writes `text` to root/<number>/path, with the folders on the way. */
static void put(const char *path, const char *text) {
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/%d/%s", root, number, path);
    for (char *at = name + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(name, 0700);
        *at = '/';
    }
    FILE *file = fopen(name, "w");
    if (!file || fputs(text, file) < 0 || fclose(file)) {
        perror(name);
        exit(99);
    }
}

static struct sdt_allowance get(void) {
    struct sdt_allowance a;
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/%d", root, number);
    sdt__allowance_read(name, &a);
    return a;
}

static void expect(const char *what, double quota, double gigabytes) {
    struct sdt_allowance a = get();
    CHECK(fabs(a.quota - quota) < 1e-9, "%s: quota %g, not %g", what, a.quota, quota);
    CHECK(fabs(a.memory / 1e9 - gigabytes) < 1e-6, "%s: %.6f GB (%s), not %g", what, a.memory / 1e9,
          a.memory_limit, gigabytes);
    CHECK(a.available <= a.memory && a.memory <= a.total, "%s: %g available of %g of %g", what,
          a.available, a.memory, a.total);
    int fed = quota > 0.0 && quota < a.cores ? (int)ceil(quota - 0.05) : a.cores;
    CHECK(a.workers == (fed < 1 ? 1 : fed), "%s: %d workers", what, a.workers);
    CHECK(a.cpus <= a.cores && (quota == 0.0 || a.cpus <= quota), "%s: %g CPUs", what, a.cpus);
}

static void begin(const char *group, const char *mounts) {
    number++;
    put("proc/meminfo",
        "MemTotal:       16000000 kB\nMemFree: 5 kB\nMemAvailable:   12000000 kB\n");
    put("proc/self/cgroup", group);
    put("proc/self/mountinfo", mounts);
}

static const char v1_mounts[] =
    "10 1 8:1 / / rw - ext4 /dev/sda rw\n"
    "31 23 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "32 23 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "33 23 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
static const char v1_groups[] = "4:memory:/a/b\n3:cpuset:/\n2:cpu,cpuacct:/a/b\n1:name=systemd:/\n";
static const char v2_mounts[] = "10 1 8:1 / / rw - ext4 /dev/sda rw\n"
                                "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";

static void no_groups(void) {
    number++;
    put("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\n");
    expect("nothing there", 0.0, 16.384);
    begin("", "");
    expect("empty files", 0.0, 16.384);
    begin("nonsense\n:::\n0:\n", "no fields\n1 - cgroup2\n - - -\n7 7 7 7 7 7 - cgroup2 x y\n");
    expect("nonsense", 0.0, 16.384);
}

static void version_1(void) {
    begin(v1_groups, v1_mounts);
    put("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    expect("v1 without limits", 0.0, 16.384);
    put("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "50000\n");
    put("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "1000000000\n");
    put("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "300000000\n");
    put("sys/fs/cgroup/memory/a/b/memory.stat",
        "cache 1\ninactive_file 7\ntotal_inactive_file 150000000\ntotal_active_file 50000000\n");
    expect("v1", 0.5, 0.9);
    put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "20000\n");
    put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "500000000\n");
    put("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "100000000\n");
    expect("v1, the level above has less", 0.2, 0.4);
    put("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "700000000\n");
    expect("v1, over the limit", 0.2, 0.0);
}

static void version_2(void) {
    begin("0::/user.slice/run.scope\n", v2_mounts);
    put("sys/fs/cgroup/user.slice/run.scope/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/user.slice/run.scope/memory.max", "max\n");
    expect("v2 without limits", 0.0, 16.384);
    put("sys/fs/cgroup/user.slice/run.scope/cpu.max", "75000 50000\n");
    put("sys/fs/cgroup/user.slice/run.scope/memory.max", "4000000000\n");
    put("sys/fs/cgroup/user.slice/run.scope/memory.current", "1000000000\n");
    put("sys/fs/cgroup/user.slice/run.scope/memory.stat", "anon 5\ninactive_file 500000000\n");
    expect("v2", 1.5, 3.5);
    put("sys/fs/cgroup/user.slice/cpu.max", "100000 100000\n");
    put("sys/fs/cgroup/user.slice/memory.high", "2000000000\n");
    put("sys/fs/cgroup/user.slice/memory.current", "0\n");
    expect("v2, the level above has less", 1.0, 2.0);
    put("sys/fs/cgroup/user.slice/run.scope/memory.max", "0\n");
    expect("v2, no memory at all", 1.0, 0.0);

    /* A container that sees its own groups only. */
    begin("0::/\n", v2_mounts);
    put("sys/fs/cgroup/cpu.max", "150000 100000\n");
    put("sys/fs/cgroup/memory.max", "268435456\n");
    put("sys/fs/cgroup/memory.current", "0\n");
    expect("v2 in a namespace", 1.5, 0.268435456);
    begin("0::/../../other\n", v2_mounts);
    put("sys/fs/cgroup/cpu.max", "30000 100000\n");
    expect("v2, a group outside of what is mounted", 0.3, 16.384);

    /* Both, as systemd's hybrid has it: version 2 is empty, or has one of the two. */
    char both[2000];
    snprintf(both, sizeof both, "%s%s", v1_mounts,
             "40 23 0:26 / /unified rw - cgroup2 cgroup2 rw\n");
    begin("0::/x\n2:cpu,cpuacct:/x\n", both);
    put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "90000\n");
    put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
    put("unified/x/memory.max", "1000000000\n");
    put("unified/x/memory.current", "0\n");
    expect("hybrid", 0.9, 1.0);
}

static void containers(void) {
    /* docker without a namespace of its own: the group's path is the host's, the mount begins
     * there. */
    begin("5:cpu,cpuacct:/docker/abc\n6:memory:/docker/abc\n",
          "31 23 0:29 /docker/abc /sys/fs/cgroup/cpu\\040here ro - cgroup cgroup rw,cpuacct,cpu\n"
          "33 23 0:31 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    put("sys/fs/cgroup/cpu here/cpu.cfs_quota_us", "60000\n");
    put("sys/fs/cgroup/cpu here/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "800000000\n");
    put("sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n");
    expect("v1 in a container", 0.6, 0.8);
}

static void cores(void) {
    cpu_set_t before, one;
    struct sdt_allowance a;
    if (sched_getaffinity(0, sizeof before, &before))
        return;
    sdt__allowance_read("", &a);
    CHECK(a.cores >= 1 && a.cores <= CPU_COUNT(&before), "%d cores of %d CPUs", a.cores,
          CPU_COUNT(&before));
    int last = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        last = CPU_ISSET(cpu, &before) ? cpu : last;
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    if (sched_setaffinity(0, sizeof one, &one))
        return;
    sdt__allowance_read("", &a);
    CHECK(a.cores == 1 && a.workers == 1, "one CPU of the mask: %d cores, %d workers", a.cores,
          a.workers);
    sched_setaffinity(0, sizeof before, &before);

    /* Two threads of one core are one core. */
    char path[PATH_MAX], both[64];
    begin("", "");
    int first = -1, seen = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && seen < 2; cpu++) {
        if (!CPU_ISSET(cpu, &before))
            continue;
        first = first < 0 ? cpu : first;
        snprintf(both, sizeof both, "%d,%d\n", first, cpu);
        snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                 cpu);
        put(path, both);
        seen++;
    }
    a = get();
    CHECK(a.cores == CPU_COUNT(&before) - (seen - 1), "two threads of a core: %d cores of %d CPUs",
          a.cores, CPU_COUNT(&before));
}

int main(void) {
    struct sdt_error err;
    if (sdt__folder_make(&root, &err) != SDT_OK) {
        printf("%s\n", err.message);
        return 99;
    }
    no_groups();
    version_1();
    version_2();
    containers();
    cores();
    sdt__folder_remove(root);
    printf("%d machines\n", number);
    return failures ? 1 : 0;
}
