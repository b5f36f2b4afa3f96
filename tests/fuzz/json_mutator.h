/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/json_mutator.h - see tests/fuzz/json_mutator.c. */
#ifndef LATENTD_TESTS_FUZZ_JSON_MUTATOR_H
#define LATENTD_TESTS_FUZZ_JSON_MUTATOR_H

#include <stddef.h>

/* Defined by the target: bytes of its input in front of the JSON text. */
extern const size_t fuzz_json_begin;

#endif
