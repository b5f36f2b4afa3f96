/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/make_certs.c - certificates for tests that are scripts: see tests/rpc/certs.h.
 *
 *     make_certs DIRECTORY
 */
#include <stdio.h>

#include "certs.h"

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_certs DIRECTORY\n");
        return 2;
    }
    certs_make(argv[1]);
    return 0;
}
