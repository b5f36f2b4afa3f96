/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/json_mutator.c - changes that keep a JSON text one, for libFuzzer.
 *
 * Flipped bytes seldom get past a JSON parser, and what is to be tested lies behind it. So most
 * changes are made to the parsed value: a member or item is removed, doubled, replaced by one from
 * elsewhere in the text or by a value that readers like to get wrong. Every fourth change is left
 * to libFuzzer, as is any text that is no JSON.
 *
 * The target defines fuzz_json_begin: how many bytes of knobs stand in front of the text. Only in
 * builds with libFuzzer; replays have nothing to change.
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/json_mutator.h"

#define NODES_MAX 4096

size_t LLVMFuzzerMutate(uint8_t *data, size_t len, size_t max_len);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t max_len, unsigned seed);

/* One place that holds a value: an object's key or an array's index. */
struct node {
    json_t *parent;
    const char *key; /* NULL in an array */
    size_t idx;
    json_t *value;
};

static size_t list_nodes(json_t *value, struct node *nodes, size_t n)
{
    const char *key;
    json_t *child;
    size_t i;
    json_object_foreach(value, key, child)
    {
        if (n == NODES_MAX)
            return n;
        nodes[n++] = (struct node){value, key, 0, child};
        n = list_nodes(child, nodes, n);
    }
    json_array_foreach(value, i, child)
    {
        if (n == NODES_MAX)
            return n;
        nodes[n++] = (struct node){value, NULL, i, child};
        n = list_nodes(child, nodes, n);
    }
    return n;
}

static void put(const struct node *node, json_t *take_value)
{
    if (node->key)
        json_object_set_new(node->parent, node->key, take_value);
    else
        json_array_set_new(node->parent, node->idx, take_value);
}

static json_t *odd_value(uint32_t r)
{
    static const char *const texts[] = {"null",
                                        "true",
                                        "false",
                                        "0",
                                        "1",
                                        "-1",
                                        "2147483647",
                                        "2147483648",
                                        "-2147483649",
                                        "9223372036854775807",
                                        "-9223372036854775808",
                                        "0.5",
                                        "1e308",
                                        "-0.0",
                                        "4294967296",
                                        "\"\"",
                                        "\"\\u0120a\"",
                                        "\"\\ud83d\\ude42\"",
                                        "\"(a+)+$\"",
                                        "\"\\\\p{L}+| ?\"",
                                        "[]",
                                        "{}",
                                        "[[]]",
                                        "[0,0]",
                                        "[0,8]",
                                        "{\"type\":\"ByteLevel\"}",
                                        "{\"type\":\"Sequence\"}",
                                        "\"F32\"",
                                        "\"U8\"",
                                        "\"BPE\"",
                                        "\"<|a|>\"",
                                        "\"\\u007f\\u0001\""};
    return json_loads(texts[r % (sizeof texts / sizeof *texts)], JSON_DECODE_ANY, NULL);
}

static json_t *changed_text(json_t *value, uint32_t r)
{
    char text[512];
    size_t n = json_string_length(value);
    n = n < sizeof text / 2 ? n : sizeof text / 2;
    memcpy(text, json_string_value(value), n);
    if (r & 1)
        n = LLVMFuzzerMutate((uint8_t *)text, n, sizeof text - 1);
    else if (n)
        n = r % n;
    json_t *changed = json_stringn(text, n); /* NULL when it is no UTF-8 any more */
    return changed ? changed : json_string("x");
}

static void change(const struct node *node, const struct node *other, uint32_t r)
{
    switch (r % 8) {
    case 0:
        if (node->key)
            json_object_del(node->parent, node->key);
        else
            json_array_remove(node->parent, node->idx);
        break;
    case 1:
        if (json_is_array(node->parent))
            json_array_insert_new(node->parent, node->idx, json_deep_copy(node->value));
        else
            json_object_set_new(node->parent, other->key ? other->key : "type",
                                json_deep_copy(node->value));
        break;
    case 2:
    case 3:
        put(node, json_deep_copy(other->value));
        break;
    case 4:
    case 5:
        put(node, odd_value(r >> 8));
        break;
    default:
        if (json_is_string(node->value))
            put(node, changed_text(node->value, r >> 8));
        else if (json_is_integer(node->value))
            put(node, json_integer((json_int_t)((uint64_t)json_integer_value(node->value) +
                                                (r & 256 ? 1u : UINT64_MAX))));
        else
            put(node, odd_value(r >> 8));
    }
}

/* The changed text in data[len .. max_len); 0 when nothing came of it. */
static size_t change_json(uint8_t *data, size_t len, size_t max_len, unsigned seed)
{
    static struct node nodes[NODES_MAX];
    uint32_t r = seed;
    json_t *root = json_loadb((char *)data, len, 0, NULL);
    size_t n = root ? list_nodes(root, nodes, 0) : 0;
    size_t written = 0;
    if (n > 0) {
        size_t at = fuzz_piece(&r, n) - 1, other = fuzz_piece(&r, n) - 1;
        fuzz_piece(&r, n);
        change(&nodes[at], &nodes[other], r >> 4);
        written = json_dumpb(root, (char *)data, max_len, JSON_COMPACT);
    }
    json_decref(root);
    return written <= max_len ? written : 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t max_len, unsigned seed)
{
    size_t begin = fuzz_json_begin;
    if (seed % 4 == 0 || len <= begin)
        return LLVMFuzzerMutate(data, len, max_len);
    uint8_t *copy = fuzz_copy(data, len);
    size_t n = change_json(data + begin, len - begin, max_len - begin, seed / 4);
    if (n == 0) {
        memcpy(data, copy, len);
        n = LLVMFuzzerMutate(data, len, max_len);
        begin = 0;
    }
    free(copy);
    return begin + n;
}
