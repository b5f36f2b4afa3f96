/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/kernels.h - the arithmetic that a model is made of, as a table of one tier.
 *
 * The order contract, stated once. Each output element of a product is one dot product, summed by
 * one rank, by one thread, in the order that its tier fixes. The bits of an element depend on the
 * weight row, the input row and the tier, and on nothing else: not on which other rows or positions
 * are computed in the same call, not on the number of threads or ranks, not on the alignment of
 * any operand. All other kernels (norms, rotation, attention, activation) sum in an order that
 * docs/numerics.md writes down, the same for every tier. Tiers may differ from each other in the
 * last bits of a product, so a rank group agrees on one (kernels/fingerprint.h).
 *
 * Weights are packed once at load into a `kern_mat`, whose inside belongs to the tier; activations
 * are f32 at this interface. A caller that packs, multiplies and frees needs no change when another
 * format or tier appears.
 *
 * Threads: a kernel may use up to ctx->n_threads OpenMP threads inside one call. Calls on different
 * data may run at the same time. Nothing here allocates except mat_pack, and nothing but mat_pack
 * can fail: shapes are the caller's invariant.
 */
#ifndef LATENTD_KERNELS_KERNELS_H
#define LATENTD_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Positions per page of the KV cache. Score blocks of the attention kernel are one page wide, and
 * pages are aligned to absolute positions, so a block never depends on where a chunk began. */
#define KERN_PAGE_POSITIONS 16

/* Queries that one thread computes side by side. Their scores over some thousand keys stay in a
 * second-level cache of 256 KiB. */
#define KERN_QUERIES_AT_ONCE 8

/*
 * How the weights of a packed matrix are kept, and with it what a product computes
 * (docs/numerics.md#weight-formats): f32 as they are; bf16 rounded, times activations rounded to
 * bf16; int8 with one scale per row, and int4 with one scale per 32 columns of a row, both times
 * activations in int8 with one scale per position.
 */
enum kern_format { KERN_F32, KERN_BF16, KERN_INT8, KERN_INT4, KERN_N_FORMATS };

/* How a matrix lies in a file: little endian, row-major. */
enum kern_dtype { KERN_DTYPE_F32, KERN_DTYPE_BF16, KERN_DTYPE_F16, KERN_N_DTYPES };

/* Rows [row_begin, row_end) of a source matrix; several of them stacked make a packed matrix. */
struct kern_rows {
    const void *data; /* row 0 of the source, [rows][cols] of `dtype`, borrowed, any alignment */
    enum kern_dtype dtype;
    int32_t row_begin, row_end;
};

/* A packed weight matrix. Fields but rows and cols are the tier's own business. */
struct kern_mat {
    int32_t rows, cols; /* rows may be 0: a rank may own none */
    enum kern_format format;
    void *data;   /* NULL when rows is 0 */
    void *scales; /* of a format that has them and a tier that keeps them apart from the numbers;
                   * inside the block of `data` unless borrowed */
    size_t bytes; /* of both: what one pass over the matrix reads */
    bool is_borrowed; /* both lie in a mapped file (kernels/packed.h) and are not freed */
};

struct kern_ops;

/* How to run: which tier, how many threads. Plain value; the caller keeps it alive. */
struct kern_ctx {
    const struct kern_ops *ops;
    int32_t n_threads; /* >= 1 */
    int64_t min_work;  /* calls with fewer multiply-adds stay on the calling thread */
};

/* Waking a team of threads costs a few microseconds; below about this much work it never pays. */
#define KERN_MIN_WORK_DEFAULT 65536

/* How an element of a key or value lies in memory: as it is, or rounded (kernels/bf16.h). */
enum kern_kv_format { KERN_KV_F32, KERN_KV_BF16 };

/* Where the keys and values of one layer lie. Plane p of page g of the layer starts at element
 *     g * page_stride + p * plane_stride
 * of the pool and holds keys [n_heads][head_dim][16], then values [n_heads][16][head_dim]: keys are
 * kept across positions, so that the scores of 16 positions are computed side by side, each of them
 * summed over head_dim in index order. Strides count elements. A bf16 element takes part in every
 * sum as the f32 that it widens to, so attention over bf16 has the bits of attention over an f32
 * pool with the same numbers. */
struct kern_kv_layer {
    const void *pool; /* borrowed: plane 0 of page 0 of this layer; elements of `format` */
    enum kern_kv_format format;
    size_t page_stride, plane_stride;
    int32_t n_heads, head_dim;
};

/* One query position over all heads of the layer. */
struct kern_query {
    const float *q;        /* [n_heads][head_dim], biased and rotated */
    float *out;            /* [n_heads][head_dim] */
    const int32_t *pages;  /* page that holds position j is pages[j / 16] */
    const int16_t *planes; /* [n_keys] plane to read key j from; negative: j is not attended to */
    int32_t n_keys;        /* keys 0 .. n_keys-1 are candidates; at least one is attended to */
};

/*
 * The table of a tier. `ctx` is first in each; n_pos >= 0 rows of activations follow each other
 * without gaps. Outputs never overlap inputs unless said.
 */
struct kern_ops {
    const char *name; /* "ref", "openblas"; what a user pins */
    uint32_t formats; /* bit 1 << f for each enum kern_format that mat_pack takes: kern_tier_has */

    /*
     * mat_pack - stack row ranges of one or more sources into a packed matrix of `cols` columns.
     * Storage is widened exactly, then brought to `format`. LTD_E_UNIMPLEMENTED when the tier has
     * not the format or not for so many columns; LTD_E_EXHAUSTED without memory; LTD_E_CORRUPT
     * naming row and column when an element is not finite, or becomes infinite in bf16. `mat` is
     * written only on success. Free with kern_mat_fini.
     */
    int (*mat_pack)(const struct kern_ctx *ctx, struct kern_mat *mat, enum kern_format format,
                    const struct kern_rows *parts, int32_t n_parts, int32_t cols,
                    struct ltd_err *err);

    /* mat_row - one row of a packed matrix as f32: out [cols], the numbers that the format kept.
     * For embedding rows. */
    void (*mat_row)(const struct kern_ctx *ctx, const struct kern_mat *mat, int32_t row,
                    float *out);

    /* matmul - y[n_pos][rows] = x[n_pos][cols] times the transpose of mat. */
    void (*matmul)(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat, const float *x,
                   int32_t n_pos);

    /* rmsnorm - y_i = x_i * (1 / sqrt(mean(x^2) + eps)) * w_i per row of n; y may be x. */
    void (*rmsnorm)(const struct kern_ctx *ctx, float *y, const float *x, const float *weight,
                    int32_t n, int32_t n_pos, float eps);

    /* add - y = a + b, elementwise over count; y may be a or b. */
    void (*add)(const struct kern_ctx *ctx, float *y, const float *a, const float *b,
                int64_t count);

    /* silu_mul - z[n_pos][n] from u[n_pos][2n] = gate, up: z_i = gate_i / (1 + e^-gate_i) * up_i.
     */
    void (*silu_mul)(const struct kern_ctx *ctx, float *z, const float *u, int32_t n,
                     int32_t n_pos);

    /*
     * rope - in place over one position's heads x[n_heads][head_dim]: add bias[n_heads][head_dim]
     * (NULL: none), then rotate the pairs (2i, 2i+1) by the angle whose cosine and sine are
     * cos_sin[head_dim / 2][2].
     */
    void (*rope)(const struct kern_ctx *ctx, float *x, const float *bias, const float *cos_sin,
                 int32_t n_heads, int32_t head_dim);

    /*
     * attention - softmax(q k / sqrt(head_dim)) v for every query and head.
     * Queries of one page table that follow each other share its reads.
     * scores: scratch [ctx->n_threads][KERN_QUERIES_AT_ONCE][scores_stride], scores_stride >= the
     * largest n_keys rounded up to a whole page. Cost: 2 * head_dim multiply-adds per key, query
     * and head.
     */
    void (*attention)(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                      const struct kern_query *queries, int32_t n_queries, float *scores,
                      size_t scores_stride);
};

/* kern_tier_has - whether the tier can pack and multiply this format. */
static inline bool kern_tier_has(const struct kern_ops *ops, enum kern_format format)
{
    return format < KERN_N_FORMATS && (ops->formats >> format & 1u) != 0;
}

/* kern_format_name - "f32", "bf16", "int8", "int4". */
const char *kern_format_name(enum kern_format format);

/* kern_format_parse - the format of that name into *out; -1 and *out untouched for another text. */
int kern_format_parse(const char *text, enum kern_format *out);

/* kern_mat_fini - free what was allocated for the matrix, if it was; accepts a zeroed struct,
 * leaves one behind. */
void kern_mat_fini(struct kern_mat *mat);

/* Bytes of one element of a storage type. */
size_t kern_dtype_bytes(enum kern_dtype dtype);

/* Bytes of one element of a key or value. */
size_t kern_kv_element_bytes(enum kern_kv_format format);

/* kern_widen - n elements of storage at `src` (any alignment) as f32 into out [n]; exact. */
void kern_widen(float *out, const void *src, enum kern_dtype dtype, int64_t n);

#endif
