/* Step tables: which steps skip the layers by published ratios, as the rule's own code has it, for
 * the published numbers of steps and others; what is kept; before which steps a state is whole. */
#include "graph/run/steps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/pipeline.h"
#include "tests/check.h"

/* Steps whose layers run, "0-9,14,19". */
static void layered(const struct sdt_step_table *table, char *text, size_t size) {
    size_t length = 0;
    text[0] = '\0';
    for (int s = 0; s < table->steps; s++) {
        int last = s;
        if (table->step[s].layered == 0)
            continue;
        while (last + 1 < table->steps && table->step[last + 1].layered > 0)
            last++;
        length += (size_t)snprintf(text + length, size - length, last > s ? "%s%d-%d" : "%s%d",
                                   length ? "," : "", s, last);
        s = last;
    }
}

/* What holds of any table. */
static void check_table(const char *what, const struct sdt_step_table *table) {
    bool kept[2] = {false, false};
    for (int s = 0; s < table->steps; s++) {
        const struct sdt_step *step = &table->step[s];
        bool reads = false;
        for (int b = 0; b < 2; b++) {
            const bool runs = b < step->branches;
            CHECK(runs || (!step->skip[b] && !step->keep[b]), "%s: step %d, branch %d", what, s, b);
            CHECK(!step->skip[b] || kept[b], "%s: step %d reads what nobody kept", what, s);
            CHECK(!step->skip[b] || !step->keep[b], "%s: step %d keeps what it skips", what, s);
            reads = reads || step->skip[b];
            kept[b] = step->keep[b] || (step->skip[b] && kept[b]);
        }
        CHECK(!reads || !sdt_step_table_whole(table, s), "%s: a state before step %d", what, s);
    }
    CHECK(sdt_step_table_whole(table, 0) && sdt_step_table_whole(table, table->steps),
          "%s: the ends are not whole", what);
}

struct row {
    const char *model;
    int steps;
    double threshold;
    int most, refresh, from, to;
    double guidance;
    const char *layered;
};
static const struct row rows[] = {
    /* as MagCache's code computes them for 50 steps */
    {"wan-1.3b", 50, .12, 4, 0, 0, 0, 5, "0-9,14,19,24,29,34,38,41,44,46,48-49"},
    {"wan-14b", 50, .24, 6, 0, 0, 0, 5, "0-9,16,23,30,36,41,44,47,49"},
    {"wan-14b", 50, 0, 0, 0, 0, 0, 5, "0-9,16,23,30,36,41,44,47,49"},
    {"wan-14b", 50, 0, 0, 0, 0, 0, 1, "0-9,16,23,30,36,41,44,47,49"},
    {"hunyuan-13b", 50, .24, 6, 0, 0, 0, 6, "0-9,14,18,23,29,34,41,46,48"},
    /* nothing is allowed, or everything is run again */
    {"wan-1.3b", 50, 1e-9, 4, 0, 0, 0, 5, "0-49"},
    {"wan-1.3b", 20, .12, 4, 1, 0, 0, 5, "0-19"},
    {"wan-1.3b", 40, .12, 4, 4, 0, 0, 5, NULL},
    {"wan-1.3b", 31, .12, 2, 0, 3, 17, 5, NULL},
    {"hunyuan-13b", 9, .24, 6, 0, 0, 0, 6, NULL},
    {"wan-1.3b", 8, .5, 6, 0, 0, 0, 5, NULL},
};

static void check_row(const struct row *row) {
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request;
    struct sdt_step_table table;
    struct sdt_error err = {.message = ""};
    char what[100], got[300];
    if (sdt_pipeline_imagine(row->model, &pipeline, &err) != SDT_OK ||
        sdt_pipeline_defaults(pipeline, &request, &err) != SDT_OK) {
        CHECK(0, "%s: %s", row->model, err.message);
        return;
    }
    request.steps = row->steps;
    request.guidance_scale = row->guidance;
    request.guided_from = row->from;
    request.guided_to = row->to;
    request.cache = (struct sdt_step_caching){.kind = SDT_CACHE_MAGNITUDE,
                                              .threshold = row->threshold,
                                              .most = row->most,
                                              .refresh = row->refresh};
    snprintf(what, sizeof what, "%s, %d steps", row->model, row->steps);
    if (sdt__step_table(pipeline, &request, &table, &err) != SDT_OK) {
        CHECK(0, "%s: %s", what, err.message);
    } else {
        layered(&table, got, sizeof got);
        CHECK(!row->layered || !strcmp(got, row->layered), "%s: layers run in %s, not in %s", what,
              got, row->layered);
        printf("%-22s threshold %-5g layers run in %s\n", what, row->threshold, got);
        check_table(what, &table);
        for (int s = 0; row->refresh && s < table.steps; s += row->refresh)
            CHECK(sdt_step_table_whole(&table, s), "%s: step %d is no refresh", what, s);
        CHECK((strstr(table.text, "nearest") != NULL) == (row->steps != 50), "%s: '%s'", what,
              table.text);
        sdt_step_table_clear(&table);
    }
    sdt_pipeline_close(pipeline);
}

/* Changes of the demo's conditioning, as the definition gives them in Python's doubles. */
static void check_changes(void) {
    static const float t[5] = {999.0f, 800.0f, 500.0f, 125.0f, 124.0f};
    static const double want[2][4] = {
        {0.6075186830002977, 0.46129178562104717, 0.6380290228963292, 0.015495553628264878},
        {0.43676233764899147, 0.41418238215040254, 0.5164712306444091, 0.008153446065905274}};
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_error err = {.message = ""};
    double change[5], largest = 0.0;
    char path[4200];
    const char *source = getenv("STARDIT_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo", source ? source : ".");
    if (sdt_pipeline_open(path, &pipeline, &err) != SDT_OK) {
        CHECK(0, "%s", err.message);
        return;
    }
    for (int m = 0; m < 2; m++) {
        enum sdt_status status = pipeline->dit->kind->changes(pipeline->dit, m, 5, t, change, &err);
        CHECK(status == SDT_OK && change[0] == 0.0, "changes: %s", err.message);
        for (int i = 0; i < 4; i++)
            largest = fmax(largest, fabs(change[i + 1] / want[m][i] - 1.0));
    }
    printf("changes of the conditioning: off by %.3g of them at most (limit 1e-5)\n", largest);
    CHECK(largest < 1e-5, "changes of the conditioning are off by %g", largest);
    sdt_pipeline_close(pipeline);
}

int main(void) {
    check_changes();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_row(&rows[i]);
    if (failures)
        fprintf(stderr, "%d checks failed\n", failures);
    return failures != 0;
}
