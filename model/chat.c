/* SPDX-License-Identifier: Apache-2.0 */
/* model/chat.c - see model/chat.h. */
#include "model/chat.h"

#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"

/* How the model's own turns are headed, whatever name a client has for them. */
static const char own_role[] = "Huginn";
static const char client_role[] = "assistant";

/* ---- init ---- */

static int find_special(const struct model_tokenizer *tok, const char *text, int32_t *out,
                        struct ltd_err *err)
{
    int32_t id = model_tokenizer_find(tok, text);
    if (id < 0)
        return ltd_fail(err, LTD_E_UNIMPLEMENTED,
                        "%s: found no token %s, expected it among the "
                        "special tokens, as the chat format needs it",
                        model_tokenizer_path(tok), text);
    if (!model_tokenizer_is_special(tok, id))
        return ltd_fail(err, LTD_E_UNIMPLEMENTED,
                        "%s: found %s as an ordinary token, expected it "
                        "to be special, since any text could spell it",
                        model_tokenizer_path(tok), text);
    *out = id;
    return 0;
}

int model_chat_init(struct model_chat *chat, const struct model_tokenizer *tok, struct ltd_err *err)
{
    struct model_chat found = {.tok = tok};
    if (find_special(tok, "<|begin_text|>", &found.begin_text, err) != 0 ||
        find_special(tok, "<|end_text|>", &found.end_text, err) != 0 ||
        find_special(tok, "<|begin_header|>", &found.begin_header, err) != 0 ||
        find_special(tok, "<|end_header|>", &found.end_header, err) != 0 ||
        find_special(tok, "<|end_turn|>", &found.end_turn, err) != 0)
        return -1;
    *chat = found;
    return 0;
}

/* ---- render ---- */

/* White space as Python's str.strip sees it, which is what the published template calls: Unicode's,
 * and the four separators from U+001C on. */
static bool is_space(uint32_t code)
{
    return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
           code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

static bool is_space_at(const char *text, size_t begin, size_t end)
{
    uint32_t code = 0;
    ltd_utf8_next((const uint8_t *)text + begin, end - begin, &code);
    return is_space(code);
}

/* Narrow [*begin, *end) of well-formed `text` by the white space on both sides. */
static void trim(const char *text, size_t *begin, size_t *end)
{
    while (*begin < *end && is_space_at(text, *begin, *end))
        *begin += (size_t)ltd_utf8_next((const uint8_t *)text + *begin, *end - *begin, NULL);
    while (*begin < *end) {
        size_t last = *end - 1;
        while (last > *begin && ((uint8_t)text[last] & 0xC0) == 0x80)
            last--;
        if (!is_space_at(text, last, *end))
            break;
        *end = last;
    }
}

static int check_role(const struct model_chat_message *message, struct ltd_err *err)
{
    if (message->role_len == 0 || message->role_len > MODEL_CHAT_ROLE_MAX_BYTES)
        return ltd_fail(err, LTD_E_INVALID, "role: found %zu bytes, expected 1 to %d",
                        message->role_len, MODEL_CHAT_ROLE_MAX_BYTES);
    for (size_t i = 0; i < message->role_len; i++)
        if ((uint8_t)message->role[i] < 0x20 || message->role[i] == 0x7F)
            return ltd_fail(err, LTD_E_INVALID,
                            "role: found byte 0x%02x at offset %zu, expected no "
                            "control characters",
                            (uint8_t)message->role[i], i);
    return 0;
}

static int put_header(const struct model_chat *chat, const char *role, size_t len,
                      struct model_tokens *out, struct ltd_err *err)
{
    if (len == sizeof client_role - 1 && memcmp(role, client_role, len) == 0) {
        role = own_role;
        len = sizeof own_role - 1;
    }
    if (model_tokens_push(out, chat->begin_header, err) != 0)
        return -1;
    if (model_tokenizer_encode(chat->tok, role, len, 0, out, err) != 0)
        return ltd_err_context(err, "role");
    return model_tokens_push(out, chat->end_header, err);
}

/* The two newlines and the content are one text between two special tokens, and are encoded as
 * one: the pattern may join the newlines with what follows. */
static int put_content(const struct model_chat *chat, const char *content, size_t len,
                       struct model_tokens *out, struct ltd_err *err)
{
    size_t begin = 0, end = len;
    size_t good = len ? ltd_utf8_valid_prefix(content, len) : 0;
    if (good < len)
        return ltd_fail(err, LTD_E_INVALID,
                        "content: found byte 0x%02x at offset %zu of %zu, "
                        "expected UTF-8",
                        (uint8_t)content[good], good, len);
    trim(content, &begin, &end);
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    ltd_bytes_put_str(&text, "\n\n");
    if (begin < end)
        ltd_bytes_put(&text, content + begin, end - begin);
    int rc = text.failed ? ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu bytes", len)
                         : model_tokenizer_encode(chat->tok, (const char *)text.data, text.len, 0,
                                                  out, err);
    ltd_bytes_fini(&text);
    return rc == 0 ? 0 : ltd_err_context(err, "content");
}

static int put_message(const struct model_chat *chat, const struct model_chat_message *message,
                       struct model_tokens *out, struct ltd_err *err)
{
    if (check_role(message, err) != 0 ||
        put_header(chat, message->role, message->role_len, out, err) != 0 ||
        put_content(chat, message->content, message->content_len, out, err) != 0)
        return -1;
    return model_tokens_push(out, chat->end_turn, err);
}

static int put_end(const struct model_chat *chat, bool add_generation_prompt,
                   struct model_tokens *out, struct ltd_err *err)
{
    if (!add_generation_prompt)
        return model_tokens_push(out, chat->end_text, err);
    if (put_header(chat, own_role, sizeof own_role - 1, out, err) != 0)
        return -1;
    return put_content(chat, NULL, 0, out, err);
}

int model_chat_render(const struct model_chat *chat, const struct model_chat_message *messages,
                      size_t n, bool add_generation_prompt, struct model_tokens *out,
                      struct ltd_err *err)
{
    size_t n_before = out->n;
    if (n == 0)
        return ltd_fail(err, LTD_E_INVALID, "a conversation of 0 messages, expected at least 1");
    int rc = model_tokens_push(out, chat->begin_text, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = put_message(chat, &messages[i], out, err);
        if (rc != 0)
            ltd_err_context(err, "message %zu", i);
    }
    if (rc == 0)
        rc = put_end(chat, add_generation_prompt, out, err);
    if (rc != 0)
        out->n = n_before;
    return rc;
}
