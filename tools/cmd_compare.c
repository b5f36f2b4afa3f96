/* SPDX-License-Identifier: Apache-2.0 */
/* tools/cmd_compare.c - how far one format of a model is from another, by depth. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/json_out.h"
#include "cli/out.h"
#include "cli/table.h"
#include "kernels/dispatch.h"
#include "tools/bar.h"
#include "tools/compare.h"
#include "tools/verb.h"

struct compare_args {
    struct tool_common common;
    const char *format, *against, *early_format, *tier, *prompts;
    struct cli_ids early_steps, tokens;
    struct cli_texts prompt;
    struct cli_u32 depth, limit, threads;
    struct cli_u64 seed;
    bool json;
};

#define ROW(field) offsetof(struct compare_args, field)

static const struct cli_option rows[] = {
    {"format", CLI_TEXT, ROW(format), "FORMAT", "the format that is tried; without it int8"},
    {"against", CLI_TEXT, ROW(against), "FORMAT", "the reference; without it f32"},
    {"early-format", CLI_TEXT, ROW(early_format), "FORMAT",
     "make the first steps of what is tried in this format, as the daemon's early_format"},
    {"early-steps", CLI_IDS, ROW(early_steps), "N,N,...",
     "so many of them; each number is a comparison of its own"},
    {"depth", CLI_U32, ROW(depth), "N", "the last depth that is looked at; without it the model's"},
    {"prompt", CLI_TEXTS, ROW(prompt), "TEXT", "a prompt as text; repeatable"},
    {"tokens", CLI_IDS, ROW(tokens), "ID,ID,...", "a prompt as token ids"},
    {"prompts", CLI_TEXT, ROW(prompts), "FILE",
     "a prompt per line: a text, or a JSON object with \"tokens\", or with \"prompt\" and perhaps "
     "\"answer\", which stands behind it"},
    {"limit", CLI_U32, ROW(limit), "N", "only the first N prompts of the file; without it all"},
    {"seed", CLI_U64, ROW(seed), "N", "what the initial latents are drawn from; without it 1"},
    {"tier", CLI_TEXT, ROW(tier), "NAME",
     "kernel tier; without it the best one that has all the formats"},
    {"threads", CLI_U32, ROW(threads), "N", "kernel threads; without it one per processor"},
    {"json", CLI_FLAG, ROW(json), NULL, "print JSON on standard output"},
};

/* ---- from flags to options ---- */

static int parse_format(const char *flag, const char *text, const char *otherwise,
                        enum kern_format *out, struct ltd_err *err)
{
    if (kern_format_parse(text ? text : otherwise, out) == 0)
        return 0;
    return ltd_fail(err, LTD_E_INVALID, "--%s: \"%s\", expected f32, bf16, int8 or int4", flag,
                    text);
}

static bool has_all(const struct kern_ops *ops, const struct tool_compare_options *o)
{
    return kern_tier_has(ops, o->format) && kern_tier_has(ops, o->against) &&
           (!o->has_early || kern_tier_has(ops, o->early_format));
}

/* One tier for both sides, or a difference of tiers would be taken for one of formats. */
static int choose_tier(const char *name, struct tool_compare_options *o, struct ltd_err *err)
{
    if (name) {
        o->ops = kern_tier_find(name, err);
        if (!o->ops || has_all(o->ops, o))
            return o->ops ? 0 : -1;
        return ltd_fail(err, LTD_E_INVALID, "--tier: %s has not all the formats", name);
    }
    for (int32_t i = 0; i < kern_tier_count(); i++) {
        struct kern_tier_info info;
        kern_tier_describe(i, &info);
        o->ops = info.available ? kern_tier_find(info.name, NULL) : NULL;
        if (o->ops && has_all(o->ops, o))
            return 0;
    }
    return ltd_fail(err, LTD_E_UNIMPLEMENTED, "no kernel tier here has all the formats");
}

/* early_steps: owned by the caller, [TOOL_COMPARE_MAX_LADDERS]. */
static int take_ladders(const struct compare_args *args, int32_t *early_steps,
                        struct tool_compare_options *o, struct ltd_err *err)
{
    o->has_early = args->early_format != NULL;
    if (args->early_steps.set != o->has_early)
        return ltd_fail(err, LTD_E_INVALID, "--early-format and --early-steps go together");
    if (args->early_steps.n > TOOL_COMPARE_MAX_LADDERS)
        return ltd_fail(err, LTD_E_INVALID, "--early-steps: %zu numbers, expected at most %d",
                        args->early_steps.n, TOOL_COMPARE_MAX_LADDERS);
    early_steps[0] = 0;
    o->early_steps = early_steps;
    o->n_ladders = o->has_early ? (int32_t)args->early_steps.n : 1;
    for (size_t i = 0; i < args->early_steps.n; i++) {
        if (args->early_steps.items[i] > MODEL_MAX_STEPS)
            return ltd_fail(err, LTD_E_INVALID, "--early-steps: %u, expected at most %d",
                            args->early_steps.items[i], MODEL_MAX_STEPS);
        early_steps[i] = (int32_t)args->early_steps.items[i];
    }
    return 0;
}

static int take_options(const struct compare_args *args, const struct model_config *config,
                        int32_t *early_steps, struct tool_compare_options *o, struct ltd_err *err)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (args->depth.value > MODEL_MAX_STEPS || args->threads.value > 1024)
        return ltd_fail(err, LTD_E_INVALID, "--%s: %u is too large",
                        args->threads.value > 1024 ? "threads" : "depth",
                        args->threads.value > 1024 ? args->threads.value : args->depth.value);
    o->depth = args->depth.set ? (int32_t)args->depth.value : config->default_steps;
    o->n_threads = args->threads.value > 0 ? (int32_t)args->threads.value
                   : processors > 0        ? (int32_t)processors
                                           : 1;
    o->seed = args->seed.set ? args->seed.value : 1;
    if (parse_format("format", args->format, "int8", &o->format, err) != 0 ||
        parse_format("against", args->against, "f32", &o->against, err) != 0 ||
        parse_format("early-format", args->early_format, "f32", &o->early_format, err) != 0 ||
        take_ladders(args, early_steps, o, err) != 0)
        return -1;
    return choose_tier(args->tier, o, err);
}

static int take_prompts(const struct compare_args *args, struct tool_prompts *prompts,
                        struct ltd_err *err)
{
    if (args->limit.set && !args->prompts)
        return ltd_fail(err, LTD_E_INVALID, "--limit goes with --prompts");
    for (size_t i = 0; i < args->prompt.n; i++)
        if (tool_prompts_add_text(prompts, args->prompt.items[i], strlen(args->prompt.items[i]),
                                  err) != 0)
            return ltd_err_context(err, "--prompt");
    if (args->tokens.set &&
        tool_prompts_add_ids(prompts, args->tokens.items, args->tokens.n, err) != 0)
        return ltd_err_context(err, "--tokens");
    return args->prompts ? tool_prompts_add_file(prompts, args->prompts, args->limit.value, err)
                         : 0;
}

/* ---- output ---- */

static int print_table(const struct tool_comparison *c, const struct tool_compare_options *o,
                       struct ltd_err *err)
{
    static const char *const heads[] = {"EARLY", "DEPTH", "KL MEAN",     "KL MAX",
                                        "SAME",  "DRIFT", "A STEP READS"};
    char bytes[TOOL_BYTES_TEXT];
    struct cli_table t;
    cli_out_printf("%s%s%s against %s, tier %s, %" PRIu64 " positions; the reference reads %s a "
                   "step\n",
                   kern_format_name(o->format), o->has_early ? " behind early " : "",
                   o->has_early ? kern_format_name(o->early_format) : "",
                   kern_format_name(o->against), o->ops->name, c->rows[0].n_positions,
                   tool_bytes_text(c->against_bytes, bytes));
    cli_table_init(&t, "rrrrrrr");
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        cli_table_cell(&t, "%s", heads[i]);
    for (size_t i = 0; i < c->n_rows; i++) {
        const struct tool_compare_row *r = &c->rows[i];
        cli_table_cell(&t, "%d", r->early_steps);
        cli_table_cell(&t, "%d", r->depth);
        cli_table_cell(&t, "%.3g", r->kl_mean);
        cli_table_cell(&t, "%.3g", r->kl_max);
        cli_table_cell(&t, "%.2f%%", 100.0 * (double)r->n_same / (double)r->n_positions);
        cli_table_cell(&t, "%.3g", r->drift);
        cli_table_cell(&t, "%s", tool_bytes_text((uint64_t)r->step_bytes, bytes));
    }
    int rc = cli_table_print(&t, err);
    cli_table_fini(&t);
    return rc;
}

static int print_json(const struct tool_comparison *c, const struct tool_compare_options *o,
                      struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_str(&j, "format", kern_format_name(o->format));
    cli_json_str(&j, "against", kern_format_name(o->against));
    cli_json_str(&j, "early_format", o->has_early ? kern_format_name(o->early_format) : NULL);
    cli_json_str(&j, "tier", o->ops->name);
    cli_json_u64(&j, "seed", o->seed);
    cli_json_u64(&j, "positions", c->rows[0].n_positions);
    cli_json_u64(&j, "against_step_bytes", c->against_bytes);
    cli_json_begin(&j, "rows", '[');
    for (size_t i = 0; i < c->n_rows; i++) {
        const struct tool_compare_row *r = &c->rows[i];
        cli_json_begin(&j, NULL, '{');
        cli_json_i64(&j, "early_steps", r->early_steps);
        cli_json_i64(&j, "depth", r->depth);
        cli_json_double(&j, "kl_mean", r->kl_mean);
        cli_json_double(&j, "kl_max", r->kl_max);
        cli_json_u64(&j, "same_top", r->n_same);
        cli_json_double(&j, "drift", r->drift);
        cli_json_double(&j, "step_bytes", r->step_bytes);
        cli_json_end(&j);
    }
    cli_json_end(&j);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

static int compare(const struct model_checkpoint *ckpt, const struct compare_args *args,
                   struct tool_prompts *prompts, struct ltd_err *err)
{
    int32_t early_steps[TOOL_COMPARE_MAX_LADDERS];
    struct tool_compare_options options = {0};
    struct tool_comparison comparison;
    if (take_options(args, model_checkpoint_config(ckpt), early_steps, &options, err) != 0 ||
        take_prompts(args, prompts, err) != 0 ||
        tool_compare(ckpt, prompts, &options, &comparison, err) != 0)
        return -1;
    int rc = args->json ? print_json(&comparison, &options, err)
                        : print_table(&comparison, &options, err);
    tool_comparison_fini(&comparison);
    return rc;
}

static int run(const char *dir, const void *args, struct ltd_err *err)
{
    struct tool_prompts prompts = {0};
    struct model_checkpoint *ckpt = model_checkpoint_open(dir, err);
    if (!ckpt)
        return -1;
    int rc = tool_prompts_init(&prompts, ckpt, err);
    if (rc == 0)
        rc = compare(ckpt, args, &prompts, err);
    tool_prompts_fini(&prompts);
    model_checkpoint_close(ckpt);
    return rc;
}

const struct tool_verb tool_verb_compare = {
    .name = "compare",
    .synopsis = "[OPTION]... DIR",
    .summary = "how far the model in one weight format is from itself in another",
    .details =
        "Runs the prompts through the model twice, in --against, which is the reference, and in "
        "--format, and compares them after 1, 2, 4 and so on steps: the KL divergence of the next "
        "token's distribution from the reference's in nats (mean and largest), how often the most "
        "likely token is the same, how far the latents have drifted apart (rms of the difference "
        "by rms of the reference), and how many bytes of weights a step reads on the mean.\n\n"
        "Every position of a prompt counts, each predicting what comes behind it. Both sides begin "
        "with the same latents and keep keys and values of every step. The same options give the "
        "same output, whatever the number of threads.\n\n"
        "With --early-format the first steps are made in a cheaper format, as the daemon's "
        "early_format and a job's early_steps do; several numbers are compared in one run.\n\n"
        "Both sides are in memory at once. --json prints one object: format, against, "
        "early_format, tier, seed, positions, against_step_bytes, rows.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, TOOL_COMMON_GROUP},
    .args_bytes = sizeof(struct compare_args),
    .run = run,
};
