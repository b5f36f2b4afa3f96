/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cluster/test_handshake.c - the verdict over offers: what ranks agree on, and who is named
 * when they do not. The collectives around it are run by the mpirun tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "cluster/address.h"
#include "cluster/build_id.h"
#include "cluster/handshake.h"

#define N_RANKS 3
static const char *const hosts[N_RANKS] = {"alpha", "beta", "gamma"};

/* Three equal offers with tiers openblas and ref. */
static void make_offers(struct clus_offer offers[N_RANKS])
{
    for (int i = 0; i < N_RANKS; i++) {
        struct clus_offer *offer = &offers[i];
        clus_offer_init(offer);
        strcpy(offer->model_hash, "abcd");
        strcpy(offer->numerics, "weights bf16, kv latest-m4-compress-s4");
        strcpy(offer->kv_format, "bf16");
        strcpy(offer->shares, "1,1,2");
        offer->limits = (struct clus_limits){8, 64, 16, 8, 4, 12, 6};
        offer->n_tiers = 2;
        offer->tiers[0] = (struct clus_tier_offer){"openblas", "openblas 0.3.21 Haswell", 111};
        offer->tiers[1] = (struct clus_tier_offer){"ref", "ref", 222};
    }
}

static void assert_refused(const struct clus_offer *offers, const char *expected)
{
    struct clus_tier_offer tier = {0};
    struct ltd_err err = {0};
    assert_int_equal(clus_handshake_judge(offers, hosts, N_RANKS, &tier, &err), -1);
    if (!strstr(err.msg, expected))
        fail_msg("message \"%s\" does not have \"%s\"", err.msg, expected);
}

static void assert_tier(const struct clus_offer *offers, const char *name)
{
    struct clus_tier_offer tier = {0};
    struct ltd_err err = {0};
    if (clus_handshake_judge(offers, hosts, N_RANKS, &tier, &err))
        fail_msg("refused: %s", err.msg);
    assert_string_equal(tier.name, name);
}

static void equal_offers_agree_on_the_first_tier_of_rank_0(void **state)
{
    (void)state;
    struct clus_offer offers[N_RANKS];
    make_offers(offers);
    assert_tier(offers, "openblas");
}

static void tier_that_one_rank_lacks_is_left_for_the_next_common_one(void **state)
{
    (void)state;
    struct clus_offer offers[N_RANKS];
    make_offers(offers);
    offers[2].tiers[0] = offers[2].tiers[1];
    offers[2].n_tiers = 1;
    assert_tier(offers, "ref");
}

static void tier_with_other_bits_is_left_for_the_next_common_one(void **state)
{
    (void)state;
    struct clus_offer offers[N_RANKS];
    make_offers(offers);
    offers[1].tiers[0].fingerprint = 112;
    assert_tier(offers, "ref");
}

static void pinned_tier_that_a_rank_lacks_is_refused_by_name(void **state)
{
    (void)state;
    struct clus_offer offers[N_RANKS];
    make_offers(offers);
    strcpy(offers[0].pinned_tier, "openblas");
    offers[2].tiers[0] = offers[2].tiers[1];
    offers[2].n_tiers = 1;
    assert_refused(offers, "rank 2 on host gamma: tiers ref, expected openblas of rank 0");
}

static void pinned_tier_with_other_bits_is_refused_with_both_fingerprints(void **state)
{
    (void)state;
    struct clus_offer offers[N_RANKS];
    make_offers(offers);
    strcpy(offers[0].pinned_tier, "openblas");
    offers[1].tiers[0].fingerprint = 0xABC;
    assert_refused(offers, "rank 1 on host beta: tier openblas");
    assert_refused(offers, "0000000000000abc");
    assert_refused(offers, "000000000000006f");
}

static void pinned_tier_that_nobody_knows_is_refused(void **state)
{
    (void)state;
    struct clus_offer offers[N_RANKS];
    make_offers(offers);
    strcpy(offers[0].pinned_tier, "amx");
    assert_refused(offers,
                   "rank 0 on host alpha: tiers openblas, ref, expected the pinned tier amx");
}

static void no_common_tier_is_refused(void **state)
{
    (void)state;
    struct clus_offer offers[N_RANKS];
    make_offers(offers);
    offers[1].n_tiers = 0;
    assert_refused(offers, "rank 1 on host beta: tiers none");
    make_offers(offers);
    offers[0].n_tiers = 0;
    assert_refused(offers, "rank 0 has none");
}

static void each_disagreement_names_rank_host_and_both_values(void **state)
{
    (void)state;
    struct clus_offer offers[N_RANKS];
    make_offers(offers);
    strcpy(offers[2].model_hash, "dcba");
    assert_refused(offers,
                   "rank 2 on host gamma: model hash \"dcba\", expected \"abcd\" of rank 0");
    make_offers(offers);
    strcpy(offers[1].build, "other");
    assert_refused(offers, "rank 1 on host beta: build \"other\"");
    make_offers(offers);
    strcpy(offers[1].shares, "");
    assert_refused(offers, "rank 1 on host beta: shares \"\", expected \"1,1,2\"");
    make_offers(offers);
    strcpy(offers[2].numerics, "weights int8, kv latest-m4-compress-s4");
    assert_refused(offers,
                   "rank 2 on host gamma: numerics \"weights int8, kv latest-m4-compress-s4\", "
                   "expected \"weights bf16, kv latest-m4-compress-s4\" of rank 0");
    make_offers(offers);
    offers[1].limits.n_pages = 13;
    assert_refused(offers, "rank 1 on host beta: limit n_pages 13, expected 12 of rank 0");
    make_offers(offers);
    offers[1].stream_version = 4;
    assert_refused(offers, "rank 1 on host beta: stream version 4, expected 3 of rank 0");
    make_offers(offers);
    strcpy(offers[2].kv_format, "f32");
    assert_refused(offers, "rank 2 on host gamma: KV format \"f32\", expected \"bf16\" of rank 0");
}

static void shares_that_differ_behind_the_end_of_the_field_are_refused(void **state)
{
    (void)state;
    char shares[3 * CLUS_PLAN_TEXT_BYTES + 2] = "";
    struct clus_offer offers[N_RANKS];
    make_offers(offers);
    for (int i = 0; i < CLUS_PLAN_TEXT_BYTES; i++)
        strcat(shares, "1,");
    strcat(shares, "1");
    for (int i = 0; i < N_RANKS; i++)
        clus_offer_set_shares(&offers[i], shares);
    assert_tier(offers, "openblas");
    shares[strlen(shares) - 1] = '2';
    clus_offer_set_shares(&offers[1], shares);
    assert_refused(offers, "rank 1 on host beta: shares \"1,1,1,");
    clus_offer_set_shares(&offers[1], "1,1,2");
    assert_string_equal(offers[1].shares, "1,1,2");
}

static void failed_rank_is_what_everybody_reports(void **state)
{
    (void)state;
    struct clus_offer offers[N_RANKS];
    struct clus_tier_offer tier;
    struct ltd_err err = {0};
    make_offers(offers);
    strcpy(offers[1].model_hash, "");
    ltd_fail(&offers[1].status, LTD_E_NOT_FOUND, "/models/x/config.json: no such file");
    assert_refused(offers, "rank 1 on host beta: /models/x/config.json: no such file");
    assert_int_equal(clus_handshake_judge(offers, hosts, N_RANKS, &tier, &err), -1);
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
}

static void build_id_names_version_and_link_hash_and_is_stable(void **state)
{
    (void)state;
    char a[CLUS_BUILD_BYTES], b[CLUS_BUILD_BYTES];
    clus_build_id(a, sizeof a);
    clus_build_id(b, sizeof b);
    assert_string_equal(a, b);
    assert_true(a[0] >= '0' && a[0] <= '9');
    const char *hash = strstr(a, "build ");
    assert_non_null(hash);
    if (strspn(hash + 6, "0123456789abcdef") != 40)
        fail_msg("build id \"%s\" does not end in 40 hex digits", a);
}

static void interface_lists_match_names_and_networks(void **state)
{
    (void)state;
    uint32_t ip = 10u << 24 | 77u << 16 | 5u << 8 | 1u;
    assert_true(clus_address_listed("eth0", "eth0", ip));
    assert_true(clus_address_listed("lo,10.77.5.0/24", "veth1", ip));
    assert_true(clus_address_listed("0.0.0.0/0", "veth1", ip));
    assert_true(clus_address_listed("10.77.5.1/32", "veth1", ip));
    assert_false(clus_address_listed("10.77.6.0/24", "veth1", ip));
    assert_false(clus_address_listed("10.77.5.0/33,10.77.5.0/,x/8,/", "veth1", ip));
    assert_false(clus_address_listed("", "veth1", ip));
}

static void address_choice_prefers_the_wish_then_loopback(void **state)
{
    (void)state;
    char out[CLUS_ADDRESS_BYTES];
    struct ltd_err err = {0};
    assert_int_equal(clus_address_choose("127.0.0.2", false, out, &err), 0);
    assert_string_equal(out, "127.0.0.2");
    assert_int_equal(clus_address_choose("::1", true, out, &err), 0);
    assert_string_equal(out, "::1");
    assert_int_equal(clus_address_choose(NULL, true, out, &err), 0);
    assert_string_equal(out, "127.0.0.1");
    assert_int_equal(clus_address_choose("lo", false, out, &err), 0);
    assert_string_equal(out, "127.0.0.1");
    assert_int_equal(clus_address_choose("127.0.0.0/8", false, out, &err), 0);
    assert_string_equal(out, "127.0.0.1");
    assert_int_equal(clus_address_choose("not an address", true, out, &err), -1);
    assert_non_null(strstr(err.msg, "not an address"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_offers_agree_on_the_first_tier_of_rank_0),
        cmocka_unit_test(tier_that_one_rank_lacks_is_left_for_the_next_common_one),
        cmocka_unit_test(tier_with_other_bits_is_left_for_the_next_common_one),
        cmocka_unit_test(pinned_tier_that_a_rank_lacks_is_refused_by_name),
        cmocka_unit_test(pinned_tier_with_other_bits_is_refused_with_both_fingerprints),
        cmocka_unit_test(pinned_tier_that_nobody_knows_is_refused),
        cmocka_unit_test(no_common_tier_is_refused),
        cmocka_unit_test(each_disagreement_names_rank_host_and_both_values),
        cmocka_unit_test(shares_that_differ_behind_the_end_of_the_field_are_refused),
        cmocka_unit_test(failed_rank_is_what_everybody_reports),
        cmocka_unit_test(build_id_names_version_and_link_hash_and_is_stable),
        cmocka_unit_test(interface_lists_match_names_and_networks),
        cmocka_unit_test(address_choice_prefers_the_wish_then_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
