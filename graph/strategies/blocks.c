/* The building blocks that strategies share: buffers, the exchange of one chunk, attention of one
 * piece. */
#include "graph/strategies/strategy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int chunk_heads(const struct sdt_layout *layout, int chunk)
{
    return layout->head[chunk + 1] - layout->head[chunk];
}

/* Floats of a piece (t, c); the same for every t. */
static size_t piece_size(const struct sdt_layout *layout, int chunk)
{
    return (size_t)chunk_heads(layout, chunk) * (size_t)layout->rows * (size_t)layout->e;
}

void sdt_attention_buffers_init(struct sdt_flow *flow, struct sdt_attention_buffers *buffers,
                                const struct sdt_layout *layout)
{
    *buffers = (struct sdt_attention_buffers){.count = layout->tiles * layout->chunks,
                                              .chunks = layout->chunks};
    sdt_handle **arrays[] = {&buffers->piece[0], &buffers->piece[1], &buffers->piece[2],
                             &buffers->output};
    static const char *const names[] = {"q piece", "k piece", "v piece", "o piece"};
    for (size_t a = 0; a < sizeof arrays / sizeof arrays[0]; a++) {
        *arrays[a] = calloc((size_t)buffers->count, sizeof **arrays[a]);
        if (!*arrays[a])
            goto no_memory;
        for (int i = 0; i < buffers->count; i++)
            (*arrays[a])[i] = sdt__vector(flow, piece_size(layout, i % layout->chunks), names[a]);
    }
    buffers->keys = calloc((size_t)layout->chunks, sizeof *buffers->keys);
    buffers->values = calloc((size_t)layout->chunks, sizeof *buffers->values);
    if (!buffers->keys || !buffers->values)
        goto no_memory;
    for (int c = 0; c < layout->chunks; c++) {
        size_t size = piece_size(layout, c) * (size_t)layout->tiles;
        buffers->keys[c] = sdt__vector(flow, size, "keys");
        buffers->values[c] = sdt__vector(flow, size, "values");
    }
    return;
no_memory:
    if (flow->error.status == SDT_OK)
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for the pieces of %d tiles",
                 layout->tiles);
}

static void unregister(sdt_handle *handle, int count)
{
    for (int i = 0; handle && i < count; i++)
        if (handle[i])
            starpu_data_unregister_submit(handle[i]);
    free(handle);
}

void sdt_attention_buffers_clear(struct sdt_attention_buffers *buffers)
{
    for (int p = 0; p < SDT_PROJECTIONS; p++)
        unregister(buffers->piece[p], buffers->count);
    unregister(buffers->output, buffers->count);
    unregister(buffers->keys, buffers->chunks);
    unregister(buffers->values, buffers->chunks);
    *buffers = (struct sdt_attention_buffers){0};
}

double sdt_attention_buffers_bytes(const struct sdt_layout *layout, int device)
{
    double tokens = (double)layout->tiles * layout->rows * layout->e;
    double shard = (double)(layout->first_tile[device + 1] - layout->first_tile[device]) *
                   layout->rows * layout->e;
    double heads = 0.0;
    for (int c = 0; c < layout->chunks; c++)
        if (layout->owner[c] == device)
            heads += chunk_heads(layout, c);
    /* pieces that this device produces and consumes as token owner: q, k, v, o of all heads; as head
     * owner: received q, k, v, computed o, and the gathered keys and values */
    return 4.0 * (4.0 * shard * layout->heads + (layout->devices > 1 ? 6.0 : 2.0) * tokens * heads);
}

void sdt_exchange_in(struct sdt_flow *flow, const struct sdt_self_attention *attention,
                     enum sdt_projection which, int chunk)
{
    const struct sdt_layout *layout = attention->layout;
    const struct sdt_attention_buffers *buffers = attention->buffers;
    bool values = which == SDT_PROJECT_V;

    flow->place = &layout->place[layout->owner[chunk]];
    flow->tag.role = SDT_ROLE_EXCHANGE;
    flow->tag.chunk = chunk;
    flow->priority = 1;
    sdt_insert_gather(flow, values ? "exchange_v" : "exchange_k", layout->tiles,
                      piece_size(layout, chunk), buffers->piece[which] + chunk, layout->chunks,
                      values ? buffers->values[chunk] : buffers->keys[chunk]);
    flow->priority = 0;
    flow->tag.chunk = -1;
}

void sdt_attend(struct sdt_flow *flow, const struct sdt_self_attention *attention, int chunk,
                int tile)
{
    const struct sdt_layout *layout = attention->layout;
    const struct sdt_attention_buffers *buffers = attention->buffers;
    int piece = tile * layout->chunks + chunk;

    flow->place = &layout->place[layout->owner[chunk]];
    flow->tag.role = SDT_ROLE_ATTENTION;
    flow->tag.chunk = chunk;
    flow->tag.tile = tile;
    flow->priority = 2;
    sdt_insert_attention(flow, "attention", chunk_heads(layout, chunk), layout->rows, layout->e,
                         layout->rows, layout->tokens, 1.0f / sqrtf((float)layout->e),
                         buffers->piece[SDT_PROJECT_Q][piece], buffers->keys[chunk],
                         buffers->values[chunk], buffers->output[piece]);
    flow->priority = 0;
    flow->tag.chunk = flow->tag.tile = -1;
}
