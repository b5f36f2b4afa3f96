/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/checksum.h - latentd-checksums.json: what the bytes of a model directory were.
 *
 *     {"format": "latentd-checksums", "version": 1, "algorithm": "sha256",
 *      "files":   {"config.json": HEX, ...},
 *      "weights": {"model.safetensors": {"head": HEX, "tensors": {NAME: HEX, ...}}, ...}}
 *
 * The pieces are those of tools/check.h, so a bit that flips anywhere in a file that a daemon reads
 * changes exactly one of them, and the message can name the tensor. Damage only: whoever may write
 * the directory may write this file too, so it is no signature. No daemon reads it.
 *
 * Threads: main thread.
 */
#ifndef LATENTD_TOOLS_CHECKSUM_H
#define LATENTD_TOOLS_CHECKSUM_H

#include <stdbool.h>

#include "base/err.h"
#include "tools/check.h"

#define TOOL_CHECKSUM_NAME "latentd-checksums.json"

/*
 * tool_checksum_write - check the directory and write its file of checksums, at once or not at all.
 * Errors: LTD_E_EXISTS when there is one, because damage since then would be made the truth; those
 * of tool_check, and of writing.
 */
int tool_checksum_write(const char *dir, struct tool_check_result *result, struct ltd_err *err);

/*
 * tool_checksum_verify - check the directory, and compare when it has a file of checksums.
 *
 * has_sums  out, on success: there was one, and every piece agrees
 * Errors: LTD_E_INVALID or LTD_E_NOT_FOUND for a file of checksums that cannot be used;
 * LTD_E_CORRUPT naming the file and tensor that differs, is missing, or was not there; those of
 * tool_check.
 */
int tool_checksum_verify(const char *dir, bool *has_sums, struct tool_check_result *result,
                         struct ltd_err *err);

#endif
