/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_unpack.c - what unpack_request lets through, and what it refuses before the parser
 * sees it. Most bytes are written by hand, because no encoder makes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "daemon/unpack.h"
#include "latentd/v1/latentd.pb-c.h"

#define SUBMIT (&latentd__v1__submit_job_request__descriptor)

enum { VARINT = 0, EIGHT = 1, COUNTED = 2, FOUR = 5 };
enum { SUBMIT_SPEC = 1, SUBMIT_ID = 2, SPEC_PROMPT = 2, SPEC_STOP = 4, PROMPT_TOKENS = 2 };
enum { PROMPT_TEXT = 1, PROMPT_CHAT = 3, IDS = 1, CHAT_MESSAGES = 1 };

static void put_varint(struct ltd_bytes *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        ltd_bytes_put_u8(out, (uint8_t)(v | 0x80));
    ltd_bytes_put_u8(out, (uint8_t)v);
}

static void put_tag(struct ltd_bytes *out, uint32_t number, unsigned wire_type)
{
    put_varint(out, (uint64_t)number << 3 | wire_type);
}

static void put_counted(struct ltd_bytes *out, uint32_t number, const void *data, size_t len)
{
    put_tag(out, number, COUNTED);
    put_varint(out, len);
    ltd_bytes_put(out, data, len);
}

/* `bytes` becomes field `number` of a message that has nothing else. */
static void wrap(struct ltd_bytes *bytes, uint32_t number)
{
    struct ltd_bytes outer;
    ltd_bytes_init(&outer);
    put_counted(&outer, number, bytes->data, bytes->len);
    ltd_bytes_fini(bytes);
    *bytes = outer;
}

static void expect(const struct ltd_bytes *bytes, enum ltd_code code, const char *reason,
                   const char *text)
{
    struct unpack u;
    struct ltd_err err = {0};
    void *m = unpack_request(&u, SUBMIT, bytes->data, bytes->len, &err);
    if (m)
        unpack_free(&u);
    if ((m == NULL) != (code != LTD_OK) || err.code != code || (text && !strstr(err.msg, text)) ||
        (reason && (!err.reason || strcmp(err.reason, reason) != 0)))
        fail_msg("found %s, %s, \"%s\"; expected %s, %s, \"%s\"", ltd_code_name(err.code),
                 err.reason ? err.reason : "-", err.msg, ltd_code_name(code), reason ? reason : "-",
                 text ? text : "");
    assert_int_equal(u.budget_bytes, u.total_bytes); /* everything was given back */
}

/* ------------------------------------------------------------------------------ many values */

static void make_repeated(struct ltd_bytes *b, uint32_t number, size_t n, const char *value)
{
    ltd_bytes_init(b);
    for (size_t i = 0; i < n; i++)
        put_counted(b, number, value, strlen(value));
}

static void values_are_counted(void **state)
{
    struct ltd_bytes b;
    (void)state;
    make_repeated(&b, SPEC_STOP, 65535, "a stop string"); /* with the spec 65536 */
    wrap(&b, SUBMIT_SPEC);
    expect(&b, LTD_OK, NULL, NULL);
    ltd_bytes_fini(&b);
    make_repeated(&b, SPEC_STOP, 65536, "a stop string");
    wrap(&b, SUBMIT_SPEC);
    expect(&b, LTD_E_EXHAUSTED, "REQUEST_TOO_COMPLEX", "more than 65536 values");
    ltd_bytes_fini(&b);
    /* One value that comes again and again is no less work. */
    make_repeated(&b, SUBMIT_ID, 65537, "id");
    expect(&b, LTD_E_EXHAUSTED, "REQUEST_TOO_COMPLEX", "more than 65536 values");
    ltd_bytes_fini(&b);
}

static void messages_are_counted(void **state)
{
    struct ltd_bytes b;
    (void)state;
    for (size_t n = 16381; n <= 16382; n++) { /* and the spec, the prompt, the chat */
        make_repeated(&b, CHAT_MESSAGES, n, "\x0a\x04user\x12\x05hello");
        wrap(&b, PROMPT_CHAT);
        wrap(&b, SPEC_PROMPT);
        wrap(&b, SUBMIT_SPEC);
        if (n == 16381)
            expect(&b, LTD_OK, NULL, NULL);
        else
            expect(&b, LTD_E_EXHAUSTED, "REQUEST_TOO_COMPLEX", "more than 16384 messages in it");
        ltd_bytes_fini(&b);
    }
}

/* Small enough to be counted, and still more memory than its bytes are worth. */
static void memory_has_a_bound_in_proportion(void **state)
{
    struct ltd_bytes b;
    (void)state;
    make_repeated(&b, SPEC_STOP, 60000, "");
    wrap(&b, SUBMIT_SPEC);
    expect(&b, LTD_E_EXHAUSTED, "REQUEST_TOO_COMPLEX", "unpack to more than");
    ltd_bytes_fini(&b);
}

static void packed_numbers_may_be_many(void **state)
{
    struct ltd_bytes b, ids;
    (void)state;
    ltd_bytes_init(&b);
    ltd_bytes_init(&ids);
    for (int i = 0; i < 1000000; i++)
        ltd_bytes_put_u8(&ids, 7);
    put_counted(&b, IDS, ids.data, ids.len);
    wrap(&b, PROMPT_TOKENS);
    wrap(&b, SPEC_PROMPT);
    wrap(&b, SUBMIT_SPEC);
    expect(&b, LTD_OK, NULL, NULL);
    ltd_bytes_fini(&b);
    /* Not packed: legal, and counted. */
    ltd_bytes_clear(&ids);
    for (int i = 0; i < 1000; i++) {
        put_tag(&ids, IDS, VARINT);
        put_varint(&ids, 300);
    }
    put_counted(&b, PROMPT_TOKENS, ids.data, ids.len);
    wrap(&b, SPEC_PROMPT);
    wrap(&b, SUBMIT_SPEC);
    expect(&b, LTD_OK, NULL, NULL);
    ltd_bytes_fini(&b);
    ltd_bytes_fini(&ids);
}

/* ------------------------------------------------------------------------------- unknown, twice */

static void a_field_that_is_unknown_is_refused_from_its_tag(void **state)
{
    struct ltd_bytes b;
    (void)state;
    ltd_bytes_init(&b);
    for (int i = 0; i < 2000000; i++) { /* one was enough */
        put_tag(&b, 15, VARINT);
        put_varint(&b, 1);
    }
    expect(&b, LTD_E_UNIMPLEMENTED, "FIELD_UNKNOWN", "request: field number 15 of message ");
    ltd_bytes_clear(&b);
    put_tag(&b, 536870911, FOUR);
    ltd_bytes_put(&b, "abcd", 4);
    wrap(&b, SPEC_PROMPT);
    wrap(&b, SUBMIT_SPEC);
    expect(&b, LTD_E_UNIMPLEMENTED, "FIELD_UNKNOWN", "prompt: field number 536870911 of message ");
    ltd_bytes_fini(&b);
}

static void a_message_that_stands_twice_is_refused(void **state)
{
    struct ltd_bytes b;
    (void)state;
    ltd_bytes_init(&b);
    put_counted(&b, SUBMIT_SPEC, "", 0);
    expect(&b, LTD_OK, NULL, NULL);
    put_counted(&b, SUBMIT_SPEC, "", 0);
    expect(&b, LTD_E_INVALID, NULL, "spec: stands twice in latentd.v1.SubmitJobRequest");
    ltd_bytes_clear(&b);
    put_counted(&b, PROMPT_TOKENS, "\x0a\x01\x05", 3);
    put_counted(&b, PROMPT_TEXT, "x", 1); /* another member of the oneof: the last one counts */
    wrap(&b, SPEC_PROMPT);
    wrap(&b, SUBMIT_SPEC);
    expect(&b, LTD_OK, NULL, NULL);
    ltd_bytes_fini(&b);
}

/* -------------------------------------------------------------------------------- no message */

static void make_whole(struct ltd_bytes *b)
{
    ltd_bytes_init(b);
    put_counted(b, 1, "models/demo", 11);
    put_counted(b, SPEC_PROMPT,
                "\x0a\x03"
                "7-5",
                5);
    put_tag(b, 3, VARINT);
    put_varint(b, 20);
    put_counted(b, SPEC_STOP, "=", 1);
    put_counted(b, 5, "\x08\x04", 2);                 /* depth.fixed_steps */
    put_counted(b, 6, "\x09\0\0\0\0\0\0\xe0\x3f", 9); /* sampling.temperature 0.5 */
    wrap(b, SUBMIT_SPEC);
    put_counted(b, SUBMIT_ID, "req", 3);
}

static void a_message_cut_anywhere_is_none(void **state)
{
    struct ltd_bytes b;
    (void)state;
    make_whole(&b);
    expect(&b, LTD_OK, NULL, NULL);
    size_t whole = b.len, spec = whole - 5;
    for (b.len = 0; b.len < whole; b.len++) {
        if (b.len == 0 || b.len == spec)
            expect(&b, LTD_OK, NULL, NULL); /* what is left is a message, too */
        else
            expect(&b, LTD_E_INTERNAL, "REQUEST_MALFORMED", "are no latentd.v1.SubmitJobRequest");
    }
    ltd_bytes_fini(&b);
}

/* The look may refuse what the parser takes for its own reasons, but it calls garbage only what is. */
static void what_is_called_garbage_is_garbage_to_the_parser(void **state)
{
    struct ltd_bytes b;
    uint8_t bytes[200];
    int n_good = 0, n_garbage = 0, n_other = 0;
    (void)state;
    make_whole(&b);
    srand(11);
    for (int round = 0; round < 200000; round++) {
        size_t len = b.len;
        memcpy(bytes, b.data, len);
        for (int i = rand() % 3; i >= 0; i--)
            bytes[(size_t)rand() % len] = (uint8_t)(rand() % 2 ? rand() : rand() % 24);
        len -= rand() % 4 ? 0 : (size_t)rand() % len;
        struct unpack u;
        struct ltd_err err = {0};
        void *m = unpack_request(&u, SUBMIT, bytes, len, &err);
        Latentd__V1__SubmitJobRequest *plain =
            latentd__v1__submit_job_request__unpack(NULL, len, bytes);
        if (m && !plain)
            fail_msg("round %d: taken, and the parser alone refuses", round);
        /* It takes fields of number 0 as unknown ones, though there is no such number. */
        if (!m && err.code == LTD_E_INTERNAL && plain && plain->base.n_unknown_fields == 0)
            fail_msg("round %d: called garbage, and the parser takes it", round);
        n_good += m != NULL;
        n_garbage += !m && err.code == LTD_E_INTERNAL;
        n_other += !m && err.code != LTD_E_INTERNAL;
        if (m)
            unpack_free(&u);
        if (plain)
            latentd__v1__submit_job_request__free_unpacked(plain, NULL);
    }
    ltd_bytes_fini(&b);
    if (n_good < 1000 || n_garbage < 1000 || n_other < 1000)
        fail_msg("%d taken, %d garbage, %d refused: the rounds say too little", n_good, n_garbage,
                 n_other);
}

static void bytes_that_are_no_message_are_an_internal_error(void **state)
{
    struct unpack u;
    struct ltd_err err = {0};
    static const uint8_t cut[] = {0x12, 0x05, 0x01};
    (void)state;
    assert_null(unpack_request(&u, &latentd__v1__job_spec__descriptor, cut, sizeof cut, &err));
    assert_int_equal(err.code, LTD_E_INTERNAL);
    assert_non_null(strstr(err.msg, "3 bytes are no latentd.v1.JobSpec"));
}

static void an_unknown_field_is_named(void **state)
{
    struct unpack u;
    struct ltd_err err = {0};
    static const uint8_t top[] = {0xC8, 0x3E, 0x01};                /* field 1001 = 1 */
    static const uint8_t nested[] = {0x32, 0x03, 0xC8, 0x3E, 0x01}; /* the same inside sampling */
    (void)state;
    assert_null(unpack_request(&u, &latentd__v1__job_spec__descriptor, top, sizeof top, &err));
    assert_int_equal(err.code, LTD_E_UNIMPLEMENTED);
    assert_non_null(strstr(err.msg, "field number 1001 of message latentd.v1.JobSpec"));
    assert_null(
        unpack_request(&u, &latentd__v1__job_spec__descriptor, nested, sizeof nested, &err));
    assert_non_null(strstr(err.msg, "sampling: field number 1001 of message latentd.v1.Sampling"));
}

static void hostile_input_meets_its_budget(void **state)
{
    struct unpack u;
    struct ltd_err err = {0};
    size_t len = 1 << 20;
    uint8_t *bytes = malloc(len);
    (void)state;
    assert_non_null(bytes);
    /* Empty chat messages, two octets each: 64 bytes of memory for every two of input. */
    bytes[0] = 0x0A; /* field 1, repeated ChatMessage */
    for (size_t i = 0; i < len; i += 2) {
        bytes[i] = 0x0A;
        bytes[i + 1] = 0x00;
    }
    assert_null(unpack_request(&u, &latentd__v1__chat__descriptor, bytes, len, &err));
    assert_int_equal(err.code, LTD_E_EXHAUSTED);
    free(bytes);
}

static void a_large_honest_prompt_fits_its_budget(void **state)
{
    struct unpack u;
    struct ltd_err err = {0};
    static uint32_t ids[1 << 20];
    Latentd__V1__TokenIds m = LATENTD__V1__TOKEN_IDS__INIT;
    (void)state;
    m.n_ids = 1 << 20;
    m.ids = ids; /* zeros: one octet each on the wire, the dearest case */
    size_t len = latentd__v1__token_ids__get_packed_size(&m);
    uint8_t *wire = malloc(len);
    assert_non_null(wire);
    latentd__v1__token_ids__pack(&m, wire);
    Latentd__V1__TokenIds *back =
        unpack_request(&u, &latentd__v1__token_ids__descriptor, wire, len, &err);
    if (!back)
        fail_msg("%s", err.msg);
    assert_int_equal(back->n_ids, 1 << 20);
    unpack_free(&u);
    free(wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_counted),
        cmocka_unit_test(messages_are_counted),
        cmocka_unit_test(memory_has_a_bound_in_proportion),
        cmocka_unit_test(packed_numbers_may_be_many),
        cmocka_unit_test(a_field_that_is_unknown_is_refused_from_its_tag),
        cmocka_unit_test(a_message_that_stands_twice_is_refused),
        cmocka_unit_test(a_message_cut_anywhere_is_none),
        cmocka_unit_test(what_is_called_garbage_is_garbage_to_the_parser),
        cmocka_unit_test(bytes_that_are_no_message_are_an_internal_error),
        cmocka_unit_test(an_unknown_field_is_named),
        cmocka_unit_test(hostile_input_meets_its_budget),
        cmocka_unit_test(a_large_honest_prompt_fits_its_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
