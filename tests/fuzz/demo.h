/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/demo.h - the demo model as a served model, without its weights: what requests are
 * checked against.
 */
#ifndef LATENTD_TESTS_FUZZ_DEMO_H
#define LATENTD_TESTS_FUZZ_DEMO_H

#include "daemon/served.h"

/* Read once, kept until the process ends. */
const struct served *fuzz_demo(void);

#endif
