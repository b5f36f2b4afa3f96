/* SPDX-License-Identifier: Apache-2.0 */
/* cli/link.c - see cli/link.h. */
#include "cli/link.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "cli/credentials.h"
#include "cli/interrupt.h"

/* Connecting is quick or it is broken; the same 10 s as the client library's own default. */
#define CONNECT_MS 10000

/* The largest --timeout: what a 32-bit count of milliseconds holds, about 49 days. */
#define TIMEOUT_MAX_S (UINT32_MAX / 1000)

static int time_limit(const struct cli_common *common, uint32_t default_ms, uint64_t *ms,
                      struct ltd_err *err)
{
    *ms = default_ms;
    if (!common->timeout_s.set)
        return 0;
    double s = common->timeout_s.value;
    if (!(s >= 0 && s <= TIMEOUT_MAX_S))
        return ltd_fail(err, LTD_E_INVALID, "--timeout: %g, expected 0 to %u seconds", s,
                        (unsigned)TIMEOUT_MAX_S);
    *ms = (uint64_t)(s * 1000);
    if (s > 0 && *ms == 0)
        *ms = 1;
    return 0;
}

static const char *address_of(const struct cli_common *common)
{
    if (common->server)
        return common->server;
    const char *from_environment = getenv("LATENTD_SERVER");
    return from_environment && *from_environment ? from_environment : CLI_DEFAULT_SERVER;
}

/* Connect, again and again while nobody answers. */
static int connect_client(struct cli_link *link, struct cli_credentials *credentials,
                          struct ltd_err *err)
{
    latentd_error status;
    for (;;) {
        uint32_t left_ms = cli_link_left_ms(link);
        credentials->options.timeout_ms =
            left_ms != 0 && left_ms < CONNECT_MS ? left_ms : CONNECT_MS;
        link->client = latentd_client_open_with(link->address, &credentials->options, &status);
        if (link->client)
            return 0;
        cli_link_fail(link, &status, err);
        if (!cli_outage_wait(&link->outage, link->deadline_ns, false, err))
            return -1;
    }
}

static int open_link(struct cli_link *link, const struct cli_common *common, uint32_t default_ms,
                     struct ltd_err *err)
{
    uint64_t limit_ms;
    if (time_limit(common, default_ms, &limit_ms, err) != 0)
        return -1;
    link->deadline_ns = limit_ms == 0 ? LTD_NEVER : ltd_deadline_ns(limit_ms);
    struct cli_credentials credentials;
    int rc = cli_credentials_read(&credentials, common, link->address, err);
    if (rc == 0)
        rc = connect_client(link, &credentials, err);
    cli_credentials_wipe(&credentials);
    if (rc != 0)
        return -1;
    cli_interrupt_set_client(link->client);
    return 0;
}

int cli_link_open(struct cli_link *link, const struct cli_common *common, uint32_t default_ms,
                  struct ltd_err *err)
{
    *link = (struct cli_link){.address = address_of(common)};
    cli_outage_init(&link->outage, common);
    return open_link(link, common, default_ms, err);
}

int cli_link_open_once(struct cli_link *link, const struct cli_common *common, uint32_t default_ms,
                       struct ltd_err *err)
{
    *link = (struct cli_link){.address = address_of(common)};
    link->outage.is_off = true;
    return open_link(link, common, default_ms, err);
}

void cli_link_close(struct cli_link *link)
{
    cli_interrupt_set_client(NULL);
    latentd_client_close(link->client);
    link->client = NULL;
}

uint32_t cli_link_left_ms(const struct cli_link *link)
{
    if (link->deadline_ns == LTD_NEVER)
        return 0;
    uint64_t now = ltd_now_ns();
    uint64_t left_ms = now >= link->deadline_ns ? 0 : (link->deadline_ns - now) / LTD_NS_PER_MS;
    return left_ms == 0 ? 1 : (uint32_t)left_ms;
}

/* "permission denied" for "PERMISSION_DENIED". */
static void spoken_status(int status, char *out, size_t size)
{
    snprintf(out, size, "%s", latentd_status_name(status));
    for (char *c = out; *c; c++)
        *c = *c == '_' ? ' ' : (char)tolower((unsigned char)*c);
}

/*
 * `reason` as text that lives as long as the program, which is what an error's reason must be. A
 * daemon has a few dozen; one that sends more than fit here is not told apart any further.
 */
static const char *kept_reason(const char *reason)
{
    static char kept[64][sizeof((latentd_error *)0)->reason];
    if (!reason[0])
        return NULL;
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        if (kept[i][0] == '\0')
            snprintf(kept[i], sizeof kept[i], "%s", reason);
        if (strcmp(kept[i], reason) == 0)
            return kept[i];
    }
    return NULL;
}

/* The client library's own timers end in the last milliseconds of the time that they were given. */
#define TIMER_SLACK_MS 100

/* The time for connecting is over, not that of the command. */
static bool is_slow_connect(const struct cli_link *link, const latentd_error *status)
{
    return status->status == LATENTD_DEADLINE_EXCEEDED && !status->from_server &&
           ltd_now_ns() + TIMER_SLACK_MS * LTD_NS_PER_MS < link->deadline_ns;
}

int cli_link_fail(const struct cli_link *link, const latentd_error *status, struct ltd_err *err)
{
    enum ltd_code code = ltd_code_from_grpc(status->status);
    const char *message = status->message[0] ? status->message : "no reason was given";
    if (is_slow_connect(link, status)) {
        ltd_fail(err, LTD_E_UNAVAILABLE, "%s", message);
    } else if (ltd_code_grpc(code) == status->status) {
        ltd_fail(err, code, "%s", message);
    } else {
        /* Statuses that no code stands for: their name would be lost. */
        char spoken[32];
        spoken_status(status->status, spoken, sizeof spoken);
        ltd_fail(err, code, "%s: %s", spoken, message);
    }
    ltd_err_reason(err, kept_reason(status->reason));
    return ltd_err_retry_after(err, status->retry_after_ms);
}

int cli_link_pack(const ProtobufCMessage *message, struct ltd_bytes *out, struct ltd_err *err)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    if (len == 0) /* all fields at their defaults: an empty message is a message */
        return 0;
    uint8_t *at = ltd_bytes_reserve(out, len);
    if (!at)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a request of %zu bytes", len);
    out->len += protobuf_c_message_pack(message, at);
    return 0;
}

void *cli_link_unpack(const ProtobufCMessageDescriptor *kind, const void *data, size_t len,
                      struct ltd_err *err)
{
    void *message = protobuf_c_message_unpack(kind, NULL, len, data);
    if (!message)
        return ltd_fail_null(err, LTD_E_PEER, "the server sent %zu bytes that are no %s", len,
                             kind->name);
    return message;
}

void cli_link_free(void *message)
{
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
}

void *cli_link_ask(struct cli_link *link, const char *path, const ProtobufCMessage *request,
                   const ProtobufCMessageDescriptor *answer, struct ltd_err *err)
{
    struct ltd_bytes packed;
    latentd_bytes response;
    latentd_error status;
    struct ltd_err failure = {.code = LTD_OK};
    void *message = NULL;
    ltd_bytes_init(&packed);
    link->n_repeats = 0;
    int rc = cli_link_pack(request, &packed, &failure);
    while (rc == 0) {
        latentd_request call = {.path = path,
                                .data = packed.data,
                                .len = packed.len,
                                .timeout_ms = cli_link_left_ms(link)};
        if (latentd_client_unary(link->client, &call, &response, &status) == 0) {
            cli_outage_over(&link->outage);
            message = cli_link_unpack(answer, response.data, response.len, &failure);
            latentd_bytes_free(&response);
            break;
        }
        rc = cli_link_fail(link, &status, &failure);
        if (cli_outage_wait(&link->outage, link->deadline_ns, false, &failure)) {
            link->n_repeats++;
            rc = 0;
        }
    }
    ltd_bytes_fini(&packed);
    if (!message && err)
        *err = failure;
    return message;
}

int cli_link_stream(struct cli_link *link, const char *path, const ProtobufCMessage *request,
                    latentd_message_fn on_message, void *arg, struct ltd_err *err)
{
    struct ltd_bytes packed;
    ltd_bytes_init(&packed);
    latentd_error status;
    int rc = cli_link_pack(request, &packed, err);
    if (rc == 0) {
        latentd_request call = {.path = path,
                                .data = packed.data,
                                .len = packed.len,
                                .timeout_ms = cli_link_left_ms(link)};
        rc = latentd_client_stream(link->client, &call, on_message, arg, &status);
        if (rc != 0)
            cli_link_fail(link, &status, err);
    }
    ltd_bytes_fini(&packed);
    return rc == 0 ? 0 : -1;
}

ProtobufCBinaryData cli_bytes(const char *text)
{
    /* The messages are only packed, never written through. */
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

char *cli_job_name(const char *word, struct ltd_err *err)
{
    char *name = NULL;
    const char *prefix = strncmp(word, "jobs/", strlen("jobs/")) == 0 ? "" : "jobs/";
    if (asprintf(&name, "%s%s", prefix, word) < 0)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for a job's name");
    return name;
}

/* Version 4, variant 1: 122 random bits. */
static void write_uuid(const uint8_t raw[16], char buf[CLI_REQUEST_ID_BYTES])
{
    static const char dash_before[16] = {[4] = 1, [6] = 1, [8] = 1, [10] = 1};
    char *at = buf;
    for (size_t i = 0; i < 16; i++) {
        unsigned byte = raw[i];
        if (i == 6)
            byte = (byte & 0x0Fu) | 0x40u;
        if (i == 8)
            byte = (byte & 0x3Fu) | 0x80u;
        at += sprintf(at, "%s%02x", dash_before[i] ? "-" : "", byte);
    }
}

const char *cli_request_id(const char *given, char buf[CLI_REQUEST_ID_BYTES])
{
    uint8_t raw[16];
    if (given)
        return given;
    if (getrandom(raw, sizeof raw, 0) != sizeof raw)
        return "";
    write_uuid(raw, buf);
    return buf;
}
