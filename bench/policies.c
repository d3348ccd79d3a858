/* Whole runs in simulated time, each policy on each scenario: how far each is from what no schedule
 * can beat. Every run is a process of its own (bench/simulated.h), as many at once as there are
 * cores. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bench/policies.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "apps/options.h"
#include "base/folder.h"
#include "bench/simulated.h"
#include "runtime/allowance.h"

static const char name_of_program[] = "stardit-bench policies";

enum { MOST_ARGUMENTS = 24, MOST_POLICIES = 16, MOST_LENGTH = 4200 };

struct scenario {
    const char *name, *what, *platform;
    const char *argument[MOST_ARGUMENTS]; /* of stardit-simulate, NULL at the end */
};

static const struct scenario scenarios[] = {
    {"paper",
     "PipeDiT's: Open-Sora-Plan at 480x352x65 on 8 A6000, 7 denoise and 1 decodes",
     "a6000x8",
     {"--model", "open-sora-plan-1.3", "--width", "480", "--height", "352", "--num-frames", "65",
      "--prompts", "2", "--num-inference-steps", "60", "--strategy", "pipesp", "--dit-devices",
      "0-6", "--vae-devices", "7"}},
    {"aco",
     "attention goes where it ends first: Wan at 480x352x17 on 4 A6000, of which 1 decodes",
     "a6000x8",
     {"--model",
      "wan-1.3b",
      "--width",
      "480",
      "--height",
      "352",
      "--num-frames",
      "17",
      "--prompts",
      "2",
      "--num-inference-steps",
      "60",
      "--devices",
      "4",
      "--dit-devices",
      "0-2",
      "--vae-devices",
      "3",
      "--aco",
      "dynamic"}},
    {"mixed",
     "unequal GPUs: Wan at 480x352x33 on 2 A6000, 2 L40 and 4 of half speed",
     "mixed",
     {"--model", "wan-1.3b", "--width", "480", "--height", "352", "--num-frames", "33", "--prompts",
      "1", "--num-inference-steps", "40", "--strategy", "ulysses"}},
    {"pcie",
     "exchanges over two PCIe switches: Wan at 832x480x33 on 8 L40, chunk by chunk",
     "l40x8",
     {"--model", "wan-1.3b", "--width", "832", "--height", "480", "--num-frames", "33", "--prompts",
      "1", "--num-inference-steps", "40", "--strategy", "pipesp"}},
    {"prompts",
     "ten prompts of 256x256x9 on 4 H100, 2 denoise and 2 decode",
     "h100x8",
     {"--model", "wan-1.3b", "--width", "256", "--height", "256", "--num-frames", "9", "--prompts",
      "10", "--num-inference-steps", "20", "--devices", "4", "--dit-devices", "0-1",
      "--vae-devices", "2-3"}},
    {"tiny",
     "to try a policy: Wan at 64x64x5 on 2 A6000",
     "a6000x8",
     {"--model", "wan-1.3b", "--width", "64", "--height", "64", "--num-frames", "5", "--prompts",
      "1", "--num-inference-steps", "2", "--devices", "2"}},
};
enum { SCENARIOS = sizeof scenarios / sizeof scenarios[0], SHOWN = SCENARIOS - 1 };

/* One policy in one scenario. */
struct run {
    const struct scenario *scenario;
    const char *policy;
    char stats[MOST_LENGTH], errors[MOST_LENGTH], gantt[MOST_LENGTH];
    struct app_simulation_process process;
    double seconds, ratio;
    bool failed;
    char why[600];
};

struct settings {
    const char *policies, *scenario, *platforms, *gantt;
    int layers;
    struct run *run; /* [scenarios of this call][policies] */
    int count, policy_count, scenario_count;
    char list[2000];
    const char *policy[MOST_POLICIES];
};

/* ---- what to run ----------------------------------------------------------------------------- */

static enum sdt_status split(struct settings *s, struct sdt_error *err) {
    snprintf(s->list, sizeof s->list, "%s", s->policies);
    for (char *at = s->list, *next; at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = '\0';
        if (!*at || s->policy_count == MOST_POLICIES)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--scheduler %s: must be 1 to %d policies, as pipedit,lws,mine.so",
                            s->policies, MOST_POLICIES);
        s->policy[s->policy_count++] = at;
    }
    return SDT_OK;
}

/* As part of a file's name. */
static const char *short_name(const char *policy) {
    const char *slash = strrchr(policy, '/');
    return slash ? slash + 1 : policy;
}

static enum sdt_status prepare(struct settings *s, const char *folder, struct sdt_error *err) {
    s->run = calloc((size_t)SCENARIOS * (size_t)s->policy_count, sizeof *s->run);
    if (!s->run)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory");
    if (s->gantt && !strcmp(s->gantt, "-"))
        return sdt_fail(err, SDT_ERROR_USAGE, "--gantt -: is a folder of pictures; give it a name");
    if (s->gantt && mkdir(s->gantt, 0777) && errno != EEXIST)
        return sdt_fail(err, SDT_ERROR_IO, "%s: %s", s->gantt, strerror(errno));
    for (int i = 0; i < SCENARIOS; i++) {
        if (s->scenario ? strcmp(s->scenario, scenarios[i].name) != 0 : i >= SHOWN)
            continue;
        s->scenario_count++;
        for (int p = 0; p < s->policy_count; p++) {
            struct run *run = &s->run[s->count];
            run->scenario = &scenarios[i];
            run->policy = s->policy[p];
            snprintf(run->stats, sizeof run->stats, "%s/%d.json", folder, s->count);
            snprintf(run->errors, sizeof run->errors, "%s/%d.err", folder, s->count);
            snprintf(run->gantt, sizeof run->gantt, "%s/%s-%s.svg", s->gantt ? s->gantt : "",
                     run->scenario->name, short_name(run->policy));
            s->count++;
        }
    }
    return SDT_OK;
}

/* ---- running --------------------------------------------------------------------------------- */

static enum sdt_status start(const struct settings *s, struct run *run, struct sdt_error *err) {
    const char *argument[2 * MOST_ARGUMENTS];
    char platform[MOST_LENGTH], layers[16];
    int count = 0;
    snprintf(platform, sizeof platform, "%s/%s", s->platforms, run->scenario->platform);
    snprintf(layers, sizeof layers, "%d", s->layers);
    const char *own[] = {"--platform",      platform,      "--layers",  layers,    "--fast-forward",
                         "--prompt-embeds", "--scheduler", run->policy, "--stats", run->stats};
    for (const char *const *a = run->scenario->argument; *a; a++)
        argument[count++] = *a;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        argument[count++] = own[i];
    if (s->gantt) {
        argument[count++] = "--gantt";
        argument[count++] = run->gantt;
    }
    argument[count] = NULL;
    return app_simulation_beside(argument, run->errors, &run->process, err);
}

static void finish(struct run *run) {
    struct sdt_error err;
    json_t *stats = app_simulation_stats(run->stats, run->errors, &run->process, &err);
    run->failed = !stats;
    if (!stats) {
        snprintf(run->why, sizeof run->why, "%s", err.message);
        return;
    }
    const json_t *bounds = json_object_get(stats, "bounds");
    run->ratio = json_number_value(json_object_get(bounds, "ratio"));
    run->seconds = json_number_value(json_object_get(stats, "total_seconds"));
    json_decref(stats);
}

static enum sdt_status run_all(struct settings *s, struct sdt_error *err) {
    struct sdt_allowance allowance;
    int started = 0, ended = 0;
    enum sdt_status status = SDT_OK;
    sdt__allowance_read("", &allowance);
    while (ended < started || (started < s->count && status == SDT_OK)) {
        if (started < s->count && started - ended < allowance.workers && status == SDT_OK) {
            status = start(s, &s->run[started], err);
            started += status == SDT_OK;
            continue;
        }
        struct run *run = &s->run[ended++]; /* in their order: the others go on meanwhile */
        app_simulation_wait(&run->process);
        finish(run);
    }
    return status;
}

/* ---- the table ------------------------------------------------------------------------------- */

static void print_row(const struct settings *s, int row) {
    const struct run *run = &s->run[row * s->policy_count];
    double best = INFINITY;
    for (int p = 0; p < s->policy_count; p++)
        best = run[p].failed ? best : fmin(best, run[p].ratio);
    printf("%-9s", run->scenario->name);
    for (int p = 0; p < s->policy_count; p++)
        if (run[p].failed)
            printf(" %12s", "failed");
        else
            printf(" %11.4f%c", run[p].ratio, run[p].ratio <= best * (1.0 + 1e-9) ? '*' : ' ');
    printf("\n%-9s", "");
    for (int p = 0; p < s->policy_count; p++)
        if (run[p].failed)
            printf(" %12s", "");
        else
            printf(" %10.4f s", run[p].seconds);
    printf("\n");
}

static void print(const struct settings *s) {
    printf(
        "makespan over the larger lower bound (*: the least), and seconds; models of %d layers\n",
        s->layers);
    printf("%-9s", "");
    for (int p = 0; p < s->policy_count; p++)
        printf(" %12s", short_name(s->policy[p]));
    printf("\n");
    for (int i = 0; i < s->scenario_count; i++)
        print_row(s, i);
    for (int i = 0; i < s->scenario_count; i++) {
        const struct scenario *scenario = s->run[i * s->policy_count].scenario;
        printf("%s: %s (platform %s)\n", scenario->name, scenario->what, scenario->platform);
    }
}

int app_bench_policies(int argc, char **argv) {
    struct settings s = {
        .policies = "pipedit,static,example,dmdas,lws", .platforms = "platforms", .layers = 4};
    struct app_option options[] = {
        APP_STRING_OPTION("scheduler", "LIST", &s.policies,
                          "policies between commas; mine.so: the policy \"mine\" of that module, "
                          "compiled for simulated time (default "
                          "pipedit,static,example,dmdas,lws)"),
        APP_CHOICE_OPTION("scenario", "paper|aco|mixed|pcie|prompts|tiny", &s.scenario,
                          "this one alone (default: all but tiny)"),
        APP_INT_OPTION("layers", "K", &s.layers, 2, 1000, "of the transformers (default 4)"),
        APP_STRING_OPTION("platforms", "DIR", &s.platforms,
                          "the folder with the platforms (default platforms)"),
        APP_STRING_OPTION("gantt", "DIR", &s.gantt,
                          "a picture of each run there, SCENARIO-POLICY.svg"),
    };
    struct app_program program = {
        .name = name_of_program,
        .usage = "[options]",
        .summary = "Runs policies on scenarios in simulated time and prints how far each is from "
                   "what no schedule can beat: the longest chain of tasks, or all work shared by "
                   "all devices.",
        .options = options,
        .count = sizeof options / sizeof options[0],
    };
    struct sdt_error err;
    char *folder = NULL;
    int failed = 0;

    int code = app_parse(&program, argc, argv);
    if (code >= 0)
        return code;
    enum sdt_status status = split(&s, &err);
    if (status == SDT_OK)
        status = sdt__folder_make(&folder, &err);
    if (status == SDT_OK)
        status = prepare(&s, folder, &err);
    if (status == SDT_OK)
        status = run_all(&s, &err);
    if (status == SDT_OK)
        print(&s);
    for (int i = 0; status == SDT_OK && i < s.count; i++)
        if (s.run[i].failed && ++failed)
            fprintf(stderr, "%s: %s, %s: %s\n", name_of_program, s.run[i].scenario->name,
                    short_name(s.run[i].policy), s.run[i].why);
    sdt__folder_remove(folder);
    free(s.run);
    if (status != SDT_OK)
        return app_report(name_of_program, &err);
    code = app_flush(name_of_program);
    return failed ? 1 : code;
}
