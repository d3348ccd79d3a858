/* One forward of a transformer on given numbers, from host to host: for programs and tests that
 * compare. */
#ifndef STARDIT_FORWARD_H
#define STARDIT_FORWARD_H

#include "graph/run/run.h"

struct sdt_forward {
    struct sdt_dit *dit;
    struct sdt_machine *machine;
    struct sdt_parallel parallel;
    struct sdt_geometry geometry;
    float *latent; /* [C, T, H, W] */
    float *text;   /* [rows, text_dim] */
    int rows, pad_rows;
    float *pooled; /* [pooled_dim]; NULL where there is none */
    float t, guidance;
    bool offloads; /* fetch ahead as if weights came and went */
    /* Shown the layout before anything is inserted; or NULL. */
    void (*look)(void *arg, const struct sdt_layout *layout);
    void *look_arg;
};
/* velocity: [C, T, H, W] written. Errors of the tasks. After SDT_ERROR_STALLED the arrays are still
 * in use. */
enum sdt_status sdt_forward_once(const struct sdt_forward *forward, float *velocity,
                                 struct sdt_error *err);
#endif
