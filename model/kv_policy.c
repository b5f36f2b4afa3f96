/* SPDX-License-Identifier: Apache-2.0 */
/* model/kv_policy.c - names of the published cache policies; see model/kv.h. */
#include "model/kv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN                                                                                      \
    "full, latest-m4, compress-sN, compress-anchor, latest-m4-compress-sN or "                     \
    "latest-m4-compress-anchor"

static int32_t at_most(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* N of "sN": layers' worth of slots, so N / n_core planes. */
static int parse_ring(const char *text, const char *name, int32_t n_core, int32_t max_steps,
                      struct model_kv_policy *out, struct ltd_err *err)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || *text < '1' || *text > '9' || n > INT32_MAX)
        return ltd_fail(err, LTD_E_INVALID, "KV policy \"%.60s\": expected digits after \"s\"",
                        name);
    if (n % n_core != 0 || n / n_core > MODEL_KV_MAX_PLANES)
        return ltd_fail(err, LTD_E_INVALID,
                        "KV policy \"%.60s\": %ld slots, expected a multiple of the %d layers of "
                        "the recurrent block, at most %d",
                        name, n, n_core, MODEL_KV_MAX_PLANES * n_core);
    out->n_planes = at_most((int32_t)(n / n_core), max_steps);
    return 0;
}

static int parse_compress(const char *text, const char *name, int32_t n_core, int32_t max_steps,
                          struct model_kv_policy *out, struct ltd_err *err)
{
    if (strcmp(text, "anchor") == 0) {
        out->anchor = true;
        out->n_planes = at_most(MODEL_KV_ANCHOR_PLANES, max_steps);
        return 0;
    }
    if (text[0] == 's')
        return parse_ring(text + 1, name, n_core, max_steps, out, err);
    return ltd_fail(err, LTD_E_INVALID, "KV policy \"%.60s\", expected " KNOWN, name);
}

int model_kv_policy_parse(const char *name, int32_t n_core, int32_t max_steps,
                          struct model_kv_policy *out, struct ltd_err *err)
{
    if (n_core < 1 || max_steps < 1 || max_steps > MODEL_KV_MAX_PLANES)
        return ltd_fail(err, LTD_E_INVALID,
                        "KV policy: %d layers and %d steps, expected at least 1 of each and at "
                        "most %d steps",
                        n_core, max_steps, MODEL_KV_MAX_PLANES);
    struct model_kv_policy policy = {.n_planes = max_steps, .holes = MODEL_KV_SKIP};
    const char *rest = name;
    if (strncmp(rest, "latest-m4", 9) == 0 && (rest[9] == '\0' || rest[9] == '-')) {
        policy.holes = MODEL_KV_LATEST;
        rest += rest[9] == '-' ? 10 : 9;
    }
    bool bare = *rest == '\0' && policy.holes == MODEL_KV_LATEST && rest[-1] != '-';
    if (strncmp(rest, "compress-", 9) == 0) {
        if (parse_compress(rest + 9, name, n_core, max_steps, &policy, err) != 0)
            return -1;
    } else if (!bare && strcmp(name, "full") != 0) {
        return ltd_fail(err, LTD_E_INVALID, "KV policy \"%.60s\", expected " KNOWN, name);
    }
    *out = policy;
    return 0;
}

int32_t model_kv_plane(const struct model_kv_policy *policy, int32_t step_idx)
{
    if (policy->anchor)
        return at_most(step_idx, policy->n_planes - 1);
    return step_idx % policy->n_planes;
}

bool model_kv_policy_replayable(const struct model_kv_policy *policy, int32_t max_steps)
{
    return policy->n_planes >= max_steps;
}
