/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_safetensors.c - a file of tensors that somebody else has made.
 *
 * Input: three bytes of knobs, then a header. Odd first byte: the rest is the file as it is. Even:
 * the length in front is put right and as many bytes of data as the next two bytes say follow.
 * Checked: a file that opens has tensors in order of their names, each inside the file, of the size
 * that its shape says, readable to its last byte, found by its name; together they cover the data
 * exactly; and any other file is refused with a reason.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "model/safetensors.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/json_mutator.h"

const size_t fuzz_json_begin = 3;

static void build_file(struct fuzz_input in, struct ltd_bytes *file)
{
    bool is_raw = fuzz_u8(&in) & 1;
    size_t n_data = (size_t)fuzz_u8(&in) | (size_t)fuzz_u8(&in) << 8;
    ltd_bytes_init(file);
    if (!is_raw)
        ltd_bytes_put_u64(file, in.len);
    ltd_bytes_put(file, in.data, in.len);
    uint8_t *room = is_raw ? NULL : ltd_bytes_reserve(file, n_data);
    if (room) {
        memset(room, 1, n_data);
        file->len += n_data;
    }
}

/* Bytes that the tensor takes; its own reads see to it that they are there. */
static size_t check_tensor(const struct model_safetensors *file, const struct model_tensor *t)
{
    size_t bytes = model_dtype_bytes(t->dtype), sum = 0;
    FUZZ_CHECK(t->n_dims >= 0 && t->n_dims <= MODEL_TENSOR_MAX_DIMS, "%d dimensions", t->n_dims);
    for (int32_t i = 0; i < t->n_dims; i++) {
        FUZZ_CHECK(t->shape[i] >= 0, "dimension %lld", (long long)t->shape[i]);
        bytes *= (size_t)t->shape[i];
    }
    FUZZ_CHECK(bytes == t->bytes, "%zu bytes by shape, %zu", bytes, t->bytes);
    for (size_t i = 0; i < t->bytes; i++)
        sum += t->data[i];
    FUZZ_CHECK(sum <= 255 * t->bytes, "read");
    FUZZ_CHECK(model_safetensors_find(file, t->name) == t, "%s is not found", t->name);
    return t->bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct ltd_err err = {0};
    struct ltd_bytes bytes;
    build_file((struct fuzz_input){data, len}, &bytes);
    struct model_safetensors *file = model_safetensors_open(fuzz_file(bytes.data, bytes.len), &err);
    if (!file)
        fuzz_check_refusal(&err);
    size_t all = 0;
    for (int32_t i = 0; file && i < model_safetensors_count(file); i++) {
        const struct model_tensor *t = model_safetensors_at(file, i);
        FUZZ_CHECK(i == 0 || strcmp(model_safetensors_at(file, i - 1)->name, t->name) < 0,
                   "%s is out of order", t->name);
        all += check_tensor(file, t);
    }
    FUZZ_CHECK(!file || all + 8 <= bytes.len, "%zu bytes of tensors in %zu", all, bytes.len);
    model_safetensors_close(file);
    ltd_bytes_fini(&bytes);
    return 0;
}
