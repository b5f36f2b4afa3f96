/* SPDX-License-Identifier: Apache-2.0 */
/* model/pretokenizer.c - see model/pretokenizer.h. */
#include "model/pretokenizer.h"

#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "model/tokenizer_json.h"

/* How deep sequences may stand in each other; there is no use for more than one. */
#define DEPTH_MAX 4

/* GPT-2's pattern, which ByteLevel means by use_regex. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---- loading ---- */

static const struct {
    const char *name;
    enum model_split_behavior behavior;
} behaviors[] = {
    {"Removed", MODEL_SPLIT_REMOVED},
    {"Isolated", MODEL_SPLIT_ISOLATED},
    {"MergedWithPrevious", MODEL_SPLIT_MERGED_PREVIOUS},
    {"MergedWithNext", MODEL_SPLIT_MERGED_NEXT},
    {"Contiguous", MODEL_SPLIT_CONTIGUOUS},
};

static int read_behavior(const json_t *value, const char *where, enum model_split_behavior *out,
                         struct ltd_err *err)
{
    const char *name = json_string_value(json_object_get(value, "behavior"));
    for (size_t i = 0; name && i < sizeof behaviors / sizeof behaviors[0]; i++)
        if (strcmp(name, behaviors[i].name) == 0) {
            *out = behaviors[i].behavior;
            return 0;
        }
    char item[MODEL_WHERE_BYTES];
    model_where(item, "%s.behavior", where);
    return model_json_invalid(json_object_get(value, "behavior"),
                              "Removed, Isolated, "
                              "MergedWithPrevious, MergedWithNext or Contiguous",
                              item, err);
}

static int full(const char *where, struct ltd_err *err)
{
    return ltd_fail(err, LTD_E_UNIMPLEMENTED, "%s: found a step too many, expected at most %d",
                    where, MODEL_PRETOKENIZER_MAX_STEPS);
}

/* Append a step; `template` says all but the pattern. */
static int add_step(struct model_pretokenizer *pre, struct model_pretokenizer_step template,
                    const char *source, size_t len, bool literal, const char *where,
                    struct ltd_err *err)
{
    if (pre->n_steps == MODEL_PRETOKENIZER_MAX_STEPS)
        return full(where, err);
    template.pattern = model_pattern_compile(source, len, literal, where, err);
    if (!template.pattern)
        return -1;
    pre->steps[pre->n_steps++] = template;
    return 0;
}

static int add_fixed(struct model_pretokenizer *pre, enum model_split_behavior behavior,
                     bool invert, const char *source, const char *where, struct ltd_err *err)
{
    struct model_pretokenizer_step step = {.behavior = behavior, .invert = invert};
    return add_step(pre, step, source, strlen(source), false, where, err);
}

static int load_split(struct model_pretokenizer *pre, const json_t *value, const char *where,
                      struct ltd_err *err)
{
    static const char *const keys[] = {"type", "pattern", "behavior", "invert", NULL};
    static const char *const pattern_keys[] = {"Regex", "String", NULL};
    struct model_pretokenizer_step step = {.pattern = NULL};
    char item[MODEL_WHERE_BYTES];
    model_where(item, "%s.pattern", where);
    const json_t *pattern = json_object_get(value, "pattern");
    if (model_json_keys(value, keys, where, err) != 0 ||
        model_json_keys(pattern, pattern_keys, item, err) != 0 ||
        read_behavior(value, where, &step.behavior, err) != 0 ||
        ltd_json_get_bool(value, "invert", &step.invert, where, err) < 0)
        return -1;
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *source = regex ? regex : json_object_get(pattern, "String");
    if (json_object_size(pattern) != 1 || !json_is_string(source))
        return model_json_invalid(pattern, "an object with one string, Regex or String", item, err);
    return add_step(pre, step, json_string_value(source), json_string_length(source), !regex, item,
                    err);
}

static int load_byte_level(struct model_pretokenizer *pre, const json_t *value, const char *where,
                           struct ltd_err *err)
{
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                       NULL};
    bool add_prefix_space = false, use_regex = true, trim_offsets = true;
    if (model_json_keys(value, keys, where, err) != 0)
        return -1;
    int found = ltd_json_get_bool(value, "add_prefix_space", &add_prefix_space, where, err);
    if (found > 0) /* the public libraries do not agree on a default */
        return ltd_fail(err, LTD_E_INVALID, "%s: found no add_prefix_space, expected true or false",
                        where);
    if (found < 0 || ltd_json_get_bool(value, "use_regex", &use_regex, where, err) < 0 ||
        ltd_json_get_bool(value, "trim_offsets", &trim_offsets, where, err) < 0)
        return -1;
    if (add_prefix_space) {
        if (pre->n_steps == MODEL_PRETOKENIZER_MAX_STEPS)
            return full(where, err);
        pre->steps[pre->n_steps++] = (struct model_pretokenizer_step){.pattern = NULL};
    }
    return use_regex ? add_fixed(pre, MODEL_SPLIT_ISOLATED, false, gpt2_pattern, where, err) : 0;
}

static int load_digits(struct model_pretokenizer *pre, const json_t *value, const char *where,
                       struct ltd_err *err)
{
    static const char *const keys[] = {"type", "individual_digits", NULL};
    bool individual = false;
    if (model_json_keys(value, keys, where, err) != 0 ||
        ltd_json_get_bool(value, "individual_digits", &individual, where, err) < 0)
        return -1;
    return add_fixed(pre, individual ? MODEL_SPLIT_ISOLATED : MODEL_SPLIT_CONTIGUOUS, false,
                     "\\p{N}", where, err);
}

static int load_punctuation(struct model_pretokenizer *pre, const json_t *value, const char *where,
                            struct ltd_err *err)
{
    static const char *const keys[] = {"type", "behavior", NULL};
    enum model_split_behavior behavior = MODEL_SPLIT_ISOLATED;
    if (model_json_keys(value, keys, where, err) != 0 ||
        (json_object_get(value, "behavior") && read_behavior(value, where, &behavior, err) != 0))
        return -1;
    return add_fixed(pre, behavior, false, "[\\p{P}!-/:-@\\[-`{-~]", where, err);
}

static int load_whitespace(struct model_pretokenizer *pre, const json_t *value, const char *where,
                           struct ltd_err *err)
{
    static const char *const keys[] = {"type", NULL};
    if (model_json_keys(value, keys, where, err) != 0)
        return -1;
    if (strcmp(json_string_value(json_object_get(value, "type")), "WhitespaceSplit") == 0)
        return add_fixed(pre, MODEL_SPLIT_REMOVED, false, "\\s", where, err);
    /* \w+|[^\w\s]+ of the Rust regex crate, whose word characters include the two joiners. */
    return add_fixed(pre, MODEL_SPLIT_REMOVED, true,
                     "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]+|"
                     "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}\\s]+",
                     where, err);
}

static const struct {
    const char *type;
    int (*load)(struct model_pretokenizer *pre, const json_t *value, const char *where,
                struct ltd_err *err);
} loaders[] = {
    {"Split", load_split},           {"ByteLevel", load_byte_level},
    {"Digits", load_digits},         {"Punctuation", load_punctuation},
    {"Whitespace", load_whitespace}, {"WhitespaceSplit", load_whitespace},
};

static int load_any(struct model_pretokenizer *pre, const json_t *value, int depth, bool *done,
                    const char *where, struct ltd_err *err);

static int load_sequence(struct model_pretokenizer *pre, const json_t *value, int depth, bool *done,
                         const char *where, struct ltd_err *err)
{
    static const char *const keys[] = {"type", "pretokenizers", NULL};
    char item[MODEL_WHERE_BYTES];
    if (model_json_keys(value, keys, where, err) != 0)
        return -1;
    const json_t *list = json_object_get(value, "pretokenizers");
    model_where(item, "%s.pretokenizers", where);
    if (!json_is_array(list))
        return model_json_invalid(list, "an array", item, err);
    if (depth == DEPTH_MAX)
        return model_json_unsupported(list, "at most 4 sequences inside each other", item, err);
    size_t i;
    const json_t *step;
    json_array_foreach((json_t *)list, i, step)
    {
        model_where(item, "%s.pretokenizers[%zu]", where, i);
        if (load_any(pre, step, depth + 1, done, item, err) != 0)
            return -1;
    }
    return 0;
}

/* `*done` says that ByteLevel has been: nothing may follow it. */
static int load_any(struct model_pretokenizer *pre, const json_t *value, int depth, bool *done,
                    const char *where, struct ltd_err *err)
{
    const char *type = NULL;
    if (model_json_type(value, &type, where, err) != 0)
        return -1;
    if (*done)
        return ltd_fail(err, LTD_E_UNIMPLEMENTED,
                        "%s: found %s behind ByteLevel, expected ByteLevel "
                        "to be the last step",
                        where, model_excerpt(type, strlen(type)).text);
    if (strcmp(type, "Sequence") == 0)
        return load_sequence(pre, value, depth, done, where, err);
    *done = strcmp(type, "ByteLevel") == 0;
    for (size_t i = 0; i < sizeof loaders / sizeof loaders[0]; i++)
        if (strcmp(type, loaders[i].type) == 0)
            return loaders[i].load(pre, value, where, err);
    return ltd_fail(err, LTD_E_UNIMPLEMENTED,
                    "%s: found type %s, expected Sequence, Split, Digits, "
                    "Punctuation, Whitespace, WhitespaceSplit or ByteLevel",
                    where, model_excerpt(type, strlen(type)).text);
}

int model_pretokenizer_load(struct model_pretokenizer *pre, const json_t *value, const char *path,
                            struct ltd_err *err)
{
    char where[MODEL_WHERE_BYTES];
    bool done = false;
    memset(pre, 0, sizeof *pre);
    model_where(where, "%s: pre_tokenizer", path);
    if (!value || json_is_null(value))
        return model_json_unsupported(value, "ByteLevel, or a Sequence that ends with it", where,
                                      err);
    if (load_any(pre, value, 0, &done, where, err) != 0) {
        model_pretokenizer_fini(pre);
        return -1;
    }
    if (!done) {
        model_pretokenizer_fini(pre);
        return ltd_fail(err, LTD_E_UNIMPLEMENTED,
                        "%s: found no ByteLevel, expected it as the last "
                        "step (only byte-level BPE is supported)",
                        where);
    }
    return 0;
}

void model_pretokenizer_fini(struct model_pretokenizer *pre)
{
    for (size_t i = 0; i < pre->n_steps; i++)
        model_pattern_free(pre->steps[i].pattern);
    memset(pre, 0, sizeof *pre);
}

/* ---- cutting ---- */

int model_pretokenizer_run_init(struct model_pretokenizer_run *run, size_t n_bytes,
                                model_piece_fn take, void *arg, struct ltd_err *err)
{
    run->take = take;
    run->arg = arg;
    ltd_bytes_init(&run->spaced);
    return model_pattern_run_init(&run->match, n_bytes, err);
}

void model_pretokenizer_run_fini(struct model_pretokenizer_run *run)
{
    ltd_bytes_fini(&run->spaced);
    model_pattern_run_fini(&run->match);
}

/* One step at work on one piece. */
struct cut {
    const struct model_pretokenizer *pre;
    struct model_pretokenizer_run *run;
    size_t step_idx;
    const char *text;
    size_t len;
    /* The piece that is not handed on yet, because what follows may still join it. */
    size_t begin, end;
    bool has_piece;
    bool last_is_match; /* the last span that joined it is a match */
};

static int run_step(const struct model_pretokenizer *pre, struct model_pretokenizer_run *run,
                    size_t step_idx, const char *text, size_t len, struct ltd_err *err);

/* Hand the waiting piece to the next step. Empty ones, which empty matches leave, are dropped. */
static int flush(struct cut *cut, struct ltd_err *err)
{
    if (!cut->has_piece || cut->begin == cut->end)
        return 0;
    return run_step(cut->pre, cut->run, cut->step_idx + 1, cut->text + cut->begin,
                    cut->end - cut->begin, err);
}

/* Does a span join the piece before it? */
static bool joins(const struct cut *cut, enum model_split_behavior behavior, bool is_match)
{
    if (!cut->has_piece)
        return false;
    switch (behavior) {
    case MODEL_SPLIT_REMOVED:
    case MODEL_SPLIT_ISOLATED:
        return false;
    case MODEL_SPLIT_MERGED_PREVIOUS:
        return is_match && !cut->last_is_match;
    case MODEL_SPLIT_MERGED_NEXT:
        return !is_match && cut->last_is_match;
    case MODEL_SPLIT_CONTIGUOUS:
        return is_match == cut->last_is_match;
    }
    return false;
}

/* The next span of the text, a match or what lies between two. */
static int add_span(struct cut *cut, size_t begin, size_t end, bool is_match, struct ltd_err *err)
{
    const struct model_pretokenizer_step *step = &cut->pre->steps[cut->step_idx];
    is_match ^= step->invert;
    if (joins(cut, step->behavior, is_match)) {
        cut->end = end;
    } else {
        if (flush(cut, err) != 0)
            return -1;
        cut->begin = begin;
        cut->end = end;
        cut->has_piece = !(is_match && step->behavior == MODEL_SPLIT_REMOVED);
    }
    cut->last_is_match = is_match;
    return 0;
}

static size_t next_code_point(const char *text, size_t len, size_t at)
{
    return at + (size_t)ltd_utf8_next((const uint8_t *)text + at, len - at, NULL);
}

/* All matches from left to right. A match may be empty, but not at the end of the one before. */
static int run_split(struct cut *cut, struct ltd_err *err)
{
    const struct model_pattern *pattern = cut->pre->steps[cut->step_idx].pattern;
    size_t done = 0; /* end of the last span */
    size_t at = 0;
    bool matched = false; /* a match ends at `done` */
    while (at < cut->len) {
        size_t end = at;
        int found =
            model_pattern_match_at(pattern, &cut->run->match, cut->text, cut->len, at, &end, err);
        if (found < 0)
            return -1;
        if (!found || (end == at && matched && done == at)) {
            at = next_code_point(cut->text, cut->len, at);
            continue;
        }
        if ((done < at && add_span(cut, done, at, false, err) != 0) ||
            add_span(cut, at, end, true, err) != 0)
            return -1;
        done = end;
        at = end;
        matched = true;
    }
    if (done < cut->len && add_span(cut, done, cut->len, false, err) != 0)
        return -1;
    return flush(cut, err);
}

/* Only one step of a file can be ByteLevel's space, so its memory is free to use. */
static int run_prefix_space(const struct model_pretokenizer *pre,
                            struct model_pretokenizer_run *run, size_t step_idx, const char *text,
                            size_t len, struct ltd_err *err)
{
    if (len > 0 && text[0] == ' ')
        return run_step(pre, run, step_idx + 1, text, len, err);
    ltd_bytes_clear(&run->spaced);
    ltd_bytes_put_u8(&run->spaced, ' ');
    ltd_bytes_put(&run->spaced, text, len);
    if (run->spaced.failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a piece of %zu bytes", len);
    return run_step(pre, run, step_idx + 1, (const char *)run->spaced.data, run->spaced.len, err);
}

/* Steps call each other through here; the depth is n_steps. */
static int run_step(const struct model_pretokenizer *pre, struct model_pretokenizer_run *run,
                    size_t step_idx, const char *text, size_t len, struct ltd_err *err)
{
    if (step_idx == pre->n_steps)
        return run->take(run->arg, text, len, err);
    if (!pre->steps[step_idx].pattern)
        return run_prefix_space(pre, run, step_idx, text, len, err);
    struct cut cut = {.pre = pre, .run = run, .step_idx = step_idx, .text = text, .len = len};
    return run_split(&cut, err);
}

int model_pretokenizer_cut(const struct model_pretokenizer *pre, struct model_pretokenizer_run *run,
                           const char *text, size_t len, struct ltd_err *err)
{
    return run_step(pre, run, 0, text, len, err);
}
