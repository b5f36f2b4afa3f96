/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/options.c - see cli/options.h.
 *
 * One function per kind of value, one table from kind to function, one loop over argv.
 */
#include "cli/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Digits only: strtoull would take "-1" and " 1", and a number that is silently another one is
 * worse than a refusal.
 */
static int parse_u64(const char *text, size_t len, uint64_t max, const char *what, uint64_t *out,
                     struct ltd_err *err)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)text[i] - '0';
        if (digit > 9)
            return ltd_fail(err, LTD_E_INVALID, "%s: \"%.*s\" is not a whole number", what,
                            (int)len, text);
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v) || v > max)
            return ltd_fail(err, LTD_E_INVALID, "%s: %.*s does not fit, the largest is %" PRIu64,
                            what, (int)len, text, max);
    }
    if (len == 0)
        return ltd_fail(err, LTD_E_INVALID, "%s: empty, expected a whole number", what);
    *out = v;
    return 0;
}

static int parse_u32(const char *text, size_t len, const char *what, uint32_t *out,
                     struct ltd_err *err)
{
    uint64_t v;
    if (parse_u64(text, len, UINT32_MAX, what, &v, err) != 0)
        return -1;
    *out = (uint32_t)v;
    return 0;
}

int cli_u32_read(const char *text, const char *what, uint32_t *out, struct ltd_err *err)
{
    return parse_u32(text, strlen(text), what, out, err);
}

static int set_u32(void *at, const char *text, const char *what, struct ltd_err *err)
{
    struct cli_u32 *out = at;
    if (cli_u32_read(text, what, &out->value, err) != 0)
        return -1;
    out->set = true;
    return 0;
}

static int set_u64(void *at, const char *text, const char *what, struct ltd_err *err)
{
    struct cli_u64 *out = at;
    if (parse_u64(text, strlen(text), UINT64_MAX, what, &out->value, err) != 0)
        return -1;
    out->set = true;
    return 0;
}

static int set_number(void *at, const char *text, const char *what, struct ltd_err *err)
{
    struct cli_number *out = at;
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end != '\0')
        return ltd_fail(err, LTD_E_INVALID, "%s: \"%s\" is not a number", what, text);
    *out = (struct cli_number){true, v};
    return 0;
}

static int set_text(void *at, const char *text, const char *what, struct ltd_err *err)
{
    (void)what;
    (void)err;
    *(const char **)at = text;
    return 0;
}

static int set_texts(void *at, const char *text, const char *what, struct ltd_err *err)
{
    struct cli_texts *out = at;
    const char **grown = reallocarray(out->items, out->n + 1, sizeof *grown);
    if (!grown)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory", what);
    out->items = grown;
    out->items[out->n++] = text;
    return 0;
}

int cli_ids_append(struct cli_ids *ids, const char *text, const char *what, struct ltd_err *err)
{
    size_t n_more = *text ? 1 : 0;
    for (const char *c = text; *c; c++)
        n_more += *c == ',';
    if (n_more > 0) {
        uint32_t *grown = reallocarray(ids->items, ids->n + n_more, sizeof *grown);
        if (!grown)
            return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for %zu token ids", what, n_more);
        ids->items = grown;
    }
    for (size_t i = 0; i < n_more; i++) {
        size_t len = strcspn(text, ",");
        uint64_t v;
        if (parse_u64(text, len, UINT32_MAX, what, &v, err) != 0)
            return -1;
        ids->items[ids->n++] = (uint32_t)v;
        text += len + 1;
    }
    ids->set = true;
    return 0;
}

static int set_ids(void *at, const char *text, const char *what, struct ltd_err *err)
{
    struct cli_ids *out = at;
    out->n = 0;
    return cli_ids_append(out, text, what, err);
}

/* `expected` says which forms the option knows. */
static int parse_depth(const char *text, size_t len, const char *what, const char *expected,
                       struct cli_depth *out, struct ltd_err *err)
{
    uint32_t steps;
    if (len == strlen("adaptive") && memcmp(text, "adaptive", len) == 0) {
        *out = (struct cli_depth){.set = true, .adaptive = true};
        return 0;
    }
    if (len == 0 || text[0] < '0' || text[0] > '9')
        return ltd_fail(err, LTD_E_INVALID, "%s: \"%.*s\", expected %s", what, (int)len, text,
                        expected);
    if (parse_u32(text, len, what, &steps, err) != 0)
        return -1;
    *out = (struct cli_depth){.set = true, .steps = steps};
    return 0;
}

/* "4..32"; `dots` is where the dots stand. On the wire 0 means "the default", so it is no bound. */
static int parse_range(const char *text, const char *dots, const char *what, struct cli_depth *out,
                       struct ltd_err *err)
{
    struct cli_depth range = {.set = true, .range = true};
    if (parse_u32(text, (size_t)(dots - text), what, &range.min_steps, err) != 0 ||
        parse_u32(dots + 2, strlen(dots + 2), what, &range.max_steps, err) != 0)
        return -1;
    if (range.min_steps == 0 || range.min_steps > range.max_steps)
        return ltd_fail(err, LTD_E_INVALID, "%s: %s, expected MIN..MAX with 1 <= MIN <= MAX", what,
                        text);
    *out = range;
    return 0;
}

static int set_depth(void *at, const char *text, const char *what, struct ltd_err *err)
{
    const char *dots = strstr(text, "..");
    if (dots)
        return parse_range(text, dots, what, at, err);
    return parse_depth(text, strlen(text), what, "a number of steps, adaptive or MIN..MAX", at,
                       err);
}

/* A depth that is listed twice would be computed twice and shown in two equal columns. */
static int refuse_repeated(const struct cli_depths *list, const char *what, struct ltd_err *err)
{
    const struct cli_depth *last = &list->items[list->n - 1];
    char name[CLI_DEPTH_NAME_BYTES];
    for (size_t i = 0; i + 1 < list->n; i++)
        if (list->items[i].adaptive == last->adaptive && list->items[i].steps == last->steps)
            return ltd_fail(err, LTD_E_INVALID, "%s: depth %s is listed twice", what,
                            cli_depth_name(last, name, sizeof name));
    return 0;
}

static int set_depths(void *at, const char *text, const char *what, struct ltd_err *err)
{
    struct cli_depths *out = at;
    out->n = 0;
    for (;;) {
        size_t len = strcspn(text, ",");
        struct cli_depth *grown = reallocarray(out->items, out->n + 1, sizeof *grown);
        if (!grown)
            return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory", what);
        out->items = grown;
        if (parse_depth(text, len, what, "a number of steps or adaptive", &out->items[out->n],
                        err) != 0)
            return -1;
        out->n++;
        if (refuse_repeated(out, what, err) != 0)
            return -1;
        if (text[len] == '\0')
            return 0;
        text += len + 1;
    }
}

/* Sorted in, because the contract wants rising tokens and people type them in any order. */
static int insert_depth_at(struct cli_depth_ats *list, struct cli_depth_at at, const char *what,
                           struct ltd_err *err)
{
    size_t i = list->n;
    while (i > 0 && list->items[i - 1].token > at.token)
        i--;
    if (i > 0 && list->items[i - 1].token == at.token)
        return ltd_fail(err, LTD_E_INVALID, "%s: token %" PRIu32 " is given twice", what, at.token);
    struct cli_depth_at *grown = reallocarray(list->items, list->n + 1, sizeof *grown);
    if (!grown)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory", what);
    list->items = grown;
    memmove(grown + i + 1, grown + i, (list->n - i) * sizeof *grown);
    grown[i] = at;
    list->n++;
    return 0;
}

static int set_depth_ats(void *at, const char *text, const char *what, struct ltd_err *err)
{
    struct cli_depth_at one;
    size_t len = strcspn(text, "=");
    if (text[len] == '\0')
        return ltd_fail(err, LTD_E_INVALID, "%s: \"%s\", expected TOKEN=STEPS", what, text);
    if (parse_u32(text, len, what, &one.token, err) != 0 ||
        parse_u32(text + len + 1, strlen(text + len + 1), what, &one.steps, err) != 0)
        return -1;
    return insert_depth_at(at, one, what, err);
}

static const struct {
    const char *name;
    uint64_t ms;
} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

/* Milliseconds per `name`; 0 when there is no such unit. */
static uint64_t unit_ms(const char *name)
{
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(units[i].name, name) == 0)
            return units[i].ms;
    return 0;
}

/* The part behind the point, at most 9 digits, in milliseconds; false when it is no whole number. */
static bool fraction_ms(const char *digits, size_t len, uint64_t ms_per_unit, uint64_t *out)
{
    uint64_t numerator = 0, denominator = 1;
    if (len == 0 || len > 9)
        return false;
    for (size_t i = 0; i < len; i++) {
        numerator = numerator * 10 + (uint64_t)(digits[i] - '0');
        denominator *= 10;
    }
    *out = numerator * ms_per_unit / denominator;
    return numerator * ms_per_unit % denominator == 0;
}

/*
 * "20s": digits, perhaps a point and more digits, and a unit. A number without a unit is refused:
 * half of its readers would take it for seconds and half for milliseconds.
 */
static int set_duration(void *at, const char *text, const char *what, struct ltd_err *err)
{
    struct cli_u64 *out = at;
    static const char digits[] = "0123456789";
    uint64_t whole, ms, more_ms = 0;
    size_t n_whole = strspn(text, digits);
    size_t n_fraction = text[n_whole] == '.' ? strspn(text + n_whole + 1, digits) : 0;
    const char *unit = text + n_whole + (text[n_whole] == '.' ? 1 + n_fraction : 0);
    uint64_t ms_per_unit = unit_ms(unit);
    if (n_whole == 0 || ms_per_unit == 0)
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: \"%s\" is no duration, expected a number and ms, s, m, h or d", what,
                        text);
    if (parse_u64(text, n_whole, UINT64_MAX, what, &whole, err) != 0)
        return -1;
    if (text[n_whole] == '.' && !fraction_ms(text + n_whole + 1, n_fraction, ms_per_unit, &more_ms))
        return ltd_fail(err, LTD_E_INVALID, "%s: %s, expected whole milliseconds", what, text);
    if (__builtin_mul_overflow(whole, ms_per_unit, &ms) || __builtin_add_overflow(ms, more_ms, &ms))
        return ltd_fail(err, LTD_E_INVALID, "%s: %s does not fit", what, text);
    if (ms == 0)
        return ltd_fail(err, LTD_E_INVALID, "%s: %s, expected more than 0", what, text);
    *out = (struct cli_u64){true, ms};
    return 0;
}

typedef int (*set_fn)(void *at, const char *text, const char *what, struct ltd_err *err);

static const set_fn setters[] = {
    [CLI_U32] = set_u32,           [CLI_U64] = set_u64,       [CLI_NUMBER] = set_number,
    [CLI_TEXT] = set_text,         [CLI_TEXTS] = set_texts,   [CLI_IDS] = set_ids,
    [CLI_DEPTH] = set_depth,       [CLI_DEPTHS] = set_depths, [CLI_DEPTH_ATS] = set_depth_ats,
    [CLI_DURATION] = set_duration,
};

const char *cli_depth_name(const struct cli_depth *depth, char *buf, size_t size)
{
    if (depth->adaptive)
        return "adaptive";
    if (depth->range)
        snprintf(buf, size, "%" PRIu32 "..%" PRIu32, depth->min_steps, depth->max_steps);
    else
        snprintf(buf, size, "%" PRIu32, depth->steps);
    return buf;
}

const struct cli_option *cli_option_find(const struct cli_group *groups, const char *name,
                                         size_t name_len, const struct cli_group **group)
{
    for (const struct cli_group *g = groups; g->rows; g++)
        for (size_t i = 0; i < g->n_rows; i++)
            if (strlen(g->rows[i].name) == name_len &&
                memcmp(g->rows[i].name, name, name_len) == 0) {
                if (group)
                    *group = g;
                return &g->rows[i];
            }
    return NULL;
}

/* Longer words than this are never compared: no flag and no verb is half as long. */
#define NEAREST_WORD_BYTES 40

/* Edit distance with swaps of neighbours; `a` and `b` are shorter than NEAREST_WORD_BYTES. */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t d[NEAREST_WORD_BYTES][NEAREST_WORD_BYTES];
    for (size_t i = 0; i <= a_len; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= b_len; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= a_len; i++)
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[a_len][b_len];
}

bool cli_nearest_better(const char *typed, size_t typed_len, const char *candidate,
                        size_t *best_distance)
{
    size_t len = strlen(candidate);
    if (typed_len == 0 || typed_len >= NEAREST_WORD_BYTES || len >= NEAREST_WORD_BYTES)
        return false;
    size_t distance = edit_distance(typed, typed_len, candidate, len);
    if (typed_len >= 3 && typed_len < len && memcmp(typed, candidate, typed_len) == 0)
        distance = 1;
    if (distance > CLI_NEAREST_MAX || distance >= *best_distance)
        return false;
    *best_distance = distance;
    return true;
}

static int unknown_option(const struct cli_group *groups, const char *name, size_t len,
                          struct ltd_err *err)
{
    const char *nearest = NULL;
    size_t distance = CLI_NEAREST_MAX + 1;
    for (const struct cli_group *g = groups; g->rows; g++)
        for (size_t i = 0; i < g->n_rows; i++)
            if (cli_nearest_better(name, len, g->rows[i].name, &distance))
                nearest = g->rows[i].name;
    if (nearest)
        return ltd_fail(err, LTD_E_INVALID, "unknown option --%.*s, did you mean --%s?", (int)len,
                        name, nearest);
    return ltd_fail(err, LTD_E_INVALID, "unknown option --%.*s", (int)len, name);
}

/* One option at argv[i]; returns how many words it took, or -1. */
static int parse_option(const struct cli_group *groups, int argc, const char *const *argv,
                        void *args, struct ltd_err *err)
{
    const char *name = argv[0] + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    const struct cli_group *group;
    const struct cli_option *row = cli_option_find(groups, name, len, &group);
    if (!row)
        return unknown_option(groups, name, len, err);
    void *at = (char *)args + group->base_bytes + row->offset;
    if (row->kind == CLI_FLAG) {
        if (value)
            return ltd_fail(err, LTD_E_INVALID, "--%s takes no value, found \"%s\"", row->name,
                            value);
        *(bool *)at = true;
        return 1;
    }
    int n_used = value ? 1 : 2;
    if (!value && argc < 2)
        return ltd_fail(err, LTD_E_INVALID, "--%s needs a value: --%s %s", row->name, row->name,
                        row->metavar);
    char what[48];
    snprintf(what, sizeof what, "--%s", row->name);
    return setters[row->kind](at, value ? value : argv[1], what, err) == 0 ? n_used : -1;
}

/* Words that begin with one dash: only "-h", and "-" where a verb reads standard input. */
static int refuse_dash(const char *word, struct ltd_err *err)
{
    if (word[1] == '\0')
        return ltd_fail(err, LTD_E_INVALID,
                        "a lone \"-\" means standard input, which is not read here");
    return ltd_fail(err, LTD_E_INVALID,
                    "unknown option %s; flags begin with two dashes, and a word that begins "
                    "with one goes behind \"--\"",
                    word);
}

int cli_options_parse(const struct cli_group *groups, int argc, const char *const *argv, void *args,
                      bool dash_is_word, struct cli_words *words, struct ltd_err *err)
{
    *words = (struct cli_words){calloc((size_t)argc + 1, sizeof *words->items), 0};
    if (!words->items)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d words", argc);
    bool only_words = false;
    for (int i = 0; i < argc;) {
        const char *word = strcmp(argv[i], "-h") == 0 && !only_words ? "--help" : argv[i];
        if (only_words || word[0] != '-' || (dash_is_word && word[1] == '\0')) {
            words->items[words->n++] = word;
            i++;
        } else if (strcmp(word, "--") == 0) {
            only_words = true;
            i++;
        } else if (word[1] != '-') {
            return refuse_dash(word, err);
        } else {
            const char *const *at = word == argv[i] ? argv + i : &word;
            int n_used = parse_option(groups, word == argv[i] ? argc - i : 1, at, args, err);
            if (n_used < 0)
                return -1;
            i += n_used;
        }
    }
    return 0;
}

/* What one row's value holds beyond the struct itself. */
static void free_value(const struct cli_option *row, void *at)
{
    switch (row->kind) {
    case CLI_TEXTS:
        free(((struct cli_texts *)at)->items);
        break;
    case CLI_IDS:
        free(((struct cli_ids *)at)->items);
        break;
    case CLI_DEPTHS:
        free(((struct cli_depths *)at)->items);
        break;
    case CLI_DEPTH_ATS:
        free(((struct cli_depth_ats *)at)->items);
        break;
    case CLI_FLAG:
    case CLI_U32:
    case CLI_U64:
    case CLI_NUMBER:
    case CLI_TEXT:
    case CLI_DEPTH:
    case CLI_DURATION:
        break;
    }
}

void cli_options_fini(const struct cli_group *groups, void *args)
{
    for (const struct cli_group *g = groups; g->rows; g++)
        for (size_t i = 0; i < g->n_rows; i++)
            free_value(&g->rows[i], (char *)args + g->base_bytes + g->rows[i].offset);
}
