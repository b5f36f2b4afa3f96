/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/seeds.c - first inputs of the targets whose formats the code itself defines.
 *
 *     fuzz_seeds OUT_DIR
 *
 * Ticks, stored events and requests are made with the encoders while the tests are built. A change
 * of such a format changes the seeds with it, so that no target is left with inputs that are turned
 * away at their first byte.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cluster/tick.h"
#include "daemon/job.h"
#include "latentd/v1/latentd.pb-c.h"
#include "tests/fuzz/fuzz.h"

static const char *out_dir;

static void put(const char *target, const char *name, const void *data, size_t len)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", out_dir, target);
    FUZZ_CHECK(mkdir(path, 0777) == 0 || errno == EEXIST, "%s: cannot be made", path);
    snprintf(path, sizeof path, "%s/%s/%s", out_dir, target, name);
    FILE *file = fopen(path, "wb");
    FUZZ_CHECK(file && fwrite(data, 1, len, file) == len && fclose(file) == 0,
               "%s: cannot be written", path);
}

/* ---- ticks: the limits are those of fuzz_tick.c ------------------------------------------------ */

static const struct clus_limits limits = {.n_embd = 2,
                                          .block_size = 64,
                                          .page_positions = 16,
                                          .n_rows = 8,
                                          .n_seqs = 4,
                                          .n_pages = 12,
                                          .max_batch = 6};

static void put_tick(const char *name, const struct clus_tick *tick)
{
    struct ltd_err err = {0};
    struct ltd_bytes out;
    ltd_bytes_init(&out);
    FUZZ_CHECK(clus_tick_encode(tick, &limits, &out, &err) == 0, "%s", err.msg);
    put("tick", name, out.data, out.len);
    ltd_bytes_fini(&out);
}

static void put_reply(const char *name, const struct clus_reply *reply)
{
    struct ltd_err err = {0};
    struct ltd_bytes out;
    ltd_bytes_init(&out);
    FUZZ_CHECK(clus_reply_encode(reply, &limits, &out, &err) == 0, "%s", err.msg);
    put("tick", name, out.data, out.len);
    ltd_bytes_fini(&out);
}

static void make_ticks(void)
{
    static const int32_t closed[] = {2, 0}, released[] = {11, 7};
    static const struct clus_page pages[] = {{0, 0, 7, false}, {3, 0, 2, true}};
    static const float v[] = {1.5f, -2.0f};
    static const double values[] = {0.25};
    static const struct clus_start starts[] = {
        {.row = 0, .position = 3, .kind = CLUS_START_ZERO, .injected = v},
        {.row = 5, .kind = CLUS_START_SEED, .seed = 99, .init_scale = 0.5f, .injected = v},
        {.row = 7, .position = 63, .kind = CLUS_START_GIVEN, .latent = v, .injected = v}};
    static const struct clus_entry entries[] = {{0, 3, 3, 0, CLUS_WANT_LATENT},
                                                {5, 3, 4, 31, CLUS_WANT_DIFF}};
    struct clus_reply refusal = {.tick_id = 9};
    ltd_fail(&refusal.err, LTD_E_PEER, "row 5 is not started");
    put_tick("empty", &(struct clus_tick){.tick_id = 1});
    put_tick("full", &(struct clus_tick){.tick_id = 2,
                                         .closed = closed,
                                         .n_closed = 2,
                                         .released = released,
                                         .n_released = 2,
                                         .pages = pages,
                                         .n_pages = 2,
                                         .starts = starts,
                                         .n_starts = 3,
                                         .entries = entries,
                                         .n_entries = 2});
    put_reply("reply",
              &(struct clus_reply){
                  .tick_id = 2, .n_latents = 1, .latents = v, .n_values = 1, .values = values});
    put_reply("refusal", &refusal);
    struct ltd_bytes stop;
    struct ltd_err err = {0};
    ltd_bytes_init(&stop);
    FUZZ_CHECK(clus_stop_encode(&stop, &err) == 0, "%s", err.msg);
    put("tick", "stop", stop.data, stop.len);
    ltd_bytes_fini(&stop);
}

/* ---- logs of stored events ---------------------------------------------------------------------- */

static void add_event(struct ltd_bytes *log, const struct job_event *event)
{
    struct ltd_bytes one;
    ltd_bytes_init(&one);
    job_event_encode(event, &one);
    ltd_bytes_put_u8(log, (uint8_t)one.len);
    ltd_bytes_put_u8(log, (uint8_t)(one.len >> 8));
    ltd_bytes_put(log, one.data, one.len);
    ltd_bytes_fini(&one);
}

static void begin_log(struct ltd_bytes *log)
{
    static const uint8_t spec[] = {0x18, 4};
    ltd_bytes_init(log);
    add_event(log, &(struct job_event){.kind = JOB_EV_QUEUED,
                                       .time_us = 1,
                                       .queued = {.request_id = "r-1",
                                                  .label = "a label",
                                                  .tier = "ref",
                                                  .client = "c",
                                                  .owner = "o",
                                                  .numerics = "n",
                                                  .seed = 7,
                                                  .prompt_tokens = 3,
                                                  .priority = 16,
                                                  .spec = spec,
                                                  .spec_len = sizeof spec}});
}

static void make_logs(void)
{
    struct ltd_bytes log;
    struct job_event token = {
        .kind = JOB_EV_TOKEN, .time_us = 3, .text = "hi", .text_len = 2, .token = {.n_top = -1}};
    struct job_event top = token;
    top.token = (struct engine_token){
        .id = 5, .steps = 8, .exit = ENGINE_EXIT_CONVERGED, .has_value = true, .n_top = 2};
    struct job_event failed = {.kind = JOB_EV_FAILED, .time_us = 9, .text = ""};
    failed.finished.reason = JOB_FINISH_ERROR;
    ltd_fail(&failed.finished.error, LTD_E_INTERNAL, "a rank was lost");

    begin_log(&log);
    add_event(&log, &(struct job_event){.kind = JOB_EV_PRIORITY, .priority = 3});
    add_event(&log, &(struct job_event){.kind = JOB_EV_STARTED, .started = {12345}});
    add_event(&log, &token);
    add_event(&log, &top);
    add_event(&log,
              &(struct job_event){.kind = JOB_EV_SUCCEEDED,
                                  .finished = {.reason = JOB_FINISH_LENGTH, .total_steps = 16},
                                  .text = ".",
                                  .text_len = 1});
    put("job_event", "succeeded", log.data, log.len);
    ltd_bytes_fini(&log);
    begin_log(&log);
    add_event(&log, &(struct job_event){.kind = JOB_EV_STARTED});
    add_event(&log, &failed);
    put("job_event", "failed", log.data, log.len);
    ltd_bytes_fini(&log);
    begin_log(&log);
    add_event(&log,
              &(struct job_event){.kind = JOB_EV_CANCELLED,
                                  .finished = {.reason = JOB_FINISH_CANCELLED, .late = true}});
    add_event(&log, &token);
    put("job_event", "cancelled", log.data, log.len);
    ltd_bytes_fini(&log);
}

/* ---- requests: the first byte is the place in fuzz_request.c's list ------------------------------- */

static ProtobufCBinaryData text_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void put_message(const char *name, uint8_t idx, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *data = malloc(len + 1);
    FUZZ_CHECK(data, "no memory");
    data[0] = idx;
    protobuf_c_message_pack(message, data + 1);
    put("request", name, data, len + 1);
    free(data);
}

static void make_specs(void)
{
    uint32_t ids[] = {1, 2, 340};
    Latentd__V1__TokenIds tokens = LATENTD__V1__TOKEN_IDS__INIT;
    tokens.n_ids = 3;
    tokens.ids = ids;
    Latentd__V1__ChatMessage turn = LATENTD__V1__CHAT_MESSAGE__INIT, *turns[] = {&turn, &turn};
    turn.role = text_of("user");
    turn.content = text_of(" 2+2? ");
    Latentd__V1__Chat chat = LATENTD__V1__CHAT__INIT;
    chat.n_messages = 2;
    chat.messages = turns;
    Latentd__V1__Prompt text = LATENTD__V1__PROMPT__INIT, ids_prompt = text, chat_prompt = text;
    text.kind_case = LATENTD__V1__PROMPT__KIND_TEXT;
    text.text = text_of("12+34=");
    ids_prompt.kind_case = LATENTD__V1__PROMPT__KIND_TOKENS;
    ids_prompt.tokens = &tokens;
    chat_prompt.kind_case = LATENTD__V1__PROMPT__KIND_CHAT;
    chat_prompt.chat = &chat;
    Latentd__V1__DepthAt at = LATENTD__V1__DEPTH_AT__INIT, *ats[] = {&at};
    at.token = 1;
    at.steps = 5;
    Latentd__V1__AdaptiveDepth adaptive = LATENTD__V1__ADAPTIVE_DEPTH__INIT;
    adaptive.criterion = LATENTD__V1__CRITERION__CRITERION_KL;
    adaptive.max_steps = 9;
    adaptive.min_steps = 2;
    Latentd__V1__DepthRange range = LATENTD__V1__DEPTH_RANGE__INIT;
    range.max_steps = 7;
    Latentd__V1__Depth fixed = LATENTD__V1__DEPTH__INIT, adapts = fixed, ranges = fixed;
    fixed.mode_case = LATENTD__V1__DEPTH__MODE_FIXED_STEPS;
    fixed.fixed_steps = 8;
    fixed.tokenwise = 1;
    fixed.n_at = 1;
    fixed.at = ats;
    adapts.mode_case = LATENTD__V1__DEPTH__MODE_ADAPTIVE;
    adapts.adaptive = &adaptive;
    ranges.mode_case = LATENTD__V1__DEPTH__MODE_RANGE;
    ranges.range = &range;
    Latentd__V1__Sampling sampling = LATENTD__V1__SAMPLING__INIT;
    sampling.temperature_set_case = LATENTD__V1__SAMPLING__TEMPERATURE_SET_TEMPERATURE;
    sampling.temperature = 0.7;
    sampling.top_k_set_case = LATENTD__V1__SAMPLING__TOP_K_SET_TOP_K;
    sampling.top_k = 40;
    sampling.seed_set_case = LATENTD__V1__SAMPLING__SEED_SET_SEED;
    sampling.seed = 1;
    Latentd__V1__Budget budget = LATENTD__V1__BUDGET__INIT;
    budget.total_ms = 1000;
    ProtobufCBinaryData stop[] = {text_of("\n"), text_of("END")};

    Latentd__V1__JobSpec spec = LATENTD__V1__JOB_SPEC__INIT;
    spec.model = text_of("models/demo");
    spec.prompt = &text;
    spec.max_tokens = 4;
    spec.n_stop = 2;
    spec.stop = stop;
    spec.depth = &fixed;
    spec.sampling = &sampling;
    spec.label = text_of("a label");
    spec.client = text_of("somebody");
    put_message("spec-text", 0, &spec.base);
    spec.prompt = &ids_prompt;
    spec.depth = &adapts;
    spec.budget = &budget;
    spec.logprobs_set_case = LATENTD__V1__JOB_SPEC__LOGPROBS_SET_LOGPROBS;
    spec.logprobs = 3;
    put_message("spec-tokens", 0, &spec.base);
    spec.prompt = &chat_prompt;
    spec.depth = &ranges;
    spec.priority_set_case = LATENTD__V1__JOB_SPEC__PRIORITY_SET_PRIORITY;
    spec.priority = 31;
    spec.init_scale_set_case = LATENTD__V1__JOB_SPEC__INIT_SCALE_SET_INIT_SCALE;
    spec.init_scale = 0.5;
    put_message("spec-chat", 0, &spec.base);

    Latentd__V1__GenerateRequest generate = LATENTD__V1__GENERATE_REQUEST__INIT;
    generate.spec = &spec;
    generate.request_id = text_of("r-1");
    put_message("generate", 1, &generate.base);
    Latentd__V1__SubmitJobRequest submit = LATENTD__V1__SUBMIT_JOB_REQUEST__INIT;
    submit.spec = &spec;
    put_message("submit", 3, &submit.base);
    Latentd__V1__ScoreRequest score = LATENTD__V1__SCORE_REQUEST__INIT;
    score.context = &ids_prompt;
    score.continuation = &text;
    score.depth = &fixed;
    fixed.n_at = 0;
    put_message("score", 2, &score.base);
    Latentd__V1__TokenizeRequest tokenize = LATENTD__V1__TOKENIZE_REQUEST__INIT;
    tokenize.kind_case = LATENTD__V1__TOKENIZE_REQUEST__KIND_CHAT;
    tokenize.chat = &chat;
    put_message("tokenize", 4, &tokenize.base);
    Latentd__V1__DetokenizeRequest detokenize = LATENTD__V1__DETOKENIZE_REQUEST__INIT;
    detokenize.n_ids = 3;
    detokenize.ids = ids;
    put_message("detokenize", 5, &detokenize.base);
}

static void make_requests(void)
{
    make_specs();
    Latentd__V1__WatchJobRequest watch = LATENTD__V1__WATCH_JOB_REQUEST__INIT;
    watch.name = text_of("jobs/0123456789abcdefghijklmnop");
    watch.after_seq = 3;
    put_message("watch", 6, &watch.base);
    put_message("get", 7, &watch.base);
    put_message("cancel", 9, &watch.base);
    Latentd__V1__ListJobsRequest list = LATENTD__V1__LIST_JOBS_REQUEST__INIT;
    Latentd__V1__JobState states[] = {1, 2};
    list.page_size = 10;
    list.label = text_of("a label");
    list.n_states = 2;
    list.states = states;
    put_message("list", 8, &list.base);
    Latentd__V1__ContinueJobRequest next = LATENTD__V1__CONTINUE_JOB_REQUEST__INIT;
    next.name = watch.name;
    next.more_tokens = 2;
    put_message("continue", 11, &next.base);
    Latentd__V1__SetJobPriorityRequest priority = LATENTD__V1__SET_JOB_PRIORITY_REQUEST__INIT;
    priority.name = watch.name;
    priority.priority = 3;
    put_message("priority", 12, &priority.base);
}

int main(int argc, char **argv)
{
    FUZZ_CHECK(argc == 2, "usage: fuzz_seeds OUT_DIR");
    out_dir = argv[1];
    FUZZ_CHECK(mkdir(out_dir, 0777) == 0 || errno == EEXIST, "%s: cannot be made", out_dir);
    make_ticks();
    make_logs();
    make_requests();
    return 0;
}
