/* One video geometry on one group of devices: what every transformer needs to run there, whatever
 * model it is.
 *
 * A run holds the buffers that all layers, steps and requests of that geometry use: for each stream
 * a residual x and a work row z per tile, rings of work buffers, and what the strategy's self
 * attention keeps. A branch of guidance has a stream of its own or shares one; branches with
 * streams of their own are interleaved layer by layer. The model (graph/models/family.h) fills in
 * what happens to a tile; the strategy says in which order and where. */
#ifndef STARDIT_RUN_H
#define STARDIT_RUN_H

#include "graph/models/family.h"
#include "graph/run/steps.h"
#include "graph/strategies/strategy.h"

/* Work buffers that a device's tiles take turns with: enough that its workers do not wait for one
 * another, few enough that memory does not grow with the sequence. */
struct sdt_turns {
    int count, next;
    sdt_handle *handle;
};

/* The buffers of one forward in flight. Branches that share a stream follow one another. */
struct sdt_stream {
    sdt_handle *x;            /* [tiles] -> [rows, d], the residual stream */
    sdt_handle *z;            /* [tiles] -> [rows, d], normalised input, merged attention output */
    struct sdt_turns *raw;    /* [devices] -> [rows, d] */
    struct sdt_turns *hidden; /* [devices] -> [rows, dit->hidden] */
    struct sdt_attention_buffers attention;
    sdt_handle vector[SDT_STREAM_VECTORS]; /* of the step: dit->vector */
    sdt_handle other[SDT_STREAM_VECTORS];  /* of the step before, where steps overlap; else NULL */
};

/* What a branch of guidance has of its own, whether it has a stream of its own or not. */
struct sdt_branch {
    struct sdt_stream *stream;
    sdt_handle *velocity;            /* [video tiles] -> [rows, C*patch] float32 */
    const struct sdt_prompt *prompt; /* borrowed from the job; set before a step */
    /* What layers added, [video tiles] -> [rows, d], borrowed from the job; set before a step. A
     * branch that skips adds it in the place of layers, one that keeps writes it; NULL: neither. */
    const sdt_handle *kept;
    bool skips, keeps;
    /* Keys and values that outlive a step, of strategies whose attention is stale: [layers, 2,
     * chunks], borrowed from the job; set before a step. */
    const sdt_handle *stale;
    /* Keys and values that a block leaves to the one before it, which follows it through the
     * layers: [layers, 2, chunks] -> [heads of c, overlap, e]; of strategies with blocks, else
     * NULL. */
    sdt_handle *shared;
};

struct sdt_run {
    /* Where the branches have devices of their own: the negative prompt's run, with branch 1 alone;
     * this one has branch 0. The same tiles and weights; the latent is at home in this one. */
    struct sdt_run *apart;
    struct sdt_dit *dit;
    struct sdt_machine *machine;
    struct sdt_parallel parallel;
    struct sdt_geometry geometry;
    struct sdt_layout layout;
    struct sdt_rope rope;
    float *rope_values;
    sdt_handle rope_table;
    struct sdt_parameters *parameters;
    bool own_parameters;
    struct sdt_place prompt, prompt_host; /* where what all devices read of a prompt is made */
    struct sdt_collective *collective;    /* NULL: StarPU's own transfers */
    void *bound;                          /* the model's struct of weight handles */
    struct sdt_tensor_handles *layer;     /* [layers]: the same, by layer */
    int first_branch, branches, streams;  /* it has first_branch..branches-1 */
    struct sdt_branch branch[2];
    struct sdt_stream *stream; /* [streams] */
    /* Of strategies with blocks: forwards that may be on their way at a time, one of a block after
     * the other, have a stream each, of which they use x and the vectors; all else is that of the
     * stream with the number of the device that they are at. */
    struct sdt_stream *flight; /* [streams, devices]: these put together; NULL: no blocks */
    unsigned long flights;     /* that have begun; of strategies with patches too */
    sdt_handle *context; /* [video tiles]: input of tiles whose frames are not all the block's;
                                * NULL for others */
    sdt_handle *input;   /* [video tiles]: of the block at hand */
    struct sdt_schedule schedule; /* of the prompts to be made; set before, borrowed until then */
    /* Set at a step's boundary, by whoever inserts it. */
    int step; /* of the schedule that the branches' prompts were made for */
    float guidance;
    bool offloads;     /* weights do not all fit: the next layer's are fetched while one computes */
    bool helpers_free; /* aco static: nothing is being decoded */
    bool fresh;        /* attention reads no keys of steps before */
    bool sees_next, is_seen; /* of a block: struct sdt_self_attention */
    const int *layers;       /* [count], rising: a step of these alone, simulated; NULL: of all */
    int layers_count;
};

/* The run that has this branch: where to find and to set what is of the branch. */
static inline struct sdt_run *sdt_run_of(struct sdt_run *run, int branch) {
    return branch > 0 && run->apart ? run->apart : run;
}

/* parameters: weights that several runs share, and that outlive them; NULL: the run has its own.
 * text: tokens that join self attention, of the longest branch; 0 where none do. The first failure
 * is left in the flow and gives NULL. The machine outlives the run. */
struct sdt_run *sdt_run_new(struct sdt_flow *flow, struct sdt_dit *dit, struct sdt_machine *machine,
                            struct sdt_parameters *parameters, const struct sdt_parallel *parallel,
                            struct sdt_geometry geometry, int branches, int text);
/* The run's tasks have been waited for. NULL is fine. */
void sdt_run_free(struct sdt_run *run);
/* Makes a prompt's handles for run->schedule, tagged as the branch's. The caller clears it. */
void sdt_run_prompt(struct sdt_flow *flow, struct sdt_run *run, int branch,
                    const struct sdt_text_states *text /* [dit->texts] */,
                    struct sdt_prompt *prompt);

/* All prompts of a job have been inserted: waits for them, and gives back the weights that nothing
 * else reads. */
void sdt_run_prompts_done(struct sdt_flow *flow, struct sdt_run *run);

/* velocity(b) = model(latent, t) of branches 0..branches-1, as the strategy orders it.
 * latent: [video tiles] -> [rows, C*patch], at their home devices. */
void sdt_run_step(struct sdt_flow *flow, struct sdt_run *run, int branches, float t,
                  const sdt_handle *latent);
/* The order of most strategies: layer by layer. */
void sdt_run_layers(struct sdt_flow *flow, struct sdt_run *run, struct sdt_branches branches,
                    float t, const sdt_handle *latent);

/* The pieces of sdt_run_layers, for strategies that order them otherwise: what a step is
 * conditioned on, once; then a part of the tiles into the layers, through each, and out. */
void sdt_run_condition(struct sdt_flow *flow, struct sdt_run *run, int branch, float t);
void sdt_run_embed(struct sdt_flow *flow, struct sdt_run *run, int branch, struct sdt_span span,
                   const sdt_handle *latent);
void sdt_run_layer(struct sdt_flow *flow, struct sdt_run *run, int branch, struct sdt_span span,
                   int layer);
void sdt_run_end(struct sdt_flow *flow, struct sdt_run *run, int branch, struct sdt_span span);
/* Keys and values of all layers of one branch, as struct sdt_branch has them; the caller frees the
 * array and unregisters what it holds. NULL: out of memory, which the flow says. */
sdt_handle *sdt_run_stale(struct sdt_flow *flow, const struct sdt_run *run);
/* What a block takes in: its own tiles, and in front of them frames of the block before as its own
 * latent has them. */
const sdt_handle *sdt_run_input(struct sdt_flow *flow, struct sdt_run *run,
                                const sdt_handle *own /* [video tiles] */,
                                const sdt_handle *before /* [video tiles] */);
static inline int sdt_run_stale_count(const struct sdt_run *run) {
    return 2 * run->dit->layers * run->layout.chunks;
}

/* ---- for models: where a task goes, and what it works in ------------------------------------- */

/* The flow's next tasks run where the strategy puts this tile and layer. */
void sdt_run_at(struct sdt_flow *flow, const struct sdt_run *run, struct sdt_at at,
                enum sdt_role role);
/* Rows of the tile. */
static inline int sdt_rows(const struct sdt_run *run, struct sdt_at at) {
    return sdt_tile_size(&run->layout, at.tile);
}
/* Brings all layers' weights to the devices that read them, and waits for them. */
void sdt_run_load(struct sdt_flow *flow, struct sdt_run *run);
/* The next work buffer of the tile's device. */
sdt_handle sdt_run_raw(struct sdt_run *run, struct sdt_at at);
sdt_handle sdt_run_hidden(struct sdt_run *run, struct sdt_at at);
/* The flow's next tasks make what layer `layer` of a prompt keeps. */
void sdt_run_at_prompt(struct sdt_flow *flow, const struct sdt_run *run, int layer);
/* The flow's next tasks run at the host, where weights are mapped; of several ranks at each that
 * has some of the run's devices. */
void sdt_run_at_host(struct sdt_flow *flow, const struct sdt_run *run);

/* Where a layer of a tile is computed, an index of layout->place. Layer -1: before the layers;
 * dit->layers: after them. */
static inline int sdt__run_device(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                                  const struct sdt_layout *layout, int layer, int tile) {
    return strategy->device ? strategy->device(layout, dit->layers, layer, tile)
                            : layout->home[tile];
}
/* Work buffers that a device's tiles take turns with. */
int sdt__run_turns(const struct sdt_layout *layout, const struct sdt_strategy *strategy,
                   int device);

/* Forwards of blocks that may be on their way: one on each device, and one that is handed on. */
int sdt__run_flights(const struct sdt_layout *layout);

/* ---- predictions (predict.c) ----------------------------------------------------------------- */

/* Which devices have which branches, and their layouts: one part with all of them, or, where these
 * are apart, one for each branch. */
struct sdt_run_part {
    struct sdt_parallel parallel;
    struct sdt_layout layout;
    int first; /* its first device, of the group's */
    int branches;
};
struct sdt_run_parts {
    int count;
    struct sdt_run_part part[2];
};
/* Of a geometry. branches, text as in sdt_run_new: one branch has all devices. Errors as
 * sdt_layout_init. */
enum sdt_status sdt_run_parts(const struct sdt_dit *dit, const struct sdt_parallel *parallel,
                              struct sdt_geometry geometry, int branches, int text,
                              struct sdt_run_parts *parts, struct sdt_error *err);
void sdt_run_parts_clear(struct sdt_run_parts *parts); /* after a failure too */
/* Bytes on device `device` of a group; text_rows: of a prompt, made for so many steps. `least`:
 * with weights that come and go layer by layer, two layers at a time, kept in the host's memory
 * meanwhile. keeping: what steps keep. */
struct sdt_need {
    double all, least;
};
struct sdt_need sdt_run_need(const struct sdt_dit *dit, const struct sdt_run_parts *parts,
                             int device, int text_rows, int steps, struct sdt_step_keeping keeping);
/* Bytes that one forward of one branch moves between devices, exactly: the strategy's exchanges,
 * tiles between layers on different devices, and the step's vectors to every device that takes
 * part. For a branch that has all of the layout's text. */
double sdt_run_exchanged(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                         const struct sdt_layout *layout);
/* The same of one that skips the layers. */
double sdt_run_exchanged_ends(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                              const struct sdt_layout *layout);
/* Bytes of a step beside those of its forwards: latents that are at home on another device than
 * that on which they begin. */
double sdt_run_exchanged_latent(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                                const struct sdt_layout *layout);
/* The same of all steps of all blocks, but for what they start from, which comes from the host. */
double sdt_run_exchanged_blocks(const struct sdt_dit *dit, const struct sdt_strategy *strategy,
                                const struct sdt_layout *layout, const struct sdt_blocks *blocks);
/* Bytes that go between the parts in a step of both branches: the latent, and a velocity back. */
double sdt_run_exchanged_apart(const struct sdt_dit *dit, const struct sdt_run_parts *parts);
#endif
