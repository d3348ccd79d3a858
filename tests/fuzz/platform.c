/* Bytes as a platform file of the simulator, and what is read as the XML for SimGrid.
 * Covers: runtime/platform.c */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/platform.h"
#include "tests/checkpoint/readers.h"
#include "tests/fuzz/fuzz.h"

/* Every element is closed, every route's link is there, and every number is one. */
static void check_xml(const struct sdt_platform *platform) {
    static char name[8][20], link[1024][40];
    char *text = NULL, mark[20], id[40];
    size_t size = 0;
    int depth = 0, links = 0, used;
    FILE *file = open_memstream(&text, &size);

    if (!file)
        exit(99);
    sdt_platform_write(platform, file);
    fclose(file);
    CHECK(!strstr(text, "nan") && !strstr(text, "inf"), "no numbers in %s", text);
    for (const char *at = text; (at = strchr(at, '<')); at += used) {
        const char *end = strchr(at, '>');
        CHECK(end, "no '>' behind '%.20s'", at);
        if (!end)
            break;
        used = (int)(end - at);
        if (at[1] == '?' || at[1] == '!')
            continue;
        if (at[1] == '/') {
            CHECK(depth > 0 && !strncmp(at + 2, name[depth - 1], (size_t)used - 2), "'%.20s'", at);
            depth -= depth > 0;
            continue;
        }
        sscanf(at + 1, "%19[a-z_]", mark);
        if (sscanf(at, "<link id=\"%39[^\"]", id) == 1 && links < 1024)
            snprintf(link[links++], sizeof link[0], "%s", id);
        if (sscanf(at, "<link_ctn id=\"%39[^\"]", id) == 1) {
            int i = 0;
            while (i < links && strcmp(link[i], id))
                i++;
            CHECK(i < links, "no link '%s'", id);
        }
        if (end[-1] != '/' && depth < 8)
            snprintf(name[depth++], sizeof name[0], "%s", mark);
    }
    CHECK(depth == 0, "'%s' is open", name[0]);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sdt_platform p = {.kinds = 1,
                             .kind = {{.memory_gb = 80.0}},
                             .devices = 8,
                             .link_gbps = 450.0,
                             .host_gbps = 50.0};
    struct sdt_error err = {0};

    fuzz_begin("fuzz-platform");
    write_bytes("platform.txt", data, size);
    if (sdt_platform_read(path_of("platform.txt"), &p, &err) != SDT_OK) {
        check_message(&err);
        return fuzz_end();
    }
    CHECK(p.devices >= 0 && p.devices <= SDT_PLATFORM_DEVICES && p.link_gbps >= 0.0 &&
              p.link_latency_us >= 0.0 && p.host_gbps >= 0.0,
          "a rate below 0");
    for (int d = 0; d < p.devices; d++) {
        CHECK(p.kind_of[d] >= 0 && p.kind_of[d] < p.kinds, "device %d of kind %d", d, p.kind_of[d]);
        for (int class = 0; class < SDT_CLASSES; class ++)
            CHECK(sdt_platform_flops(&p, d, class) >= 0.0, "FLOP/s below 0");
    }
    if (sdt_platform_check(&p, "fuzz", &err) != SDT_OK)
        check_message(&err);
    else if (p.devices <= 16) /* more are refused by the program */
        check_xml(&p);
    return fuzz_end();
}
