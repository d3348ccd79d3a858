/* What --stats and the programs say of cuDNN: nothing without GPUs, and never silence where own
 * kernels took its place. */
#include <stdlib.h>
#include <string.h>

#include "apps/stats.h"
#include "tests/check.h"

static void check(const char *what, struct sdt_cudnn_use use, const char *line /* or NULL */,
                  const char *field /* or NULL */) {
    char text[600] = "";
    json_t *stats = json_object();
    bool told = app_stats_fell_back(&use, text, sizeof text);
    app_stats_cudnn(stats, &use);
    char *got = json_dumps(json_object_get(stats, "cudnn"), JSON_COMPACT);
    CHECK(told == (line != NULL) && (!line || strstr(text, line)), "%s: \"%s\"", what, text);
    CHECK(!got == !field && (!field || !strcmp(got, field)), "%s: %s", what, got ? got : "none");
    free(got);
    json_decref(stats);
}

int main(void) {
    check("no GPU", (struct sdt_cudnn_use){.gpus = 0}, NULL, NULL);
    check("all plans",
          (struct sdt_cudnn_use){.gpus = 1, .version = "9.19.0", .made = 3, .ahead = 2, .read = 1},
          NULL,
          "{\"version\":\"9.19.0\",\"why\":null,\"plans_made\":3,\"plans_ahead\":2,"
          "\"plans_read\":1,\"plans_missing\":0,\"plan_seconds\":0.0}");
    check("no library", (struct sdt_cudnn_use){.gpus = 2, .why = "libcudnn.so.9 is not found"},
          "without cuDNN: libcudnn.so.9 is not found",
          "{\"version\":null,\"why\":\"libcudnn.so.9 is not found\",\"plans_made\":0,"
          "\"plans_ahead\":0,\"plans_read\":0,\"plans_missing\":0,\"plan_seconds\":0.0}");
    check("a shape without a plan",
          (struct sdt_cudnn_use){
              .gpus = 1, .version = "9.19.0", .why = "no plan for attention", .none = 2},
          "no plan for 2 shapes, the first: no plan for attention",
          "{\"version\":\"9.19.0\",\"why\":\"no plan for attention\",\"plans_made\":0,"
          "\"plans_ahead\":0,\"plans_read\":0,\"plans_missing\":2,\"plan_seconds\":0.0}");
    return failures > 0;
}
