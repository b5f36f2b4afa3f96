/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_tokenize.c - what the model's tokenizer makes of a text.
 */
#include "cli/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/link.h"
#include "cli/names.h"
#include "cli/out.h"
#include "cli/spec.h"
#include "cli/table.h"

struct tokenize_args {
    struct cli_common common;
    bool no_special;
    bool chat;
    const char *system;
};

static const struct cli_option rows[] = {
    {"no-special", CLI_FLAG, offsetof(struct tokenize_args, no_special), NULL,
     "without the tokenizer's template (no BOS)"},
    {"chat", CLI_FLAG, offsetof(struct tokenize_args, chat), NULL,
     "TEXT is a user's message, put into the model's chat format"},
    {"system", CLI_TEXT, offsetof(struct tokenize_args, system), "TEXT",
     "with --chat: the system message before it"},
};

/* Two octets of text per octet of a piece: the exact bytes, where "pieces" has U+FFFD. */
static void hex_field(struct cli_json *j, ProtobufCBinaryData piece)
{
    struct ltd_bytes hex;
    ltd_bytes_init(&hex);
    for (size_t i = 0; i < piece.len; i++) {
        char octet[3];
        snprintf(octet, sizeof octet, "%02x", piece.data[i]);
        ltd_bytes_put_str(&hex, octet);
    }
    cli_json_text(j, NULL, hex.data, hex.len);
    j->text.failed |= hex.failed;
    ltd_bytes_fini(&hex);
}

static int print_json(const Latentd__V1__TokenizeResponse *answer, struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_u32s(&j, "tokens", answer->ids, answer->n_ids);
    cli_json_begin(&j, "pieces", '[');
    for (size_t i = 0; i < answer->n_pieces; i++)
        cli_json_bytes(&j, NULL, answer->pieces[i]);
    cli_json_end(&j);
    cli_json_begin(&j, "pieces_hex", '[');
    for (size_t i = 0; i < answer->n_pieces; i++)
        hex_field(&j, answer->pieces[i]);
    cli_json_end(&j);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

/* Longer than any piece of a known vocabulary; a longer one is cut, in this view only. */
#define PIECE_BYTES 512

static int print_table(const Latentd__V1__TokenizeResponse *answer, struct ltd_err *err)
{
    struct cli_table table;
    char quoted[PIECE_BYTES];
    cli_table_init(&table, "rl");
    for (size_t i = 0; i < answer->n_ids; i++) {
        cli_table_cell(&table, "%" PRIu32, answer->ids[i]);
        if (i < answer->n_pieces)
            cli_table_cell(&table, "\"%s\"",
                           cli_out_quote(answer->pieces[i].data, answer->pieces[i].len, quoted,
                                         sizeof quoted));
        else
            cli_table_cell(&table, "?");
    }
    int rc = cli_table_print(&table, err);
    cli_table_fini(&table);
    return rc == 0 ? cli_out_flush(err) : -1;
}

static int ask(const struct tokenize_args *args, ProtobufCBinaryData text, struct ltd_err *err)
{
    struct cli_link link;
    struct cli_prompt_message prompt;
    Latentd__V1__TokenizeRequest request = LATENTD__V1__TOKENIZE_REQUEST__INIT;
    cli_prompt_text(&prompt, text, args->chat, args->system);
    request.no_special = args->no_special;
    if (args->chat) {
        request.kind_case = LATENTD__V1__TOKENIZE_REQUEST__KIND_CHAT;
        request.chat = prompt.prompt.chat;
    } else {
        request.kind_case = LATENTD__V1__TOKENIZE_REQUEST__KIND_TEXT;
        request.text = text;
    }
    int rc = cli_link_open(&link, &args->common, CLI_TIMEOUT_ASK_MS, err);
    if (rc == 0) {
        Latentd__V1__TokenizeResponse *answer =
            cli_link_ask(&link, "/latentd.v1.Inference/Tokenize", &request.base,
                         &latentd__v1__tokenize_response__descriptor, err);
        rc = !answer ? -1 : args->common.json ? print_json(answer, err) : print_table(answer, err);
        cli_link_free(answer);
    }
    cli_link_close(&link);
    return rc;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    const struct tokenize_args *args = verb_args;
    if (args->system && !args->chat)
        return ltd_fail(err, LTD_E_INVALID, "--system goes with --chat");
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    int rc = cli_prompt_read(words->items[0], &text, err);
    if (rc == 0)
        rc = ask(args, (ProtobufCBinaryData){text.len, text.data}, err);
    ltd_bytes_fini(&text);
    return rc;
}

const struct cli_verb cli_tokenize = {
    .name = "tokenize",
    .synopsis = "[OPTION]... (TEXT | -)",
    .summary = "show a text as token ids",
    .details =
        "One line per token: its id, and the bytes it stands for in quotes, where \\xHH is a byte "
        "that is no text by itself. TEXT is one word; \"-\" reads standard input, byte for "
        "byte.\n\n"
        "With --json one object: tokens, pieces (bytes that are no text are U+FFFD) and pieces_hex "
        "(exact). --timeout is 30 s by default.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct tokenize_args),
    .takes_stdin = true,
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
