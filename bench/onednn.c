/* SPDX-License-Identifier: Apache-2.0 */
/* bench/onednn.c - see bench/onednn.h. */
#include "bench/onednn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#if defined(BENCH_ONEDNN)
#include <dnnl.h>

#define MAX_BATCHES 16

/* One number of positions: the product, what it multiplies, and how activations get there. */
struct batch {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t product, convert; /* convert: NULL in f32 */
    dnnl_memory_t x, narrow, y;        /* narrow: activations in the format */
    int32_t layout;                    /* of its weights */
};

struct onednn {
    struct onednn_shape shape;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct batch batches[MAX_BATCHES];
    dnnl_memory_t *weights[MAX_BATCHES]; /* [n_layouts][n_copies] */
    dnnl_memory_desc_t layouts[MAX_BATCHES];
    int32_t n_layouts;
    float *row_scales; /* int8: of the rows, times that of the activations */
};

/* Activations of the benches lie in [-0.5, 0.5). */
#define LARGEST_ACTIVATION 0.5f

static dnnl_data_type_t type_of(enum kern_format format)
{
    return format == KERN_INT8 ? dnnl_s8 : format == KERN_BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_memory_desc_t matrix(int64_t rows, int64_t cols, dnnl_data_type_t type,
                                 dnnl_format_tag_t tag)
{
    const dnnl_dims_t dims = {rows, cols};
    dnnl_memory_desc_t out;
    dnnl_memory_desc_init_by_tag(&out, 2, dims, type, tag);
    return out;
}

static dnnl_status_t make_convert(struct onednn *o, struct batch *b, const dnnl_memory_desc_t *from,
                                  const dnnl_memory_desc_t *to)
{
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t desc;
    const float scale = 127.0f / LARGEST_ACTIVATION;
    dnnl_primitive_attr_create(&attr);
    if (o->shape.format == KERN_INT8)
        dnnl_primitive_attr_set_output_scales(attr, 1, 0, &scale);
    dnnl_status_t rc =
        dnnl_reorder_primitive_desc_create(&desc, from, o->engine, to, o->engine, attr);
    dnnl_primitive_attr_destroy(attr);
    if (rc != dnnl_success)
        return rc;
    rc = dnnl_primitive_create(&b->convert, desc);
    dnnl_primitive_desc_destroy(desc);
    return rc != dnnl_success ? rc
                              : dnnl_memory_create(&b->narrow, to, o->engine, DNNL_MEMORY_ALLOCATE);
}

static dnnl_status_t make_product(struct onednn *o, struct batch *b, int64_t n_pos)
{
    const struct onednn_shape *s = &o->shape;
    dnnl_data_type_t type = type_of(s->format);
    dnnl_memory_desc_t x = matrix(n_pos, s->cols, dnnl_f32, dnnl_ab);
    dnnl_memory_desc_t narrow = matrix(n_pos, s->cols, type, dnnl_ab);
    dnnl_memory_desc_t w = matrix(s->cols, s->rows, type, dnnl_format_tag_any);
    dnnl_memory_desc_t y = matrix(n_pos, s->rows, dnnl_f32, dnnl_ab);
    dnnl_matmul_desc_t desc;
    dnnl_primitive_attr_t attr;
    dnnl_status_t rc = dnnl_matmul_desc_init(&desc, &narrow, &w, NULL, &y);
    dnnl_primitive_attr_create(&attr);
    if (s->format == KERN_INT8)
        dnnl_primitive_attr_set_output_scales(attr, s->rows, 1 << 1, o->row_scales);
    if (rc == dnnl_success)
        rc = dnnl_primitive_desc_create(&b->desc, &desc, attr, o->engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    if (rc == dnnl_success)
        rc = dnnl_primitive_create(&b->product, b->desc);
    if (rc == dnnl_success)
        rc = dnnl_memory_create(&b->x, &x, o->engine, DNNL_MEMORY_NONE);
    if (rc == dnnl_success)
        rc = dnnl_memory_create(&b->y, &y, o->engine, DNNL_MEMORY_NONE);
    if (rc == dnnl_success && s->format != KERN_F32)
        rc = make_convert(o, b, &x, &narrow);
    return rc;
}

/* Rows of [-127, 127] with a scale each, and what a sum of products must be multiplied by. */
static int8_t *quantise(struct onednn *o, const float *weights)
{
    size_t cols = (size_t)o->shape.cols;
    int8_t *out = ltd_alloc((size_t)o->shape.rows * cols, 1);
    for (int32_t r = 0; out && r < o->shape.rows; r++) {
        float largest = 0.0f;
        for (size_t c = 0; c < cols; c++)
            largest = fmaxf(largest, fabsf(weights[(size_t)r * cols + c]));
        for (size_t c = 0; c < cols; c++)
            out[(size_t)r * cols + c] =
                (int8_t)rintf(weights[(size_t)r * cols + c] * 127.0f / largest);
        o->row_scales[r] = largest / 127.0f * (LARGEST_ACTIVATION / 127.0f);
    }
    return out;
}

/* All copies in one layout. */
static dnnl_status_t lay_down(struct onednn *o, const dnnl_memory_desc_t *layout, void *from,
                              dnnl_data_type_t type)
{
    dnnl_memory_desc_t plain = matrix(o->shape.cols, o->shape.rows, type, dnnl_ba);
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t reorder;
    dnnl_memory_t source;
    dnnl_memory_t *copies = calloc((size_t)o->shape.n_copies, sizeof *copies);
    o->weights[o->n_layouts] = copies;
    o->layouts[o->n_layouts++] = *layout;
    dnnl_status_t rc = dnnl_memory_create(&source, &plain, o->engine, from);
    if (rc != dnnl_success || !copies)
        return dnnl_out_of_memory;
    rc = dnnl_reorder_primitive_desc_create(&desc, &plain, o->engine, layout, o->engine, NULL);
    if (rc == dnnl_success)
        rc = dnnl_primitive_create(&reorder, desc);
    for (int32_t i = 0; rc == dnnl_success && i < o->shape.n_copies; i++) {
        rc = dnnl_memory_create(&copies[i], layout, o->engine, DNNL_MEMORY_ALLOCATE);
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, copies[i]}};
        if (rc == dnnl_success)
            rc = dnnl_primitive_execute(reorder, o->stream, 2, args);
        dnnl_stream_wait(o->stream);
    }
    dnnl_memory_destroy(source);
    return rc;
}

static dnnl_status_t build(struct onednn *o, float *weights, int8_t *integers)
{
    dnnl_status_t rc = dnnl_success;
    for (int32_t i = 0; i < o->shape.n_batches && rc == dnnl_success; i++) {
        struct batch *b = &o->batches[i];
        rc = make_product(o, b, o->shape.batches[i]);
        if (rc != dnnl_success)
            break;
        const dnnl_memory_desc_t *layout =
            dnnl_primitive_desc_query_md(b->desc, dnnl_query_weights_md, 0);
        for (b->layout = 0; b->layout < o->n_layouts; b->layout++)
            if (dnnl_memory_desc_equal(&o->layouts[b->layout], layout))
                break;
        if (b->layout == o->n_layouts)
            rc = integers ? lay_down(o, layout, integers, dnnl_s8)
                          : lay_down(o, layout, weights, dnnl_f32);
    }
    return rc;
}

struct onednn *onednn_create(const struct onednn_shape *shape, const float *weights, char *why,
                             size_t size)
{
    struct onednn *o = calloc(1, sizeof *o);
    int8_t *integers = NULL;
    union {
        const float *from;
        float *to;
    } plain = {.from = weights}; /* the library reads it through a pointer without const */
    if (!o || shape->n_batches > MAX_BATCHES)
        return NULL;
    o->shape = *shape;
    o->row_scales = calloc((size_t)shape->rows, sizeof *o->row_scales);
    dnnl_status_t rc = dnnl_engine_create(&o->engine, dnnl_cpu, 0);
    if (rc == dnnl_success)
        rc = dnnl_stream_create(&o->stream, o->engine, dnnl_stream_default_flags);
    if (rc == dnnl_success && shape->format == KERN_INT8 && !(integers = quantise(o, weights)))
        rc = dnnl_out_of_memory;
    if (rc == dnnl_success)
        rc = build(o, plain.to, integers);
    ltd_free(integers);
    if (rc == dnnl_success)
        return o;
    snprintf(why, size, "oneDNN %d.%d.%d says %d", DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR,
             DNNL_VERSION_PATCH, (int)rc);
    onednn_destroy(o);
    return NULL;
}

void onednn_destroy(struct onednn *o)
{
    if (!o)
        return;
    for (int32_t i = 0; i < o->shape.n_batches; i++) {
        struct batch *b = &o->batches[i];
        dnnl_primitive_destroy(b->product);
        dnnl_primitive_destroy(b->convert);
        dnnl_primitive_desc_destroy(b->desc);
        dnnl_memory_destroy(b->x);
        dnnl_memory_destroy(b->narrow);
        dnnl_memory_destroy(b->y);
    }
    for (int32_t i = 0; i < o->n_layouts; i++) {
        for (int32_t c = 0; o->weights[i] && c < o->shape.n_copies; c++)
            dnnl_memory_destroy(o->weights[i][c]);
        free(o->weights[i]);
    }
    dnnl_stream_destroy(o->stream);
    dnnl_engine_destroy(o->engine);
    free(o->row_scales);
    free(o);
}

void onednn_run(struct onednn *o, int32_t batch, int32_t copy, float *y, const float *x)
{
    struct batch *b = &o->batches[batch];
    union {
        const float *from;
        float *to;
    } in = {.from = x};
    dnnl_memory_t weights = o->weights[b->layout][copy % o->shape.n_copies];
    dnnl_memory_set_data_handle(b->x, in.to);
    dnnl_memory_set_data_handle(b->y, y);
    const dnnl_exec_arg_t convert[] = {{DNNL_ARG_FROM, b->x}, {DNNL_ARG_TO, b->narrow}};
    if (b->convert)
        dnnl_primitive_execute(b->convert, o->stream, 2, convert);
    const dnnl_exec_arg_t product[] = {{DNNL_ARG_SRC, b->convert ? b->narrow : b->x},
                                       {DNNL_ARG_WEIGHTS, weights},
                                       {DNNL_ARG_DST, b->y}};
    dnnl_primitive_execute(b->product, o->stream, 3, product);
    dnnl_stream_wait(o->stream);
}

#else

struct onednn *onednn_create(const struct onednn_shape *shape, const float *weights, char *why,
                             size_t size)
{
    (void)shape, (void)weights;
    snprintf(why, size, "libdnnl-dev was not installed when this was built");
    return NULL;
}

void onednn_destroy(struct onednn *product)
{
    (void)product;
}

void onednn_run(struct onednn *product, int32_t batch, int32_t copy, float *y, const float *x)
{
    (void)product, (void)batch, (void)copy, (void)y, (void)x;
}

#endif
