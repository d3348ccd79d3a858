/* A platform's text file, and the XML that SimGrid reads. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/platform.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* ---- reading --------------------------------------------------------------------------------- */

enum { LINE_LENGTH = 400 };

/* Without zero bytes, so that those that are read show. */
static char *mark(char line[LINE_LENGTH]) { return memset(line, '-', LINE_LENGTH); }

enum sdt_status sdt_platform_read(const char *path, struct sdt_platform *platform,
                                  struct sdt_error *err) {
    double devices = platform->devices;
    const struct {
        const char *name;
        double *value;
    } field[] = {{"devices", &devices},
                 {"gflops", &platform->gflops},
                 {"attention-gflops", &platform->attention_gflops},
                 {"memory-gbps", &platform->memory_gbps},
                 {"memory-gb", &platform->memory_gb},
                 {"link-gbps", &platform->link_gbps},
                 {"link-latency-us", &platform->link_latency_us},
                 {"host-gbps", &platform->host_gbps}};
    char line[LINE_LENGTH], name[100], rest[2];
    enum sdt_status status = SDT_OK;
    FILE *file = fopen(path, "r");

    if (!file)
        return sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
    for (int number = 1; status == SDT_OK && fgets(mark(line), sizeof line, file); number++) {
        double value;
        size_t f = 0;
        /* Behind the last zero byte nothing has been written. */
        if ((const char *)memrchr(line, 0, sizeof line) != line + strlen(line)) {
            status = sdt_fail(err, SDT_ERROR_FORMAT,
                              "%s:%d: not a text file (it holds a zero byte)", path, number);
            break;
        }
        if (strlen(line) == sizeof line - 1 && line[sizeof line - 2] != '\n') {
            status = sdt_fail(err, SDT_ERROR_FORMAT, "%s:%d: longer than %zu characters", path,
                              number, sizeof line - 2);
            break;
        }
        line[strcspn(line, "#\n")] = '\0';
        if (line[strspn(line, " \t")] == '\0')
            continue;
        if (sscanf(line, "%99s %lf %1s", name, &value, rest) != 2) {
            status = sdt_fail(err, SDT_ERROR_FORMAT, "%s:%d: not 'name value'", path, number);
            break;
        }
        while (f < sizeof field / sizeof field[0] && strcmp(field[f].name, name))
            f++;
        if (f == sizeof field / sizeof field[0])
            status =
                sdt_fail(err, SDT_ERROR_FORMAT, "%s:%d: unknown name '%s'", path, number, name);
        else if (!(value >= 0.0 && value < 1e9))
            status =
                sdt_fail(err, SDT_ERROR_FORMAT, "%s:%d: %s is out of range", path, number, name);
        else if (field[f].value == &devices && value != floor(value))
            status = sdt_fail(err, SDT_ERROR_FORMAT, "%s:%d: devices must be a whole number", path,
                              number);
        else
            *field[f].value = value;
    }
    if (status == SDT_OK && ferror(file))
        status = sdt_fail(err, SDT_ERROR_IO, "%s: cannot be read", path);
    fclose(file);
    platform->devices = (int)devices;
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void write_link(FILE *file, const char *name, int gpu, double gbps, double latency_us) {
    fprintf(file, "  <link id=\"CUDA%d %s\" bandwidth=\"%.0fBps\" latency=\"%.9fs\"/>\n", gpu, name,
            gbps * 1e9, latency_us * 1e-6);
}

/* The factors make SimGrid's network model plain: time = latency + bytes / bandwidth, fairly
 * shared. */
void sdt_platform_write(const struct sdt_platform *p, FILE *file) {
    static const char *const plain[][2] = {{"network/TCP-gamma", "-1"},
                                           {"network/latency-factor", "1"},
                                           {"network/bandwidth-factor", "1"},
                                           {"network/crosstraffic", "0"},
                                           {"network/weight-S", "0.0"}};
    fprintf(file, "<?xml version='1.0'?>\n"
                  "<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
                  "<platform version=\"4.1\">\n <config>\n");
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        fprintf(file, "  <prop id=\"%s\" value=\"%s\"/>\n", plain[i][0], plain[i][1]);
    fprintf(file, " </config>\n <zone id=\"AS0\" routing=\"Full\">\n"
                  "  <host id=\"MAIN\" speed=\"1f\"/>\n  <host id=\"RAM\" speed=\"1f\"/>\n"
                  "  <host id=\"CPU0\" speed=\"2000000000f\"/>\n");
    for (int d = 0; d < p->devices; d++)
        fprintf(file,
                "  <host id=\"CUDA%d\" speed=\"2000000000f\">\n"
                "   <prop id=\"model\" value=\"simulated\"/>\n"
                "   <prop id=\"memsize\" value=\"%.0f\"/>\n"
                "   <prop id=\"memcpy_peer\" value=\"1\"/>\n  </host>\n",
                d, p->memory_gb * 1e9);
    for (int d = 0; d < p->devices; d++) {
        write_link(file, "from host", d, p->host_gbps, p->link_latency_us);
        write_link(file, "to host", d, p->host_gbps, p->link_latency_us);
        write_link(file, "up", d, p->link_gbps, p->link_latency_us / 2.0);
        write_link(file, "down", d, p->link_gbps, p->link_latency_us / 2.0);
    }
    /* Non-blocking: every flow has all of it. StarPU knows such a link by the word "through". */
    fprintf(file, "  <link id=\"switch through\" bandwidth=\"1000000GBps\" latency=\"0s\" "
                  "sharing_policy=\"FATPIPE\"/>\n");
    for (int d = 0; d < p->devices; d++) {
        fprintf(file,
                "  <route src=\"RAM\" dst=\"CUDA%d\" symmetrical=\"NO\">"
                "<link_ctn id=\"CUDA%d from host\"/></route>\n",
                d, d);
        fprintf(file,
                "  <route src=\"CUDA%d\" dst=\"RAM\" symmetrical=\"NO\">"
                "<link_ctn id=\"CUDA%d to host\"/></route>\n",
                d, d);
        for (int to = 0; to < p->devices; to++)
            if (to != d)
                fprintf(file,
                        "  <route src=\"CUDA%d\" dst=\"CUDA%d\" symmetrical=\"NO\">"
                        "<link_ctn id=\"CUDA%d up\"/><link_ctn id=\"switch through\"/>"
                        "<link_ctn id=\"CUDA%d down\"/></route>\n",
                        d, to, d, to);
    }
    fprintf(file, " </zone>\n</platform>\n");
}
