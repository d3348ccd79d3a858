/* Options that say which steps a request takes: their table lines, which stardit-generate and
 * stardit-simulate share, and what they mean for a request. */
#ifndef STARDIT_APPS_STEPS_H
#define STARDIT_APPS_STEPS_H

#include "apps/options.h"
#include "stardit/stardit.h"

#define APP_MOST_STEPS 1000

struct app_steps {
    const char *sigmas;
    double level[APP_MOST_STEPS]; /* of --sigmas; a request borrows it */
    const char *gate;             /* --cfg-gate */
    bool force_guidance;
    const char *cache;            /* --step-cache */
    int warmup;                   /* --warmup-steps */
    int refresh;                  /* --refresh-steps */
    int block;                    /* --block-frames */
    const char *overlap;          /* --overlap-frames; NULL: not given */
    bool skipped[APP_MOST_STEPS]; /* of --step-cache; a request borrows it */
};

/* Lines of a table; AT(field) is where a field of the struct lies. */
#define APP_STEPS_OPTIONS(AT)                                                                      \
    APP_STRING_OPTION("sigmas", "LIST", AT(sigmas),                                                \
                      "noise levels of the steps, falling, before the flow shift, in place of a "  \
                      "schedule's: 1,0.75,0.5,0.25, or 1000,750,500,250 (default: the "            \
                      "schedule's)"),                                                              \
        APP_STRING_OPTION("cfg-gate", "A-B[,delta]", AT(gate),                                     \
                          "guidance by two forwards in steps A to B alone, counted from 0; the "   \
                          "others take one, without guidance, or, with delta, those after B with " \
                          "the difference of step B's two (default: two in all)"),                 \
        APP_FLAG_OPTION("force-guidance", AT(force_guidance),                                      \
                        "guidance by two forwards also with checkpoints distilled to a few steps " \
                        "(sampler renoise, at most 8 --sigmas, or as stardit.json says), which "   \
                        "it blurs: they are refused else"),                                        \
        APP_STRING_OPTION(                                                                         \
            "step-cache", "magcache[:E,K]|teacache:E[,ret]|LIST", AT(cache),                       \
            "steps that skip the layers and add what these added before: those that "              \
            "MagCache's ratios allow, with an error up to E and at most K in a row, or "           \
            "TeaCache's polynomial of the time embedding (ret: of what layers are modulated "      \
            "by), or a list, as 10,12-14 (default: none)"),                                        \
        APP_INT_OPTION("warmup-steps", "W", AT(warmup), 1, APP_MOST_STEPS,                         \
                       "pipefusion: first steps that read no keys of the step before (default "    \
                       "1)"),                                                                      \
        APP_INT_OPTION("refresh-steps", "N", AT(refresh), 1, APP_MOST_STEPS,                       \
                       "with --step-cache and pipefusion: every N-th step runs all layers on "     \
                       "fresh keys, and a state for --resume can be kept there (default: none "    \
                       "for that reason)")

/* The same of blocks, with the same struct. */
#define APP_BLOCKS_OPTIONS(AT)                                                                     \
    APP_INT_OPTION("block-frames", "N", AT(block), 1, 1 << 20,                                     \
                   "dualparal: frames of the video that each block adds, a multiple of 4; the "    \
                   "result depends on it (default 32)"),                                           \
        APP_STRING_OPTION("overlap-frames", "N", AT(overlap),                                      \
                          "dualparal: frames that a block shares with each neighbour, a "          \
                          "multiple of 4, at most --block-frames; 0: none (default: as many as "   \
                          "a block adds)")

/* What --step-cache says, as it is written: "magcache:0.12,4", "10,12-14". */
void app_steps_cache_text(const struct sdt_request *request, char *text, size_t size);

/* Takes what was given into the request; steps_given: its number of steps was asked for.
 * SDT_ERROR_USAGE. */
enum sdt_status app_steps_take(struct app_steps *steps, bool steps_given,
                               struct sdt_request *request, struct sdt_error *err);

/* Predicted seconds of a plan's first `count` steps. */
double app_steps_seconds(const struct sdt_plan *plan, int count);
/* Do all of them run the same? */
bool app_steps_alike(const struct sdt_plan *plan);
/* Prints what steps run, where they are not alike: a line for each kind. */
void app_steps_print(const struct sdt_plan *plan);
#endif
