/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/nfc_table.h - what the Unicode standard says about canonical equivalence, as tables.
 *
 * All are sorted for binary search. Hangul syllables are not in them; they follow by arithmetic.
 */
#ifndef LATENTD_MODEL_NFC_TABLE_H
#define LATENTD_MODEL_NFC_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* `code` is the same as `first` and `second`, or as `first` alone when `second` is 0. Both may have
 * decompositions of their own. Sorted by code. */
struct model_nfc_decomposition {
    uint32_t code, first, second;
};

/* Code points first..last have this combining class; all others have 0. Sorted, disjoint. */
struct model_nfc_class {
    uint32_t first, last;
    uint8_t value;
};

/* `first` and `second` are put together to `code`. Sorted by first, then second. */
struct model_nfc_composition {
    uint32_t first, second, code;
};

extern const struct model_nfc_decomposition model_nfc_decompositions[];
extern const size_t model_n_nfc_decompositions;
extern const struct model_nfc_class model_nfc_classes[];
extern const size_t model_n_nfc_classes;
extern const struct model_nfc_composition model_nfc_compositions[];
extern const size_t model_n_nfc_compositions;

#endif
