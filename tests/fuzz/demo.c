/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/demo.c - see tests/fuzz/demo.h. */
#include "tests/fuzz/demo.h"

#include <stdio.h>

#include "tests/fuzz/fuzz.h"

#define DEMO_DIR SOURCE_DIR "/models/demo"

static size_t longest_token(const struct model_tokenizer *tok)
{
    size_t longest = 0;
    for (int32_t id = 0; id < model_tokenizer_vocab_size(tok); id++) {
        size_t len;
        model_tokenizer_bytes(tok, id, &len);
        longest = len > longest ? len : longest;
    }
    return longest;
}

const struct served *fuzz_demo(void)
{
    static struct served served;
    static struct model_tokenizer *tokenizer; /* reachable, so no leak is reported */
    static struct model_chat chat;
    struct ltd_err err = {0};
    if (served.tokenizer)
        return &served;
    snprintf(served.name, sizeof served.name, "models/demo");
    FUZZ_CHECK(model_config_load(DEMO_DIR "/config.json", &served.model, &err) == 0 &&
                   model_generation_load(DEMO_DIR "/generation_config.json", served.model.vocab,
                                         &served.generation, &err) == 0,
               "%s", err.msg);
    tokenizer = model_tokenizer_open(DEMO_DIR, served.model.vocab, &err);
    FUZZ_CHECK(tokenizer, "%s", err.msg);
    served.token_bytes_max = longest_token(tokenizer);
    if (model_chat_init(&chat, tokenizer, &err) == 0)
        served.chat = &chat;
    else
        snprintf(served.no_chat, sizeof served.no_chat, "no tokens for it");
    served.default_steps = served.model.default_steps;
    served.max_steps = 4 * served.model.default_steps;
    served.default_max_tokens = 64;
    served.tokenizer = tokenizer;
    return &served;
}
