/* The table of kernels' tests: one entry for an operation, and it is tried as the CPU kernel, as
 * the body of the CUDA kernel on the host, and as the CUDA kernel on a GPU, each against the
 * plain version (kernels/reference.h) or the operation's definition.
 *
 * An entry says how the arrays of a call are made from some sizes (`make`), which sizes to try
 * (`grid`), and has a line for each way to call it. To add an operation, add its entry to the
 * array of its area, the file of this folder with the name of the kernel's file;
 * tests/kernels/operations.c lists the areas. Programs that run the table: cpu.c, cuda_bodies.c,
 * cuda.c.
 *
 * What is tried of each entry, without a line of its own:
 *  - F32, and on CUDA backends BF16: numbers are rounded first, so that the plain version sees
 *    them;
 *  - outputs that start as NaN, arrays of exact size (or between guards), aligned and not;
 *  - results in place of an input, where the entry says that this is allowed;
 *  - on CPUs each row alone, for the same bits, where the entry says that rows are apart. */
#ifndef STARDIT_TESTS_KERNELS_OPERATION_H
#define STARDIT_TESTS_KERNELS_OPERATION_H

#include <stdbool.h>

#include "kernels/cuda/kernels.h"
#include "kernels/reference.h"
#include "tests/kernels/check.h"

enum { SIZES = 12, MOST_PIECES = 2 * SDT_CUDA_PIECES + 10, ARRAYS = 3 + MOST_PIECES };

/* Of max |got - want| over the array, of max(0.1, max |want|): see check.h. */
struct limits {
    double f32;    /* 0: equal bits, in bfloat16 those of the rounded number */
    double gpu;    /* float32 on a GPU; 0: as f32 */
    double bodies; /* bfloat16 on the host; 0: f32 and half a unit of the last place */
    double l2; /* bfloat16 on a GPU, |got - want|_2 of |want|_2; 0: one rounding of the result */
};

struct array {
    enum sdt_dtype dtype;
    size_t n, row;        /* elements; in a row, 0: every row sees all of the array */
    bool absent, written; /* a NULL; an output, checked against `want` */
    float *start;         /* [n] before the call, as the type holds them */
    float *want;          /* [n] after it */
    float *first;         /* [n] on CPUs: what the first call gave, whose bits all others have */
    void *at;             /* [n] where it is computed now; NULL: absent */
    struct limits limits;
};

struct operation;
struct call {
    const struct operation *operation;
    int size[SIZES];
    enum sdt_dtype dtype; /* of what is not always float32 */
    bool own;             /* CUDA: our own kernel although a library has one */
    struct array array[ARRAYS];
    int arrays;
    double value; /* what a call gives back beside arrays, compared as it is */
};

struct operation {
    const char *name;
    void (*grid)(const struct operation *operation); /* calls TRY for each mix of sizes */
    void (*make)(struct call *call);                 /* arrays from sizes */
    void (*plain)(struct call *call);
    void (*cpu)(struct call *call);  /* NULL: none */
    void (*cuda)(struct call *call); /* NULL: none; on the host as on a GPU */
    struct limits limits;
    int rows;     /* which size counts rows that are apart, and */
    bool by_rows; /* whether one does */
    bool float32; /* arrays say their types themselves */
    bool ways;    /* a library has it as well */
    /* Whether cuDNN would make a plan for this call (aligned, of type bfloat16), which takes it a
     * second; NULL: never. With --small it makes one for every so manieth of them only. */
    bool (*planned)(const struct call *call);
    unsigned plan_every;
    int in_place[2][2]; /* pairs of an output and the input that it may be */
    int pairs;
    bool (*skip)(const struct call *call, bool shifted); /* takes long there, and shows no more */
    void (*also)(struct call *call); /* on CPUs: other checks of equal bits after a call */
    void (*more)(void);              /* on CPUs: what is no call of this shape */
};

/* Areas end with an entry without a name. */
extern const struct operation attention_operations[], conv_operations[], convert_operations[],
    elementwise_operations[], finite_operations[], frames_operations[], group_norm_operations[],
    heads_operations[], latent_operations[], linear_operations[], norm_operations[],
    sampler_operations[], upsample_operations[];

/* ---- for entries ----------------------------------------------------------------------------- */

/* The next array, of the call's type or of one of its own. Inputs are random, -scale..scale. */
struct array *in(struct call *call, size_t n, float scale);
struct array *in_type(struct call *call, enum sdt_dtype dtype, size_t n, float scale);
struct array *out(struct call *call, size_t n);
struct array *out_type(struct call *call, enum sdt_dtype dtype, size_t n);
struct array *in_out(struct call *call, size_t n, float scale);
struct array *in_out_type(struct call *call, enum sdt_dtype dtype, size_t n, float scale);
void absent(struct call *call); /* NULL in the next array's place */
struct array *in_if(struct call *call, bool given, enum sdt_dtype dtype, size_t n, float scale);

static inline void *at(const struct call *call, int i) { return call->array[i].at; }
/* Work space until the end of the call, NaN; NULL for 0 bytes. */
void *scratch(size_t bytes);
/* What a CUDA call returned: waits for it, and ends the program if it failed. */
void done(const struct call *call, enum sdt_status status);
void operation_try(const struct operation *operation, const int *size /* [SIZES] */);
#define TRY(...) operation_try(operation, (const int[SIZES]){__VA_ARGS__})

/* ---- for programs ---------------------------------------------------------------------------- */

struct backend {
    enum { CPU, BODIES, GPU } kind;
    int ways; /* 2: with and without libraries */
    void *(*put)(enum sdt_dtype dtype, size_t n, bool shifted, const float *x /* [n] or NULL */);
    float *(*get)(enum sdt_dtype dtype, size_t n, const void *x);
    bool (*release)(void); /* all arrays; false: something was written beside one */
    void (*wait)(enum sdt_status status, const char *what); /* NULL on CPUs */
    void (*prefer_own)(bool own);
};
extern const struct backend backend; /* of this program */
extern struct sdt_cuda *cuda;        /* NULL on the host */
extern bool small;                   /* only what compute-sanitizer gets through in minutes */

/* The table. Options: --small; --own, no libraries but cuBLAS; --plans, counts the plans that cuDNN
 * would be asked for and does nothing else, so that no GPU is needed; or an operation's name. */

/* Arrays in the host's memory, for backends there. */
void *host_put(enum sdt_dtype dtype, size_t n, bool shifted, const float *x);
float *host_get(enum sdt_dtype dtype, size_t n, const void *x);
bool host_release(void);
float rounded_to(enum sdt_dtype dtype, float x);

/* Tries all of it, or the operation that the program's argument names. */
void operations_run(int argc, char **argv);

#endif
