/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_tokenizer_json.c - a tokenizer.json that somebody else has made.
 *
 * Input: the file.
 * Checked: it is refused with a reason, or it opens and then gives ids of its own vocabulary for
 * texts with everything in them, the same ids each time, and the same text back however it is asked
 * for. A pattern from such a file must not be able to hang a call.
 */
#include <string.h>

#include "model/tokenizer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/json_mutator.h"

#include "tests/fuzz/token_checks.h"

const size_t fuzz_json_begin = 0;

#define VOCAB 400

static const char *const texts[] = {
    "Hello, world! It's 12345 o'clock.\n\n  \tthe the\r\n",
    "<|begin_text|>a\xC3\xA9 e\xCC\x81 \xE2\x82\xAC \xF0\x9F\x99\x82<|end_text|> x ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
    "",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct ltd_err err = {0};
    struct model_tokenizer *tok = model_tokenizer_open(fuzz_file(data, len), VOCAB, &err);
    if (!tok) {
        fuzz_check_refusal(&err);
        return 0;
    }
    int32_t n = model_tokenizer_n_tokens(tok);
    FUZZ_CHECK(n >= 0 && n <= VOCAB, "%d tokens", n);
    for (int32_t id = 0; id < VOCAB; id++) {
        size_t n_bytes;
        const char *text = model_tokenizer_text(tok, id);
        const uint8_t *bytes = model_tokenizer_bytes(tok, id, &n_bytes);
        FUZZ_CHECK(!text == !bytes, "token %d has text or bytes alone", id);
        FUZZ_CHECK(!text || model_tokenizer_find(tok, text) >= 0, "%s is not found", text);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (unsigned flags = 0; flags < 8; flags += 7)
            fuzz_check_text(tok, texts[i], strlen(texts[i]), flags, NULL);
    model_tokenizer_close(tok);
    return 0;
}
