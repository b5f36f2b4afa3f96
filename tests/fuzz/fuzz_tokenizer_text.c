/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_tokenizer_text.c - any text from any client, through tokenizers that are known.
 *
 * Input: one byte that picks a tokenizer, one of flags, then the text.
 * Checked: what fuzz_check_text checks; and without flags nothing of a text is lost: decoding gives
 * the same bytes, but for the tokenizer that normalises first. In a chat no content can bring in a
 * special token: there are as many as for a content without any.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/chat.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/token_checks.h"

#define VOCAB 4096

static const struct {
    const char *path;
    bool is_lossless;
} files[] = {
    {"models/demo/tokenizer.json", true},
    {"tests/data/tokenizer/huginn.tokenizer.json", false},
    {"tests/data/tokenizer/gpt2.tokenizer.json", true},
    {"tests/data/tokenizer/llama.tokenizer.json", true},
    {"tests/data/tokenizer/digits.tokenizer.json", false},
    {"tests/data/tokenizer/nfc.tokenizer.json", false},
};
#define N_FILES (sizeof files / sizeof *files)

static const struct model_tokenizer *tokenizer(size_t idx)
{
    static struct model_tokenizer *open[N_FILES];
    struct ltd_err err = {0};
    char path[512];
    if (!open[idx]) {
        snprintf(path, sizeof path, "%s/%s", SOURCE_DIR, files[idx].path);
        open[idx] = model_tokenizer_open(path, VOCAB, &err);
        FUZZ_CHECK(open[idx], "%s", err.msg);
    }
    return open[idx];
}

/* Special tokens of a chat with this content; -1 when it is refused. */
static int32_t n_special(const struct model_chat *chat, const char *content, size_t len)
{
    struct ltd_err err = {0};
    struct model_chat_message message = {"user", 4, content, len};
    struct model_tokens tokens;
    int32_t n = 0;
    model_tokens_init(&tokens);
    int rc = model_chat_render(chat, &message, 1, true, &tokens, &err);
    for (size_t i = 0; i < tokens.n; i++)
        n += model_tokenizer_is_special(chat->tok, tokens.ids[i]);
    model_tokens_fini(&tokens);
    return rc == 0 ? n : -1;
}

static void check_chat(const struct model_tokenizer *tok, const char *text, size_t len)
{
    struct ltd_err err = {0};
    struct model_chat chat;
    if (model_chat_init(&chat, tok, &err) != 0)
        return;
    int32_t n = n_special(&chat, text, len), expected = n_special(&chat, "", 0);
    FUZZ_CHECK(n == -1 || n == expected, "%d special tokens, %d without content", n, expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_input in = {data, len};
    size_t idx = fuzz_u8(&in) % N_FILES;
    unsigned flags = fuzz_u8(&in) & 7;
    const struct model_tokenizer *tok = tokenizer(idx);
    char *text = (char *)fuzz_copy(in.data, in.len);
    struct ltd_bytes plain;
    ltd_bytes_init(&plain);
    fuzz_check_text(tok, text, in.len, flags, NULL);
    if (fuzz_check_text(tok, text, in.len, 0, &plain) && files[idx].is_lossless)
        FUZZ_CHECK(plain.len == in.len && (in.len == 0 || memcmp(plain.data, text, in.len) == 0),
                   "%s: %zu bytes of text came back as %zu", files[idx].path, in.len, plain.len);
    check_chat(tok, text, in.len);
    ltd_bytes_fini(&plain);
    free(text);
    return 0;
}
