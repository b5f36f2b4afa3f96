/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/kv.c - the page pool; see model/kv.h for the layout.
 *
 * One anonymous mapping holds all pages. The kernel gives memory to a page at its first write, so
 * a generous n_pages costs address space only; model_kv_release hands it back.
 */
#include "model/kv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/size.h"
#include "kernels/bf16.h"

#define PAGE_ALIGN_BYTES ((size_t)4096) /* of the system: madvise works on whole ones */

struct model_kv {
    /* configuration */
    struct model_kv_spec spec;
    size_t layer_stride, plane_stride, page_stride; /* elements of spec.format */
    size_t pool_bytes;
    /* state */
    void *pool;        /* mapped; NULL when a page holds no elements */
    uint16_t *present; /* [n_pages][16] planes present */
};

int model_kv_format_parse(const char *name, enum model_kv_format *out, struct ltd_err *err)
{
    static const enum model_kv_format all[] = {MODEL_KV_F32, MODEL_KV_BF16};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(name, model_kv_format_name(all[i])) == 0) {
            *out = all[i];
            return 0;
        }
    return ltd_fail(err, LTD_E_INVALID, "KV format \"%.60s\", expected f32 or bf16", name);
}

const char *model_kv_format_name(enum model_kv_format format)
{
    switch (format) {
    case MODEL_KV_F32:
        return "f32";
    case MODEL_KV_BF16:
        return "bf16";
    }
    return "unknown";
}

static enum kern_kv_format kernel_format(const struct model_kv_spec *spec)
{
    return spec->format == MODEL_KV_F32 ? KERN_KV_F32 : KERN_KV_BF16;
}

static size_t element_bytes(const struct model_kv_spec *spec)
{
    return kern_kv_element_bytes(kernel_format(spec));
}

static size_t layer_elements(const struct model_kv_spec *spec)
{
    return 2 * (size_t)spec->n_heads * (size_t)spec->head_dim * KERN_PAGE_POSITIONS;
}

size_t model_kv_page_bytes(const struct model_kv_spec *spec)
{
    size_t bytes = layer_elements(spec) * (size_t)spec->n_layers * (size_t)spec->policy.n_planes *
                   element_bytes(spec);
    return (bytes + PAGE_ALIGN_BYTES - 1) / PAGE_ALIGN_BYTES * PAGE_ALIGN_BYTES;
}

static int check_spec(const struct model_kv_spec *spec, struct ltd_err *err)
{
    if (spec->n_pages >= 1 && spec->n_layers >= 1 && spec->n_layers <= 4096 && spec->n_heads >= 0 &&
        spec->n_heads <= 65536 && spec->head_dim >= 2 && spec->head_dim <= 65536 &&
        spec->policy.n_planes >= 1 && spec->policy.n_planes <= MODEL_KV_MAX_PLANES &&
        (spec->format == MODEL_KV_F32 || spec->format == MODEL_KV_BF16))
        return 0;
    return ltd_fail(
        err, LTD_E_INVALID,
        "KV pool: %d pages, %d layers, %d heads of %d, %d planes, format %d is not a pool",
        spec->n_pages, spec->n_layers, spec->n_heads, spec->head_dim, spec->policy.n_planes,
        (int)spec->format);
}

static int map_pool(struct model_kv *kv, struct ltd_err *err)
{
    size_t page_bytes = model_kv_page_bytes(&kv->spec);
    if (page_bytes == 0)
        return 0;
    if (!ltd_size_mul(page_bytes, (size_t)kv->spec.n_pages, &kv->pool_bytes))
        return ltd_fail(err, LTD_E_EXHAUSTED, "KV pool: %d pages of %zu bytes overflow",
                        kv->spec.n_pages, page_bytes);
    void *pool = mmap(NULL, kv->pool_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool == MAP_FAILED)
        return ltd_fail(err, LTD_E_EXHAUSTED, "KV pool: map %zu bytes: %s", kv->pool_bytes,
                        strerror(errno));
    kv->pool = pool;
    return 0;
}

struct model_kv *model_kv_create(const struct model_kv_spec *spec, struct ltd_err *err)
{
    if (check_spec(spec, err) != 0)
        return NULL;
    struct model_kv *kv = calloc(1, sizeof *kv);
    if (!kv)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "KV pool: no memory");
    kv->spec = *spec;
    kv->layer_stride = layer_elements(spec);
    kv->plane_stride = kv->layer_stride * (size_t)spec->n_layers;
    kv->page_stride = model_kv_page_bytes(spec) / element_bytes(spec);
    kv->present = ltd_alloc((size_t)spec->n_pages * KERN_PAGE_POSITIONS, sizeof *kv->present);
    if (!kv->present)
        ltd_fail(err, LTD_E_EXHAUSTED, "KV pool: no memory for counts of %d pages", spec->n_pages);
    if (!kv->present || map_pool(kv, err) != 0) {
        model_kv_destroy(kv);
        return NULL;
    }
    return kv;
}

void model_kv_destroy(struct model_kv *kv)
{
    if (!kv)
        return;
    if (kv->pool)
        munmap(kv->pool, kv->pool_bytes);
    ltd_free(kv->present);
    free(kv);
}

const struct model_kv_spec *model_kv_spec_of(const struct model_kv *kv)
{
    return &kv->spec;
}

void model_kv_release(struct model_kv *kv, int32_t page)
{
    size_t page_bytes = kv->page_stride * element_bytes(&kv->spec);
    ltd_assert(page >= 0 && page < kv->spec.n_pages, page, kv->spec.n_pages);
    memset(kv->present + (size_t)page * KERN_PAGE_POSITIONS, 0,
           KERN_PAGE_POSITIONS * sizeof *kv->present);
    if (kv->pool)
        madvise((char *)kv->pool + (size_t)page * page_bytes, page_bytes,
                MADV_DONTNEED); /* where it is refused, the memory is merely kept */
}

static uint16_t *present_at(const struct model_kv *kv, const int32_t *pages, int32_t position)
{
    return kv->present + (size_t)pages[position / KERN_PAGE_POSITIONS] * KERN_PAGE_POSITIONS +
           (size_t)(position % KERN_PAGE_POSITIONS);
}

int32_t model_kv_present(const struct model_kv *kv, int32_t page, int32_t position)
{
    return kv
        ->present[(size_t)page * KERN_PAGE_POSITIONS + (size_t)(position % KERN_PAGE_POSITIONS)];
}

static int check_place(const struct model_kv *kv, const struct model_place *place,
                       struct ltd_err *err)
{
    if (place->position < 0 || place->step_idx < 0 ||
        place->position / KERN_PAGE_POSITIONS >= place->n_pages)
        return ltd_fail(err, LTD_E_INTERNAL,
                        "KV plan: position %d at step %d with %d pages, expected pages that cover "
                        "the position",
                        place->position, place->step_idx, place->n_pages);
    for (int32_t i = 0; i <= place->position / KERN_PAGE_POSITIONS; i++)
        if (place->pages[i] < 0 || place->pages[i] >= kv->spec.n_pages)
            return ltd_fail(err, LTD_E_INTERNAL, "KV plan: page %d, expected one in [0, %d)",
                            place->pages[i], kv->spec.n_pages);
    return 0;
}

static int start_one(struct model_kv *kv, const struct model_place *place, struct ltd_err *err)
{
    if (check_place(kv, place, err) != 0)
        return -1;
    int32_t n_planes = kv->spec.policy.n_planes;
    int32_t before = place->step_idx < n_planes ? place->step_idx : n_planes;
    uint16_t *present = present_at(kv, place->pages, place->position);
    if (place->step_idx > 0 && *present != before)
        return ltd_fail(err, LTD_E_INTERNAL,
                        "KV plan: step %d of position %d finds %d planes, expected the %d of the "
                        "step before",
                        place->step_idx, place->position, *present, before);
    *present = (uint16_t)(before < n_planes ? before + 1 : n_planes);
    return 0;
}

int model_kv_start(struct model_kv *kv, const struct model_place *places, int32_t n_places,
                   struct ltd_err *err)
{
    for (int32_t i = 0; i < n_places; i++)
        if (start_one(kv, &places[i], err) != 0)
            return -1;
    return 0;
}

int model_kv_planes(const struct model_kv *kv, const struct model_place *place, int16_t *planes,
                    struct ltd_err *err)
{
    int32_t plane = model_kv_plane(&kv->spec.policy, place->step_idx);
    int16_t hole = kv->spec.policy.holes == MODEL_KV_SKIP ? -1 : 0;
    for (int32_t j = 0; j <= place->position; j++) {
        int32_t present = *present_at(kv, place->pages, j);
        if (present == 0)
            return ltd_fail(err, LTD_E_INTERNAL,
                            "KV plan: position %d reads position %d, which was never started",
                            place->position, j);
        if (plane < present)
            planes[j] = (int16_t)plane;
        else
            planes[j] = hole < 0 ? hole : (int16_t)(present - 1);
    }
    return 0;
}

/* One position's keys and values, at lane `lane` of a plane of f32. */
static void store_f32(const struct model_kv_spec *spec, float *keys, size_t lane, const float *k,
                      const float *v)
{
    size_t heads = (size_t)spec->n_heads, d = (size_t)spec->head_dim;
    float *values = keys + heads * d * KERN_PAGE_POSITIONS;
    for (size_t i = 0; i < heads * d; i++)
        keys[i * KERN_PAGE_POSITIONS + lane] = k[i];
    for (size_t h = 0; h < heads; h++)
        memcpy(values + (h * KERN_PAGE_POSITIONS + lane) * d, v + h * d, d * sizeof *v);
}

static void store_bf16(const struct model_kv_spec *spec, uint16_t *keys, size_t lane,
                       const float *k, const float *v)
{
    size_t heads = (size_t)spec->n_heads, d = (size_t)spec->head_dim;
    uint16_t *values = keys + heads * d * KERN_PAGE_POSITIONS;
    for (size_t i = 0; i < heads * d; i++)
        keys[i * KERN_PAGE_POSITIONS + lane] = kern_bf16_round(k[i]);
    for (size_t h = 0; h < heads; h++)
        for (size_t c = 0; c < d; c++)
            values[(h * KERN_PAGE_POSITIONS + lane) * d + c] = kern_bf16_round(v[h * d + c]);
}

void model_kv_store(struct model_kv *kv, int32_t layer, const struct model_place *place,
                    const float *k, const float *v)
{
    size_t lane = (size_t)(place->position % KERN_PAGE_POSITIONS);
    size_t page = (size_t)place->pages[place->position / KERN_PAGE_POSITIONS];
    size_t plane = (size_t)model_kv_plane(&kv->spec.policy, place->step_idx);
    size_t at =
        page * kv->page_stride + plane * kv->plane_stride + (size_t)layer * kv->layer_stride;
    if (kv->spec.n_heads == 0)
        return;
    if (kv->spec.format == MODEL_KV_F32)
        store_f32(&kv->spec, (float *)kv->pool + at, lane, k, v);
    else
        store_bf16(&kv->spec, (uint16_t *)kv->pool + at, lane, k, v);
}

struct kern_kv_layer model_kv_layer(const struct model_kv *kv, int32_t layer)
{
    return (struct kern_kv_layer){
        .pool = kv->pool
                    ? (char *)kv->pool + (size_t)layer * kv->layer_stride * element_bytes(&kv->spec)
                    : NULL,
        .format = kernel_format(&kv->spec),
        .page_stride = kv->page_stride,
        .plane_stride = kv->plane_stride,
        .n_heads = kv->spec.n_heads,
        .head_dim = kv->spec.head_dim,
    };
}
