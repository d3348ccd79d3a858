/* The six files that StarPU reads in place of measuring. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/bus.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <starpu.h>

#include "base/folder.h"

#define HOST_NAME "stardit" /* in the files' names, in place of the machine's */
#define PATH_LENGTH 4200

static void write_config(FILE *file, const struct sdt_bus *bus) {
    enum { OTHER_KINDS = 7 };
    fprintf(file, "# Current configuration\n%d # CPUs\n%d # NUMA nodes\n%d # CUDA\n", bus->cpus,
            bus->numa_nodes, bus->gpus);
    for (int other = 0; other < OTHER_KINDS; other++)
        fprintf(file, "0 # none\n");
}

/* each: by nodes, in the place of both numbers; or NULL. */
static void write_matrix(FILE *file, const struct sdt_bus *bus, double host, double other,
                         double (*each)(const void *arg, int from, int to)) {
    int nodes = bus->numa_nodes + bus->gpus;
    fprintf(file, "# one row per memory node, the host first\n");
    for (int from = 0; from < STARPU_MAXNODES; from++) {
        for (int to = 0; to < STARPU_MAXNODES; to++) {
            if (from >= nodes || to >= nodes)
                fprintf(file, "nan\t");
            else if (each && from != to)
                fprintf(file, "%e\t", each(bus->platform_arg, from, to));
            else
                fprintf(file, "%e\t", from == to ? 0.0 : from && to ? other : host);
        }
        fprintf(file, "\n");
    }
}

static void write_bandwidth(FILE *file, const struct sdt_bus *bus) {
    write_matrix(file, bus, bus->host_mb_per_s, bus->mb_per_s, bus->each_mb_per_s);
}

static void write_latency(FILE *file, const struct sdt_bus *bus) {
    write_matrix(file, bus, bus->latency_us, bus->latency_us, NULL);
}

/* Read by a StarPU with CUDA only: the NUMA nodes of each GPU, nearest first. */
static void write_affinity(FILE *file, const struct sdt_bus *bus) {
    fprintf(file, "# GPU\t");
    for (int node = 0; node < bus->numa_nodes; node++)
        fprintf(file, "NUMA%d\t", node);
    fprintf(file, "\n");
    for (int gpu = 0; gpu < bus->gpus; gpu++) {
        fprintf(file, "%d\t", gpu);
        for (int node = 0; node < bus->numa_nodes; node++)
            fprintf(file, "%d\t", node);
        fprintf(file, "\n");
    }
}

static void write_platform(FILE *file, const struct sdt_bus *bus) {
    if (bus->platform)
        bus->platform(file, bus->platform_arg);
}

static const struct {
    const char *ending;
    void (*write)(FILE *file, const struct sdt_bus *bus);
} files[] = {{"config", write_config},         {"bandwidth", write_bandwidth},
             {"latency", write_latency},       {"affinity", write_affinity},
             {"platform.xml", write_platform}, {"platform.v4.xml", write_platform}};
#define FILES (sizeof files / sizeof files[0])

/* reason: an errno, 0 where it is not known any more. */
static enum sdt_status fail_write(const char *path, int reason, struct sdt_error *err) {
    return sdt_fail(err, SDT_ERROR_IO,
                    "%s: %s (TMPDIR names a folder with room, ulimit -f bounds files)", path,
                    reason ? strerror(reason) : "cannot be written");
}

enum sdt_status sdt__bus_write(const char *folder, const struct sdt_bus *bus,
                               struct sdt_error *err) {
    char path[PATH_LENGTH];
    for (size_t i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/bus/" HOST_NAME ".%s", folder, files[i].ending);
        FILE *file = fopen(path, "w");
        if (!file)
            return fail_write(path, errno, err);
        files[i].write(file, bus);
        errno = 0;
        bool failed = ferror(file) != 0;
        if (fclose(file) || failed)
            return fail_write(path, errno, err);
    }
    return SDT_OK;
}

enum sdt_status sdt__bus_folder_make(char **folder, struct sdt_error *err) {
    char path[PATH_LENGTH];
    enum sdt_status status = sdt__folder_make(folder, err);
    if (status != SDT_OK)
        return status;
    snprintf(path, sizeof path, "%s/bus", *folder);
    if (mkdir(path, 0700)) {
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
        sdt__folder_remove(*folder);
        *folder = NULL;
    }
    return status;
}

void sdt__bus_folder_use(const char *folder) {
    setenv("STARPU_PERF_MODEL_DIR", folder, 1);
    setenv("STARPU_HOSTNAME", HOST_NAME, 1);
}

void sdt__bus_folder_forget(void) {
    unsetenv("STARPU_PERF_MODEL_DIR");
    unsetenv("STARPU_HOSTNAME");
}

bool sdt__bus_measured(void) {
    static const struct {
        const char *variable, *folder;
    } places[] = {{"STARPU_PERF_MODEL_DIR", ""},
                  {"XDG_CACHE_HOME", "/.starpu/sampling"},
                  {"STARPU_HOME", "/.starpu/sampling"},
                  {"HOME", "/.starpu/sampling"}};
    char host[256], path[PATH_LENGTH];
    const char *named = getenv("STARPU_HOSTNAME");
    if (named && *named)
        snprintf(host, sizeof host, "%s", named);
    else if (gethostname(host, sizeof host) != 0)
        return false;
    host[sizeof host - 1] = 0;
    host[strcspn(host, ".")] = 0;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *home = getenv(places[i].variable);
        if (!home || !*home)
            continue;
        int length =
            snprintf(path, sizeof path, "%s%s/bus/%s.latency", home, places[i].folder, host);
        return length < (int)sizeof path && access(path, R_OK) == 0;
    }
    return false;
}
