/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/template.h - the ids that a tokenizer.json puts around a text when it is asked to.
 *
 *     "<|begin_text|> $A <|end_text|>"  ->  head [65504], tail [65505]
 *
 * Read from "post_processor": TemplateProcessing (its `single` form; `pair` is for two texts, which
 * no call here has), ByteLevel (which changes offsets, not ids), or a Sequence of these.
 *
 * Threads: immutable after load.
 */
#ifndef LATENTD_MODEL_TEMPLATE_H
#define LATENTD_MODEL_TEMPLATE_H

#include <jansson.h>

#include "base/err.h"
#include "model/tokenizer.h"
#include "model/vocab.h"

struct model_template {
    struct model_tokens head; /* before the text */
    struct model_tokens tail; /* behind it */
};

/*
 * model_template_load - read the object "post_processor"; null and absent give an empty template.
 * On failure nothing needs fini. Errors: LTD_E_INVALID, LTD_E_UNIMPLEMENTED, LTD_E_EXHAUSTED.
 */
int model_template_load(struct model_template *template, const json_t *value,
                        const struct model_vocab *vocab, const char *path, struct ltd_err *err);

void model_template_fini(struct model_template *template);

#endif
