/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cli/fake_long.c - see tests/cli/fake_long.h. */
#include "tests/cli/fake_long.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "latentd/v1/latentd.pb-c.h"

#define TAIL " and out"

static ProtobufCBinaryData bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* Every seventh has letters of two and three bytes: cuts fall into them as well. */
static void word(uint64_t idx, char *out, size_t size)
{
    snprintf(out, size, "%sw%d%s", idx > 0 ? " " : "", (int)idx,
             idx % 7 == 3 ? "-\xC3\xA4\xE2\x82\xAC" : "");
}

const char *fake_long_text(void)
{
    static char text[FAKE_LONG_TOKENS * 16 + sizeof TAIL];
    size_t len = 0;
    for (uint64_t i = 0; i < FAKE_LONG_TOKENS; i++) {
        word(i, text + len, sizeof text - len);
        len += strlen(text + len);
    }
    snprintf(text + len, sizeof text - len, TAIL);
    return text;
}

static void send_event(struct rpc_call *call, Latentd__V1__JobEvent *event)
{
    size_t len = protobuf_c_message_get_packed_size(&event->base);
    uint8_t *data = malloc(len + 1);
    if (!data)
        abort();
    protobuf_c_message_pack(&event->base, data);
    rpc_call_send(call, data, len, NULL);
    free(data);
}

static void begin(Latentd__V1__JobEvent *event, const char *name, uint64_t seq)
{
    latentd__v1__job_event__init(event);
    event->name = bytes(name);
    event->seq = seq;
    event->time_us = seq > 0 ? 1900000000000000 + (int64_t)seq : 0;
}

static void send_queued(struct rpc_call *call, const char *name)
{
    Latentd__V1__JobEvent event;
    Latentd__V1__Queued queued = LATENTD__V1__QUEUED__INIT;
    Latentd__V1__Job job = LATENTD__V1__JOB__INIT;
    begin(&event, name, 1);
    event.event_case = LATENTD__V1__JOB_EVENT__EVENT_QUEUED;
    event.queued = &queued;
    job.name = event.name;
    event.job = &job;
    send_event(call, &event);
}

static void send_started(struct rpc_call *call, const char *name)
{
    Latentd__V1__JobEvent event;
    Latentd__V1__Started started = LATENTD__V1__STARTED__INIT;
    begin(&event, name, 2);
    event.event_case = LATENTD__V1__JOB_EVENT__EVENT_STARTED;
    event.started = &started;
    send_event(call, &event);
}

/* What is not in the log. */
static void send_news(struct rpc_call *call, const char *name, uint64_t idx)
{
    Latentd__V1__JobEvent event;
    Latentd__V1__Thinking thinking = LATENTD__V1__THINKING__INIT;
    Latentd__V1__Heartbeat heartbeat = LATENTD__V1__HEARTBEAT__INIT;
    begin(&event, name, 0);
    if (idx % 2) {
        event.event_case = LATENTD__V1__JOB_EVENT__EVENT_THINKING;
        event.thinking = &thinking;
        thinking.token_index = (uint32_t)idx;
        thinking.step = 3;
    } else {
        event.event_case = LATENTD__V1__JOB_EVENT__EVENT_HEARTBEAT;
        event.heartbeat = &heartbeat;
    }
    send_event(call, &event);
}

static void send_token(struct rpc_call *call, const char *name, uint64_t idx)
{
    Latentd__V1__JobEvent event;
    Latentd__V1__Tokens tokens = LATENTD__V1__TOKENS__INIT;
    Latentd__V1__ExitReason why = LATENTD__V1__EXIT_REASON__EXIT_REASON_CONVERGED;
    uint32_t id = 100 + (uint32_t)idx, steps = 8 + (uint32_t)idx % 5;
    double criterion_value = 0.5 / (double)(idx + 1);
    char text[32];
    begin(&event, name, idx + 3);
    event.event_case = LATENTD__V1__JOB_EVENT__EVENT_TOKENS;
    event.tokens = &tokens;
    word(idx, text, sizeof text);
    tokens.n_ids = tokens.n_steps = tokens.n_exits = tokens.n_criterion_values = 1;
    tokens.ids = &id;
    tokens.steps = &steps;
    tokens.exits = &why;
    tokens.criterion_values = &criterion_value;
    tokens.text = bytes(text);
    send_event(call, &event);
}

static void send_finished(struct rpc_call *call, const char *name)
{
    Latentd__V1__JobEvent event;
    Latentd__V1__Finished finished = LATENTD__V1__FINISHED__INIT;
    begin(&event, name, FAKE_LONG_LAST_SEQ);
    event.event_case = LATENTD__V1__JOB_EVENT__EVENT_FINISHED;
    event.finished = &finished;
    finished.reason = LATENTD__V1__FINISH_REASON__FINISH_REASON_STOP;
    finished.output_tokens = FAKE_LONG_TOKENS;
    finished.text_tail = bytes(TAIL);
    send_event(call, &event);
}

void fake_long_send(struct rpc_call *call, const char *name, uint64_t after_seq, uint64_t up_to)
{
    for (uint64_t seq = after_seq + 1; seq <= up_to && seq <= FAKE_LONG_LAST_SEQ; seq++) {
        if (seq == 1) {
            send_queued(call, name);
        } else if (seq == 2) {
            send_started(call, name);
        } else if (seq < FAKE_LONG_LAST_SEQ) {
            if (seq % 4 == 0)
                send_news(call, name, seq / 4);
            send_token(call, name, seq - 3);
        } else {
            send_finished(call, name);
        }
    }
}
