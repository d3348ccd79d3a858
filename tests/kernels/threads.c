/* Kernels in several threads at once: the same bits as alone, every time. Small products often:
 * what threads would share is then used by several at the same time. */
#include "kernels/kernels.h"
#include "tests/kernels/check.h"

#include <pthread.h>

enum { THREADS = 4, REPEATS = 3000, ROWS = 4, WIDTH = 48, E = 16, HEADS = WIDTH / E };

struct work {
    const float *x, *w;          /* [ROWS, WIDTH], [WIDTH, WIDTH] */
    const float *want;           /* [ROWS, WIDTH]; NULL: nothing to compare with */
    float *linear, *heads, *out; /* [ROWS, WIDTH] each */
    float *scratch;              /* for attention */
    int wrong;
};

static void run(struct work *work) {
    static const int head[] = {0, HEADS};
    sdt_linear(ROWS, WIDTH, WIDTH, work->x, sdt_plain_weight(work->w), NULL, SDT_EPILOGUE_GELU_TANH,
               work->linear);
    sdt_split_heads(ROWS, ROWS, HEADS, E, work->linear, NULL, 0.f, NULL, NULL, 0, 1, head,
                    &work->heads);
    sdt_attention(HEADS, ROWS, E, work->heads, ROWS, ROWS, work->heads, work->heads, 0.125f,
                  work->out, NULL, work->scratch);
    if (work->want && memcmp(work->out, work->want, ROWS * WIDTH * sizeof(float)))
        work->wrong++;
}

static void *run_often(void *work) {
    for (int i = 0; i < REPEATS; i++)
        run(work);
    return NULL;
}

static struct work make_work(const float *x, const float *w, const float *want) {
    size_t n = (size_t)ROWS * WIDTH;
    return (struct work){
        x, w, want, blank(n), blank(n), blank(n), blank(sdt_attention_scratch(ROWS, E, ROWS)), 0};
}

static void free_work(struct work *work) {
    free(work->linear);
    free(work->heads);
    free(work->out);
    free(work->scratch);
}

int main(void) {
    float *x = numbers(ROWS * WIDTH, 1.f), *w = numbers(WIDTH * WIDTH, 1.f);
    struct work alone = make_work(x, w, NULL), work[THREADS];
    pthread_t thread[THREADS];
    int wrong = 0, right = 0;
    run(&alone);
    for (int i = 0; i < THREADS; i++) {
        work[i] = make_work(x, w, alone.out);
        if (pthread_create(&thread[i], NULL, run_often, &work[i]) != 0)
            abort();
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        wrong += work[i].wrong;
        free_work(&work[i]);
    }
    check_bits(sizeof wrong / sizeof(float), (float *)&wrong, (float *)&right,
               "%d of %d runs in %d threads differ", wrong, THREADS * REPEATS, THREADS);
    free_work(&alone);
    free(x);
    free(w);
    return check_end("threads");
}
