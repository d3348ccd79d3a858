/* Who holds which tokens and which heads: the distribution that every strategy starts from.
 *
 * Tokens are cut into tiles whose size depends on the number of tokens only; each device holds a contiguous
 * run of whole tiles (its shard, perhaps empty). Heads are cut into chunks, each owned by one device. Both
 * splits follow the devices' speeds; neither needs to come out even. */
#ifndef STARDIT_LAYOUT_H
#define STARDIT_LAYOUT_H

#include <stdint.h>

#include "codelets/codelets.h"
#include "stardit/status.h"

struct sdt_layout {
    int devices;                    /* of the group */
    const struct sdt_place *place;  /* [devices], owned by the machine */
    int64_t tokens;
    int rows;                       /* tokens of a tile; the last tile is padded */
    int tiles;
    int *first_tile;                /* [devices + 1]: device d holds first_tile[d]..first_tile[d+1]-1 */
    int *home;                      /* [tiles]: the device of each tile */
    int heads, e;
    int chunks;                     /* head chunks that hold at least one head */
    int *head;                      /* [chunks + 1]: chunk c holds heads head[c]..head[c+1]-1 */
    int *owner;                     /* [chunks]: the device whose attention computes it */
};

/* Rows of a tile for a sequence: 256 or 128 for real ones, 64 down to 4 for short ones, so that small
 * tests are split as well. */
int sdt_tile_rows(int64_t tokens);

/* bounds[d]..bounds[d+1]-1 of `total` things for part d, in proportion to speed (NULL: equal parts). */
void sdt_split(int total, int parts, const double *speed /* [parts] or NULL */,
               int *bounds /* [parts + 1] written */);

/* Tokens and heads over the group. chunk_heads: most heads of one chunk, 0: all heads of a device in
 * one. SDT_ERROR_MEMORY. */
enum sdt_status sdt_layout_init(struct sdt_layout *layout, const struct sdt_place *place, int devices,
                                const double *speed /* [devices] or NULL */, int64_t tokens,
                                int heads, int e, int chunk_heads, struct sdt_error *err);
void sdt_layout_clear(struct sdt_layout *layout); /* after a failed init too */

/* Valid tokens of a tile. */
static inline int sdt_tile_valid(const struct sdt_layout *layout, int tile)
{
    int64_t left = layout->tokens - (int64_t)tile * layout->rows;
    return left < layout->rows ? (int)left : layout->rows;
}
#endif
