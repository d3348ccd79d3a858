/* Runs the table of operation.h on the program's backend. */
#include "tests/kernels/operation.h"
#include "tests/light.h"

bool small;
static bool own_only, counting;

static const struct operation *const areas[] = {
    attention_operations, conv_operations,   convert_operations,    elementwise_operations,
    finite_operations,    frames_operations, group_norm_operations, heads_operations,
    latent_operations,    linear_operations, norm_operations,       sampler_operations,
    upsample_operations,
};

/* Relative L2 in bfloat16: a rounded result, with room; that alone gives 1.7e-3. */
static const double one_rounding = 3e-3;

/* ---- arrays of a call ------------------------------------------------------------------------ */

static struct array *next(struct call *call, enum sdt_dtype dtype, size_t n) {
    if (call->arrays == ARRAYS)
        abort();
    struct array *a = &call->array[call->arrays++];
    *a = (struct array){.dtype = dtype, .n = n, .limits = call->operation->limits};
    return a;
}

struct array *in_type(struct call *call, enum sdt_dtype dtype, size_t n, float scale) {
    struct array *a = next(call, dtype, n);
    a->start = numbers(n, scale);
    return a;
}

struct array *in(struct call *call, size_t n, float scale) {
    return in_type(call, call->dtype, n, scale);
}

struct array *out_type(struct call *call, enum sdt_dtype dtype, size_t n) {
    struct array *a = next(call, dtype, n);
    a->written = true;
    return a;
}

struct array *out(struct call *call, size_t n) {
    return out_type(call, call->dtype, n);
}

struct array *in_out_type(struct call *call, enum sdt_dtype dtype, size_t n, float scale) {
    struct array *a = in_type(call, dtype, n, scale);
    a->written = true;
    return a;
}

struct array *in_out(struct call *call, size_t n, float scale) {
    return in_out_type(call, call->dtype, n, scale);
}

void absent(struct call *call) { next(call, SDT_F32, 0)->absent = true; }

struct array *in_if(struct call *call, bool given, enum sdt_dtype dtype, size_t n, float scale) {
    if (given)
        return in_type(call, dtype, n, scale);
    absent(call);
    return &call->array[call->arrays - 1];
}

/* ---- arrays on the host ---------------------------------------------------------------------- */

float rounded_to(enum sdt_dtype dtype, float x) {
    uint16_t half;
    if (dtype != SDT_BF16)
        return x;
    sdt_convert_to_reference(SDT_F32, 1, &x, &half);
    sdt_convert_reference(SDT_BF16, 1, &half, &x);
    return x;
}

/* The address sanitizer sees every step outside of an array of exact size; elsewhere there are
 * guards beside it. */
#ifdef __SANITIZE_ADDRESS__
enum { GUARD = 0 };
#else
enum { GUARD = 64 };
#endif
enum { HOST_ARRAYS = 2048 };
static struct {
    unsigned char *base;
    size_t before, bytes; /* to the array; of it */
} host[HOST_ARRAYS];
static int hosts;

void *host_put(enum sdt_dtype dtype, size_t n, bool shifted, const float *x) {
    size_t size = sdt_dtype_size(dtype), bytes = n * size;
    size_t before = GUARD + (shifted ? size : 0);
    unsigned char *base = malloc(before + bytes + GUARD + (before + bytes == 0));
    if (!base || hosts == HOST_ARRAYS || (uintptr_t)base % 16)
        abort();
    memset(base, 0xff, before + bytes + GUARD); /* NaN */
    host[hosts].base = base;
    host[hosts].before = before;
    host[hosts++].bytes = bytes;
    for (size_t i = 0; x && i < n; i++) {
        uint16_t half;
        if (dtype == SDT_BF16) {
            sdt_convert_to_reference(SDT_F32, 1, x + i, &half);
            memcpy(base + before + i * size, &half, size);
        } else {
            memcpy(base + before + i * size, x + i, size);
        }
    }
    return base + before;
}

float *host_get(enum sdt_dtype dtype, size_t n, const void *x) {
    float *y = blank(n);
    if (n > 0)
        sdt_convert_reference(dtype, n, x, y);
    return y;
}

bool host_release(void) {
    bool whole = true;
    while (hosts > 0) {
        hosts--;
        const unsigned char *base = host[hosts].base;
        size_t before = host[hosts].before, end = before + host[hosts].bytes;
        for (size_t i = 0; i < before; i++)
            whole = whole && base[i] == 0xff;
        for (size_t i = 0; i < GUARD; i++)
            whole = whole && base[end + i] == 0xff;
        free(host[hosts].base);
    }
    return whole;
}

void *scratch(size_t bytes) { return bytes ? backend.put(SDT_U8, bytes, false, NULL) : NULL; }

void done(const struct call *call, enum sdt_status status) {
    backend.wait(status, call->operation->name);
}

/* ---- one call -------------------------------------------------------------------------------- */

static struct {
    unsigned calls, planned, plans; /* that cuDNN would plan for; and for which it is asked */
    double worst, limit;            /* the largest part of its limit that an error has had */
} seen;

static const char *label(const struct call *call, const char *what) {
    static char text[256];
    int last = SIZES;
    while (last > 0 && call->size[last - 1] == 0)
        last--;
    int at = snprintf(text, sizeof text, "%s(", call->operation->name);
    for (int i = 0; i < last; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, i ? " %d" : "%d", call->size[i]);
    snprintf(text + at, sizeof text - (size_t)at, ") %s%s%s", sdt_dtype_name(call->dtype),
             call->own ? " own" : "", what);
    return text;
}

/* The largest error of the largest number, or the relative L2 error. */
static double error_of(const struct array *a, const float *got, bool l2) {
    double worst = 0., scale = 0.1, error = 0., norm = 0.;
    for (size_t i = 0; i < a->n; i++) {
        double e = fabs((double)got[i] - a->want[i]);
        worst = e <= worst ? worst : isnan(e) ? INFINITY : e; /* a NaN too */
        scale = fmax(scale, fabs((double)a->want[i]));
        error += e * e;
        norm += (double)a->want[i] * a->want[i];
    }
    norm = fmax(norm, 0.1 * (double)a->n); /* few small numbers are not held to their own size */
    return !l2 ? worst / scale : isnan(error) ? INFINITY : sqrt(error / fmax(norm, 1e-30));
}

static void check_array(const struct call *call, const struct array *a, const float *got,
                        const char *what) {
    const struct limits *limits = &a->limits;
    if (limits->f32 == 0.) { /* moved: the bits of the number, rounded */
        float *want = blank(a->n);
        for (size_t i = 0; i < a->n; i++)
            want[i] = rounded_to(a->dtype, a->want[i]);
        check_bits(a->n, got, want, "%s", label(call, what));
        free(want);
        return;
    }
    bool half = a->dtype == SDT_BF16, l2 = half && backend.kind == GPU;
    double limit = l2                            ? (limits->l2 > 0. ? limits->l2 : one_rounding)
                   : half && limits->bodies > 0. ? limits->bodies
                   : half                        ? limits->f32 + 0x1.01p-8
                   : backend.kind == GPU && limits->gpu > 0. ? limits->gpu
                                                             : limits->f32;
    if (l2 && a->n < 64)
        limit += 1e-3; /* few numbers may all be nearly half a unit away */
    double error = error_of(a, got, l2);
    if (!(error / limit <= seen.worst)) {
        seen.worst = error / limit;
        seen.limit = limit;
    }
    if (l2) {
        check_count++;
        if (!(error <= limit) && ++check_failures)
            fprintf(stderr, "%s: relative L2 error %.3g, limit %.3g\n", label(call, what), error,
                    limit);
    } else {
        check_near(a->n, got, a->want, limit, "%s", label(call, what));
    }
}

static void put_all(struct call *call, bool shifted) {
    for (int i = 0; i < call->arrays; i++) {
        struct array *a = &call->array[i];
        a->at = a->absent ? NULL : backend.put(a->dtype, a->n, shifted, a->start);
    }
}

static void release(const struct call *call) {
    check_count++;
    if (!backend.release() && ++check_failures)
        fprintf(stderr, "%s: wrote outside of an array\n", label(call, ""));
}

static void check_all(struct call *call, const char *what) {
    for (int i = 0; i < call->arrays; i++) {
        struct array *a = &call->array[i];
        if (!a->written || a->absent)
            continue;
        float *got = backend.get(a->dtype, a->n, a->at);
        check_array(call, a, got, what);
        if (backend.kind != CPU)
            free(got);
        else if (!a->first)
            a->first = got;
        else {
            check_bits(a->n, got, a->first, "%s", label(call, what));
            free(got);
        }
    }
}

/* What the plain version makes of float32 arrays on the host. */
static void plain(struct call *call) {
    for (int i = 0; i < call->arrays; i++) {
        struct array *a = &call->array[i];
        a->at = a->absent ? NULL : a->start ? copy_of(a->n, a->start) : blank(a->n);
    }
    call->operation->plain(call);
    for (int i = 0; i < call->arrays; i++) {
        struct array *a = &call->array[i];
        if (a->written)
            a->want = a->at;
        else
            free(a->at);
    }
}

/* Each row alone has the bits of all together, in place too. */
static void check_rows(struct call *whole) {
    const struct operation *operation = whole->operation;
    int rows = whole->size[operation->rows];
    for (int in_place = 0; in_place <= (operation->pairs > 0); in_place++) {
        struct call *all = malloc(sizeof *all), *one = malloc(sizeof *one);
        if (!all || !one)
            abort();
        *all = *whole;
        put_all(all, false);
        if (in_place)
            all->array[operation->in_place[0][0]].at = all->array[operation->in_place[0][1]].at;
        *one = *all;
        one->size[operation->rows] = 1;
        for (int r = 0; r < rows; r++) {
            for (int i = 0; i < all->arrays; i++) {
                const struct array *a = &all->array[i];
                size_t step = (size_t)r * a->row * sdt_dtype_size(a->dtype);
                one->array[i].at = a->at ? (char *)a->at + step : NULL;
            }
            operation->cpu(one);
        }
        for (int i = 0; i < all->arrays; i++)
            if (all->array[i].written)
                check_bits(all->array[i].n, all->array[i].at, whole->array[i].at, "%s",
                           label(whole, in_place ? ", row by row in place" : ", row by row"));
        free(all);
        free(one);
    }
}

static void compute(struct call *call) {
    if (backend.kind == CPU)
        call->operation->cpu(call);
    else
        call->operation->cuda(call);
}

static void run_call(struct call *call, bool shifted) {
    const struct operation *operation = call->operation;
    double value = call->value;
    call->value = 0.;
    seen.calls++;
    put_all(call, shifted);
    compute(call);
    check_all(call, shifted ? ", not aligned" : "");
    check_count++;
    if (call->value != value && ++check_failures)
        fprintf(stderr, "%s: gives %g, not %g\n", label(call, ""), call->value, value);
    if (backend.kind == CPU && !shifted) {
        if (operation->by_rows && call->size[operation->rows] <= 2048)
            check_rows(call);
        if (operation->also)
            operation->also(call);
    }
    release(call);
    for (int p = 0; p < operation->pairs; p++) {
        struct array *output = &call->array[operation->in_place[p][0]];
        struct array *input = &call->array[operation->in_place[p][1]];
        if (output->dtype != input->dtype || input->absent)
            continue;
        put_all(call, shifted);
        output->at = input->at;
        compute(call);
        check_all(call, shifted ? ", not aligned, in place" : ", in place");
        release(call);
    }
    call->value = value;
}

/* Whether libraries may take this call. */
static bool library_takes(const struct call *call, bool shifted) {
    const struct operation *operation = call->operation;
    if (own_only)
        return false;
    if (shifted || call->dtype != SDT_BF16 || !operation->planned || !operation->planned(call))
        return true;
    bool asked = !small || seen.planned % operation->plan_every == 0;
    seen.planned++;
    seen.plans += asked;
    return asked;
}

/* Calls to count are not made. */
static void count_plans(const struct operation *operation, const int *size) {
    struct call call = {.operation = operation, .dtype = SDT_BF16};
    memcpy(call.size, size, sizeof call.size);
    library_takes(&call, false);
}

/* Does the plain version in double precision take long? */
static bool is_large(const int *size) {
    double work = 1.0;
    for (int i = 0; i < SIZES; i++)
        work *= size[i] > 0 ? size[i] : 1;
    return work > 3e4;
}

void operation_try(const struct operation *operation, const int *size) {
    if (counting) {
        count_plans(operation, size);
        return;
    }
    if (test_light() && seen.calls > 0 && is_large(size))
        return;
    int types = backend.kind == CPU || operation->float32 ? 1 : 2;
    struct call *call = malloc(sizeof *call);
    if (!call)
        abort();
    for (int type = 0; type < types; type++) {
        memset(call, 0, sizeof *call);
        check_random = 0xcbf29ce484222325u; /* numbers of this call, whatever was tried before */
        for (int i = 0; i < SIZES; i++)
            check_random = (check_random ^ (uint64_t)size[i]) * 0x100000001b3u;
        call->operation = operation;
        memcpy(call->size, size, sizeof call->size);
        call->dtype = type ? SDT_BF16 : SDT_F32;
        operation->make(call);
        for (int i = 0; i < call->arrays; i++) {
            struct array *a = &call->array[i];
            for (size_t j = 0; a->start && j < a->n; j++)
                a->start[j] = rounded_to(a->dtype, a->start[j]);
        }
        plain(call);
        for (int shifted = 0; shifted < 2; shifted++)
            for (int way = 0; way < (operation->ways ? backend.ways : 1); way++) {
                call->own = way > 0;
                if (operation->skip && operation->skip(call, shifted))
                    continue;
                if (backend.kind == GPU && way == 0 && !library_takes(call, shifted)) {
                    if (operation->ways && backend.ways > 1)
                        continue; /* our own comes next */
                    call->own = true;
                }
                if (backend.prefer_own)
                    backend.prefer_own(call->own);
                run_call(call, shifted);
            }
        for (int i = 0; i < call->arrays; i++) {
            free(call->array[i].start);
            free(call->array[i].want);
            free(call->array[i].first);
        }
    }
    if (backend.prefer_own)
        backend.prefer_own(false);
    free(call);
}

void operations_run(int argc, char **argv) {
    const char *only = NULL;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--small") == 0)
            small = true;
        else if (strcmp(argv[i], "--own") == 0)
            own_only = true;
        else if (strcmp(argv[i], "--plans") == 0)
            counting = true;
        else
            only = argv[i];
    unsigned tried = 0, plans = 0;
    for (size_t i = 0; i < COUNT(areas); i++)
        for (const struct operation *o = areas[i]; o->name; o++) {
            if ((only && strcmp(only, o->name) != 0) || !(backend.kind == CPU ? o->cpu : o->cuda))
                continue;
            memset(&seen, 0, sizeof seen);
            tried++;
            o->grid(o);
            plans += seen.plans;
            if (counting) {
                if (seen.planned)
                    printf("%s: %u of %u\n", o->name, seen.plans, seen.planned);
                continue;
            }
            if (backend.kind == CPU && o->more)
                o->more();
            fprintf(stderr, "%-20s %6u calls", o->name, seen.calls);
            if (seen.worst > 0.)
                fprintf(stderr, ", largest error %.2g of a limit of %.2g", seen.worst * seen.limit,
                        seen.limit);
            fputc('\n', stderr);
        }
    if (counting)
        printf("%u plans\n", plans);
    if (tried == 0) {
        fprintf(stderr, "no operation %s\n", only);
        exit(EXIT_FAILURE);
    }
}
