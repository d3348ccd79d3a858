/* FLOPs and elements of an operation, and lists of operations. */
#include "graph/models/operations.h"

#include <stdlib.h>

double sdt_operation_flops(const struct sdt_operation *o) {
    const struct sdt_conv *c = &o->conv;
    switch (o->kind) {
    case SDT_OPERATION_LINEAR:
        return 2.0 * o->rows * o->n * o->k;
    case SDT_OPERATION_ATTENTION:
    case SDT_OPERATION_CROSS_ATTENTION:
        return 4.0 * o->heads * o->rows * (double)o->keys * o->e;
    case SDT_OPERATION_CONV:
        return 2.0 * c->in * c->out * c->kt * c->ks * c->ks * (double)c->height * c->width *
               (c->upsample ? 4.0 : 1.0);
    default:
        return 0.0;
    }
}

double sdt_operation_elements(const struct sdt_operation *o) {
    const struct sdt_conv *c = &o->conv;
    double pixels = (double)c->height * c->width;
    switch (o->kind) {
    case SDT_OPERATION_LINEAR:
        return (double)o->rows * (o->n + o->k) + (double)o->n * o->k;
    case SDT_OPERATION_ATTENTION:
    case SDT_OPERATION_CROSS_ATTENTION:
        return 2.0 * o->heads * o->e * (o->rows + (double)o->keys);
    case SDT_OPERATION_CONV:
        return pixels * (c->kt * c->in + (c->upsample ? 4.0 : 1.0) * c->out) +
               (double)c->in * c->out * c->kt * c->ks * c->ks;
    case SDT_OPERATION_SPLIT_HEADS:
        return 2.0 * o->rows * o->heads * o->e;
    case SDT_OPERATION_NORM:
    case SDT_OPERATION_CHANNEL_NORM:
        return 2.0 * o->rows * o->n;
    default:
        return (double)o->rows * o->n;
    }
}

void sdt_operations_add(struct sdt_operations *list, struct sdt_operation operation) {
    if (list->count == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 32;
        struct sdt_operation *item = realloc(list->item, (size_t)capacity * sizeof *item);
        if (!item) {
            list->failed = true;
            return;
        }
        list->item = item;
        list->capacity = capacity;
    }
    list->item[list->count++] = operation;
}

void sdt_operations_clear(struct sdt_operations *list) {
    free(list->item);
    *list = (struct sdt_operations){0};
}
