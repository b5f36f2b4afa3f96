/* SPDX-License-Identifier: Apache-2.0 */
/* cli/names.c - see cli/names.h. */
#include "cli/names.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"

/* A name from a table indexed by the enum; numbers outside it come from a newer daemon. */
static const char *name_in(const char *const *names, size_t n, int value)
{
    return value >= 0 && (size_t)value < n && names[value] ? names[value] : "unknown";
}

#define NAME_IN(table, value) name_in(table, sizeof(table) / sizeof(table)[0], (int)(value))

static const char *const finish_names[] = {
    [LATENTD__V1__FINISH_REASON__FINISH_REASON_EOS] = "eos",
    [LATENTD__V1__FINISH_REASON__FINISH_REASON_STOP] = "stop",
    [LATENTD__V1__FINISH_REASON__FINISH_REASON_LENGTH] = "length",
    [LATENTD__V1__FINISH_REASON__FINISH_REASON_CANCELLED] = "cancelled",
    [LATENTD__V1__FINISH_REASON__FINISH_REASON_DEADLINE] = "deadline",
    [LATENTD__V1__FINISH_REASON__FINISH_REASON_ERROR] = "error",
};

static const char *const exit_names[] = {
    [LATENTD__V1__EXIT_REASON__EXIT_REASON_FIXED] = "fixed",
    [LATENTD__V1__EXIT_REASON__EXIT_REASON_CONVERGED] = "converged",
    [LATENTD__V1__EXIT_REASON__EXIT_REASON_MAX_STEPS] = "max_steps",
    [LATENTD__V1__EXIT_REASON__EXIT_REASON_BUDGET] = "budget",
};

static const char *const criterion_names[] = {
    [LATENTD__V1__CRITERION__CRITERION_LATENT_DIFF] = "latent-diff",
    [LATENTD__V1__CRITERION__CRITERION_COSINE] = "cosine",
    [LATENTD__V1__CRITERION__CRITERION_ACCELERATION] = "acceleration",
    [LATENTD__V1__CRITERION__CRITERION_KL] = "kl",
    [LATENTD__V1__CRITERION__CRITERION_MINP_KL] = "minp-kl",
    [LATENTD__V1__CRITERION__CRITERION_ENTROPY_DIFF] = "entropy-diff",
    [LATENTD__V1__CRITERION__CRITERION_ARGMAX_STABILITY] = "argmax-stability",
};

static const char *const state_names[] = {
    [LATENTD__V1__JOB_STATE__JOB_STATE_QUEUED] = "queued",
    [LATENTD__V1__JOB_STATE__JOB_STATE_RUNNING] = "running",
    [LATENTD__V1__JOB_STATE__JOB_STATE_SUCCEEDED] = "succeeded",
    [LATENTD__V1__JOB_STATE__JOB_STATE_CANCELLED] = "cancelled",
    [LATENTD__V1__JOB_STATE__JOB_STATE_FAILED] = "failed",
};

const char *cli_finish_name(Latentd__V1__FinishReason reason)
{
    if (reason == LATENTD__V1__FINISH_REASON__FINISH_REASON_UNSPECIFIED)
        return NULL;
    return NAME_IN(finish_names, reason);
}

const char *cli_exit_name(Latentd__V1__ExitReason reason)
{
    return NAME_IN(exit_names, reason);
}

const char *cli_state_name(Latentd__V1__JobState state)
{
    return NAME_IN(state_names, state);
}

/* The index of `name` in such a table; 0, which means "unspecified" in all of them, without one. */
static int find_in(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (names[i] && strcmp(names[i], name) == 0)
            return (int)i;
    return 0;
}

#define FIND_IN(table, name) find_in(table, sizeof(table) / sizeof(table)[0], name)

Latentd__V1__JobState cli_state_find(const char *name)
{
    return (Latentd__V1__JobState)FIND_IN(state_names, name);
}

Latentd__V1__Criterion cli_criterion_find(const char *name)
{
    return (Latentd__V1__Criterion)FIND_IN(criterion_names, name);
}

const char *cli_time_name(int64_t time_us, char buf[CLI_TIME_BYTES])
{
    time_t s = (time_t)(time_us / 1000000);
    struct tm utc;
    if (time_us <= 0 || !gmtime_r(&s, &utc) ||
        strftime(buf, CLI_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        snprintf(buf, CLI_TIME_BYTES, "-");
    return buf;
}

void cli_json_bytes(struct cli_json *j, const char *key, ProtobufCBinaryData text)
{
    cli_json_text(j, key, text.data, text.len);
}

void cli_json_error(struct cli_json *j, const Latentd__V1__Error *error)
{
    if (!error) {
        cli_json_null(j, "error");
        return;
    }
    cli_json_begin(j, "error", '{');
    cli_json_str(j, "code", ltd_code_name(ltd_code_from_grpc(error->code)));
    cli_json_bytes(j, "message", error->message);
    cli_json_end(j);
}

void cli_account_fields(struct cli_json *j, const Latentd__V1__Job *job)
{
    cli_json_u64(j, "priority", job->priority);
    cli_json_bytes(j, "client", job->client);
    cli_json_bytes(j, "owner", job->owner);
    cli_json_bytes(j, "continues", job->continues);
    cli_json_i64(j, "predicted_end_us", job->predicted_end_us);
}

void cli_job_fields(struct cli_json *j, const Latentd__V1__Job *job)
{
    cli_json_bytes(j, "job", job->name);
    cli_json_str(j, "state", cli_state_name(job->state));
    cli_json_bool(j, "done", job->done);
    cli_json_u64(j, "seed", job->seed);
    cli_json_bytes(j, "tier", job->tier);
    cli_json_u64(j, "early_steps", job->early_steps);
    cli_json_u64(j, "prompt_tokens", job->prompt_tokens);
    cli_json_u64(j, "total_steps", job->total_steps);
    cli_json_u64(j, "last_seq", job->last_seq);
    cli_json_bytes(j, "request_id", job->request_id);
    if (job->spec)
        cli_json_bytes(j, "label", job->spec->label);
    cli_account_fields(j, job);
    cli_json_bool(j, "late", job->late);
    cli_json_i64(j, "create_us", job->create_us);
    cli_json_i64(j, "start_us", job->start_us);
    cli_json_i64(j, "end_us", job->end_us);
}
