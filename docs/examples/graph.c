/* A graph of its own on two devices, o = softmax(q k^T / sqrt(E)) x with q = x wq^T and k = x wk^T:
 * two linears and an attention, then the same in plain C. Prints a checksum and the largest
 * difference. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <stardit/graph.h>

enum { ROWS = 32, E = 16 };

static float x[ROWS * E], wq[E * E], wk[E * E], o[ROWS * E];

static enum sdt_status run_graph(struct sdt_machine *machine, struct sdt_error *err) {
    enum { X, WQ, WK, Q, K, O, VECTORS };
    static const char *const name[VECTORS] = {"x", "wq", "wk", "q", "k", "o"};
    sdt_handle v[VECTORS];
    struct sdt_flow *flow = NULL;
    enum sdt_status status = sdt_flow_new(machine, &flow, err);
    if (status != SDT_OK)
        return status;
    for (int i = 0; i < VECTORS; i++)
        v[i] = sdt_vector_new(flow, i == WQ || i == WK ? E * E : ROWS * E, name[i]);
    sdt_vector_put(flow, v[X], x, ROWS * E);
    sdt_vector_put(flow, v[WQ], wq, E * E);
    sdt_vector_put(flow, v[WK], wk, E * E);
    sdt_flow_place(flow, 0);
    sdt_insert_linear(flow, "project q", ROWS, E, E, v[X], v[WQ], NULL, SDT_EPILOGUE_NONE, v[Q]);
    sdt_flow_place(flow, 1);
    sdt_insert_linear(flow, "project k", ROWS, E, E, v[X], v[WK], NULL, SDT_EPILOGUE_NONE, v[K]);
    sdt_flow_tag(flow)->role = SDT_ROLE_ATTENTION; /* q now comes from device 0 by itself */
    sdt_insert_attention(flow, "attend", 1, ROWS, E, ROWS, ROWS, 1.0f / sqrtf(E), v[Q], v[K], v[X],
                         v[O], NULL, false);
    status = sdt_vector_get(flow, v[O], o, ROWS * E, err); /* waits for all of it */
    if (status == SDT_ERROR_STALLED)
        return status;
    for (int i = 0; i < VECTORS; i++)
        sdt_vector_free(v[i]);
    sdt_flow_free(flow);
    return status;
}

static double difference_from_plain(void) {
    double q[ROWS][E] = {{0.0}}, k[ROWS][E] = {{0.0}}, largest = 0.0;
    for (int i = 0; i < ROWS * E * E; i++) {
        q[i / E / E][i / E % E] += (double)x[i / E / E * E + i % E] * wq[i % (E * E)];
        k[i / E / E][i / E % E] += (double)x[i / E / E * E + i % E] * wk[i % (E * E)];
    }
    for (int i = 0; i < ROWS; i++) {
        double sum = 0.0, y[E] = {0.0};
        for (int j = 0; j < ROWS; j++) {
            double score = 0.0;
            for (int c = 0; c < E; c++)
                score += q[i][c] * k[j][c] / sqrt(E);
            sum += exp(score);
            for (int c = 0; c < E; c++)
                y[c] += exp(score) * x[j * E + c];
        }
        for (int c = 0; c < E; c++)
            largest = fmax(largest, fabs(y[c] / sum - o[i * E + c]));
    }
    return largest;
}

int main(void) {
    struct sdt_error err = {0};
    struct sdt_machine_options options = {.devices = 2};
    struct sdt_machine *machine = NULL;
    double checksum = 0.0;

    for (int i = 0; i < ROWS * E; i++)
        x[i] = sinf(0.7f * (float)i);
    for (int i = 0; i < E * E; i++) {
        wq[i] = 0.3f * cosf(1.3f * (float)i);
        wk[i] = 0.3f * sinf(1.9f * (float)i);
    }
    enum sdt_status status = sdt_machine_open(&options, &machine, &err);
    if (status == SDT_OK)
        status = run_graph(machine, &err);
    if (status != SDT_OK)
        fprintf(stderr, "%s: %s\n", sdt_status_name(status), err.message);
    if (status == SDT_ERROR_STALLED)
        _Exit(1); /* tasks may still be running: nothing can be closed */
    sdt_machine_close(machine);
    for (int i = 0; i < ROWS * E; i++)
        checksum += o[i];
    double difference = status == SDT_OK ? difference_from_plain() : INFINITY;
    printf("checksum %.5f, largest difference from plain C %.1e\n", checksum, difference);
    return difference < 1e-5 ? 0 : 1;
}
