/* Vectors of bfloat16: parameters registered where they are mapped or converted once, whatever type
 * is stored, and predictions that count their bytes. On the host, so that a machine without a GPU
 * sees what one would be given. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/run/parameters.h"
#include "graph/strategies/strategy.h"
#include "tests/check.h"

enum { OUT = 4, IN = 3, TAPS = 18, N = OUT * IN * TAPS };

/* What a handle holds, as floats; NULL: it has another type or size. */
static const void *look(sdt_handle handle, enum sdt_dtype dtype, float *values /* [N] written */) {
    const void *data = NULL;
    if (!handle || starpu_vector_get_nx(handle) != N ||
        starpu_vector_get_elemsize(handle) != sdt_dtype_size(dtype) ||
        starpu_data_acquire_on_node(handle, STARPU_MAIN_RAM, STARPU_R))
        return NULL;
    data = (const void *)starpu_vector_get_local_ptr(handle);
    sdt_convert(dtype, N, data, values);
    starpu_data_release_on_node(handle, STARPU_MAIN_RAM);
    return data;
}

static void expect(sdt_handle handle, enum sdt_dtype dtype, const float *want /* [N] */,
                   const void *place, const char *what) {
    float got[N];
    const void *data = look(handle, dtype, got);
    CHECK(data, "%s: not a vector of %s", what, sdt_dtype_name(dtype));
    CHECK(!data || !memcmp(got, want, sizeof got), "%s: other numbers", what);
    CHECK(!data || !place || data == place, "%s: not where it is mapped", what);
}

static void round_all(const float *x /* [N] */, float *y /* [N] written */) {
    uint16_t bits[N];
    sdt_convert_to(SDT_F32, N, x, SDT_BF16, bits);
    sdt_convert(SDT_BF16, N, bits, y);
}

static void check_parameters(struct sdt_machine *machine, const struct sdt_weights *weights,
                             const float *x, const float *rounded) {
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    struct sdt_parameters *parameters = sdt_parameters_new(weights, machine);
    const void *wide_place = sdt_weights_find(weights, "wide")->data;
    const void *narrow_place = sdt_weights_find(weights, "narrow")->data;
    float packed[N], packed_rounded[N];
    struct sdt_error err = {0};

    sdt_conv_pack(OUT, IN, TAPS, x, packed);
    round_all(packed, packed_rounded);
    sdt_handle wide = sdt_parameter(&flow, parameters, SDT_F32, "wide");
    sdt_handle wide_16 = sdt_parameter(&flow, parameters, SDT_BF16, "%s", "wide");
    sdt_handle narrow = sdt_parameter(&flow, parameters, SDT_F32, "narrow");
    sdt_handle narrow_16 = sdt_parameter(&flow, parameters, SDT_BF16, "narrow");
    sdt_handle double_16 = sdt_parameter(&flow, parameters, SDT_BF16, "double");
    sdt_handle conv =
        sdt_conv_parameter(&flow, parameters, SDT_DEVICE_CUDA, SDT_F32, OUT, IN, TAPS, 3, "conv");
    sdt_handle conv_16 =
        sdt_conv_parameter(&flow, parameters, SDT_DEVICE_CUDA, SDT_BF16, OUT, IN, TAPS, 3, "conv");
    CHECK(wide_16 != wide && sdt_parameter(&flow, parameters, SDT_BF16, "wide") == wide_16 &&
              sdt_parameter(&flow, parameters, SDT_F32, "wide") == wide,
          "one handle for each type");

    /* There and back, and rows of a table. */
    static const int32_t ids[] = {3, 0, 2, 1};
    float rows[N];
    sdt_handle there = sdt__tensor(&flow, SDT_BF16, N, "there");
    sdt_handle back = sdt__vector(&flow, N, "back");
    sdt_handle words = sdt__tensor(&flow, SDT_BF16, N, "words");
    sdt_insert_convert(&flow, "there", N, wide, there);
    sdt_insert_convert(&flow, "back", N, there, back);
    const struct sdt_embedding table = {.d = N / 4, .dtype = SDT_F32, .table = x};
    sdt_insert_embed(&flow, "embed", &table, 0, N / 4, 4, ids, words);
    for (int i = 0; i < 4; i++)
        memcpy(rows + i * (N / 4), rounded + ids[i] * (N / 4), sizeof rows / 4);

    CHECK(sdt__flow_wait(&flow, &err) == SDT_OK, "%s", err.message);
    expect(wide, SDT_F32, x, wide_place, "float32 as stored");
    expect(wide_16, SDT_BF16, rounded, NULL, "float32 as bfloat16");
    expect(narrow, SDT_F32, rounded, NULL, "bfloat16 as float32");
    expect(narrow_16, SDT_BF16, rounded, narrow_place, "bfloat16 as stored");
    expect(double_16, SDT_BF16, rounded, NULL, "float64 as bfloat16");
    expect(conv, SDT_F32, packed, NULL, "a convolution");
    expect(conv_16, SDT_BF16, packed_rounded, NULL, "a convolution as bfloat16");
    expect(there, SDT_BF16, rounded, NULL, "to bfloat16");
    expect(back, SDT_F32, rounded, NULL, "to bfloat16 and back");
    expect(words, SDT_BF16, rows, NULL, "embeddings as bfloat16");
    sdt__unregister(there);
    sdt__unregister(back);
    sdt__unregister(words);
    sdt_parameters_free(parameters);
}

static void check_tile_rows(void) {
    static const double equal[8] = {2, 2, 2, 2, 2, 2, 2, 2}, twice[2] = {2, 1};
    static const struct {
        int64_t tokens;
        int devices;
        const double *speed;
        int rows;
    } want[] = {{1, 1, NULL, 256},       {1024, 1, NULL, 1024},   {1025, 1, NULL, 1152},
                {11264, 1, NULL, 5632},  {11264, 8, NULL, 1408},  {32760, 1, NULL, 8192},
                {32760, 8, NULL, 4096},  {32760, 2, NULL, 8192},  {75600, 1, NULL, 7680},
                {75600, 7, NULL, 5504},  {75600, 2, NULL, 7680},  {1000000, 1, NULL, 8192},
                {32760, 8, equal, 4096}, {32760, 2, twice, 3712}, {1000, 2, twice, 384}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        int rows = sdt_cuda_tile_rows(want[i].tokens, want[i].devices, want[i].speed);
        CHECK(rows == want[i].rows, "%lld tokens on %d GPUs: tiles of %d, not %d",
              (long long)want[i].tokens, want[i].devices, rows, want[i].rows);
    }
    /* Rows that no token has cost as much as others. */
    for (int64_t tokens = 8192; tokens < 200000; tokens += 777) {
        int64_t rows = sdt_cuda_tile_rows(tokens, 1, NULL);
        int64_t all = (tokens + rows - 1) / rows * rows;
        CHECK(all < 1.05 * (double)tokens, "%lld tokens in tiles of %lld: %lld rows",
              (long long)tokens, (long long)rows, (long long)all);
    }
}

/* Everything that a layout predicts is half of it, and GPUs get their own tiles. */
static void check_predictions(void) {
    struct sdt_place place[4] = {{.workers = 1}, {.workers = 1}, {.workers = 1}, {.workers = 1}};
    struct sdt_error err = {0};
    for (int s = 0; sdt_strategies[s]; s++) {
        struct sdt_parallel parallel = {
            .strategy = sdt_strategies[s], .place = place, .devices = 4};
        struct sdt_layout wide = {0}, narrow = {0}, gpus = {0};
        const char *name = sdt_strategies[s]->name;
        bool laid = sdt_parallel_layout(&parallel, 5000, 0, 1, 12, 64, &wide, &err) == SDT_OK;
        parallel.dtype = SDT_BF16;
        laid &= sdt_parallel_layout(&parallel, 5000, 0, 1, 12, 64, &narrow, &err) == SDT_OK;
        for (int d = 0; d < 4; d++)
            place[d].kind = SDT_DEVICE_CUDA;
        laid &= sdt_parallel_layout(&parallel, 5000, 0, 1, 12, 64, &gpus, &err) == SDT_OK;
        for (int d = 0; d < 4; d++)
            place[d].kind = SDT_DEVICE_CPU;
        CHECK(laid, "%s: %s", name, err.message);
        if (laid) {
            CHECK(sdt_strategies[s]->exchanged(&wide) ==
                      2.0 * sdt_strategies[s]->exchanged(&narrow),
                  "%s: bytes that travel are not half", name);
            CHECK(sdt_strategies[s]->buffer_bytes(&wide, 0) ==
                      2.0 * sdt_strategies[s]->buffer_bytes(&narrow, 0),
                  "%s: bytes of buffers are not half", name);
            CHECK(wide.rows == 128 && narrow.rows == 128 &&
                      /* a device has some layers of all tokens where there are blocks */
                      gpus.rows == sdt_cuda_tile_rows(
                                       5000, sdt_strategies[s]->blocks ? 1 : wide.devices, NULL),
                  "%s: tiles of %d, %d and %d rows", name, wide.rows, narrow.rows, gpus.rows);
        }
        sdt_layout_clear(&wide);
        sdt_layout_clear(&narrow);
        sdt_layout_clear(&gpus);
    }
}

/* A safetensors file of one shape in several types; the header is padded to a multiple of 8. */
static bool write_file(const char *path, const float *x /* [N] */, const uint16_t *bits /* [N] */,
                       const double *wide /* [N] */) {
    char header[600];
    uint64_t length = 512;
    FILE *file = fopen(path, "w");
    if (!file)
        return false;
    int n = snprintf(header, sizeof header, "{");
    const struct {
        const char *name;
        enum sdt_dtype dtype;
        const void *data;
    } tensor[] = {{"wide", SDT_F32, x},
                  {"double", SDT_F64, wide},
                  {"conv", SDT_F32, x},
                  {"narrow", SDT_BF16, bits}};
    size_t from = 0;
    for (int i = 0; i < 4; i++) {
        size_t to = from + N * sdt_dtype_size(tensor[i].dtype);
        n += snprintf(header + n, sizeof header - (size_t)n,
                      "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%d,%d,%d],\"data_offsets\":[%zu,%zu]}",
                      i ? "," : "", tensor[i].name, sdt_dtype_name(tensor[i].dtype), OUT, IN, TAPS,
                      from, to);
        from = to;
    }
    n += snprintf(header + n, sizeof header - (size_t)n, "}");
    memset(header + n, ' ', sizeof header - (size_t)n);
    bool written = fwrite(&length, 8, 1, file) == 1 && fwrite(header, 512, 1, file) == 1;
    for (int i = 0; i < 4; i++)
        written &= fwrite(tensor[i].data, sdt_dtype_size(tensor[i].dtype), N, file) == N;
    return !fclose(file) && written;
}

int main(void) {
    char folder[] = "graph-types-XXXXXX", path[64];
    struct sdt_machine_options options = {.devices = 2};
    struct sdt_machine *machine = NULL;
    struct sdt_weights *weights = NULL;
    struct sdt_error err = {0};
    float x[N], rounded[N];
    double wide[N];
    uint16_t bits[N];

    for (int i = 0; i < N; i++)
        wide[i] = x[i] = 0.37f * (float)(i - 50) + 1.0f / (float)(i + 3);
    sdt_convert_to(SDT_F32, N, x, SDT_BF16, bits);
    round_all(x, rounded);
    if (!mkdtemp(folder))
        return 77;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (!write_file(path, x, bits, wide) || sdt_weights_open(folder, &weights, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK)
        CHECK(false, "%s", err.message);
    else
        check_parameters(machine, weights, x, rounded);
    check_tile_rows();
    check_predictions();
    sdt_machine_close(machine);
    sdt_weights_close(weights);
    unlink(path);
    rmdir(folder);
    return failures ? 1 : 0;
}
