/* Reading /proc and /sys/fs/cgroup. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/allowance.h"

#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST_CPUS = 8192, MOST_LEVELS = 64 };

/* ---- files ----------------------------------------------------------------------------------- */

/* The first line of a file; false: it is not there, or empty. */
static bool read_line(const char *path, char *line, int size) {
    FILE *file = fopen(path, "re");
    bool there = file && fgets(line, size, file);
    if (file)
        fclose(file);
    return there;
}

/* A number in a file; "max" and what is not there are -1. */
static double read_number(const char *folder, const char *name) {
    char path[4 * PATH_MAX], line[128], *end;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!read_line(path, line, sizeof line))
        return -1.0;
    double value = strtod(line, &end);
    return end == line ? -1.0 : value;
}

/* The value behind `key` in a file of lines "key value"; 0: none. */
static double read_value(const char *path, const char *key) {
    FILE *file = fopen(path, "re");
    char line[256];
    double value = 0.0;
    size_t length = strlen(key);
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, key, length) && (line[length] == ' ' || line[length] == ':'))
            value = strtod(line + length + 1, NULL);
    if (file)
        fclose(file);
    return value;
}

/* ---- cores ----------------------------------------------------------------------------------- */

/* The first thread of a CPU's core; the CPU itself where the kernel does not say. */
static int first_thread(const char *root, int cpu) {
    static const char *const names[] = {"core_cpus_list", "thread_siblings_list"};
    char path[PATH_MAX], line[64];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/topology/%s", root, cpu,
                 names[i]);
        if (read_line(path, line, sizeof line) && *line >= '0' && *line <= '9')
            return atoi(line);
    }
    return cpu;
}

static int count_cores(const char *root) {
    cpu_set_t *mask = CPU_ALLOC(MOST_CPUS), *seen = CPU_ALLOC(MOST_CPUS);
    size_t size = CPU_ALLOC_SIZE(MOST_CPUS);
    int cores = 0;
    if (mask && seen && sched_getaffinity(0, size, mask) == 0) {
        CPU_ZERO_S(size, seen);
        for (int cpu = 0; cpu < MOST_CPUS; cpu++) {
            if (!CPU_ISSET_S(cpu, size, mask))
                continue;
            int first = first_thread(root, cpu);
            if (first >= 0 && first < MOST_CPUS)
                CPU_SET_S(first, size, seen);
        }
        cores = CPU_COUNT_S(size, seen);
    }
    CPU_FREE(mask);
    CPU_FREE(seen);
    return cores > 0 ? cores : 1;
}

/* ---- control groups -------------------------------------------------------------------------- */

/* Is `word` one of those with commas between them? */
static bool in_list(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (!strncmp(at, word, length) && (!at[length] || at[length] == ','))
            return true;
    return false;
}

/* Octal escapes of mountinfo: \040 is a space. */
static void unescape(char *text) {
    char *to = text;
    for (const char *at = text; *at; at++) {
        unsigned code;
        if (*at == '\\' && sscanf(at + 1, "%3o", &code) == 1 && strspn(at + 1, "01234567") >= 3) {
            *to++ = (char)code;
            at += 3;
        } else {
            *to++ = *at;
        }
    }
    *to = '\0';
}

/* Where a controller's groups are mounted, and which group the mount begins at. Version 2 has one
 * mount for all (controller NULL). */
static bool find_mount(const char *root, const char *controller, char *mount /* [PATH_MAX] */,
                       char *top /* [PATH_MAX] */) {
    char path[PATH_MAX], line[3 * PATH_MAX];
    bool found = false;
    snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        char *save, *field[6] = {NULL}, *behind = strstr(line, " - ");
        if (!behind)
            continue;
        *behind = '\0';
        char *type = strtok_r(behind + 3, " \n", &save);
        char *source = type ? strtok_r(NULL, " \n", &save) : NULL;
        char *options = source ? strtok_r(NULL, " \n", &save) : NULL;
        if (!type || strcmp(type, controller ? "cgroup" : "cgroup2") ||
            (controller && (!options || !in_list(options, controller))))
            continue;
        field[0] = strtok_r(line, " ", &save);
        for (int i = 1; i < 6 && field[i - 1]; i++)
            field[i] = strtok_r(NULL, " ", &save);
        if (!field[4] || strlen(field[3]) >= PATH_MAX || strlen(field[4]) >= PATH_MAX)
            continue;
        unescape(field[3]);
        unescape(field[4]);
        strcpy(top, field[3]);
        strcpy(mount, field[4]);
        found = true;
    }
    if (file)
        fclose(file);
    return found;
}

/* This process's group of a controller: "/docker/abc". */
static bool find_group(const char *root, const char *controller, char *group /* [PATH_MAX] */) {
    char path[PATH_MAX], line[3 * PATH_MAX];
    bool found = false;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        char *controllers = strchr(line, ':');
        char *at = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!at)
            continue;
        *at++ = '\0';
        at[strcspn(at, "\n")] = '\0';
        found = (controller ? in_list(controllers + 1, controller) : !controllers[1]) &&
                strlen(at) < PATH_MAX;
        if (found)
            strcpy(group, at);
    }
    if (file)
        fclose(file);
    return found;
}

/* The folder of this process's group, below the mount at `stem` bytes: each level up to there
 * limits as well. False: no such controller. In a container that sees its own groups only, the path
 * of the group may lie outside of the mount; the mount itself is its group then. */
static bool find_folder(const char *root, const char *controller, char *folder /* [3 PATH_MAX] */,
                        size_t *stem) {
    char mount[PATH_MAX], top[PATH_MAX], group[PATH_MAX];
    if (!find_mount(root, controller, mount, top) || !find_group(root, controller, group))
        return false;
    size_t length = strcmp(top, "/") ? strlen(top) : 0;
    const char *below = group;
    if (length && !strncmp(group, top, length) && (group[length] == '/' || !group[length]))
        below = group + length;
    else if (length || strstr(group, ".."))
        below = "";
    *stem = (size_t)snprintf(folder, 3 * PATH_MAX, "%s%s", root, mount);
    snprintf(folder + *stem, 3 * PATH_MAX - *stem, "%s", strcmp(below, "/") ? below : "");
    return true;
}

/* Cuts the last level; false: it was the mount. */
static bool go_up(char *folder, size_t stem) {
    char *slash = strrchr(folder, '/');
    if (!slash || (size_t)(slash - folder) < stem || strlen(folder) <= stem)
        return false;
    *slash = '\0';
    return true;
}

/* CPUs' worth of time that one level may have; infinite: no limit. */
static double level_quota(const char *folder, bool v2, double total) {
    (void)total;
    double quota = read_number(folder, v2 ? "cpu.max" : "cpu.cfs_quota_us"), period = 100000.0;
    if (v2) {
        char path[3 * PATH_MAX + 16], line[128];
        snprintf(path, sizeof path, "%s/cpu.max", folder);
        if (read_line(path, line, sizeof line) && sscanf(line, "%*s %lf", &period) != 1)
            period = 100000.0;
    } else {
        period = read_number(folder, "cpu.cfs_period_us");
    }
    return quota > 0.0 && period > 0.0 ? quota / period : HUGE_VAL;
}

/* Bytes that one level has left; what the page cache would give back counts. */
static double level_memory(const char *folder, bool v2, double total) {
    char path[3 * PATH_MAX + 16];
    double limit = read_number(folder, v2 ? "memory.max" : "memory.limit_in_bytes");
    double high = v2 ? read_number(folder, "memory.high") : -1.0;
    if (high >= 0.0 && !(limit >= 0.0 && limit < high))
        limit = high;
    if (!(limit >= 0.0) || limit >= total) /* version 1 says "none" by a huge number */
        return HUGE_VAL;
    double used = read_number(folder, v2 ? "memory.current" : "memory.usage_in_bytes");
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    used -= read_value(path, v2 ? "inactive_file" : "total_inactive_file");
    used -= read_value(path, v2 ? "active_file" : "total_active_file");
    return fmax(limit - fmax(used, 0.0), 0.0);
}

/* The least that a level from the process's group up to the mount allows; HUGE_VAL: none limits. */
static double least_of_levels(const char *root, const char *controller,
                              double (*level)(const char *folder, bool v2, double total),
                              double total) {
    static _Thread_local char folder[3 * PATH_MAX];
    double least = HUGE_VAL;
    size_t stem;
    for (int v2 = 0; v2 < 2; v2++) {
        int levels = 0;
        if (!find_folder(root, v2 ? NULL : controller, folder, &stem))
            continue;
        do
            least = fmin(least, level(folder, v2, total));
        while (go_up(folder, stem) && ++levels < MOST_LEVELS);
    }
    return least;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* What a limit leaves, of which `used` of /proc/self/status counts; infinite: there is none. */
static double limit_left(const char *root, __rlimit_resource_t resource, const char *used) {
    struct rlimit limit;
    char path[PATH_MAX];
    if (getrlimit(resource, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return HUGE_VAL;
    snprintf(path, sizeof path, "%s/proc/self/status", root);
    return fmax((double)limit.rlim_cur - 1024.0 * read_value(path, used), 0.0);
}

void sdt__allowance_read(const char *root, struct sdt_allowance *a) {
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    double quota = least_of_levels(root, "cpu", level_quota, 0.0);
    *a = (struct sdt_allowance){.cores = count_cores(root),
                                .quota = quota < HUGE_VAL ? quota : 0.0,
                                .total = 1024.0 * read_value(path, "MemTotal"),
                                .available = 1024.0 * read_value(path, "MemAvailable"),
                                .memory_limit = "of this machine"};
    if (a->total <= 0.0)
        a->total = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (a->available <= 0.0)
        a->available = (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    a->workers = a->cores;
    a->cpus = a->cores;
    if (a->quota > 0.0 && a->quota < a->cores) {
        /* Of 1.5 CPUs two workers use more than one does: their idle times are not the same. */
        a->workers = (int)ceil(a->quota - 0.05);
        a->workers = a->workers < 1 ? 1 : a->workers;
        a->cpus = a->quota;
    }
    a->memory = a->total;
    double group = least_of_levels(root, "memory", level_memory, a->total);
    double space = limit_left(root, RLIMIT_AS, "VmSize");
    double data = limit_left(root, RLIMIT_DATA, "VmData");
    if (group < a->memory) {
        a->memory = group;
        a->memory_limit = "of its control group";
    }
    if (space < a->memory) {
        a->memory = space;
        a->memory_limit = "of ulimit -v";
    }
    if (data < a->memory) {
        a->memory = data;
        a->memory_limit = "of ulimit -d";
    }
    a->available = fmin(a->available, a->memory);
}
