/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_h2_scan.c - the scanner that sees a connection's bytes before HTTP/2 does.
 *
 * Input: four bytes of seed for the cuts, then a client's stream without its preface.
 * Checked: where the stream is cut does not matter (verdict, points and place in the frame are the
 * same as for one piece); a stream that is let through has no more points than the bucket holds;
 * one that could not have used the bucket up is never refused; a pause empties it.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "rpc/h2_scan.h"
#include "tests/fuzz/fuzz.h"

#define START_NS  (5 * LTD_NS_PER_S)
#define PREFACE   24
#define HEAD_SIZE 9

static void skip_preface(struct rpc_scan *scan)
{
    static const uint8_t preface[PREFACE];
    rpc_scan_init(scan, START_NS);
    FUZZ_CHECK(rpc_scan_feed(scan, preface, sizeof preface, START_NS), "the preface is refused");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_input in = {data, len};
    uint32_t seed = fuzz_u32(&in);
    struct rpc_scan whole, cut;
    skip_preface(&whole);
    skip_preface(&cut);
    bool whole_is_good = rpc_scan_feed(&whole, in.data, in.len, START_NS), cut_is_good = true;
    for (size_t at = 0; at < in.len && cut_is_good;) {
        size_t n = fuzz_piece(&seed, in.len - at);
        uint8_t *piece = fuzz_copy(in.data + at, n);
        cut_is_good = rpc_scan_feed(&cut, piece, n, START_NS);
        free(piece);
        at += n;
    }
    FUZZ_CHECK(whole_is_good == cut_is_good, "whole %d, cut %d", whole_is_good, cut_is_good);
    FUZZ_CHECK(whole.points == cut.points, "whole %u points, cut %u", whole.points, cut.points);
    FUZZ_CHECK(whole.skip == cut.skip && whole.head_len == cut.head_len, "whole %u+%u, cut %u+%u",
               whole.skip, whole.head_len, cut.skip, cut.head_len);
    FUZZ_CHECK(!whole_is_good || whole.points <= RPC_SCAN_BURST, "%u points", whole.points);
    FUZZ_CHECK(whole_is_good || in.len / HEAD_SIZE * RPC_SCAN_RESET_POINTS > RPC_SCAN_BURST,
               "refused after %zu bytes", in.len);
    uint64_t later = START_NS + 60 * LTD_NS_PER_S;
    rpc_scan_charge(&whole, 0, later);
    FUZZ_CHECK(whole.points == 0, "%u points after a minute", whole.points);
    return 0;
}
