/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_detokenize.c - what text token ids stand for.
 */
#include "cli/verb.h"

#include <stdint.h>
#include <stdlib.h>

#include "cli/link.h"
#include "cli/names.h"
#include "cli/out.h"
#include "latentd/v1/latentd.pb-c.h"

struct detokenize_args {
    struct cli_common common;
    bool skip_special;
};

static const struct cli_option rows[] = {
    {"skip-special", CLI_FLAG, offsetof(struct detokenize_args, skip_special), NULL,
     "leave special tokens out"},
};

static int print_text(const struct cli_ids *ids, const Latentd__V1__DetokenizeResponse *answer,
                      bool json, struct ltd_err *err)
{
    if (json) {
        struct cli_json j;
        cli_json_init(&j);
        cli_json_begin(&j, NULL, '{');
        cli_json_u32s(&j, "tokens", ids->items, ids->n);
        cli_json_bytes(&j, "text", answer->text);
        cli_json_end(&j);
        return cli_json_print(&j, err);
    }
    cli_out_text(answer->text.data, answer->text.len);
    if (cli_out_mid_line())
        cli_out_text("\n", 1);
    return cli_out_flush(err);
}

static int ask(const struct detokenize_args *args, const struct cli_ids *ids, struct ltd_err *err)
{
    struct cli_link link;
    Latentd__V1__DetokenizeRequest request = LATENTD__V1__DETOKENIZE_REQUEST__INIT;
    request.n_ids = ids->n;
    request.ids = ids->items;
    request.skip_special = args->skip_special;
    int rc = cli_link_open(&link, &args->common, CLI_TIMEOUT_ASK_MS, err);
    if (rc == 0) {
        Latentd__V1__DetokenizeResponse *answer =
            cli_link_ask(&link, "/latentd.v1.Inference/Detokenize", &request.base,
                         &latentd__v1__detokenize_response__descriptor, err);
        rc = answer ? print_text(ids, answer, args->common.json, err) : -1;
        cli_link_free(answer);
    }
    cli_link_close(&link);
    return rc;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    struct cli_ids ids = {.n = 0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < words->n; i++)
        rc = cli_ids_append(&ids, words->items[i], "token id", err);
    if (rc == 0)
        rc = ask(verb_args, &ids, err);
    free(ids.items);
    return rc;
}

const struct cli_verb cli_detokenize = {
    .name = "detokenize",
    .synopsis = "[OPTION]... ID...",
    .summary = "show token ids as text",
    .details = "Ids are words or parted by commas, as you like: \"1 2 3\", \"1,2,3\".\n\n"
               "With --json one object: tokens, text. --timeout is 30 s by default.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct detokenize_args),
    .min_words = 1,
    .max_words = SIZE_MAX,
    .run = run,
};
