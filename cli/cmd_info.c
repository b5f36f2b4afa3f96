/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_info.c - what is served, on which ranks, with which kernels, and how it is doing.
 *
 * Tiers that this machine cannot use are shown with the reason: the question "why is it slow here"
 * has its answer in that column.
 */
#include "cli/verb.h"

#include <inttypes.h>

#include "cli/link.h"
#include "cli/out.h"
#include "cli/status_out.h"
#include "cli/status_text.h"
#include "cli/table.h"
#include "latentd/v1/latentd.pb-c.h"

static int print_json(const Latentd__V1__Model *model, const Latentd__V1__ClusterStatus *status,
                      struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_model_field(&j, model);
    cli_status_field(&j, status);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

static void add_bytes(struct cli_table *table, const char *head, ProtobufCBinaryData text)
{
    cli_table_cell(table, "%s", head);
    cli_table_cell(table, "%.*s", (int)text.len, (const char *)text.data);
}

/* A number as people say it: 3.510 G, 12.000 M, 98304. */
static void add_count(struct cli_table *table, uint64_t n)
{
    if (n >= 1000000000)
        cli_table_cell(table, "%.3f G", (double)n / 1e9);
    else if (n >= 1000000)
        cli_table_cell(table, "%.3f M", (double)n / 1e6);
    else
        cli_table_cell(table, "%" PRIu64, n);
}

static int print_model(const Latentd__V1__Model *m, struct ltd_err *err)
{
    struct cli_table t;
    cli_table_init(&t, "ll");
    add_bytes(&t, "model", m->name);
    add_bytes(&t, "hash", m->hash);
    cli_table_cell(&t, "parameters");
    add_count(&t, m->parameters);
    cli_table_cell(&t, "shape");
    cli_table_cell(
        &t, "embd %" PRIu32 ", heads %" PRIu32 ", intermediate %" PRIu32 ", vocabulary %" PRIu32,
        m->n_embd, m->n_heads, m->intermediate_size, m->vocab_size);
    cli_table_cell(&t, "layers");
    cli_table_cell(&t, "prelude %" PRIu32 ", recurrent block %" PRIu32 ", coda %" PRIu32,
                   m->n_layers_in_prelude, m->n_layers_in_recurrent_block, m->n_layers_in_coda);
    cli_table_cell(&t, "context");
    cli_table_cell(&t, "%" PRIu32 " tokens", m->context_tokens);
    cli_table_cell(&t, "depth");
    cli_table_cell(&t, "%" PRIu32 " steps by default, at most %" PRIu32, m->default_steps,
                   m->max_steps);
    cli_table_cell(&t, "text");
    cli_table_cell(&t, "%s, %s", m->has_tokenizer ? "tokenizer" : "no tokenizer",
                   m->has_chat ? "chat format" : "no chat format");
    cli_table_cell(&t, "defaults");
    cli_table_cell(&t, "temperature %g, %" PRIu32 " tokens", m->default_temperature,
                   m->default_max_tokens);
    add_bytes(&t, "weights", m->format);
    if (m->early_format.len > 0) {
        cli_table_cell(&t, "early steps");
        cli_table_cell(&t, "%.*s, %" PRIu32 " by default", (int)m->early_format.len,
                       (const char *)m->early_format.data, m->default_early_steps);
    }
    add_bytes(&t, "tier", m->tier);
    cli_table_cell(&t, "kv cache");
    cli_table_cell(&t, "%.*s, %.*s, %" PRIu64 " bytes a position", (int)m->kv_policy.len,
                   (const char *)m->kv_policy.data, (int)m->kv_format.len,
                   (const char *)m->kv_format.data, m->kv_bytes_per_position);
    int rc = cli_table_print(&t, err);
    cli_table_fini(&t);
    return rc;
}

static int print_tiers(const Latentd__V1__Model *model, struct ltd_err *err)
{
    struct cli_table table;
    cli_table_init(&table, "lll");
    cli_table_cell(&table, "TIER");
    cli_table_cell(&table, "USABLE");
    cli_table_cell(&table, "REASON");
    for (size_t i = 0; i < model->n_tiers; i++) {
        const Latentd__V1__TierInfo *tier = model->tiers[i];
        cli_table_cell(&table, "%.*s", (int)tier->name.len, (const char *)tier->name.data);
        cli_table_cell(&table, "%s", tier->usable ? "yes" : "no");
        cli_table_cell(&table, "%.*s", (int)tier->reason.len, (const char *)tier->reason.data);
    }
    cli_out_printf("\n");
    int rc = cli_table_print(&table, err);
    cli_table_fini(&table);
    return rc;
}

static int print_ranks(const Latentd__V1__ClusterStatus *status, struct ltd_err *err)
{
    static const char *const heads[] = {"RANK", "HOST", "THREADS", "HEADS", "EMBD ROWS", "FC ROWS"};
    struct cli_table table;
    cli_table_init(&table, "rlrrrr");
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        cli_table_cell(&table, "%s", heads[i]);
    for (size_t i = 0; i < status->n_ranks; i++) {
        const Latentd__V1__RankStatus *rank = status->ranks[i];
        cli_table_cell(&table, "%" PRIu32, rank->rank);
        cli_table_cell(&table, "%.*s", (int)rank->host.len, (const char *)rank->host.data);
        cli_table_cell(&table, "%" PRIu32, rank->threads);
        cli_table_cell(&table, "%" PRIu32 "..%" PRIu32, rank->head_begin, rank->head_end);
        cli_table_cell(&table, "%" PRIu32 "..%" PRIu32, rank->embd_begin, rank->embd_end);
        cli_table_cell(&table, "%" PRIu32 "..%" PRIu32, rank->fc_begin, rank->fc_end);
    }
    cli_out_printf("\n");
    int rc = cli_table_print(&table, err);
    cli_table_fini(&table);
    return rc;
}

static int print_status(const Latentd__V1__ClusterStatus *s, struct ltd_err *err)
{
    struct cli_table t;
    struct cli_rates rates;
    char uptime[CLI_UPTIME_BYTES];
    cli_rates_between(NULL, s, &rates);
    cli_table_init(&t, "ll");
    add_bytes(&t, "version", s->version);
    add_bytes(&t, "state", s->state);
    cli_table_cell(&t, "uptime");
    cli_table_cell(&t, "%s", cli_uptime_text(s->uptime_ms, uptime));
    cli_status_rows(&t, s, &rates);
    cli_out_printf("\n");
    int rc = cli_table_print(&t, err);
    cli_table_fini(&t);
    return rc;
}

static int print_depths(const Latentd__V1__ClusterStatus *status, struct ltd_err *err)
{
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    cli_depth_table(status, &text);
    int rc = text.failed ? ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a table") : 0;
    if (rc == 0 && text.len > 0) {
        cli_out_printf("\n");
        cli_out_text(text.data, text.len);
    }
    ltd_bytes_fini(&text);
    return rc;
}

static int print_plain(const Latentd__V1__Model *model, const Latentd__V1__ClusterStatus *status,
                       struct ltd_err *err)
{
    if (print_model(model, err) != 0 || print_tiers(model, err) != 0 ||
        print_ranks(status, err) != 0 || print_status(status, err) != 0 ||
        print_depths(status, err) != 0)
        return -1;
    return cli_out_flush(err);
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    (void)words;
    const struct cli_common *common = verb_args;
    struct cli_link link;
    Latentd__V1__GetModelRequest model_request = LATENTD__V1__GET_MODEL_REQUEST__INIT;
    Latentd__V1__GetStatusRequest status_request = LATENTD__V1__GET_STATUS_REQUEST__INIT;
    Latentd__V1__Model *model = NULL;
    Latentd__V1__ClusterStatus *status = NULL;
    int rc = cli_link_open(&link, common, CLI_TIMEOUT_ASK_MS, err);
    if (rc == 0)
        model = cli_link_ask(&link, "/latentd.v1.Cluster/GetModel", &model_request.base,
                             &latentd__v1__model__descriptor, err);
    if (model)
        status = cli_link_ask(&link, "/latentd.v1.Cluster/GetStatus", &status_request.base,
                              &latentd__v1__cluster_status__descriptor, err);
    if (status)
        rc = common->json ? print_json(model, status, err) : print_plain(model, status, err);
    else
        rc = -1;
    cli_link_free(status);
    cli_link_free(model);
    cli_link_close(&link);
    return rc;
}

const struct cli_verb cli_info = {
    .name = "info",
    .synopsis = "[OPTION]...",
    .summary = "what is served, on which ranks, and how it is doing",
    .details =
        "Five parts: the model; the kernel tiers that this build knows, best first, each with the "
        "reason when this machine cannot use it; the ranks with the rows they own (begin..end, end "
        "not included); how the daemon is doing, rates and percentiles since its start; tokens by "
        "why their steps ended and how many they were. top shows the last two as they change.\n\n"
        "With --json one object: model, status. --timeout is 30 s by default.",
    .groups = {CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct cli_common),
    .min_words = 0,
    .max_words = 0,
    .run = run,
};
