/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/unpack.c - a parser's allocator with a budget, and a walk over what it made.
 *
 * The walk uses the generated descriptors, so a new message or field is covered without a line
 * here. On the C side every `string` is a `bytes` field (proto/strings_as_bytes.cmake) and requests
 * have no other bytes, so every bytes field is text. Messages do not nest in themselves: the depth
 * of the walk is that of the schema.
 */
#include "daemon/unpack.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define BUDGET_FACTOR     16
#define BUDGET_BASE_BYTES ((size_t)64 * 1024)
#define PATH_BYTES        200

/* In front of every block, so that freeing can give its bytes back. Keeps 16-byte alignment. */
union block_head {
    size_t bytes;
    max_align_t align;
};

static void *budget_alloc(void *arg, size_t size)
{
    struct unpack *u = arg;
    size_t need = size + sizeof(union block_head);
    union block_head *head = NULL;
    if (need >= size && need <= u->budget_bytes)
        head = malloc(need);
    if (!head) {
        u->is_over_budget = true;
        return NULL;
    }
    head->bytes = need;
    u->budget_bytes -= need;
    return head + 1;
}

static void budget_free(void *arg, void *pointer)
{
    struct unpack *u = arg;
    if (!pointer)
        return;
    union block_head *head = (union block_head *)pointer - 1;
    u->budget_bytes += head->bytes;
    free(head);
}

/* ----------------------------------------------------------------------------------- walk */

struct path {
    char text[PATH_BYTES];
    size_t len;
};

static int check_message(const ProtobufCMessage *message, struct path *path, struct ltd_err *err);

static int check_text(const ProtobufCBinaryData *text, const struct path *path, struct ltd_err *err)
{
    size_t good = ltd_utf8_valid_prefix(text->data, text->len);
    if (good == text->len)
        return 0;
    return ltd_fail(err, LTD_E_INVALID, "%s: byte %zu of %zu is not UTF-8, expected text",
                    path->text, good + 1, text->len);
}

static int check_value(const ProtobufCFieldDescriptor *field, const void *value, struct path *path,
                       struct ltd_err *err)
{
    if (field->type == PROTOBUF_C_TYPE_BYTES)
        return check_text(value, path, err);
    const ProtobufCMessage *sub = *(ProtobufCMessage *const *)value;
    return sub ? check_message(sub, path, err) : 0;
}

static void extend(struct path *path, const char *name, size_t index, bool is_repeated)
{
    const char *dot = path->len ? "." : "";
    char *end = path->text + path->len;
    size_t room = sizeof path->text - path->len;
    int n = is_repeated ? snprintf(end, room, "%s%s[%zu]", dot, name, index)
                        : snprintf(end, room, "%s%s", dot, name);
    path->len += (size_t)n < room ? (size_t)n : room - 1;
}

static int check_field(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                       struct path *path, struct ltd_err *err)
{
    const char *base = (const char *)message;
    const void *member = base + field->offset;
    bool is_repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
    size_t n = 1, size = sizeof(ProtobufCBinaryData), outer = path->len;
    if (field->type != PROTOBUF_C_TYPE_BYTES && field->type != PROTOBUF_C_TYPE_MESSAGE)
        return 0;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
        *(const uint32_t *)(const void *)(base + field->quantifier_offset) != field->id)
        return 0;
    if (is_repeated)
        n = *(const size_t *)(const void *)(base + field->quantifier_offset);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        size = sizeof(ProtobufCMessage *);
    for (size_t i = 0; i < n; i++) {
        const char *value = is_repeated ? *(char *const *)member + i * size : member;
        extend(path, field->name, i, is_repeated);
        if (check_value(field, value, path, err) != 0)
            return -1;
        path->text[path->len = outer] = '\0';
    }
    return 0;
}

static int check_message(const ProtobufCMessage *message, struct path *path, struct ltd_err *err)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    if (message->n_unknown_fields > 0)
        return ltd_fail(err, LTD_E_UNIMPLEMENTED,
                        "%s: field number %u of message %s is not known to this build", path->text,
                        message->unknown_fields[0].tag, descriptor->name);
    for (unsigned i = 0; i < descriptor->n_fields; i++)
        if (check_field(message, &descriptor->fields[i], path, err) != 0)
            return -1;
    return 0;
}

void *unpack_request(struct unpack *u, const ProtobufCMessageDescriptor *descriptor,
                     const uint8_t *data, size_t len, struct ltd_err *err)
{
    struct path path = {.text = "request"};
    u->allocator = (ProtobufCAllocator){budget_alloc, budget_free, u};
    u->is_over_budget = false;
    u->total_bytes = u->budget_bytes = len * BUDGET_FACTOR + BUDGET_BASE_BYTES;
    u->message = protobuf_c_message_unpack(descriptor, &u->allocator, len, data);
    if (!u->message && u->is_over_budget)
        return ltd_fail_null(err, LTD_E_EXHAUSTED,
                             "request: %zu bytes of %s unpack to more than %zu bytes", len,
                             descriptor->name, u->total_bytes);
    if (!u->message)
        return ltd_fail_null(err, LTD_E_INTERNAL, "request: %zu bytes are no %s", len,
                             descriptor->name);
    if (u->message->n_unknown_fields == 0)
        path.text[0] = '\0';
    if (check_message(u->message, &path, err) != 0) {
        unpack_free(u);
        return NULL;
    }
    return u->message;
}

void unpack_free(struct unpack *u)
{
    if (u->message)
        protobuf_c_message_free_unpacked(u->message, &u->allocator);
    u->message = NULL;
}
