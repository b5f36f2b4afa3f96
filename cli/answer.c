/* SPDX-License-Identifier: Apache-2.0 */
/* cli/answer.c - see cli/answer.h. */
#include "cli/answer.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cli/link.h"
#include "cli/names.h"

void cli_answer_fini(struct cli_answer *answer)
{
    for (size_t i = 0; i < answer->n_messages; i++)
        cli_link_free(answer->messages[i]);
    free(answer->messages);
    free(answer->chunks);
    *answer = (struct cli_answer){.n_messages = 0};
}

static int no_memory(struct ltd_err *err)
{
    return ltd_fail(err, LTD_E_EXHAUSTED, "no memory to keep the answer");
}

/*
 * Room for one more item in an array that grows by doubling: at lengths that are powers of two.
 * realloc is asked for twice the length there and not at all elsewhere.
 */
static void *grown(void *items, size_t n, size_t item_bytes)
{
    if ((n & (n - 1)) != 0)
        return items;
    return reallocarray(items, n == 0 ? 1 : 2 * n, item_bytes);
}

static int keep_message(struct cli_answer *answer, void *take_message, struct ltd_err *err)
{
    void **messages = grown(answer->messages, answer->n_messages, sizeof *messages);
    if (!messages) {
        cli_link_free(take_message);
        return no_memory(err);
    }
    answer->messages = messages;
    answer->messages[answer->n_messages++] = take_message;
    return 0;
}

static int add_chunk(struct cli_answer *answer, const Latentd__V1__Tokens *tokens,
                     struct ltd_err *err)
{
    const Latentd__V1__Tokens **chunks = grown(answer->chunks, answer->n_chunks, sizeof *chunks);
    if (!chunks)
        return no_memory(err);
    answer->chunks = chunks;
    answer->chunks[answer->n_chunks++] = tokens;
    answer->n_tokens += tokens->n_ids;
    answer->n_text_bytes += tokens->text.len;
    for (size_t i = 0; i < tokens->n_steps; i++) {
        answer->n_steps += tokens->steps[i];
        answer->last_steps = tokens->steps[i];
    }
    return 0;
}

static void note_job(struct cli_answer *answer, const Latentd__V1__Job *job)
{
    if (!job)
        return;
    answer->job = job;
    if (job->prompt_tokens > 0)
        answer->prompt_tokens = job->prompt_tokens;
    if (job->predicted_end_us > 0)
        answer->predicted_end_us = job->predicted_end_us;
}

static int note_event(struct cli_answer *answer, const Latentd__V1__JobEvent *event,
                      struct ltd_err *err)
{
    note_job(answer, event->job);
    if (event->seq > answer->last_seq)
        answer->last_seq = event->seq;
    if (event->event_case == LATENTD__V1__JOB_EVENT__EVENT_QUEUED)
        answer->prompt_tokens = event->queued->prompt_tokens;
    if (event->event_case == LATENTD__V1__JOB_EVENT__EVENT_STARTED)
        answer->predicted_end_us = event->started->predicted_end_us;
    if (event->event_case == LATENTD__V1__JOB_EVENT__EVENT_FINISHED) {
        answer->finished = event->finished;
        answer->prompt_tokens = event->finished->prompt_tokens;
        answer->n_text_bytes += event->finished->text_tail.len;
    }
    if (event->event_case == LATENTD__V1__JOB_EVENT__EVENT_TOKENS)
        return add_chunk(answer, event->tokens, err);
    return 0;
}

int cli_answer_take_event(struct cli_answer *answer, Latentd__V1__JobEvent *take_event,
                          struct ltd_err *err)
{
    bool worth_keeping = take_event->job ||
                         take_event->event_case == LATENTD__V1__JOB_EVENT__EVENT_TOKENS ||
                         take_event->event_case == LATENTD__V1__JOB_EVENT__EVENT_FINISHED;
    if (worth_keeping) {
        if (keep_message(answer, take_event, err) != 0)
            return -1;
        return note_event(answer, take_event, err);
    }
    int rc = note_event(answer, take_event, err);
    cli_link_free(take_event);
    return rc;
}

int cli_answer_take_job(struct cli_answer *answer, Latentd__V1__Job *take_job, struct ltd_err *err)
{
    if (keep_message(answer, take_job, err) != 0)
        return -1;
    note_job(answer, take_job);
    answer->last_seq = take_job->last_seq;
    if (take_job->output && take_job->output->tokens)
        return add_chunk(answer, take_job->output->tokens, err);
    return 0;
}

Latentd__V1__FinishReason cli_answer_finish(const struct cli_answer *answer)
{
    if (answer->finished)
        return answer->finished->reason;
    if (answer->job && answer->job->done && answer->job->output)
        return answer->job->output->finish;
    return LATENTD__V1__FINISH_REASON__FINISH_REASON_UNSPECIFIED;
}

void cli_answer_text(const struct cli_answer *answer, struct ltd_bytes *out)
{
    for (size_t i = 0; i < answer->n_chunks; i++)
        ltd_bytes_put(out, answer->chunks[i]->text.data, answer->chunks[i]->text.len);
    if (answer->finished)
        ltd_bytes_put(out, answer->finished->text_tail.data, answer->finished->text_tail.len);
}

/* The job's own error, wherever it was said. */
static const Latentd__V1__Error *error_of(const struct cli_answer *answer)
{
    if (answer->finished)
        return answer->finished->error;
    return answer->job ? answer->job->error : NULL;
}

void cli_logprob_item(struct cli_json *j, const Latentd__V1__TokenLogprobs *token)
{
    cli_json_begin(j, NULL, '{');
    cli_json_float(j, "logprob", token->logprob);
    cli_json_begin(j, "top", '[');
    for (size_t i = 0; i < token->n_top; i++) {
        cli_json_begin(j, NULL, '{');
        cli_json_u64(j, "id", token->top[i]->id);
        cli_json_float(j, "logprob", token->top[i]->logprob);
        cli_json_end(j);
    }
    cli_json_end(j);
    cli_json_end(j);
}

enum per_token { TOKEN_IDS, TOKEN_STEPS, TOKEN_EXITS, TOKEN_LOGPROBS, TOKEN_CRITERION_VALUES };

static void chunk_items(const Latentd__V1__Tokens *chunk, enum per_token what, struct cli_json *j)
{
    switch (what) {
    case TOKEN_IDS:
        for (size_t i = 0; i < chunk->n_ids; i++)
            cli_json_u64(j, NULL, chunk->ids[i]);
        break;
    case TOKEN_STEPS:
        for (size_t i = 0; i < chunk->n_steps; i++)
            cli_json_u64(j, NULL, chunk->steps[i]);
        break;
    case TOKEN_EXITS:
        for (size_t i = 0; i < chunk->n_exits; i++)
            cli_json_str(j, NULL, cli_exit_name(chunk->exits[i]));
        break;
    case TOKEN_LOGPROBS:
        for (size_t i = 0; i < chunk->n_logprobs; i++)
            cli_logprob_item(j, chunk->logprobs[i]);
        break;
    case TOKEN_CRITERION_VALUES:
        for (size_t i = 0; i < chunk->n_criterion_values; i++)
            cli_json_double(j, NULL, chunk->criterion_values[i]);
        break;
    }
}

static void array_field(const struct cli_answer *answer, const char *key, enum per_token what,
                        struct cli_json *j)
{
    cli_json_begin(j, key, '[');
    for (size_t i = 0; i < answer->n_chunks; i++)
        chunk_items(answer->chunks[i], what, j);
    cli_json_end(j);
}

static void text_field(const struct cli_answer *answer, struct cli_json *j)
{
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    cli_answer_text(answer, &text);
    cli_json_text(j, "text", text.data, text.len);
    j->text.failed |= text.failed;
    ltd_bytes_fini(&text);
}

/* Without the job's own word, how the call ended tells why there is no more. */
static const char *finish_by_call(const struct ltd_err *failure)
{
    if (!failure || failure->code == LTD_OK)
        return NULL;
    if (failure->code == LTD_E_CANCELLED)
        return "cancelled";
    return failure->code == LTD_E_DEADLINE ? "deadline" : "error";
}

static void end_fields(const struct cli_answer *answer, const struct ltd_err *failure,
                       struct cli_json *j)
{
    const char *finish = cli_finish_name(cli_answer_finish(answer));
    const Latentd__V1__Error *error = error_of(answer);
    cli_json_str(j, "finish", finish ? finish : finish_by_call(failure));
    if (finish || error || !failure || failure->code == LTD_OK) {
        cli_json_error(j, error);
        return;
    }
    cli_json_begin(j, "error", '{');
    cli_json_str(j, "code", ltd_code_name(failure->code));
    cli_json_str(j, "message", failure->msg);
    cli_json_end(j);
}

void cli_answer_fields(const struct cli_answer *answer, const struct ltd_err *failure,
                       struct cli_json *j)
{
    const Latentd__V1__Job *job = answer->job;
    if (job)
        cli_json_bytes(j, "job", job->name);
    else
        cli_json_null(j, "job");
    array_field(answer, "tokens", TOKEN_IDS, j);
    text_field(answer, j);
    array_field(answer, "steps", TOKEN_STEPS, j);
    array_field(answer, "exits", TOKEN_EXITS, j);
    array_field(answer, "logprobs", TOKEN_LOGPROBS, j);
    array_field(answer, "criterion_values", TOKEN_CRITERION_VALUES, j);
    end_fields(answer, failure, j);
    if (job) {
        cli_json_u64(j, "seed", job->seed);
        cli_json_bytes(j, "tier", job->tier);
    } else {
        cli_json_null(j, "seed");
        cli_json_null(j, "tier");
    }
    cli_json_u64(j, "prompt_tokens", answer->prompt_tokens);
    cli_json_u64(j, "output_tokens", answer->n_tokens);
    cli_json_u64(j, "total_steps",
                 answer->finished ? answer->finished->total_steps
                 : job            ? job->total_steps
                                  : 0);
    cli_json_bool(j, "late", answer->finished ? answer->finished->late : job && job->late);
}

static int verdict_of_error(const Latentd__V1__Error *error, struct ltd_err *err)
{
    if (!error)
        return ltd_fail(err, LTD_E_INTERNAL, "the job failed and the daemon gave no reason");
    enum ltd_code code = ltd_code_from_grpc(error->code);
    return ltd_fail(err, code == LTD_OK ? LTD_E_INTERNAL : code, "the job failed: %.*s",
                    (int)error->message.len, (const char *)error->message.data);
}

int cli_answer_verdict(const struct cli_answer *answer, struct ltd_err *err)
{
    switch (cli_answer_finish(answer)) {
    case LATENTD__V1__FINISH_REASON__FINISH_REASON_EOS:
    case LATENTD__V1__FINISH_REASON__FINISH_REASON_STOP:
    case LATENTD__V1__FINISH_REASON__FINISH_REASON_LENGTH:
        return 0;
    case LATENTD__V1__FINISH_REASON__FINISH_REASON_CANCELLED:
        return ltd_fail(err, LTD_E_CANCELLED, "the job was cancelled after %" PRIu64 " tokens",
                        answer->n_tokens);
    case LATENTD__V1__FINISH_REASON__FINISH_REASON_DEADLINE:
        return ltd_fail(err, LTD_E_DEADLINE, "the job's time was over after %" PRIu64 " tokens",
                        answer->n_tokens);
    case LATENTD__V1__FINISH_REASON__FINISH_REASON_ERROR:
        return verdict_of_error(error_of(answer), err);
    case LATENTD__V1__FINISH_REASON__FINISH_REASON_UNSPECIFIED:
    case _LATENTD__V1__FINISH_REASON_IS_INT_SIZE:
        break;
    }
    if (answer->job && answer->job->done)
        return verdict_of_error(error_of(answer), err);
    return ltd_fail(err, LTD_E_PRECONDITION, "the job has not ended");
}
