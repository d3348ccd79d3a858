/* A platform's text file, and the XML that SimGrid reads. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/platform.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading --------------------------------------------------------------------------------- */

enum { LINE_LENGTH = 400 };

/* A file being read. */
struct reader {
    const char *path;
    int number; /* of the line, from 1 */
    struct sdt_platform *platform;
    int kind; /* that numbers of devices go to */
    bool any_kind, any_devices;
    struct sdt_error *err;
};

#define WRONG(r, ...) wrong((r), __VA_ARGS__)
static enum sdt_status wrong(const struct reader *r, const char *what, const char *name) {
    return sdt_fail(r->err, SDT_ERROR_FORMAT, "%s:%d: %s%s", r->path, r->number, what, name);
}

/* Without zero bytes, so that those that are read show. */
static char *mark(char line[LINE_LENGTH]) { return memset(line, '-', LINE_LENGTH); }

/* A line of text, without its comment. */
static enum sdt_status check_line(const struct reader *r, char line[LINE_LENGTH]) {
    /* Behind the last zero byte nothing has been written. */
    if ((const char *)memrchr(line, 0, LINE_LENGTH) != line + strlen(line))
        return WRONG(r, "not a text file (it holds a zero byte)", "");
    if (strlen(line) == LINE_LENGTH - 1 && line[LINE_LENGTH - 2] != '\n')
        return sdt_fail(r->err, SDT_ERROR_FORMAT, "%s:%d: longer than %d characters", r->path,
                        r->number, LINE_LENGTH - 2);
    line[strcspn(line, "#\n")] = '\0';
    return SDT_OK;
}

static int find_kind(const struct sdt_platform *p, const char *name) {
    for (int k = 0; k < p->kinds; k++)
        if (!strcmp(p->kind[k].name, name))
            return k;
    return -1;
}

/* kind NAME: what follows is said of it. The first one takes the place of the kind without a
 * name. */
static enum sdt_status read_kind(struct reader *r, const char *name) {
    struct sdt_platform *p = r->platform;
    if (strlen(name) >= SDT_PLATFORM_NAME || strspn(name, "0123456789") == strlen(name))
        return WRONG(r, "a kind needs a name of a few letters, not ", name);
    if (!r->any_kind)
        p->kinds = 0;
    r->any_kind = true;
    if (find_kind(p, name) >= 0)
        return WRONG(r, "there is a kind of that name already: ", name);
    if (p->kinds == SDT_PLATFORM_KINDS)
        return WRONG(r, "more than 16 kinds", "");
    r->kind = p->kinds++;
    p->kind[r->kind] = (struct sdt_platform_kind){.launch_us = 1e6 * SDT_LAUNCH_SECONDS};
    snprintf(p->kind[r->kind].name, SDT_PLATFORM_NAME, "%s", name);
    return SDT_OK;
}

/* devices N [KIND] */
static enum sdt_status read_devices(struct reader *r, double value, const char *name) {
    struct sdt_platform *p = r->platform;
    int kind = name ? find_kind(p, name) : r->kind;
    if (value != floor(value))
        return WRONG(r, "devices must be a whole number", "");
    if (kind < 0)
        return WRONG(r, "no kind of that name stands above: ", name);
    if (!r->any_devices)
        p->devices = 0;
    r->any_devices = true;
    if (p->devices + value > SDT_PLATFORM_DEVICES)
        return WRONG(r, "more than 64 devices", "");
    for (int i = 0; i < (int)value; i++)
        p->kind_of[p->devices++] = kind;
    return SDT_OK;
}

/* "0-3,6" as bits. */
static bool read_list(const char *text, uint64_t *devices) {
    *devices = 0;
    for (;;) {
        char *end;
        long first = strtol(text, &end, 10), last = first;
        if (end == text)
            return false;
        if (*end == '-') {
            text = end + 1;
            last = strtol(text, &end, 10);
            if (end == text)
                return false;
        }
        if (first < 0 || last < first || last >= SDT_PLATFORM_DEVICES)
            return false;
        for (long d = first; d <= last; d++)
            *devices |= UINT64_C(1) << d;
        if (*end == '\0')
            return true;
        if (*end != ',')
            return false;
        text = end + 1;
    }
}

static enum sdt_status read_switch(struct reader *r, double gbps, const char *list) {
    struct sdt_platform *p = r->platform;
    uint64_t devices;
    if (!list || !read_list(list, &devices))
        return WRONG(r, "not 'switch GB/s DEVICES', with devices as 0-3", "");
    if (p->switches == SDT_PLATFORM_SWITCHES)
        return WRONG(r, "more than 16 switches", "");
    for (int s = 0; s < p->switches; s++)
        if (p->below[s].devices & devices)
            return WRONG(r, "a device stands below two switches", "");
    p->below[p->switches++] = (struct sdt_platform_switch){gbps, devices};
    return SDT_OK;
}

static enum sdt_status read_pair(struct reader *r, double gbps, const char *list) {
    struct sdt_platform *p = r->platform;
    uint64_t devices;
    int of[2], n = 0;
    if (!list || !read_list(list, &devices) || __builtin_popcountll(devices) != 2)
        return WRONG(r, "not 'pair GB/s A,B'", "");
    for (int d = 0; d < SDT_PLATFORM_DEVICES; d++)
        if (devices >> d & 1)
            of[n++] = d;
    if (p->pairs == SDT_PLATFORM_PAIRS)
        return WRONG(r, "more than 32 pairs", "");
    for (int i = 0; i < p->pairs; i++)
        if (p->pair[i].a == of[0] && p->pair[i].b == of[1])
            return WRONG(r, "this pair stands here twice", "");
    p->pair[p->pairs++] = (struct sdt_platform_pair){gbps, of[0], of[1]};
    return SDT_OK;
}

/* fabric nvswitch|pcie */
static enum sdt_status read_fabric(struct reader *r, const char *name) {
    if (strcmp(name, "nvswitch") && strcmp(name, "pcie"))
        return WRONG(r, "fabric is nvswitch or pcie, not ", name);
    r->platform->pcie = !strcmp(name, "pcie");
    return SDT_OK;
}

static enum sdt_status read_count(const struct reader *r, const char *name, double value,
                                  int *count) {
    if (value != floor(value) || value < 1.0 || value > 32.0)
        return WRONG(r, name, " must be a whole number from 1 to 32");
    *count = (int)value;
    return SDT_OK;
}

/* A name and a number. */
static enum sdt_status read_number(struct reader *r, const char *name, double value) {
    struct sdt_platform *p = r->platform;
    struct sdt_platform_kind *k = &p->kind[r->kind];
    const struct {
        const char *name;
        double *value;
    } field[] = {{"bfloat16-tflops", &k->bfloat16_tflops},
                 {"float32-tflops", &k->float32_tflops},
                 {"gflops", &k->gflops},
                 {"attention-gflops", &k->attention_gflops},
                 {"memory-peak-gbps", &k->memory_peak_gbps},
                 {"memory-gbps", &k->memory_gbps},
                 {"memory-gb", &k->memory_gb},
                 {"launch-us", &k->launch_us},
                 {"cross-attention-gflops", &k->cross_attention_gflops},
                 {"conv-gflops", &k->conv_gflops},
                 {"narrow-conv-gflops", &k->narrow_conv_gflops},
                 {"link-gbps", &p->link_gbps},
                 {"link-latency-us", &p->link_latency_us},
                 {"host-gbps", &p->host_gbps},
                 {"host-total-gbps", &p->host_total_gbps},
                 {"bridge-gbps", &p->bridge_gbps},
                 {"host-memory-gb", &p->host_memory_gb},
                 {"host-memory-gbps", &p->host_memory_gbps}};
    size_t f = 0;
    while (f < sizeof field / sizeof field[0] && strcmp(field[f].name, name))
        f++;
    if (f == sizeof field / sizeof field[0])
        return sdt_fail(r->err, SDT_ERROR_FORMAT, "%s:%d: unknown name '%s'", r->path, r->number,
                        name);
    *field[f].value = value;
    return SDT_OK;
}

static enum sdt_status read_line(struct reader *r, const char *line) {
    char name[100], word[100], list[100], rest[2], *end;
    int words = sscanf(line, "%99s %99s %99s %1s", name, word, list, rest);
    if (words == 2 && !strcmp(name, "kind"))
        return read_kind(r, word);
    if (words == 2 && !strcmp(name, "fabric"))
        return read_fabric(r, word);
    double value = words >= 2 ? strtod(word, &end) : 0.0;
    bool lists = !strcmp(name, "switch") || !strcmp(name, "pair") || !strcmp(name, "devices");
    if (words < 2 || *end || end == word || words > (lists ? 3 : 2))
        return WRONG(r, "not 'name value'", "");
    if (!(value >= 0.0 && value < 1e9))
        return sdt_fail(r->err, SDT_ERROR_FORMAT, "%s:%d: %s is out of range", r->path, r->number,
                        name);
    const char *third = words == 3 ? list : NULL;
    if (!strcmp(name, "devices"))
        return read_devices(r, value, third);
    if (!strcmp(name, "switch"))
        return read_switch(r, value, third);
    if (!strcmp(name, "pair"))
        return read_pair(r, value, third);
    if (!strcmp(name, "host-cores"))
        return read_count(r, name, value, &r->platform->host_cores);
    if (!strcmp(name, "cpu-workers"))
        return read_count(r, name, value, &r->platform->kind[r->kind].cpu_workers);
    return read_number(r, name, value);
}

enum sdt_status sdt_platform_read(const char *path, struct sdt_platform *platform,
                                  struct sdt_error *err) {
    struct reader r = {.path = path, .platform = platform, .err = err};
    char line[LINE_LENGTH];
    enum sdt_status status = SDT_OK;
    FILE *file = fopen(path, "r");

    if (!file)
        return sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
    for (r.number = 1; status == SDT_OK && fgets(mark(line), sizeof line, file); r.number++) {
        status = check_line(&r, line);
        if (status == SDT_OK && line[strspn(line, " \t")] != '\0')
            status = read_line(&r, line);
    }
    if (status == SDT_OK && ferror(file))
        status = sdt_fail(err, SDT_ERROR_IO, "%s: cannot be read", path);
    fclose(file);
    return status;
}

/* A simulated memory beside the host's has one worker. */
static enum sdt_status check_cpus(const struct sdt_platform *p, const char *name,
                                  struct sdt_error *err) {
    int gpus = sdt_platform_gpus(p), workers = sdt_platform_kind(p, 0)->cpu_workers;
    if (gpus > 0 && gpus < p->devices - 1)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: device %d is a CPU among GPUs: beside GPUs there is one CPU device at "
                        "most, the last one, whose memory is the host's",
                        name, gpus);
    if (gpus > 0)
        return SDT_OK;
    for (int d = 1; d < p->devices; d++)
        if (sdt_platform_kind(p, d)->cpu_workers != workers)
            return sdt_fail(err, SDT_ERROR_FORMAT,
                            "%s: device %d is of another kind than device 0: CPU devices have as "
                            "many workers each, and GPUs stand before a CPU",
                            name, d);
    if (workers > 1 && p->devices > 1)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: %d CPU devices of %d workers: one device may have several, of several "
                        "devices each has one",
                        name, p->devices, workers);
    return SDT_OK;
}

enum sdt_status sdt_platform_check(const struct sdt_platform *p, const char *name,
                                   struct sdt_error *err) {
    uint64_t all = p->devices >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << p->devices) - 1;
    if (!(p->link_gbps > 0.0) || !(p->host_gbps > 0.0))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: a platform needs link-gbps and host-gbps",
                        name);
    for (int d = 0; d < p->devices; d++)
        if (!(sdt_platform_kind(p, d)->memory_gb > 0.0))
            return sdt_fail(err, SDT_ERROR_FORMAT, "%s: device %d needs memory-gb", name, d);
    for (int s = 0; s < p->switches; s++)
        if (!(p->below[s].gbps > 0.0) || !(p->below[s].devices & all))
            return sdt_fail(err, SDT_ERROR_FORMAT, "%s: switch %d has no devices, or no speed",
                            name, s);
    for (int i = 0; i < p->pairs; i++)
        if (!(p->pair[i].gbps > 0.0))
            return sdt_fail(err, SDT_ERROR_FORMAT, "%s: a pair has no speed", name);
    return check_cpus(p, name, err);
}

void sdt_platform_resize(struct sdt_platform *p, int devices) {
    int last = p->devices > 0 ? p->kind_of[p->devices - 1] : 0;
    while (p->devices < devices)
        p->kind_of[p->devices++] = last;
    p->devices = devices;
    uint64_t all = devices >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << devices) - 1;
    int switches = 0, pairs = 0;
    for (int s = 0; s < p->switches; s++)
        if (p->below[s].devices & all)
            p->below[switches++] = p->below[s];
    p->switches = switches;
    for (int i = 0; i < p->pairs; i++)
        if (p->pair[i].b < devices)
            p->pair[pairs++] = p->pair[i];
    p->pairs = pairs;
}

enum sdt_status sdt_platform_scale(struct sdt_platform *p, int device, double speed,
                                   struct sdt_error *err) {
    if (speed == 1.0)
        return SDT_OK;
    if (p->kinds == SDT_PLATFORM_KINDS)
        return sdt_fail(err, SDT_ERROR_LIMIT, "a platform of more than %d kinds of GPUs",
                        SDT_PLATFORM_KINDS);
    struct sdt_platform_kind *k = &p->kind[p->kinds];
    *k = *sdt_platform_kind(p, device);
    double *const rate[] = {
        &k->bfloat16_tflops,        &k->float32_tflops,   &k->gflops,
        &k->attention_gflops,       &k->memory_peak_gbps, &k->memory_gbps,
        &k->cross_attention_gflops, &k->conv_gflops,      &k->narrow_conv_gflops};
    for (size_t i = 0; i < sizeof rate / sizeof rate[0]; i++)
        *rate[i] *= speed;
    p->kind_of[device] = p->kinds++;
    return SDT_OK;
}

/* ---- rates ----------------------------------------------------------------------------------- */

double sdt_platform_flops(const struct sdt_platform *p, int device, enum sdt_class class) {
    const struct sdt_platform_kind *k = sdt_platform_kind(p, device);
    double peak = k->gflops > 0.0 ? k->gflops * 1e9 / sdt__reached(SDT_CLASS_LINEAR)
                                  : k->bfloat16_tflops * 1e12;
    double said = class == SDT_CLASS_ATTENTION         ? k->attention_gflops
                  : class == SDT_CLASS_CROSS_ATTENTION ? k->cross_attention_gflops
                  : class == SDT_CLASS_NARROW_CONV && k->narrow_conv_gflops > 0.0
                      ? k->narrow_conv_gflops
                  : class == SDT_CLASS_CONV || class == SDT_CLASS_NARROW_CONV ? k->conv_gflops
                                                                              : 0.0;
    return said > 0.0 ? said * 1e9 : peak * sdt__reached(class);
}

double sdt_platform_bytes(const struct sdt_platform *p, int device) {
    const struct sdt_platform_kind *k = sdt_platform_kind(p, device);
    return 1e9 *
           (k->memory_gbps > 0.0 ? k->memory_gbps : k->memory_peak_gbps * sdt__reached_memory());
}

/* ---- ways ------------------------------------------------------------------------------------ */

/* A link on a way: how it is named in the XML, and how fast it is. */
struct hop {
    char name[40];
    double gbps;
};
enum { MOST_HOPS = 8 };

static int switch_of(const struct sdt_platform *p, int device) {
    int s = 0;
    while (s < p->switches && !(p->below[s].devices >> device & 1))
        s++;
    return s < p->switches ? s : -1;
}

static void add_hop(struct hop *hop, int *count, double gbps, const char *format, int number) {
    hop[*count].gbps = gbps;
    snprintf(hop[*count].name, sizeof hop->name, format, number); // NOLINT
    ++*count;
}

/* The links from one device to another, or to and from the host, -1. Every link has a direction. */
static int way(const struct sdt_platform *p, int from, int to, struct hop hop[MOST_HOPS]) {
    int memories = sdt_platform_memories(p), count = 0;
    from = from < memories ? from : -1;
    to = to < memories ? to : -1;
    int gpu = from < 0 ? to : from;
    if (gpu < 0)
        return 0;
    for (int i = 0; i < p->pairs && from >= 0 && to >= 0; i++)
        if ((p->pair[i].a == from && p->pair[i].b == to) ||
            (p->pair[i].a == to && p->pair[i].b == from)) {
            add_hop(hop, &count, p->pair[i].gbps,
                    p->pair[i].a == from ? "pair %d forth" : "pair %d back", i);
            return count;
        }
    int below_from = from < 0 ? -1 : switch_of(p, from), below_to = to < 0 ? -1 : switch_of(p, to);
    bool host = from < 0 || to < 0, apart = host || below_from != below_to;
    if (host)
        add_hop(hop, &count, p->host_gbps, from < 0 ? "CUDA%d from host" : "CUDA%d to host", gpu);
    if (host && p->host_total_gbps > 0.0)
        add_hop(hop, &count, p->host_total_gbps, from < 0 ? "host out %d" : "host in %d", 0);
    if (from >= 0 && (!host || p->pcie))
        add_hop(hop, &count, p->link_gbps, "CUDA%d up", from);
    if (apart && below_from >= 0)
        add_hop(hop, &count, p->below[below_from].gbps, "switch %d up", below_from);
    if (apart && !host && p->bridge_gbps > 0.0)
        add_hop(hop, &count, p->bridge_gbps, "bridge %d", 0);
    if (apart && below_to >= 0)
        add_hop(hop, &count, p->below[below_to].gbps, "switch %d down", below_to);
    if (to >= 0 && (!host || p->pcie))
        add_hop(hop, &count, p->link_gbps, "CUDA%d down", to);
    return count;
}

double sdt_platform_link(const struct sdt_platform *p, int from, int to) {
    struct hop hop[MOST_HOPS];
    int count = way(p, from, to, hop);
    double least = INFINITY;
    for (int i = 0; i < count; i++)
        least = fmin(least, hop[i].gbps);
    return 1e9 * least;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void write_link(FILE *file, const char *format, int number, double gbps, double latency_us) {
    char name[40];
    snprintf(name, sizeof name, format, number); // NOLINT
    fprintf(file, "  <link id=\"%s\" bandwidth=\"%.0fBps\" latency=\"%.9fs\"/>\n", name, gbps * 1e9,
            latency_us * 1e-6);
}

static void write_links(const struct sdt_platform *p, FILE *file) {
    double port_us = p->link_latency_us / 2.0; /* a way has two ports */
    for (int d = 0; d < sdt_platform_memories(p); d++) {
        double host_us = p->pcie ? port_us : p->link_latency_us;
        write_link(file, "CUDA%d from host", d, p->host_gbps, host_us);
        write_link(file, "CUDA%d to host", d, p->host_gbps, host_us);
        write_link(file, "CUDA%d up", d, p->link_gbps, port_us);
        write_link(file, "CUDA%d down", d, p->link_gbps, port_us);
    }
    for (int s = 0; s < p->switches; s++) {
        write_link(file, "switch %d up", s, p->below[s].gbps, 0.0);
        write_link(file, "switch %d down", s, p->below[s].gbps, 0.0);
    }
    for (int i = 0; i < p->pairs; i++) {
        write_link(file, "pair %d forth", i, p->pair[i].gbps, p->link_latency_us);
        write_link(file, "pair %d back", i, p->pair[i].gbps, p->link_latency_us);
    }
    if (p->bridge_gbps > 0.0)
        write_link(file, "bridge %d", 0, p->bridge_gbps, 0.0);
    if (p->host_total_gbps > 0.0) {
        write_link(file, "host out %d", 0, p->host_total_gbps, 0.0);
        write_link(file, "host in %d", 0, p->host_total_gbps, 0.0);
    }
    /* Non-blocking: every flow has all of it. StarPU knows such a link by the word "through". */
    fprintf(file, "  <link id=\"through\" bandwidth=\"1000000GBps\" latency=\"0s\" "
                  "sharing_policy=\"FATPIPE\"/>\n");
}

static void write_way(const struct sdt_platform *p, int from, int to, FILE *file) {
    struct hop hop[MOST_HOPS];
    int count = way(p, from, to, hop);
    char end[2][20] = {"RAM", "RAM"};
    if (from >= 0)
        snprintf(end[0], sizeof end[0], "CUDA%d", from);
    if (to >= 0)
        snprintf(end[1], sizeof end[1], "CUDA%d", to);
    fprintf(file, "  <route src=\"%s\" dst=\"%s\" symmetrical=\"NO\">", end[0], end[1]);
    for (int i = 0; i < count; i++)
        fprintf(file, "<link_ctn id=\"%s\"/>", hop[i].name);
    if (from >= 0 && to >= 0)
        fprintf(file, "<link_ctn id=\"through\"/>");
    fprintf(file, "</route>\n");
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
                  "  <host id=\"MAIN\" speed=\"1f\"/>\n  <host id=\"RAM\" speed=\"1f\"/>\n");
    for (int c = 0; c < sdt_platform_cores(p); c++)
        fprintf(file, "  <host id=\"CPU%d\" speed=\"2000000000f\"/>\n", c);
    for (int d = 0; d < sdt_platform_memories(p); d++)
        fprintf(file,
                "  <host id=\"CUDA%d\" speed=\"2000000000f\">\n"
                "   <prop id=\"model\" value=\"simulated\"/>\n"
                "   <prop id=\"memsize\" value=\"%.0f\"/>\n"
                "   <prop id=\"memcpy_peer\" value=\"1\"/>\n  </host>\n",
                d, sdt_platform_kind(p, d)->memory_gb * 1e9);
    write_links(p, file);
    for (int d = 0; d < sdt_platform_memories(p); d++) {
        write_way(p, -1, d, file);
        write_way(p, d, -1, file);
        for (int to = 0; to < sdt_platform_memories(p); to++)
            if (to != d)
                write_way(p, d, to, file);
    }
    fprintf(file, " </zone>\n</platform>\n");
}
