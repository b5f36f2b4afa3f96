/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/model/test_checkpoint.c - a directory against its configuration: good ones open, each kind
 * of damage is named, and the hash tells models apart.
 *
 * A broken directory is a copy of a good one with one change, made by a small editor over tensors.
 */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

#include "base/bytes.h"
#include "kernels/dispatch.h"
#include "model/border.h"
#include "model/checkpoint.h"
#include "model/core.h"
#include "model/layout.h"

#define SMALL TEST_DATA_DIR "/golden/tiny-p2r4c2"
#define BF16  TEST_DATA_DIR "/golden/tiny-p1r2c1-bf16"

static char dir[] = "/tmp/latentd-checkpoint-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static const char *in_dir(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static const char *const all_files[] = {
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
};

static int drop_dir(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all_files / sizeof all_files[0]; i++)
        unlink(in_dir(all_files[i]));
    return rmdir(dir);
}

static void write_text(const char *name, const char *text, size_t len)
{
    FILE *f = fopen(in_dir(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
}

static char *slurp(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*len + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *len, f), *len);
    bytes[*len] = '\0';
    fclose(f);
    return bytes;
}

static void copy_model(const char *from)
{
    for (size_t i = 0; i < sizeof all_files / sizeof all_files[0]; i++) {
        char path[512];
        size_t len;
        snprintf(path, sizeof path, "%s/%s", from, all_files[i]);
        char *bytes = slurp(path, &len);
        unlink(in_dir(all_files[i]));
        if (bytes)
            write_text(all_files[i], bytes, len);
        free(bytes);
    }
}

/* ---- the editor: a tensor file as a list, changed and written back ---- */

struct edit {
    const char *tensor; /* which one; NULL: add a new one */
    const char *rename; /* new name, or NULL */
    const char *dtype;  /* new label of the same width, or NULL */
    bool drop;          /* leave it out */
    bool cut_row;       /* one row less */
    bool transpose;     /* the same bytes under a shape that is written backwards */
    bool flip;          /* another bit in its last byte */
    bool not_a_number;  /* its first element becomes NaN */
};

static void put_shape(json_t *entry, const struct model_tensor *t, const struct edit *edit)
{
    json_t *shape = json_array();
    for (int32_t i = 0; i < t->n_dims; i++) {
        int32_t dim = edit && edit->transpose ? t->n_dims - 1 - i : i;
        json_array_append_new(shape,
                              json_integer(t->shape[dim] - (edit && edit->cut_row && i == 0)));
    }
    json_object_set_new(entry, "shape", shape);
}

/* One tensor into header and data, changed as `edit` says (NULL: as it is). */
static void put_tensor(json_t *header, struct ltd_bytes *data, const struct model_tensor *t,
                       const struct edit *edit)
{
    bool cut = edit && edit->cut_row;
    size_t bytes = cut ? t->bytes - t->bytes / (size_t)t->shape[0] : t->bytes;
    size_t begin = data->len;
    json_t *entry = json_object();
    if (edit && edit->drop) {
        json_decref(entry);
        return;
    }
    const char *dtype = edit && edit->dtype ? edit->dtype : model_dtype_name(t->dtype);
    json_object_set_new(entry, "dtype", json_string(dtype));
    put_shape(entry, t, edit);
    ltd_bytes_put(data, t->data, bytes);
    if (edit && edit->flip)
        data->data[data->len - 1] ^= 1;
    if (edit && edit->not_a_number)
        memset(data->data + begin, 0xFF, 4);
    json_object_set_new(entry, "data_offsets",
                        json_pack("[I,I]", (json_int_t)begin, (json_int_t)data->len));
    json_object_set_new(header, edit && edit->rename ? edit->rename : t->name, entry);
}

static void write_back(const char *name, json_t *header, const struct ltd_bytes *data)
{
    struct ltd_bytes file;
    char *text = json_dumps(header, JSON_COMPACT);
    ltd_bytes_init(&file);
    ltd_bytes_put_u64(&file, strlen(text));
    ltd_bytes_put_str(&file, text);
    ltd_bytes_put(&file, data->data, data->len);
    assert_false(file.failed);
    write_text(name, (const char *)file.data, file.len);
    ltd_bytes_fini(&file);
    free(text);
}

/* Rewrite a file of the test's directory, where the original lies in `from`. */
static void edit_file(const char *from, const char *name, const struct edit *edit)
{
    char path[512];
    struct ltd_err err = {0};
    struct ltd_bytes data;
    snprintf(path, sizeof path, "%s/%s", from, name);
    struct model_safetensors *file = model_safetensors_open(path, &err);
    if (!file)
        fail_msg("%s", err.msg);
    json_t *header = json_object();
    ltd_bytes_init(&data);
    for (int32_t i = 0; i < model_safetensors_count(file); i++) {
        const struct model_tensor *t = model_safetensors_at(file, i);
        bool chosen = edit->tensor && strcmp(edit->tensor, t->name) == 0;
        put_tensor(header, &data, t, chosen ? edit : NULL);
    }
    if (!edit->tensor)
        put_tensor(header, &data, model_safetensors_find(file, "transformer.ln_f.weight"), edit);
    write_back(name, header, &data);
    ltd_bytes_fini(&data);
    json_decref(header);
    model_safetensors_close(file);
}

/* Set a key of config.json; `value` is JSON text. */
static void edit_config(const char *key, const char *value)
{
    json_t *root = json_load_file(in_dir("config.json"), 0, NULL);
    assert_non_null(root);
    json_object_set_new(root, key, json_loads(value, JSON_DECODE_ANY, NULL));
    char *text = json_dumps(root, 0);
    write_text("config.json", text, strlen(text));
    free(text);
    json_decref(root);
}

static struct model_checkpoint *open_good(const char *path)
{
    struct ltd_err err = {0};
    struct model_checkpoint *ckpt = model_checkpoint_open(path, &err);
    if (!ckpt)
        fail_msg("%s", err.msg);
    return ckpt;
}

static void refused(const char *what, enum ltd_code code, const char *first, const char *second)
{
    struct ltd_err err = {0};
    struct model_checkpoint *ckpt = model_checkpoint_open(dir, &err);
    if (ckpt)
        fail_msg("%s was accepted", what);
    if (err.code != code || !strstr(err.msg, dir) || !strstr(err.msg, first) ||
        !strstr(err.msg, second))
        fail_msg("%s: %s: \"%s\", expected %s with the directory, \"%s\" and \"%s\"", what,
                 ltd_code_name(err.code), err.msg, ltd_code_name(code), first, second);
}

/* ---- good directories ---- */

static void both_golden_directories_open(void **state)
{
    (void)state;
    static const char *const dirs[] = {SMALL, BF16};
    for (int i = 0; i < 2; i++) {
        struct model_checkpoint *ckpt = open_good(dirs[i]);
        assert_string_equal(model_checkpoint_dir(ckpt), dirs[i]);
        assert_true(model_checkpoint_config(ckpt)->tied);
        model_checkpoint_close(ckpt);
    }
}

static void redundant_copies_may_be_there_or_not(void **state)
{
    const struct edit no_head = {.tensor = "lm_head.weight", .drop = true};
    const struct edit no_freqs = {.tensor = "freqs_cis", .drop = true};
    (void)state;
    copy_model(SMALL);
    edit_file(SMALL, "model.safetensors", &no_head);
    model_checkpoint_close(open_good(dir));
    edit_file(SMALL, "model.safetensors", &no_freqs);
    model_checkpoint_close(open_good(dir));
}

static void an_untied_head_is_used_when_the_configuration_says_so(void **state)
{
    const struct edit other = {.tensor = "lm_head.weight", .flip = true};
    struct ltd_err err = {0};
    (void)state;
    copy_model(SMALL);
    edit_file(SMALL, "model.safetensors", &other);
    edit_config("tie_embeddings", "false");
    struct model_checkpoint *ckpt = open_good(dir);
    const struct kern_ctx ctx = {kern_tier_find("ref", NULL), 1, 0};
    const struct model_border_options options = {4, 8, 2, MODEL_KV_F32, KERN_F32};
    struct model_border *border = model_border_create(ckpt, &ctx, &options, &err);
    if (!border)
        fail_msg("%s", err.msg);
    float hidden[40] = {0}, logits[97], row[40];
    hidden[39] = 1.0f; /* picks the last column, whose last row was changed */
    model_border_head(border, hidden, 1, logits);
    assert_int_equal(model_checkpoint_floats(ckpt, "lm_head.weight", 96 * 40, 40, row, &err), 0);
    assert_true(logits[96] == row[39]);
    assert_int_equal(
        model_checkpoint_floats(ckpt, "transformer.wte.weight", 96 * 40, 40, row, &err), 0);
    assert_true(logits[96] != row[39]);
    model_border_destroy(border);
    model_checkpoint_close(ckpt);
}

static void a_model_without_qk_bias_has_no_such_tensors(void **state)
{
    (void)state;
    copy_model(SMALL);
    edit_config("qk_bias", "false");
    refused("a bias that should not exist", LTD_E_CORRUPT, "attn.qk_bias", "only tensors");
}

/* ---- damage ---- */

static void damaged_tensors_are_refused_by_name(void **state)
{
    static const struct {
        struct edit edit;
        const char *first, *second;
    } rows[] = {
        {{.tensor = "transformer.wte.weight", .drop = true},
         "transformer.wte.weight is missing",
         "expected with shape [97, 40]"},
        {{.tensor = "transformer.adapter.weight", .drop = true}, "adapter.weight", "missing"},
        {{.tensor = "transformer.ln_f.weight", .drop = true}, "ln_f.weight", "missing"},
        {{.tensor = "transformer.prelude.1.norm_3.weight", .drop = true},
         "prelude.1.norm_3",
         "missing"},
        {{.tensor = "transformer.core_block.3.mlp.fc.weight", .drop = true},
         "core_block.3.mlp.fc",
         "missing"},
        {{.tensor = "transformer.coda.0.attn.qk_bias", .drop = true},
         "coda.0.attn.qk_bias",
         "missing"},
        {{.tensor = NULL, .rename = "transformer.extra.weight"},
         "transformer.extra.weight",
         "expected only tensors"},
        {{.tensor = NULL, .rename = "model.transformer.ln_f.weight"},
         "model.transformer",
         "expected only tensors"},
        {{.tensor = NULL, .rename = "transformer.adapter.bias"},
         "adapter.bias",
         "expected only tensors"},
        {{.tensor = NULL, .rename = "transformer.coda.2.norm_1.weight"},
         "coda.2.norm_1",
         "expected only tensors"},
        {{.tensor = "transformer.wte.weight", .cut_row = true},
         "shape [96, 40]",
         "expected [97, 40]"},
        {{.tensor = "transformer.adapter.weight", .cut_row = true},
         "shape [39, 80]",
         "expected [40, 80]"},
        {{.tensor = "transformer.core_block.0.attn.Wqkv.weight", .cut_row = true},
         "shape [119, 40]",
         "expected [120, 40]"},
        {{.tensor = "transformer.core_block.1.attn.proj.weight", .cut_row = true},
         "shape [39, 40]",
         "expected [40, 40]"},
        {{.tensor = "transformer.core_block.1.mlp.fc.weight", .cut_row = true},
         "shape [105, 40]",
         "expected [106, 40]"},
        {{.tensor = "transformer.coda.1.mlp.proj.weight", .cut_row = true},
         "shape [39, 53]",
         "expected [40, 53]"},
        {{.tensor = "transformer.coda.1.attn.qk_bias", .cut_row = true},
         "shape [1, 1, 5, 8]",
         "expected [2, 1, 5, 8]"},
        {{.tensor = "transformer.ln_f.weight", .cut_row = true}, "shape [39]", "expected [40]"},
        {{.tensor = "transformer.ln_f.weight", .dtype = "I32"}, "dtype I32", "expected F32"},
        {{.tensor = "lm_head.weight", .flip = true}, "lm_head.weight differs", "element 3879"},
        {{.tensor = "transformer.wte.weight", .flip = true},
         "lm_head.weight differs",
         "tie_embeddings"},
        {{.tensor = "lm_head.weight", .cut_row = true}, "shape [96, 40]", "expected [97, 40]"},
        {{.tensor = "lm_head.weight", .transpose = true}, "shape [40, 97]", "expected [97, 40]"},
        {{.tensor = "lm_head.weight", .dtype = "I32"}, "dtype I32", "expected a copy"},
    };
    (void)state;
    print_message("%zu damaged files\n", sizeof rows / sizeof rows[0]);
    copy_model(SMALL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        edit_file(SMALL, "model.safetensors", &rows[i].edit);
        refused(rows[i].first, LTD_E_CORRUPT, rows[i].first, rows[i].second);
    }
}

static void a_configuration_of_another_shape_is_noticed(void **state)
{
    static const struct {
        const char *key, *value, *first, *second;
    } rows[] = {
        {"vocab_size", "98", "wte", "expected [98, 40]"},
        {"n_heads", "10", "qk_bias", "expected [2, 1, 10, 4]"},
        {"intermediate_size", "52", "mlp", "expected"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        copy_model(SMALL);
        edit_config("padded_vocab_size", "null");
        edit_config("num_key_value_heads", "null");
        edit_config("head_dim", "null");
        edit_config(rows[i].key, rows[i].value);
        refused(rows[i].key, LTD_E_CORRUPT, rows[i].first, rows[i].second);
    }
}

/* ---- the index ---- */

static void set_map(const char *tensor, json_t *take_value)
{
    copy_model(BF16);
    json_t *root = json_load_file(in_dir("model.safetensors.index.json"), 0, NULL);
    assert_non_null(root);
    json_t *map = json_object_get(root, "weight_map");
    if (take_value)
        json_object_set_new(map, tensor, take_value);
    else
        json_object_del(map, tensor);
    char *text = json_dumps(root, 0);
    write_text("model.safetensors.index.json", text, strlen(text));
    free(text);
    json_decref(root);
}

static void an_index_must_agree_with_its_files(void **state)
{
    static const char wte[] = "transformer.wte.weight";
    (void)state;
    static const char *const names[] = {"../model-00001-of-00002.safetensors",
                                        "/etc/passwd",
                                        "sub/model.safetensors",
                                        "",
                                        ".",
                                        "..",
                                        "a\\b.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        set_map(wte, json_string(names[i]));
        refused(names[i], LTD_E_INVALID, wte, "without a path");
    }
    set_map(wte, json_integer(1));
    refused("a number as file", LTD_E_INVALID, wte, "without a path");
    set_map(wte, json_string("model-00003-of-00002.safetensors"));
    refused("a file that is not there", LTD_E_NOT_FOUND, "model-00003-of-00002.safetensors",
            "No such file");
    set_map("transformer.coda.0.norm_1.weight", json_string("model-00001-of-00002.safetensors"));
    refused("a tensor mapped to the other file", LTD_E_CORRUPT, "coda.0.norm_1", "missing");
    set_map("transformer.coda.0.norm_1.weight", NULL);
    refused("a tensor that the map forgets", LTD_E_CORRUPT, "coda.0.norm_1", "no file");
    set_map("transformer.extra", json_string("model-00001-of-00002.safetensors"));
    refused("a tensor that only the map knows", LTD_E_CORRUPT, "transformer.extra", "missing");
}

static void a_tensor_in_two_files_is_refused(void **state)
{
    const struct edit twin = {.tensor = "transformer.coda.0.norm_1.weight",
                              .rename = "transformer.adapter.weight"};
    (void)state;
    copy_model(BF16);
    edit_file(BF16, "model-00002-of-00002.safetensors", &twin);
    set_map("transformer.coda.0.norm_1.weight", json_string("model-00002-of-00002.safetensors"));
    edit_file(BF16, "model-00002-of-00002.safetensors", &twin);
    refused("a tensor in two files", LTD_E_CORRUPT, "coda.0.norm_1", "missing");
    set_map("transformer.coda.0.norm_1.weight", NULL);
    edit_file(BF16, "model-00002-of-00002.safetensors", &twin);
    refused("a tensor in two files", LTD_E_CORRUPT, "holds tensor transformer.adapter.weight",
            "model-00001-of-00002");
}

static void an_index_that_is_none_is_refused(void **state)
{
    static const char *const texts[] = {
        "{", "[]", "{}", "{\"weight_map\": []}", "{\"weight_map\": {}}", "{\"weight_map\": 1}"};
    (void)state;
    copy_model(BF16);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_text("model.safetensors.index.json", texts[i], strlen(texts[i]));
        refused(texts[i], LTD_E_INVALID, "model.safetensors.index.json", i ? "weight_map" : "line");
    }
}

static void a_directory_needs_exactly_one_way_to_its_tensors(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    copy_model(SMALL);
    write_text("model.safetensors.index.json", "{}", 2);
    refused("single file and index", LTD_E_INVALID, "both", "expected one");
    unlink(in_dir("model.safetensors.index.json"));
    unlink(in_dir("model.safetensors"));
    refused("no tensors", LTD_E_NOT_FOUND, "neither model.safetensors", "expected one");
    unlink(in_dir("config.json"));
    refused("no configuration", LTD_E_NOT_FOUND, "config.json", "No such file");
    assert_int_equal(mkdir(in_dir("config.json"), 0700), 0);
    refused("a directory as configuration", LTD_E_INVALID, "a directory", "expected a regular");
    rmdir(in_dir("config.json"));
    assert_null(model_checkpoint_open("/nonexistent", &err));
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
}

/* Opening a pipe waits for a writer, and a link to a lost file is easily taken for no file. */
static void pipes_and_lost_links_are_refused_and_not_waited_for(void **state)
{
    static const char *const names[] = {"config.json", "model.safetensors",
                                        "model-00002-of-00002.safetensors"};
    (void)state;
    alarm(60);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        copy_model(i == 2 ? BF16 : SMALL);
        unlink(in_dir(names[i]));
        assert_int_equal(mkfifo(in_dir(names[i]), 0600), 0);
        refused("a pipe", LTD_E_INVALID, names[i], "a pipe, expected a regular file");
        unlink(in_dir(names[i]));
        assert_int_equal(symlink("gone", in_dir(names[i])), 0);
        refused("a link to nothing", LTD_E_NOT_FOUND, names[i], "expected a readable regular file");
        unlink(in_dir(names[i]));
        assert_int_equal(symlink(names[i], in_dir(names[i])), 0);
        refused("a link to itself", LTD_E_NOT_FOUND, names[i], "symbolic links");
    }
    alarm(0);
}

/* ---- loading ---- */

static void a_weight_that_is_not_finite_is_refused_at_load(void **state)
{
    static const char *const names[] = {
        "transformer.core_block.2.mlp.proj.weight", "transformer.core_block.0.norm_2.weight",
        "transformer.core_block.1.attn.qk_bias", "transformer.adapter.weight"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct edit edit = {.tensor = names[i], .not_a_number = true};
        struct ltd_err err = {0};
        copy_model(SMALL);
        edit_file(SMALL, "model.safetensors", &edit);
        struct model_checkpoint *ckpt = open_good(dir);
        const struct kern_ctx ctx = {kern_tier_find("openblas", NULL), 1, 0};
        const struct model_core_options options = {
            .shard = model_shard_all(model_checkpoint_config(ckpt)),
            .max_slots = 2,
            .max_positions = 8,
            .n_pages = 1,
            .policy = {1, false, MODEL_KV_LATEST},
        };
        assert_null(model_core_create(ckpt, &ctx, &options, &err));
        assert_int_equal(err.code, LTD_E_CORRUPT);
        if (!strstr(err.msg, names[i]) || !strstr(err.msg, "nan") ||
            !strstr(err.msg, "/model.safetensors"))
            fail_msg("\"%s\", expected the file, %s and nan in it", err.msg, names[i]);
        model_checkpoint_close(ckpt);
    }
}

/* So whoever reads all heads and all tensors has read every byte of the weights. */
static void heads_and_tensors_are_the_whole_of_every_file(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    struct model_checkpoint *ckpt = model_checkpoint_open(BF16, &err);
    assert_non_null(ckpt);
    assert_int_equal(model_checkpoint_n_files(ckpt), 2);
    for (int32_t f = 0; f < 2; f++) {
        const struct model_safetensors *file = model_checkpoint_file(ckpt, f);
        const char *path = model_safetensors_path(file);
        struct stat st;
        size_t bytes, len;
        const uint8_t *head = model_safetensors_head(file, &bytes);
        char *contents = slurp(path, &len);
        assert_non_null(contents);
        assert_true(bytes > 8 && bytes < len);
        assert_memory_equal(head, contents, bytes);
        for (int32_t i = 0; i < model_safetensors_count(file); i++)
            bytes += model_safetensors_at(file, i)->bytes;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(bytes, (size_t)st.st_size);
        free(contents);
    }
    model_checkpoint_close(ckpt);
}

static void impossible_options_are_refused(void **state)
{
    (void)state;
    struct model_checkpoint *ckpt = open_good(SMALL);
    const struct kern_ctx ctx = {kern_tier_find("openblas", NULL), 1, 0};
    const struct model_core_options good = {
        .shard = model_shard_all(model_checkpoint_config(ckpt)),
        .max_slots = 2,
        .max_positions = 96,
        .n_pages = 1,
        .policy = {1, false, MODEL_KV_LATEST},
    };
    struct model_core_options bad[8];
    for (int i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].max_slots = 0;
    bad[1].max_positions = 97;
    bad[2].max_positions = 0;
    bad[3].n_pages = 0;
    bad[4].shard.head_end = 6;
    bad[5].shard.embd_begin = 41;
    bad[6].shard.fc_begin = -1;
    bad[7].policy.n_planes = 0;
    for (int i = 0; i < 8; i++) {
        struct ltd_err err = {0};
        assert_null(model_core_create(ckpt, &ctx, &bad[i], &err));
        assert_int_equal(err.code, LTD_E_INVALID);
        assert_true(err.msg[0] != '\0');
    }
    model_checkpoint_close(ckpt);
}

static void a_batch_that_does_not_fit_is_refused(void **state)
{
    static const int32_t pages[] = {0};
    float latent[40] = {0}, e[40] = {0};
    struct ltd_err err = {0};
    (void)state;
    struct model_checkpoint *ckpt = open_good(SMALL);
    const struct kern_ctx ctx = {kern_tier_find("openblas", NULL), 1, 0};
    const struct model_core_options options = {
        .shard = model_shard_all(model_checkpoint_config(ckpt)),
        .max_slots = 2,
        .max_positions = 8,
        .n_pages = 1,
        .policy = {1, false, MODEL_KV_LATEST},
    };
    struct model_core *core = model_core_create(ckpt, &ctx, &options, &err);
    assert_non_null(core);
    const struct model_exchange exchange = model_exchange_local(model_core_config(core));
    struct model_slot slots[3];
    for (int i = 0; i < 3; i++)
        slots[i] = (struct model_slot){.place = {pages, 1, i, 0}, .latent = latent, .e = e};
    assert_int_equal(model_core_step(core, slots, 3, &exchange, &err), -1);
    assert_int_equal(err.code, LTD_E_EXHAUSTED);
    slots[0].place.position = 8;
    assert_int_equal(model_core_step(core, slots, 1, &exchange, &err), -1);
    assert_int_equal(err.code, LTD_E_RANGE);
    slots[0].place.position = -1;
    assert_int_equal(model_core_step(core, slots, 1, &exchange, &err), -1);
    assert_int_equal(err.code, LTD_E_RANGE);
    slots[0].place = (struct model_place){pages, 1, 5, 0};
    assert_int_equal(model_core_step(core, slots, 1, &exchange, &err), -1);
    assert_int_equal(err.code, LTD_E_INTERNAL); /* positions 0 to 4 never started */
    slots[0] = (struct model_slot){.place = {pages, 1, 0, 0}, .latent = latent, .e = e};
    slots[0].is_early = true; /* there is one copy only */
    assert_int_equal(model_core_step(core, slots, 1, &exchange, &err), -1);
    assert_int_equal(err.code, LTD_E_INTERNAL);
    assert_non_null(strstr(err.msg, "early"));
    assert_int_equal(model_core_step(core, slots, 0, &exchange, &err), 0);
    model_core_destroy(core);
    model_checkpoint_close(ckpt);
}

static size_t packed_bytes(const struct model_checkpoint *ckpt, enum kern_format format,
                           const enum kern_format *early, size_t step_bytes[2])
{
    const struct kern_ctx ctx = {kern_tier_find("ref", NULL), 1, 0};
    struct ltd_err err = {0};
    struct model_core_options options = {
        .shard = model_shard_all(model_checkpoint_config(ckpt)),
        .max_slots = 2,
        .max_positions = 8,
        .n_pages = 1,
        .policy = {1, false, MODEL_KV_LATEST},
        .format = format,
        .has_early = early != NULL,
    };
    if (early)
        options.early_format = *early;
    struct model_core *core = model_core_create(ckpt, &ctx, &options, &err);
    assert_non_null(core);
    assert_int_equal(model_core_has_early(core), early != NULL);
    size_t all = model_core_weight_bytes(core);
    step_bytes[0] = model_core_step_bytes(core, false);
    step_bytes[1] = model_core_step_bytes(core, true);
    model_core_destroy(core);
    return all;
}

static void a_rank_holds_both_copies_and_a_step_reads_one(void **state)
{
    static const enum kern_format int8 = KERN_INT8;
    size_t step[2], bf16 = 0, small = 0;
    (void)state;
    struct model_checkpoint *ckpt = open_good(SMALL);
    bf16 = packed_bytes(ckpt, KERN_BF16, NULL, step);
    assert_int_equal(step[0], bf16);
    assert_int_equal(step[1], 0);
    small = packed_bytes(ckpt, KERN_INT8, NULL, step);
    assert_true(small < bf16);
    assert_int_equal(packed_bytes(ckpt, KERN_BF16, &int8, step), bf16 + small);
    assert_int_equal(step[0], bf16);
    assert_int_equal(step[1], small);
    model_checkpoint_close(ckpt);
}

static void tokens_and_positions_outside_are_refused_by_the_border(void **state)
{
    static const int32_t pages[] = {0};
    static const int32_t tokens[] = {-1, 97, INT32_MAX};
    float e[40];
    struct ltd_err err = {0};
    (void)state;
    struct model_checkpoint *ckpt = open_good(SMALL);
    const struct kern_ctx ctx = {kern_tier_find("openblas", NULL), 1, 0};
    const struct model_border_options options = {4, 8, 1, MODEL_KV_F32, KERN_F32};
    struct model_border *border = model_border_create(ckpt, &ctx, &options, &err);
    assert_non_null(border);
    for (int i = 0; i < 3; i++) {
        const struct model_border_in in = {{pages, 1, 0, 0}, tokens[i], e};
        assert_int_equal(model_border_prelude(border, &in, 1, &err), -1);
        assert_int_equal(err.code, LTD_E_INVALID);
    }
    const struct model_border_in far = {{pages, 1, 8, 0}, 3, e};
    assert_int_equal(model_border_prelude(border, &far, 1, &err), -1);
    assert_int_equal(err.code, LTD_E_RANGE);
    model_border_destroy(border);
    model_checkpoint_close(ckpt);
}

/* ---- hash ---- */

static void hash_of(const char *path, char hex[MODEL_HASH_HEX_BYTES])
{
    struct ltd_err err = {0};
    struct model_checkpoint *ckpt = open_good(path);
    if (model_checkpoint_hash(ckpt, hex, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(strlen(hex), 64);
    model_checkpoint_close(ckpt);
}

static void the_hash_names_the_model_and_nothing_else(void **state)
{
    char golden[MODEL_HASH_HEX_BYTES], copy[MODEL_HASH_HEX_BYTES], other[MODEL_HASH_HEX_BYTES];
    const struct edit no_head = {.tensor = "lm_head.weight", .drop = true};
    const struct edit one_bit = {.tensor = "transformer.coda.1.mlp.proj.weight", .flip = true};
    (void)state;
    hash_of(SMALL, golden);
    copy_model(SMALL);
    hash_of(dir, copy);
    assert_string_equal(golden, copy); /* not the path */
    edit_file(SMALL, "model.safetensors", &no_head);
    hash_of(dir, copy);
    assert_string_equal(golden, copy); /* not a second copy */
    edit_file(SMALL, "model.safetensors", &one_bit);
    hash_of(dir, other);
    assert_string_not_equal(golden, other);
    copy_model(SMALL);
    edit_config("mean_recurrence", "31");
    hash_of(dir, other);
    assert_string_not_equal(golden, other);
    hash_of(BF16, other);
    assert_string_not_equal(golden, other);
}

/* A model of 84 MB that is one hole in a file: small shapes under a large vocabulary. */
static size_t write_large_model(size_t *wte_begin, size_t *wte_end)
{
    static const char config[] =
        "{\"model_type\": \"huginn_raven\", \"n_embd\": 20, \"n_heads\": 2,"
        " \"intermediate_size\": 2, \"n_layers_in_prelude\": 1,"
        " \"n_layers_in_recurrent_block\": 1, \"n_layers_in_coda\": 1, \"vocab_size\": 1048576}";
    struct model_config parsed;
    struct model_layout layout;
    struct ltd_err err = {0};
    struct ltd_bytes none;
    size_t at = 0;
    assert_int_equal(model_config_parse(config, strlen(config), "test", &parsed, &err), 0);
    assert_int_equal(model_layout_build(&layout, &parsed, &err), 0);
    json_t *header = json_object();
    for (int32_t i = 0; i < layout.n_rows; i++) {
        const struct model_layout_row *row = &layout.rows[i];
        struct model_tensor t = {.n_dims = row->n_dims};
        size_t bytes = sizeof(float);
        json_t *entry = json_pack("{s:s}", "dtype", "F32");
        for (int32_t d = 0; d < row->n_dims; d++) {
            t.shape[d] = row->shape[d];
            bytes *= (size_t)row->shape[d];
        }
        put_shape(entry, &t, false);
        json_object_set_new(entry, "data_offsets",
                            json_pack("[I,I]", (json_int_t)at, (json_int_t)(at + bytes)));
        json_object_set_new(header, row->name, entry);
        if (strcmp(row->name, MODEL_NAME_WTE) == 0)
            *wte_begin = at;
        at += bytes;
        if (strcmp(row->name, MODEL_NAME_WTE) == 0)
            *wte_end = at;
    }
    ltd_bytes_init(&none);
    write_back("model.safetensors", header, &none);
    write_text("config.json", config, strlen(config));
    struct stat st;
    assert_int_equal(stat(in_dir("model.safetensors"), &st), 0);
    size_t header_bytes = (size_t)st.st_size;
    assert_int_equal(truncate(in_dir("model.safetensors"), (off_t)(header_bytes + at)), 0);
    *wte_begin += header_bytes;
    *wte_end += header_bytes;
    json_decref(header);
    free(layout.rows);
    return header_bytes + at;
}

static void set_byte(size_t offset, char value)
{
    FILE *f = fopen(in_dir("model.safetensors"), "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, (long)offset, SEEK_SET), 0);
    assert_int_equal(fputc(value, f), value);
    fclose(f);
}

static void a_large_model_is_hashed_by_evenly_spaced_blocks(void **state)
{
    char plain[MODEL_HASH_HEX_BYTES], changed[MODEL_HASH_HEX_BYTES];
    size_t begin = 0, end = 0;
    (void)state;
    copy_model("/nonexistent"); /* leaves an empty directory */
    assert_true(write_large_model(&begin, &end) > (size_t)64 << 20);
    hash_of(dir, plain);
    size_t step = (end - begin - 4096) / 15;
    const size_t seen[] = {begin, begin + 4095, begin + step, begin + 7 * step + 100, end - 1};
    const size_t unseen[] = {begin + 4096, begin + step - 1, end - 4097};
    for (size_t i = 0; i < sizeof seen / sizeof seen[0]; i++) {
        set_byte(seen[i], 1);
        hash_of(dir, changed);
        assert_string_not_equal(plain, changed);
        set_byte(seen[i], 0);
    }
    for (size_t i = 0; i < sizeof unseen / sizeof unseen[0]; i++) {
        set_byte(unseen[i], 1);
        hash_of(dir, changed);
        assert_string_equal(plain, changed);
        set_byte(unseen[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_golden_directories_open),
        cmocka_unit_test(redundant_copies_may_be_there_or_not),
        cmocka_unit_test(an_untied_head_is_used_when_the_configuration_says_so),
        cmocka_unit_test(a_model_without_qk_bias_has_no_such_tensors),
        cmocka_unit_test(damaged_tensors_are_refused_by_name),
        cmocka_unit_test(a_configuration_of_another_shape_is_noticed),
        cmocka_unit_test(an_index_must_agree_with_its_files),
        cmocka_unit_test(a_tensor_in_two_files_is_refused),
        cmocka_unit_test(an_index_that_is_none_is_refused),
        cmocka_unit_test(a_directory_needs_exactly_one_way_to_its_tensors),
        cmocka_unit_test(pipes_and_lost_links_are_refused_and_not_waited_for),
        cmocka_unit_test(a_weight_that_is_not_finite_is_refused_at_load),
        cmocka_unit_test(heads_and_tensors_are_the_whole_of_every_file),
        cmocka_unit_test(impossible_options_are_refused),
        cmocka_unit_test(a_batch_that_does_not_fit_is_refused),
        cmocka_unit_test(a_rank_holds_both_copies_and_a_step_reads_one),
        cmocka_unit_test(tokens_and_positions_outside_are_refused_by_the_border),
        cmocka_unit_test(the_hash_names_the_model_and_nothing_else),
        cmocka_unit_test(a_large_model_is_hashed_by_evenly_spaced_blocks),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
