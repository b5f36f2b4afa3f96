/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of daemon/idpool: numbers have one owner, and all come back. */
#include "daemon/idpool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_number_is_handed_out_once(void **state)
{
    (void)state;
    struct idpool pool;
    struct ltd_err err;
    bool seen[37] = {false};
    assert_int_equal(idpool_init(&pool, 37, &err), 0);
    for (int i = 0; i < 37; i++) {
        int32_t id = idpool_acquire(&pool);
        assert_in_range(id, 0, 36);
        assert_false(seen[id]);
        seen[id] = true;
    }
    assert_int_equal(idpool_acquire(&pool), -1);
    assert_int_equal(idpool_n_taken(&pool), 37);
    idpool_fini(&pool);
}

static void a_group_is_taken_whole_or_not_at_all(void **state)
{
    (void)state;
    struct idpool pool;
    struct ltd_err err;
    int32_t ids[8];
    assert_int_equal(idpool_init(&pool, 8, &err), 0);
    assert_true(idpool_acquire_n(&pool, 5, ids));
    assert_false(idpool_acquire_n(&pool, 4, ids + 5));
    assert_int_equal(idpool_n_taken(&pool), 5);
    assert_true(idpool_acquire_n(&pool, 3, ids + 5));
    idpool_release_n(&pool, 8, ids);
    assert_int_equal(idpool_n_taken(&pool), 0);
    idpool_fini(&pool);
}

static void what_was_given_back_is_handed_out_again(void **state)
{
    (void)state;
    struct idpool pool;
    struct ltd_err err;
    int32_t first[3], again[3];
    assert_int_equal(idpool_init(&pool, 10, &err), 0);
    assert_true(idpool_acquire_n(&pool, 3, first));
    idpool_release_n(&pool, 3, first);
    assert_true(idpool_acquire_n(&pool, 3, again));
    assert_memory_equal(first, again, sizeof first);
    idpool_release_n(&pool, 3, again);
    idpool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_is_handed_out_once),
        cmocka_unit_test(a_group_is_taken_whole_or_not_at_all),
        cmocka_unit_test(what_was_given_back_is_handed_out_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
