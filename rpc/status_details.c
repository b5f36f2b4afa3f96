/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/status_details.c - see rpc/status_details.h. */
#include "rpc/status_details.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "latentd/rpc/status_details.pb-c.h"
#include "rpc/base64.h"

#define TYPE_PREFIX      "type.googleapis.com/google.rpc."
#define ERROR_INFO_TYPE  TYPE_PREFIX "ErrorInfo"
#define RETRY_INFO_TYPE  TYPE_PREFIX "RetryInfo"
#define BAD_REQUEST_TYPE TYPE_PREFIX "BadRequest"

#define NS_PER_MS 1000000

/* A Duration with more is not one. */
#define NANOS_MAX 999999999

/* ---- write ---- */

/* Bytes of the message inside an Any: a reason, a field path or a description, none longer than an
 * error's message, and a few octets of tags and lengths. */
#define DETAIL_BYTES (LTD_ERR_MSG_BYTES + 128)

#define MAX_DETAILS 3

struct details {
    Latentd__Rpc__Detail rows[MAX_DETAILS];
    Latentd__Rpc__Detail *list[MAX_DETAILS];
    uint8_t packed[MAX_DETAILS][DETAIL_BYTES];
    size_t n;
};

static ProtobufCBinaryData text(const char *s, size_t len)
{
    return (ProtobufCBinaryData){len, (uint8_t *)s};
}

static void add(struct details *all, const char *type, const ProtobufCMessage *message)
{
    size_t i = all->n;
    if (protobuf_c_message_get_packed_size(message) > DETAIL_BYTES)
        return;
    latentd__rpc__detail__init(&all->rows[i]);
    all->rows[i].type_url = text(type, strlen(type));
    all->rows[i].value.len = protobuf_c_message_pack(message, all->packed[i]);
    all->rows[i].value.data = all->packed[i];
    all->list[i] = &all->rows[i];
    all->n++;
}

static void add_reason(struct details *all, const char *reason)
{
    Latentd__Rpc__ErrorInfo info = LATENTD__RPC__ERROR_INFO__INIT;
    info.reason = text(reason, strlen(reason));
    info.domain = text(RPC_STATUS_DETAILS_DOMAIN, sizeof RPC_STATUS_DETAILS_DOMAIN - 1);
    add(all, ERROR_INFO_TYPE, &info.base);
}

static void add_field(struct details *all, const char *message, size_t field_len)
{
    const char *description = message + field_len + 2;
    Latentd__Rpc__FieldViolation violation = LATENTD__RPC__FIELD_VIOLATION__INIT;
    Latentd__Rpc__FieldViolation *list[1] = {&violation};
    Latentd__Rpc__BadRequest bad = LATENTD__RPC__BAD_REQUEST__INIT;
    violation.field = text(message, field_len);
    violation.description = text(description, strlen(description));
    bad.n_field_violations = 1;
    bad.field_violations = list;
    add(all, BAD_REQUEST_TYPE, &bad.base);
}

static void add_retry(struct details *all, uint32_t retry_after_ms)
{
    Latentd__Rpc__Delay delay = LATENTD__RPC__DELAY__INIT;
    Latentd__Rpc__RetryInfo info = LATENTD__RPC__RETRY_INFO__INIT;
    delay.seconds = retry_after_ms / 1000;
    delay.nanos = (int32_t)(retry_after_ms % 1000) * NS_PER_MS;
    info.retry_delay = &delay;
    add(all, RETRY_INFO_TYPE, &info.base);
}

static size_t pack(const struct ltd_err *failure, struct details *all, char **value)
{
    Latentd__Rpc__Status status = LATENTD__RPC__STATUS__INIT;
    status.code = ltd_code_grpc(failure->code);
    status.message = text(failure->msg, strlen(failure->msg));
    status.n_details = all->n;
    status.details = all->list;
    size_t packed_len = latentd__rpc__status__get_packed_size(&status);
    size_t len = rpc_base64_bytes(packed_len);
    uint8_t *packed = malloc(packed_len);
    *value = malloc(len);
    if (packed && *value) {
        latentd__rpc__status__pack(&status, packed);
        rpc_base64_encode(packed, packed_len, *value);
    } else {
        free(*value);
        *value = NULL;
        len = 0;
    }
    free(packed);
    return len;
}

size_t rpc_status_details_encode(const struct ltd_err *failure, char **value)
{
    struct details all = {.n = 0};
    size_t field_len = failure->code == LTD_E_INVALID ? rpc_status_details_field(failure->msg) : 0;
    *value = NULL;
    if (failure->reason)
        add_reason(&all, failure->reason);
    if (field_len > 0)
        add_field(&all, failure->msg, field_len);
    if (failure->retry_after_ms > 0)
        add_retry(&all, failure->retry_after_ms);
    return all.n > 0 ? pack(failure, &all, value) : 0;
}

/* ---- the path of a field ---- */

static bool is_name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (!first && ((c >= '0' && c <= '9') || c == '_'));
}

/* The length of "name" or "name[12]"; 0 when it is neither. */
static size_t step_len(const char *s)
{
    size_t n = 0;
    while (is_name_char(s[n], n == 0))
        n++;
    if (n == 0 || s[n] != '[')
        return n;
    size_t digits = strspn(s + n + 1, "0123456789");
    return digits > 0 && s[n + 1 + digits] == ']' ? n + digits + 2 : 0;
}

size_t rpc_status_details_field(const char *message)
{
    size_t n = 0;
    for (;;) {
        size_t step = step_len(message + n);
        n += step;
        if (step == 0)
            return 0;
        if (message[n] == ':' && message[n + 1] == ' ')
            return n;
        if (message[n] != '.')
            return 0;
        n++;
    }
}

/* ---- read ---- */

static uint32_t delay_ms(const Latentd__Rpc__Delay *delay)
{
    if (delay->seconds < 0 || delay->nanos < 0 || delay->nanos > NANOS_MAX)
        return 0;
    if (delay->seconds >= UINT32_MAX / 1000)
        return UINT32_MAX;
    return (uint32_t)delay->seconds * 1000 + ((uint32_t)delay->nanos + NS_PER_MS - 1) / NS_PER_MS;
}

static bool is_type(const Latentd__Rpc__Detail *detail, const char *type)
{
    return detail->type_url.len == strlen(type) &&
           memcmp(detail->type_url.data, type, detail->type_url.len) == 0;
}

static uint32_t detail_ms(const Latentd__Rpc__Detail *detail)
{
    Latentd__Rpc__RetryInfo *info =
        latentd__rpc__retry_info__unpack(NULL, detail->value.len, detail->value.data);
    uint32_t ms = info && info->retry_delay ? delay_ms(info->retry_delay) : 0;
    latentd__rpc__retry_info__free_unpacked(info, NULL);
    return ms;
}

static bool is_reason(const ProtobufCBinaryData *s)
{
    if (s->len == 0 || s->len >= RPC_REASON_BYTES || s->data[0] < 'A' || s->data[0] > 'Z')
        return false;
    for (size_t i = 0; i < s->len; i++)
        if (!(s->data[i] >= 'A' && s->data[i] <= 'Z') &&
            !(s->data[i] >= '0' && s->data[i] <= '9') && s->data[i] != '_')
            return false;
    return true;
}

static bool detail_reason(const Latentd__Rpc__Detail *detail, char *out)
{
    static const char ours[] = RPC_STATUS_DETAILS_DOMAIN;
    Latentd__Rpc__ErrorInfo *info =
        latentd__rpc__error_info__unpack(NULL, detail->value.len, detail->value.data);
    bool ok = info && info->domain.len == sizeof ours - 1 &&
              memcmp(info->domain.data, ours, sizeof ours - 1) == 0 && is_reason(&info->reason);
    if (ok) {
        memcpy(out, info->reason.data, info->reason.len);
        out[info->reason.len] = '\0';
    }
    latentd__rpc__error_info__free_unpacked(info, NULL);
    return ok;
}

/* The message in a trailer's value, or NULL. latentd__rpc__status__free_unpacked takes NULL too. */
static Latentd__Rpc__Status *unpack(const uint8_t *value, size_t len)
{
    uint8_t *packed = malloc(len ? len : 1);
    if (!packed)
        return NULL;
    ptrdiff_t n = rpc_base64_decode(value, len, packed);
    Latentd__Rpc__Status *status =
        n < 0 ? NULL : latentd__rpc__status__unpack(NULL, (size_t)n, packed);
    free(packed);
    return status;
}

uint32_t rpc_status_details_retry_ms(const uint8_t *value, size_t len)
{
    Latentd__Rpc__Status *status = unpack(value, len);
    uint32_t ms = 0;
    for (size_t i = 0; status && i < status->n_details && ms == 0; i++)
        if (is_type(status->details[i], RETRY_INFO_TYPE))
            ms = detail_ms(status->details[i]);
    latentd__rpc__status__free_unpacked(status, NULL);
    return ms;
}

bool rpc_status_details_reason(const uint8_t *value, size_t len, char *out)
{
    Latentd__Rpc__Status *status = unpack(value, len);
    bool found = false;
    out[0] = '\0';
    for (size_t i = 0; status && i < status->n_details && !found; i++)
        if (is_type(status->details[i], ERROR_INFO_TYPE))
            found = detail_reason(status->details[i], out);
    latentd__rpc__status__free_unpacked(status, NULL);
    return found;
}
