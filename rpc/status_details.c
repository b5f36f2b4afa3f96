/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/status_details.c - see rpc/status_details.h. */
#include "rpc/status_details.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "latentd/rpc/status_details.pb-c.h"
#include "rpc/base64.h"

#define RETRY_INFO_TYPE "type.googleapis.com/google.rpc.RetryInfo"

#define NS_PER_MS 1000000

/* A Duration with more is not one. */
#define NANOS_MAX 999999999

char *rpc_status_details_encode(int status, const char *message, size_t message_len,
                                uint32_t retry_after_ms, size_t *len)
{
    Latentd__Rpc__Delay delay = LATENTD__RPC__DELAY__INIT;
    delay.seconds = retry_after_ms / 1000;
    delay.nanos = (int32_t)(retry_after_ms % 1000) * NS_PER_MS;
    Latentd__Rpc__RetryInfo info = LATENTD__RPC__RETRY_INFO__INIT;
    info.retry_delay = &delay;
    uint8_t packed_info[32]; /* two tags, two lengths, two varints of at most ten octets */
    Latentd__Rpc__Detail detail = LATENTD__RPC__DETAIL__INIT;
    detail.type_url = (ProtobufCBinaryData){sizeof RETRY_INFO_TYPE - 1, (uint8_t *)RETRY_INFO_TYPE};
    detail.value.len = latentd__rpc__retry_info__pack(&info, packed_info);
    detail.value.data = packed_info;
    Latentd__Rpc__Detail *details[1] = {&detail};
    Latentd__Rpc__Status all = LATENTD__RPC__STATUS__INIT;
    all.code = status;
    all.message = (ProtobufCBinaryData){message_len, (uint8_t *)message};
    all.n_details = 1;
    all.details = details;

    size_t packed_len = latentd__rpc__status__get_packed_size(&all);
    uint8_t *packed = malloc(packed_len);
    char *text = malloc(rpc_base64_bytes(packed_len));
    if (packed && text) {
        latentd__rpc__status__pack(&all, packed);
        rpc_base64_encode(packed, packed_len, text);
        *len = rpc_base64_bytes(packed_len);
    } else {
        free(text);
        text = NULL;
    }
    free(packed);
    return text;
}

static uint32_t delay_ms(const Latentd__Rpc__Delay *delay)
{
    if (delay->seconds < 0 || delay->nanos < 0 || delay->nanos > NANOS_MAX)
        return 0;
    if (delay->seconds >= UINT32_MAX / 1000)
        return UINT32_MAX;
    return (uint32_t)delay->seconds * 1000 + ((uint32_t)delay->nanos + NS_PER_MS - 1) / NS_PER_MS;
}

static bool is_retry_info(const Latentd__Rpc__Detail *detail)
{
    return detail->type_url.len == sizeof RETRY_INFO_TYPE - 1 &&
           memcmp(detail->type_url.data, RETRY_INFO_TYPE, sizeof RETRY_INFO_TYPE - 1) == 0;
}

static uint32_t detail_ms(const Latentd__Rpc__Detail *detail)
{
    Latentd__Rpc__RetryInfo *info =
        latentd__rpc__retry_info__unpack(NULL, detail->value.len, detail->value.data);
    uint32_t ms = info && info->retry_delay ? delay_ms(info->retry_delay) : 0;
    latentd__rpc__retry_info__free_unpacked(info, NULL);
    return ms;
}

uint32_t rpc_status_details_retry_ms(const uint8_t *value, size_t len)
{
    uint8_t *packed = malloc(len ? len : 1);
    if (!packed)
        return 0;
    ptrdiff_t n = rpc_base64_decode(value, len, packed);
    Latentd__Rpc__Status *status =
        n < 0 ? NULL : latentd__rpc__status__unpack(NULL, (size_t)n, packed);
    free(packed);
    uint32_t ms = 0;
    for (size_t i = 0; status && i < status->n_details && ms == 0; i++)
        if (is_retry_info(status->details[i]))
            ms = detail_ms(status->details[i]);
    latentd__rpc__status__free_unpacked(status, NULL);
    return ms;
}
