/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/unpack.c - a look at the bytes, a parser's allocator with a budget, and a walk over what
 * the parser made.
 *
 * The look comes first because the parser is generous: it keeps fields that it does not know, each in
 * a block of its own, and fills its whole budget before it is refused: 200 ms for 4 MiB of two-byte
 * fields, a thousandth of it with the look. A message that comes twice, which nobody sends, is not
 * merged: the parser does so with some and refuses others.
 *
 * Both use the generated descriptors, so a new message or field is covered without a line here. On the C side every `string` is a `bytes` field (proto/strings_as_bytes.cmake) and requests
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

/* ----------------------------------------------------------------------------------- look */

/* Messages and values in one request, packed numbers not counted: each is a block of memory and
 * the time to get it. The longest chat has 4096 turns of two texts; ids of tokens may stand one
 * by one, though everybody packs them. */
#define MESSAGES_MAX 16384
#define VALUES_MAX   65536

enum wire_type { WIRE_VARINT = 0, WIRE_8_BYTES = 1, WIRE_COUNTED = 2, WIRE_4_BYTES = 5 };

/* Bytes that are no message at all are left to the parser to refuse. */
enum look { LOOK_GOOD, LOOK_GARBAGE, LOOK_REFUSED };

struct looking {
    size_t n_messages, n_values;
    struct ltd_err *err;
};

static bool take_varint(const uint8_t **at, const uint8_t *end, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 70 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        *out |= shift < 64 ? (uint64_t)(byte & 0x7F) << shift : 0;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* The bytes of a value: *at and *len; behind its length when it is counted. */
static bool take_value(const uint8_t **at, const uint8_t *end, unsigned wire_type, size_t *len)
{
    uint64_t n = 0;
    const uint8_t *begin = *at;
    switch (wire_type) {
    case WIRE_VARINT:
        if (!take_varint(at, end, &n))
            return false;
        *len = (size_t)(*at - begin);
        *at = begin;
        return true;
    case WIRE_8_BYTES:
        *len = 8;
        break;
    case WIRE_4_BYTES:
        *len = 4;
        break;
    case WIRE_COUNTED:
        if (!take_varint(at, end, &n) || n > (size_t)(end - *at))
            return false;
        *len = (size_t)n;
        break;
    default: /* from the network: groups are not part of proto3, and 6 and 7 are nothing */
        return false;
    }
    return *len <= (size_t)(end - *at);
}

static int unknown_field(const char *where, uint32_t number,
                         const ProtobufCMessageDescriptor *descriptor, struct ltd_err *err)
{
    ltd_fail(err, LTD_E_UNIMPLEMENTED,
             "%s: field number %u of message %s is not known to this build", where, number,
             descriptor->name);
    return ltd_err_reason(err, "FIELD_UNKNOWN");
}

static int too_many(const struct looking *l, const char *what, size_t max)
{
    ltd_fail(l->err, LTD_E_EXHAUSTED, "request: more than %zu %s, expected fewer", max, what);
    return ltd_err_reason(l->err, "REQUEST_TOO_COMPLEX");
}

static enum look look_at_message(struct looking *l, const ProtobufCMessageDescriptor *descriptor,
                                 const uint8_t *at, size_t len, const char *where);

/* `seen`: bits of the single messages that came. More than 64 fields have no request. */
static enum look look_at_field(struct looking *l, const ProtobufCMessageDescriptor *descriptor,
                               const ProtobufCFieldDescriptor *field, const uint8_t *value,
                               size_t len, uint64_t *seen)
{
    unsigned index = (unsigned)(field - descriptor->fields);
    if (++l->n_values > VALUES_MAX) {
        too_many(l, "values", VALUES_MAX);
        return LOOK_REFUSED;
    }
    if (field->type != PROTOBUF_C_TYPE_MESSAGE)
        return LOOK_GOOD;
    if (++l->n_messages > MESSAGES_MAX) {
        too_many(l, "messages in it", MESSAGES_MAX);
        return LOOK_REFUSED;
    }
    if (field->label != PROTOBUF_C_LABEL_REPEATED && *seen >> index & 1) {
        ltd_fail(l->err, LTD_E_INVALID, "%s: stands twice in %s, expected once", field->name,
                 descriptor->name);
        return LOOK_REFUSED;
    }
    *seen |= UINT64_C(1) << index;
    return look_at_message(l, field->descriptor, value, len, field->name);
}

static enum look look_at_message(struct looking *l, const ProtobufCMessageDescriptor *descriptor,
                                 const uint8_t *at, size_t len, const char *where)
{
    const uint8_t *end = at + len;
    uint64_t seen = 0;
    ltd_assert(descriptor->n_fields <= 64, descriptor->n_fields, 64);
    while (at < end) {
        uint64_t tag;
        size_t value_len;
        if (!take_varint(&at, end, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
            return LOOK_GARBAGE;
        unsigned wire_type = tag & 7;
        if (!take_value(&at, end, wire_type, &value_len))
            return LOOK_GARBAGE;
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(tag >> 3));
        if (!field) {
            unknown_field(where, (uint32_t)(tag >> 3), descriptor, l->err);
            return LOOK_REFUSED;
        }
        if (field->type == PROTOBUF_C_TYPE_MESSAGE && wire_type != WIRE_COUNTED)
            return LOOK_GARBAGE;
        enum look look = look_at_field(l, descriptor, field, at, value_len, &seen);
        if (look != LOOK_GOOD)
            return look;
        at += value_len;
    }
    return LOOK_GOOD;
}

/* ----------------------------------------------------------------------------------- walk */

/* Where the walk is: a field and the message around it. Spelled out only for an error, because nearly
 * every request is good. */
struct place {
    const struct place *outer; /* NULL: the request itself */
    const ProtobufCFieldDescriptor *field;
    size_t index; /* of a repeated field */
};

/* "spec.messages[3].text". A path that is too long is cut at its end. */
static void spell(const struct place *place, char text[PATH_BYTES])
{
    *text = '\0';
    if (place->outer)
        spell(place->outer, text);
    size_t len = strlen(text), room = PATH_BYTES - len;
    const char *dot = len ? "." : "";
    if (place->field->label == PROTOBUF_C_LABEL_REPEATED)
        snprintf(text + len, room, "%s%s[%zu]", dot, place->field->name, place->index);
    else
        snprintf(text + len, room, "%s%s", dot, place->field->name);
}

static int check_message(const ProtobufCMessage *message, const struct place *outer,
                         struct ltd_err *err);

static int check_text(const ProtobufCBinaryData *text, const struct place *place,
                      struct ltd_err *err)
{
    size_t good = ltd_utf8_valid_prefix(text->data, text->len);
    char path[PATH_BYTES];
    if (good == text->len)
        return 0;
    spell(place, path);
    return ltd_fail(err, LTD_E_INVALID, "%s: byte %zu of %zu is not UTF-8, expected text", path,
                    good + 1, text->len);
}

static int check_value(const void *value, const struct place *place, struct ltd_err *err)
{
    if (place->field->type == PROTOBUF_C_TYPE_BYTES)
        return check_text(value, place, err);
    const ProtobufCMessage *sub = *(ProtobufCMessage *const *)value;
    return sub ? check_message(sub, place, err) : 0;
}

static int check_field(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                       const struct place *outer, struct ltd_err *err)
{
    const char *base = (const char *)message;
    const void *member = base + field->offset;
    struct place place = {.outer = outer, .field = field};
    bool is_repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
    size_t n = 1, size = sizeof(ProtobufCBinaryData);
    if (field->type != PROTOBUF_C_TYPE_BYTES && field->type != PROTOBUF_C_TYPE_MESSAGE)
        return 0;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
        *(const uint32_t *)(const void *)(base + field->quantifier_offset) != field->id)
        return 0;
    if (is_repeated)
        n = *(const size_t *)(const void *)(base + field->quantifier_offset);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        size = sizeof(ProtobufCMessage *);
    for (place.index = 0; place.index < n; place.index++) {
        const char *value = is_repeated ? *(char *const *)member + place.index * size : member;
        if (check_value(value, &place, err) != 0)
            return -1;
    }
    return 0;
}

static int check_message(const ProtobufCMessage *message, const struct place *outer,
                         struct ltd_err *err)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    for (unsigned i = 0; i < descriptor->n_fields; i++)
        if (check_field(message, &descriptor->fields[i], outer, err) != 0)
            return -1;
    return 0;
}

static void *no_message(const ProtobufCMessageDescriptor *descriptor, size_t len,
                        struct ltd_err *err)
{
    ltd_fail(err, LTD_E_INTERNAL, "request: %zu bytes are no %s", len, descriptor->name);
    ltd_err_reason(err, "REQUEST_MALFORMED");
    return NULL;
}

static void *too_much(const struct unpack *u, const ProtobufCMessageDescriptor *descriptor,
                      size_t len, struct ltd_err *err)
{
    ltd_fail(err, LTD_E_EXHAUSTED, "request: %zu bytes of %s unpack to more than %zu bytes", len,
             descriptor->name, u->total_bytes);
    ltd_err_reason(err, "REQUEST_TOO_COMPLEX");
    return NULL;
}

void *unpack_request(struct unpack *u, const ProtobufCMessageDescriptor *descriptor,
                     const uint8_t *data, size_t len, struct ltd_err *err)
{
    struct looking looking = {.err = err};
    u->allocator = (ProtobufCAllocator){budget_alloc, budget_free, u};
    u->is_over_budget = false;
    u->total_bytes = u->budget_bytes = len * BUDGET_FACTOR + BUDGET_BASE_BYTES;
    u->message = NULL;
    switch (look_at_message(&looking, descriptor, data, len, "request")) {
    case LOOK_GOOD:
        break;
    case LOOK_GARBAGE:
        return no_message(descriptor, len, err);
    case LOOK_REFUSED:
        return NULL;
    }
    u->message = protobuf_c_message_unpack(descriptor, &u->allocator, len, data);
    if (!u->message)
        return u->is_over_budget ? too_much(u, descriptor, len, err)
                                 : no_message(descriptor, len, err);
    if (check_message(u->message, NULL, err) != 0) {
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
