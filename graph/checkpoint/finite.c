/* Looking for what is not finite. */
#include "graph/checkpoint/finite.h"

#include <math.h>
#include <string.h>

#include "graph/checkpoint/lora.h"
#include "graph/checkpoint/weights.h"
#include "kernels/kernels.h"

enum { BLOCK = 16384 };

/* The first place, or the tensor's count. */
static size_t find(const struct sdt_stored *tensor, float *value) {
    static _Thread_local float block[BLOCK];
    const size_t size = sdt_dtype_size(tensor->dtype);

    if (tensor->dtype != SDT_F32 && tensor->dtype != SDT_F16 && tensor->dtype != SDT_BF16 &&
        tensor->dtype != SDT_F64)
        return tensor->count;
    for (size_t i = 0; i < tensor->count; i += BLOCK) {
        size_t n = tensor->count - i < BLOCK ? tensor->count - i : BLOCK;
        sdt_convert(tensor->dtype, n, (const char *)tensor->data + i * size, block);
        size_t found = sdt_find_not_finite(n, block);
        if (found < n) {
            *value = block[found];
            return i + found;
        }
    }
    return tensor->count;
}

static const char *name_of(float value) {
    return isnan(value) ? "NaN" : value > 0.0f ? "infinity" : "-infinity";
}

static enum sdt_status check(const char *what, const struct sdt_stored *tensor,
                             enum sdt_status failure, struct sdt_error *err) {
    float value = 0.0f;
    size_t place = find(tensor, &value);

    if (place == tensor->count)
        return SDT_OK;
    return sdt_fail(err, failure, "%s: tensor %.80s holds %s (number %zu of %zu)", what,
                    tensor->name, name_of(value), place, tensor->count);
}

enum sdt_status sdt_stored_check_finite(const char *what, const struct sdt_stored *tensor,
                                        struct sdt_error *err) {
    return check(what, tensor, SDT_ERROR_USAGE, err);
}

/* The first bad tensor that is read, as the files have it or with what is merged into it:
 * SDT_ERROR_NOT_FINITE. */
static enum sdt_status search_tensors(const struct sdt_weights *weights, bool merged,
                                      struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    for (size_t i = 0; i < sdt_weights_count(weights) && status == SDT_OK; i++) {
        const struct sdt_stored *tensor = sdt_weights_at(weights, i);
        if (!sdt_weights_is_read(weights, i) || (merged && !tensor->merge))
            continue;
        tensor = merged ? tensor : sdt_stored_base(tensor);
        sdt_stored_fetch(tensor);
        status = check(sdt_weights_folder(weights), tensor, SDT_ERROR_NOT_FINITE, err);
        sdt_stored_release(tensor);
    }
    return status;
}

/* In the files, in the LoRAs, and in their sum, which may be too large where these are not. */
static enum sdt_status search(const struct sdt_weights *weights, struct sdt_error *err) {
    const struct sdt_weights *lora;
    enum sdt_status status = SDT_OK;
    if (!weights)
        return SDT_OK;
    status = search_tensors(weights, false, err);
    for (int i = 0; status == SDT_OK; i++) {
        if (!(lora = sdt_merges_file(sdt__weights_merges(weights), i)))
            return search_tensors(weights, true, err);
        status = search_tensors(lora, false, err);
    }
    return status;
}

enum sdt_status sdt_weights_blame(const struct sdt_weights *const *weights, int count,
                                  struct sdt_error *err) {
    struct sdt_error before = *err, found;
    enum sdt_status status = SDT_OK;

    for (int i = 0; i < count && status == SDT_OK; i++)
        status = search(weights[i], &found);
    if (status != SDT_OK)
        return sdt_fail(err, SDT_ERROR_NOT_FINITE, "%s; it showed in %s", found.message,
                        before.message);
    return sdt_fail(err, SDT_ERROR_NOT_FINITE,
                    "%s; all weights are finite, so a value has grown beyond what float32 holds: "
                    "is the guidance, the shift or the given latent too large?",
                    before.message);
}
