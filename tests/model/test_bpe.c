/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_bpe.c - the heap gives what the plain way gives, with work that grows like the piece.
 */
#include "tokenizer_fixture.h"

#include "model/bpe.h"
#include "model/tokenizer_json.h"

#define N_MERGES_MAX 60

/* A vocabulary over a, b and c with random merges, and the merges again in plain form. */
struct rig {
    struct model_vocab vocab;
    struct model_bpe bpe;
    struct model_bpe_scratch scratch;
    int32_t left[N_MERGES_MAX], right[N_MERGES_MAX], made[N_MERGES_MAX];
    size_t n;
};

static unsigned rng_state;

static unsigned rng(unsigned n)
{
    rng_state = rng_state * 1664525u + 1013904223u;
    return (rng_state >> 16) % n;
}

static int32_t id_of(const json_t *vocab, const char *text)
{
    const json_t *id = json_object_get(vocab, text);
    return id ? (int32_t)json_integer_value(id) : -1;
}

/* Add one random merge of two tokens there are; false when it is too long or not new. */
static bool add_merge(struct rig *rig, json_t *vocab, json_t *merges, char (*texts)[40])
{
    size_t n_tokens = json_object_size(vocab);
    const char *a = texts[rng((unsigned)n_tokens)], *b = texts[rng((unsigned)n_tokens)];
    char text[80];
    int32_t left = id_of(vocab, a), right = id_of(vocab, b);
    if (strlen(a) + strlen(b) > 30)
        return false;
    for (size_t i = 0; i < rig->n; i++)
        if (rig->left[i] == left && rig->right[i] == right)
            return false;
    snprintf(text, sizeof text, "%s%s", a, b);
    if (id_of(vocab, text) < 0) {
        memcpy(texts[n_tokens], text, strlen(text) + 1);
        json_object_set_new(vocab, text, json_integer((json_int_t)n_tokens));
    }
    rig->left[rig->n] = left;
    rig->right[rig->n] = right;
    rig->made[rig->n++] = id_of(vocab, text);
    if (rng(2))
        json_array_append_new(merges, json_pack("[s, s]", a, b));
    else
        json_array_append_new(merges, json_sprintf("%s %s", a, b));
    return true;
}

static void rig_init(struct rig *rig, unsigned seed, size_t n_merges, bool ignore_merges)
{
    char texts[N_MERGES_MAX + 3][40] = {"a", "b", "c"};
    struct ltd_err err = {0};
    json_t *vocab = json_pack("{s:i, s:i, s:i}", "a", 0, "b", 1, "c", 2);
    json_t *merges = json_array();
    memset(rig, 0, sizeof *rig);
    rng_state = seed;
    for (int tries = 0; rig->n < n_merges && tries < 1000; tries++)
        add_merge(rig, vocab, merges, texts);
    json_t *model = json_pack("{s:o, s:b}", "merges", merges, "ignore_merges", ignore_merges);
    if (model_vocab_load(&rig->vocab, vocab, NULL, 256, "f", &err) != 0 ||
        model_bpe_load(&rig->bpe, &rig->vocab, model, "f", &err) != 0)
        fail_msg("%s", err.msg);
    model_bpe_scratch_init(&rig->scratch);
    json_decref(vocab);
    json_decref(model);
}

static void rig_fini(struct rig *rig)
{
    model_bpe_scratch_fini(&rig->scratch);
    model_bpe_fini(&rig->bpe);
    model_vocab_fini(&rig->vocab);
}

/* The plain way: look at all pairs, merge the leftmost of the earliest, begin again. */
static size_t merge_by_hand(const struct rig *rig, int32_t *ids, size_t n)
{
    for (;;) {
        size_t best_rank = SIZE_MAX, best_at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t r = 0; r < rig->n && r < best_rank; r++)
                if (rig->left[r] == ids[i] && rig->right[r] == ids[i + 1]) {
                    best_rank = r;
                    best_at = i;
                }
        if (best_rank == SIZE_MAX)
            return n;
        ids[best_at] = rig->made[best_rank];
        memmove(ids + best_at + 1, ids + best_at + 2, (n - best_at - 2) * sizeof *ids);
        n--;
    }
}

static void random_merges_give_what_the_plain_way_gives(void **state)
{
    (void)state;
    size_t n_merged = 0;
    for (unsigned seed = 1; seed <= 40; seed++) {
        struct rig rig;
        rig_init(&rig, seed, 1 + seed % N_MERGES_MAX, false);
        for (int i = 0; i < 60; i++) {
            char piece[64];
            int32_t ids[64];
            size_t len = 1 + rng(sizeof piece - 1);
            for (size_t k = 0; k < len; k++) {
                piece[k] = (char)('a' + rng(seed % 3 + 1));
                ids[k] = piece[k] - 'a';
            }
            size_t n = merge_by_hand(&rig, ids, len);
            n_merged += len - n;
            struct model_tokens out;
            struct ltd_err err = {0};
            model_tokens_init(&out);
            assert_int_equal(
                model_bpe_encode(&rig.bpe, &rig.scratch, (uint8_t *)piece, len, &out, &err), 0);
            if (!same_ids(out.ids, out.n, ids, n))
                fail_msg("seed %u, piece %.*s", seed, (int)len, piece);
            model_tokens_fini(&out);
        }
        rig_fini(&rig);
    }
    assert_true(n_merged > 10000); /* the merges were put to use */
}

static void work_grows_like_the_piece(void **state)
{
    (void)state;
    const size_t len = (size_t)1 << 20;
    uint8_t *piece = malloc(len);
    assert_non_null(piece);
    for (unsigned seed = 1; seed <= 4; seed++) {
        struct rig rig;
        struct model_tokens out;
        struct ltd_err err = {0};
        rig_init(&rig, seed, N_MERGES_MAX, false);
        model_tokens_init(&out);
        for (size_t i = 0; i < len; i++)
            piece[i] = (uint8_t)('a' + (seed == 1 ? 0 : rng(seed - 1)));
        assert_int_equal(model_bpe_encode(&rig.bpe, &rig.scratch, piece, len, &out, &err), 0);
        if (rig.scratch.n_steps > 3 * len)
            fail_msg("found %llu steps for %zu bytes, expected at most %zu",
                     (unsigned long long)rig.scratch.n_steps, len, 3 * len);
        model_tokens_fini(&out);
        rig_fini(&rig);
    }
    free(piece);
}

static void a_whole_token_is_taken_before_merges_only_when_the_file_says_so(void **state)
{
    (void)state;
    /* "abc" is a token that the merges never reach: b and c go together first, and "a bc" is none.
     */
    for (int ignore = 0; ignore < 2; ignore++) {
        struct small_file file = {
            .vocab = ", \"ab\": 256, \"bc\": 257, \"abc\": 258",
            .merges = "\"b c\", \"a b\", \"ab c\"",
            .model_more = ignore ? "\"ignore_merges\": true, " : "\"ignore_merges\": false, ",
        };
        struct model_tokenizer *tok = open_small(&file);
        struct model_tokens ids = encode(tok, "abc", 3, 0);
        if (ignore)
            assert_true(same_ids(ids.ids, ids.n, (int32_t[]){258}, 1));
        else
            assert_true(same_ids(ids.ids, ids.n, (int32_t[]){'a', 257}, 2));
        model_tokens_fini(&ids);
        model_tokenizer_close(tok);
    }
}

static void a_special_token_in_the_vocabulary_is_never_taken_whole(void **state)
{
    (void)state;
    struct small_file file = {
        .vocab = ", \"<end>\": 256, \"\\u0120x\": 257",
        .added = "{\"id\": 256, \"content\": \"<end>\", \"special\": true}",
        .model_more = "\"ignore_merges\": true, ",
    };
    struct model_tokenizer *tok = open_small(&file);
    struct model_tokens ids = encode(tok, "<end>", 5, 0);
    assert_true(same_ids(ids.ids, ids.n, (int32_t[]){'<', 'e', 'n', 'd', '>'}, 5));
    model_tokens_fini(&ids);
    ids = encode(tok, " x", 2, 0);
    assert_true(same_ids(ids.ids, ids.n, (int32_t[]){257}, 1));
    model_tokens_fini(&ids);
    model_tokenizer_close(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_merges_give_what_the_plain_way_gives),
        cmocka_unit_test(work_grows_like_the_piece),
        cmocka_unit_test(a_whole_token_is_taken_before_merges_only_when_the_file_says_so),
        cmocka_unit_test(a_special_token_in_the_vocabulary_is_never_taken_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
