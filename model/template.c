/* SPDX-License-Identifier: Apache-2.0 */
/* model/template.c - see model/template.h. */
#include "model/template.h"

#include <stdbool.h>
#include <string.h>

#include "base/json.h"
#include "model/tokenizer_json.h"

struct loader {
    struct model_template *template;
    const struct model_vocab *vocab;
    bool has_template; /* a TemplateProcessing has been read */
    struct ltd_err *err;
};

/* Append the ids of special_tokens[name]; each must be the id of the token text beside it. */
static int add_ids(struct loader *l, const json_t *entry, struct model_tokens *out,
                   const char *where)
{
    const json_t *ids = json_object_get(entry, "ids");
    const json_t *texts = json_object_get(entry, "tokens");
    if (!json_is_array(ids) || !json_is_array(texts) || json_array_size(ids) == 0 ||
        json_array_size(ids) != json_array_size(texts))
        return model_json_invalid(entry, "an object with arrays ids and tokens of one length",
                                  where, l->err);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        const json_t *text = json_array_get(texts, i);
        int32_t known = !json_is_string(text) ? -1
                                              : model_vocab_find(l->vocab, json_string_value(text),
                                                                 json_string_length(text));
        if (known < 0)
            return model_json_invalid(text, "the text of a token", where, l->err);
        if (!json_is_integer(id) || json_integer_value(id) != known)
            return ltd_fail(l->err, LTD_E_INVALID, "%s: found id %lld for \"%s\", expected %d",
                            where, (long long)json_integer_value(id),
                            model_excerpt(json_string_value(text), json_string_length(text)).text,
                            known);
        if (model_tokens_push(out, known, l->err) != 0)
            return -1;
    }
    return 0;
}

/* One item of `single`: {"SpecialToken": {"id": NAME, ..}} or {"Sequence": {"id": "A", ..}}. */
static int load_item(struct loader *l, const json_t *item, const json_t *specials, bool *has_text,
                     const char *where)
{
    static const char *const keys[] = {"SpecialToken", "Sequence", NULL};
    if (model_json_keys(item, keys, where, l->err) != 0)
        return -1;
    const json_t *sequence = json_object_get(item, "Sequence");
    const json_t *special = json_object_get(item, "SpecialToken");
    const char *id = json_string_value(json_object_get(sequence ? sequence : special, "id"));
    if (json_object_size(item) != 1 || !id)
        return model_json_invalid(item, "one SpecialToken or Sequence with an id", where, l->err);
    if (sequence) {
        if (*has_text || strcmp(id, "A") != 0)
            return ltd_fail(l->err, LTD_E_UNIMPLEMENTED, "%s: found Sequence %s, expected A, once",
                            where, model_excerpt(id, strlen(id)).text);
        *has_text = true;
        return 0;
    }
    const json_t *entry = json_object_get(specials, id);
    if (!entry)
        return ltd_fail(l->err, LTD_E_INVALID, "%s: found \"%s\", expected a key of special_tokens",
                        where, model_excerpt(id, strlen(id)).text);
    return add_ids(l, entry, *has_text ? &l->template->tail : &l->template->head, where);
}

static int load_template(struct loader *l, const json_t *value, const char *where)
{
    static const char *const keys[] = {"type", "single", "pair", "special_tokens", NULL};
    char item[MODEL_WHERE_BYTES];
    bool has_text = false;
    if (model_json_keys(value, keys, where, l->err) != 0)
        return -1;
    if (l->has_template)
        return model_json_unsupported(value, "at most one TemplateProcessing", where, l->err);
    l->has_template = true;
    const json_t *single = json_object_get(value, "single");
    model_where(item, "%s.single", where);
    if (!json_is_array(single))
        return model_json_invalid(single, "an array", item, l->err);
    size_t i;
    const json_t *part;
    json_array_foreach((json_t *)single, i, part)
    {
        model_where(item, "%s.single[%zu]", where, i);
        if (load_item(l, part, json_object_get(value, "special_tokens"), &has_text, item) != 0)
            return -1;
    }
    if (!has_text)
        return ltd_fail(l->err, LTD_E_INVALID, "%s.single: found no Sequence A, expected one",
                        where);
    return 0;
}

static int load_any(struct loader *l, const json_t *value, bool in_sequence, const char *where)
{
    static const char *const sequence_keys[] = {"type", "processors", NULL};
    const char *type = NULL;
    if (model_json_type(value, &type, where, l->err) != 0)
        return -1;
    if (strcmp(type, "ByteLevel") == 0)
        return 0;
    if (strcmp(type, "TemplateProcessing") == 0)
        return load_template(l, value, where);
    if (strcmp(type, "Sequence") != 0 || in_sequence)
        return ltd_fail(l->err, LTD_E_UNIMPLEMENTED,
                        "%s: found type %s, expected "
                        "TemplateProcessing, ByteLevel or a Sequence of these",
                        where, model_excerpt(type, strlen(type)).text);
    char item[MODEL_WHERE_BYTES];
    const json_t *list = json_object_get(value, "processors");
    model_where(item, "%s.processors", where);
    if (model_json_keys(value, sequence_keys, where, l->err) != 0)
        return -1;
    if (!json_is_array(list))
        return model_json_invalid(list, "an array", item, l->err);
    for (size_t i = 0; i < json_array_size(list); i++) {
        model_where(item, "%s.processors[%zu]", where, i);
        if (load_any(l, json_array_get(list, i), true, item) != 0)
            return -1;
    }
    return 0;
}

int model_template_load(struct model_template *template, const json_t *value,
                        const struct model_vocab *vocab, const char *path, struct ltd_err *err)
{
    struct loader l = {.template = template, .vocab = vocab, .err = err};
    char where[MODEL_WHERE_BYTES];
    model_where(where, "%s: post_processor", path);
    model_tokens_init(&template->head);
    model_tokens_init(&template->tail);
    if (!value || json_is_null(value))
        return 0;
    if (load_any(&l, value, false, where) != 0) {
        model_template_fini(template);
        return -1;
    }
    return 0;
}

void model_template_fini(struct model_template *template)
{
    model_tokens_fini(&template->head);
    model_tokens_fini(&template->tail);
}
