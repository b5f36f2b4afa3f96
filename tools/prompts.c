/* SPDX-License-Identifier: Apache-2.0 */
/* tools/prompts.c - see tools/prompts.h. */
#include "tools/prompts.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"

#define FILE_BYTES_MAX ((size_t)64 << 20)

int tool_prompts_init(struct tool_prompts *prompts, const struct model_checkpoint *ckpt,
                      struct ltd_err *err)
{
    const struct model_config *config = model_checkpoint_config(ckpt);
    *prompts =
        (struct tool_prompts){.vocab = config->vocab, .max_positions = config->max_positions};
    prompts->tokenizer =
        model_tokenizer_open(model_checkpoint_dir(ckpt), config->vocab, &prompts->no_text);
    if (prompts->tokenizer || prompts->no_text.code == LTD_E_NOT_FOUND)
        return 0;
    *err = prompts->no_text;
    return -1;
}

void tool_prompts_fini(struct tool_prompts *prompts)
{
    for (size_t i = 0; i < prompts->n; i++)
        model_tokens_fini(&prompts->items[i]);
    free(prompts->items);
    model_tokenizer_close(prompts->tokenizer);
    *prompts = (struct tool_prompts){0};
}

/* The list takes over the ids, also when it refuses them. */
static int keep(struct tool_prompts *prompts, struct model_tokens *take_ids, struct ltd_err *err)
{
    struct model_tokens *grown = NULL;
    if (take_ids->n < 1 || take_ids->n > (size_t)prompts->max_positions)
        ltd_fail(err, LTD_E_INVALID, "a prompt of %zu tokens, expected 1 to the context of %d",
                 take_ids->n, prompts->max_positions);
    else if (!(grown = realloc(prompts->items, (prompts->n + 1) * sizeof *grown)))
        ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu prompts", prompts->n + 1);
    if (!grown) {
        model_tokens_fini(take_ids);
        return -1;
    }
    prompts->items = grown;
    prompts->items[prompts->n++] = *take_ids;
    return 0;
}

int tool_prompts_add_text(struct tool_prompts *prompts, const char *text, size_t len,
                          struct ltd_err *err)
{
    struct model_tokens ids;
    if (!prompts->tokenizer)
        return ltd_fail(err, LTD_E_INVALID, "a text, expected token ids: %.180s",
                        prompts->no_text.msg);
    model_tokens_init(&ids);
    if (model_tokenizer_encode(prompts->tokenizer, text, len, MODEL_ENCODE_HEAD, &ids, err) == 0)
        return keep(prompts, &ids, err);
    model_tokens_fini(&ids);
    return -1;
}

int tool_prompts_add_ids(struct tool_prompts *prompts, const uint32_t *ids, size_t n,
                         struct ltd_err *err)
{
    struct model_tokens list;
    int rc = 0;
    model_tokens_init(&list);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = ids[i] < (uint32_t)prompts->vocab
                 ? model_tokens_push(&list, (int32_t)ids[i], err)
                 : ltd_fail(err, LTD_E_INVALID, "token id %u, expected one below %d", ids[i],
                            prompts->vocab);
    if (rc == 0)
        return keep(prompts, &list, err);
    model_tokens_fini(&list);
    return -1;
}

/* ---- files ---- */

static int add_json_ids(struct tool_prompts *prompts, const json_t *array, struct ltd_err *err)
{
    size_t n = json_array_size(array);
    uint32_t *ids = calloc(n ? n : 1, sizeof *ids);
    int rc = ids ? 0 : ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu tokens", n);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const json_t *id = json_array_get(array, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= prompts->vocab)
            rc = ltd_fail(err, LTD_E_INVALID, "tokens[%zu]: expected an id below %d", i,
                          prompts->vocab);
        else
            ids[i] = (uint32_t)json_integer_value(id);
    }
    if (rc == 0)
        rc = tool_prompts_add_ids(prompts, ids, n, err);
    free(ids);
    return rc;
}

static int add_json_text(struct tool_prompts *prompts, const json_t *object, struct ltd_err *err)
{
    const char *prompt = NULL, *answer = "";
    struct ltd_bytes text;
    int rc = ltd_json_get_string(object, "prompt", &prompt, "line", err);
    if (rc < 0 || ltd_json_get_string(object, "answer", &answer, "line", err) < 0)
        return -1;
    if (rc > 0)
        return ltd_fail(err, LTD_E_INVALID, "an object without \"prompt\" and \"tokens\"");
    ltd_bytes_init(&text);
    ltd_bytes_put_str(&text, prompt);
    ltd_bytes_put_str(&text, answer);
    rc = text.failed ? ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a prompt")
                     : tool_prompts_add_text(prompts, (const char *)text.data, text.len, err);
    ltd_bytes_fini(&text);
    return rc;
}

static int add_line(struct tool_prompts *prompts, const char *line, size_t len, struct ltd_err *err)
{
    if (line[0] != '{')
        return tool_prompts_add_text(prompts, line, len, err);
    json_t *object = ltd_json_parse(line, len, "line", err);
    if (!object)
        return -1;
    const json_t *ids = json_object_get(object, "tokens");
    int rc =
        json_is_array(ids) ? add_json_ids(prompts, ids, err) : add_json_text(prompts, object, err);
    json_decref(object);
    return rc;
}

int tool_prompts_add_file(struct tool_prompts *prompts, const char *path, size_t most,
                          struct ltd_err *err)
{
    size_t size, number = 0, n_before = prompts->n;
    char *data = ltd_file_read(path, FILE_BYTES_MAX, &size, err);
    if (!data)
        return -1;
    int rc = 0;
    for (const char *at = data, *end = data + size; rc == 0 && at < end;) {
        const char *feed = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((feed ? feed : end) - at);
        number++;
        if (len > 0 && (most == 0 || prompts->n - n_before < most) &&
            add_line(prompts, at, len, err) != 0)
            rc = ltd_err_context(err, "%s:%zu", path, number);
        at += len + (feed != NULL);
    }
    free(data);
    return rc;
}
