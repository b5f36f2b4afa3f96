/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/pattern_dialect.c - see model/pattern_dialect.h.
 *
 * One pass over the source, no recursion: groups are a stack, classes do not nest. Whatever is not
 * on the list of things known to mean the same is refused, so a form that this file has never
 * heard of cannot slip through with PCRE2's meaning.
 */
#include "model/pattern_dialect.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "model/tokenizer_json.h"

/* What Oniguruma calls a word character; outside of classes it also counts the digits of Latin-1
 * that are set small, an oddity that patterns with \w or \b inherit. */
#define WORD_ITEMS  "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define WORD_LATIN1 "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define WORD        "[" WORD_ITEMS WORD_LATIN1 "]"
#define NO_WORD     "[^" WORD_ITEMS WORD_LATIN1 "]"

#define NO_ATOM SIZE_MAX

struct translator {
    const char *source; /* borrowed; [len] well-formed UTF-8 */
    size_t len;
    size_t at; /* next byte to read */
    struct ltd_bytes *out;
    const char *where;
    struct ltd_err *err;
    size_t atom;   /* offset in the output of what a repeat would repeat, or NO_ATOM */
    bool repeated; /* the atom carries a repeat already */
    size_t groups[MODEL_PATTERN_DEPTH_MAX]; /* [depth] output offsets of the open parentheses */
    int depth;
    char property[80]; /* scratch of read_property */
};

/* What an escape stands for. */
enum item {
    ITEM_BAD = -1,
    ITEM_CHAR, /* one code point */
    ITEM_SET,  /* a class, an assertion: PCRE2 text */
};

static int refuse(struct translator *t, enum ltd_code code, size_t at, const char *what)
{
    return ltd_fail(t->err, code, "%s: at byte %zu: found \"%s\", expected %s", t->where, at,
                    model_excerpt(t->source + at, t->len - at).text, what);
}

static bool looking_at(const struct translator *t, const char *text)
{
    size_t n = strlen(text);
    return t->len - t->at >= n && memcmp(t->source + t->at, text, n) == 0;
}

static void put(struct translator *t, const char *text)
{
    ltd_bytes_put_str(t->out, text);
}

static bool is_alnum(uint32_t code)
{
    return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z') ||
           (code >= '0' && code <= '9');
}

/* One code point that stands for itself, in or out of a class. */
static void put_code(struct translator *t, uint32_t code)
{
    uint8_t utf8[4];
    if (code < 0x20 || code == 0x7F || (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF) {
        char hex[16];
        snprintf(hex, sizeof hex, "\\x{%x}", (unsigned)code);
        put(t, hex);
        return;
    }
    if (code < 0x80 && !is_alnum(code))
        put(t, "\\");
    ltd_bytes_put(t->out, utf8, (size_t)ltd_utf8_put(code, utf8));
}

/* ---- escapes ---- */

/* Letters that stand for one control character everywhere. */
static const struct {
    char letter;
    uint32_t code;
} controls[] = {{'n', 0x0A}, {'t', 0x09}, {'r', 0x0D}, {'f', 0x0C},
                {'v', 0x0B}, {'a', 0x07}, {'e', 0x1B}};

/* Letters that stand for a set or an assertion; NULL where the form has no equal. */
static const struct {
    char letter;
    const char *outside;
    const char *in_class;
} sets[] = {
    {'s', "\\p{White_Space}", "\\p{White_Space}"},
    {'S', "\\P{White_Space}", "\\P{White_Space}"},
    {'d', "\\p{Nd}", "\\p{Nd}"},
    {'D', "\\P{Nd}", "\\P{Nd}"},
    {'h', "[0-9A-Fa-f]", "0-9A-Fa-f"},
    {'H', "[^0-9A-Fa-f]", NULL},
    {'w', WORD, WORD_ITEMS},
    {'W', NO_WORD, NULL},
    {'b', "(?:(?<!" WORD ")(?=" WORD ")|(?<=" WORD ")(?!" WORD "))", NULL},
    {'B', "(?:(?<!" WORD ")(?!" WORD ")|(?<=" WORD ")(?=" WORD "))", NULL},
    {'A', "\\A", NULL},
    {'z', "\\z", NULL},
    {'Z', "\\Z", NULL},
};

/* Names of general categories and properties, theirs and PCRE2's. */
static const char *const property_names[][2] = {
    {"Letter", "L"},
    {"Uppercase_Letter", "Lu"},
    {"Lowercase_Letter", "Ll"},
    {"Titlecase_Letter", "Lt"},
    {"Cased_Letter", "LC"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"Mark", "M"},
    {"Nonspacing_Mark", "Mn"},
    {"Spacing_Mark", "Mc"},
    {"Enclosing_Mark", "Me"},
    {"Number", "N"},
    {"Decimal_Number", "Nd"},
    {"Letter_Number", "Nl"},
    {"Other_Number", "No"},
    {"Punctuation", "P"},
    {"Connector_Punctuation", "Pc"},
    {"Dash_Punctuation", "Pd"},
    {"Open_Punctuation", "Ps"},
    {"Close_Punctuation", "Pe"},
    {"Initial_Punctuation", "Pi"},
    {"Final_Punctuation", "Pf"},
    {"Other_Punctuation", "Po"},
    {"Symbol", "S"},
    {"Math_Symbol", "Sm"},
    {"Currency_Symbol", "Sc"},
    {"Modifier_Symbol", "Sk"},
    {"Other_Symbol", "So"},
    {"Separator", "Z"},
    {"Space_Separator", "Zs"},
    {"Line_Separator", "Zl"},
    {"Paragraph_Separator", "Zp"},
    {"Other", "C"},
    {"Control", "Cc"},
    {"Format", "Cf"},
    {"Private_Use", "Co"},
    {"Unassigned", "Cn"},
    {"Alphabetic", "Alphabetic"},
    {"Lowercase", "Lowercase"},
    {"Uppercase", "Uppercase"},
    {"White_Space", "White_Space"},
    {"Space", "White_Space"},
    {"Any", "Any"},
};

/* PCRE2's name for a property; NULL when it has to be the name of a script. */
static const char *property_name(const char *name)
{
    for (size_t i = 0; i < sizeof property_names / sizeof property_names[0]; i++)
        if (strcasecmp(name, property_names[i][0]) == 0 ||
            (strlen(property_names[i][1]) <= 2 && strcasecmp(name, property_names[i][1]) == 0))
            return property_names[i][1];
    return NULL;
}

/* \p{Name}, \P{Name} or \p{^Name}; t->at stands on the p. */
static enum item read_property(struct translator *t, size_t begin, const char **set)
{
    bool negated = t->source[t->at] == 'P';
    const char *close = memchr(t->source + t->at, '}', t->len - t->at);
    t->at++;
    if (!looking_at(t, "{") || !close)
        return refuse(t, LTD_E_INVALID, begin, "a property name in braces"), ITEM_BAD;
    t->at++;
    if (looking_at(t, "^")) {
        negated = !negated;
        t->at++;
    }
    size_t n = (size_t)(close - (t->source + t->at));
    char name[48];
    for (size_t i = 0; i < n; i++)
        if (n >= sizeof name ||
            (!is_alnum((uint8_t)t->source[t->at + i]) && t->source[t->at + i] != '_'))
            return refuse(t, LTD_E_INVALID, begin, "a property of letters, digits and _"), ITEM_BAD;
    memcpy(name, t->source + t->at, n);
    name[n] = '\0';
    t->at += n + 1;
    const char *known = property_name(name);
    snprintf(t->property, sizeof t->property, "\\%c{%s%s}", negated ? 'P' : 'p',
             known ? "" : "sc:", known ? known : name);
    *set = t->property;
    return ITEM_SET;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* \xHH, \x{H...} or \uHHHH; t->at stands on the letter. */
static enum item read_hex(struct translator *t, size_t begin, uint32_t *code)
{
    bool braced = t->source[t->at] == 'x' && t->at + 1 < t->len && t->source[t->at + 1] == '{';
    size_t n_max = braced ? 8 : t->source[t->at] == 'u' ? 4 : 2;
    size_t n = 0;
    uint64_t value = 0;
    t->at += braced ? 2 : 1;
    while (n < n_max && t->at < t->len && hex_value(t->source[t->at]) >= 0) {
        value = value << 4 | (unsigned)hex_value(t->source[t->at++]);
        n++;
    }
    if (braced ? n == 0 || !looking_at(t, "}") : n != n_max)
        return refuse(t, LTD_E_INVALID, begin, "a code point in hexadecimal"), ITEM_BAD;
    if (value > 0x10FFFF || (n_max == 2 && value >= 0x80))
        return refuse(t, LTD_E_UNIMPLEMENTED, begin, "a code point; write \\x{...} above 7F"),
               ITEM_BAD;
    t->at += braced ? 1 : 0;
    *code = (uint32_t)value;
    return ITEM_CHAR;
}

/* What the letter after a backslash stands for, when it is in one of the tables. */
static enum item read_letter(struct translator *t, bool in_class, size_t begin, uint32_t *code,
                             const char **set)
{
    char letter = t->source[t->at++];
    if (in_class && letter == 'b') {
        *code = 0x08;
        return ITEM_CHAR;
    }
    for (size_t i = 0; i < sizeof controls / sizeof controls[0]; i++)
        if (controls[i].letter == letter) {
            *code = controls[i].code;
            return ITEM_CHAR;
        }
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if (sets[i].letter == letter) {
            *set = in_class ? sets[i].in_class : sets[i].outside;
            if (*set)
                return ITEM_SET;
        }
    refuse(t, LTD_E_UNIMPLEMENTED, begin, "an escape that docs/tokenizer.md lists");
    return ITEM_BAD;
}

/* An escape; t->at stands on the backslash and is moved behind it. */
static enum item read_escape(struct translator *t, bool in_class, uint32_t *code, const char **set)
{
    size_t begin = t->at++;
    if (t->at >= t->len)
        return refuse(t, LTD_E_INVALID, begin, "a character after the backslash"), ITEM_BAD;
    char c = t->source[t->at];
    if (c == 'p' || c == 'P')
        return read_property(t, begin, set);
    if (c == 'x' || c == 'u')
        return read_hex(t, begin, code);
    if (is_alnum((uint8_t)c))
        return read_letter(t, in_class, begin, code, set);
    t->at += (size_t)ltd_utf8_next((const uint8_t *)t->source + t->at, t->len - t->at, code);
    return ITEM_CHAR;
}

/* ---- classes ---- */

/* What stands before the place in a class; decides what a hyphen means. */
enum before {
    BEFORE_NOTHING,
    BEFORE_CHAR,
    BEFORE_SET,
    BEFORE_HYPHEN, /* a range is open */
    BEFORE_RANGE,
};

static const char *const posix_names[][2] = {
    {"[:alpha:]", "\\p{Alphabetic}"}, {"[:alnum:]", "\\p{Alphabetic}\\p{Nd}"},
    {"[:digit:]", "\\p{Nd}"},         {"[:lower:]", "\\p{Lowercase}"},
    {"[:upper:]", "\\p{Uppercase}"},  {"[:space:]", "\\p{White_Space}"},
    {"[:blank:]", "\\x{9}\\p{Zs}"},   {"[:punct:]", "\\p{P}\\p{S}"},
    {"[:cntrl:]", "\\p{Cc}"},         {"[:word:]", WORD_ITEMS},
    {"[:xdigit:]", "0-9A-Fa-f"},
};

static int class_set(struct translator *t, const char *set, size_t begin, enum before *before)
{
    if (*before == BEFORE_HYPHEN)
        return refuse(t, LTD_E_INVALID, begin, "a character at the end of a range");
    put(t, set);
    *before = BEFORE_SET;
    return 0;
}

static void class_char(struct translator *t, uint32_t code, enum before *before)
{
    put_code(t, code);
    *before = *before == BEFORE_HYPHEN ? BEFORE_RANGE : BEFORE_CHAR;
}

static int class_bracket(struct translator *t, enum before *before)
{
    for (size_t i = 0; i < sizeof posix_names / sizeof posix_names[0]; i++)
        if (looking_at(t, posix_names[i][0])) {
            size_t begin = t->at;
            t->at += strlen(posix_names[i][0]);
            return class_set(t, posix_names[i][1], begin, before);
        }
    return refuse(t, LTD_E_UNIMPLEMENTED, t->at, "no class inside a class");
}

static int class_hyphen(struct translator *t, enum before *before)
{
    bool last = t->at + 1 < t->len && t->source[t->at + 1] == ']';
    if (*before == BEFORE_SET && !last)
        return refuse(t, LTD_E_INVALID, t->at, "no range that begins with a set");
    t->at++;
    if (*before == BEFORE_CHAR && !last) {
        put(t, "-");
        *before = BEFORE_HYPHEN;
        return 0;
    }
    class_char(t, '-', before);
    return 0;
}

static int class_item(struct translator *t, enum before *before)
{
    size_t begin = t->at;
    uint32_t code = 0;
    const char *set = NULL;
    if (t->source[t->at] == '[')
        return class_bracket(t, before);
    if (t->source[t->at] == '-')
        return class_hyphen(t, before);
    if (looking_at(t, "&&"))
        return refuse(t, LTD_E_UNIMPLEMENTED, t->at, "no intersection of classes");
    if (t->source[t->at] == '\\') {
        enum item item = read_escape(t, true, &code, &set);
        if (item == ITEM_BAD)
            return -1;
        if (item == ITEM_SET)
            return class_set(t, set, begin, before);
    } else {
        t->at += (size_t)ltd_utf8_next((const uint8_t *)t->source + t->at, t->len - t->at, &code);
    }
    class_char(t, code, before);
    return 0;
}

static int read_class(struct translator *t)
{
    size_t begin = t->at++;
    t->atom = t->out->len;
    put(t, "[");
    if (looking_at(t, "^")) {
        put(t, "^");
        t->at++;
    }
    size_t first = t->at;
    enum before before = BEFORE_NOTHING;
    while (t->at < t->len && !(t->source[t->at] == ']' && t->at > first)) {
        if (class_item(t, &before) != 0)
            return -1;
    }
    if (t->at >= t->len)
        return refuse(t, LTD_E_INVALID, begin, "a class that ends");
    t->at++;
    put(t, "]");
    return 0;
}

/* ---- groups and repeats ---- */

static int open_group(struct translator *t)
{
    static const char *const forms[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    if (t->depth == MODEL_PATTERN_DEPTH_MAX)
        return refuse(t, LTD_E_UNIMPLEMENTED, t->at, "at most 200 groups inside each other");
    t->groups[t->depth++] = t->out->len;
    t->atom = NO_ATOM;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (looking_at(t, forms[i])) {
            put(t, forms[i]);
            t->at += strlen(forms[i]);
            return 0;
        }
    if (looking_at(t, "(?"))
        return refuse(t, LTD_E_UNIMPLEMENTED, t->at,
                      "a group that opens with ( (?: (?= (?! (?<= (?<! (?> or (?i:");
    put(t, "(?:");
    t->at++;
    return 0;
}

static int close_group(struct translator *t)
{
    if (t->depth == 0)
        return refuse(t, LTD_E_INVALID, t->at, "no ) without its (");
    t->at++;
    put(t, ")");
    t->atom = t->groups[--t->depth];
    return 0;
}

/* Length of "{n}", "{n,}", "{,m}" or "{n,m}" at the place, 0 when the brace is a plain one. */
static size_t bounds_bytes(const struct translator *t, bool *exact)
{
    size_t at = t->at + 1;
    size_t n_digits = 0;
    bool comma = false;
    for (; at < t->len && t->source[at] != '}'; at++) {
        bool is_digit = t->source[at] >= '0' && t->source[at] <= '9';
        if (!is_digit && (comma || t->source[at] != ','))
            return 0;
        comma |= !is_digit;
        n_digits += is_digit;
    }
    *exact = !comma;
    return at < t->len && n_digits > 0 ? at + 1 - t->at : 0;
}

/* Put `text` into the output before what stands from `at` on. */
static void insert(struct translator *t, size_t at, const char *text)
{
    size_t n = strlen(text);
    if (!ltd_bytes_reserve(t->out, n))
        return;
    memmove(t->out->data + at + n, t->out->data + at, t->out->len - at);
    memcpy(t->out->data + at, text, n);
    t->out->len += n;
}

/* A repeat in braces. Behind it a ? is lazy, as in PCRE2, but a + or * repeats the repeat. */
static int read_bounds(struct translator *t, size_t n_bytes, bool exact)
{
    size_t begin = t->at;
    char next = t->at + n_bytes < t->len ? t->source[t->at + n_bytes] : '\0';
    if (exact && next == '?')
        return refuse(t, LTD_E_UNIMPLEMENTED, begin, "no ? after a fixed number of repeats");
    if (next == '+' || next == '*')
        insert(t, t->atom, "(?:");
    put(t, t->source[t->at + 1] == ',' ? "{0" : "{");
    ltd_bytes_put(t->out, t->source + t->at + 1, n_bytes - 1);
    t->at += n_bytes;
    if (next == '?' || next == '+' || next == '*') {
        put(t, next == '?' ? "?" : next == '+' ? ")+" : ")*");
        t->at++;
    }
    return 0;
}

static int read_repeat(struct translator *t)
{
    bool exact = false;
    size_t n_bytes = t->source[t->at] == '{' ? bounds_bytes(t, &exact) : 1;
    if (n_bytes == 0) { /* a brace that is no repeat stands for itself */
        t->atom = t->out->len;
        t->repeated = false;
        put_code(t, (uint8_t)t->source[t->at++]);
        return 0;
    }
    if (t->atom == NO_ATOM || t->repeated)
        return refuse(t, LTD_E_INVALID, t->at, "something to repeat before it, and one repeat");
    t->repeated = true;
    if (t->source[t->at] == '{')
        return read_bounds(t, n_bytes, exact);
    for (int i = 0; i < 2; i++) { /* the repeat, and whether it is lazy or possessive */
        char text[2] = {t->source[t->at++], '\0'};
        put(t, text);
        if (!looking_at(t, "?") && !looking_at(t, "+"))
            break;
    }
    return 0;
}

/* ---- the pattern ---- */

static int read_literal(struct translator *t)
{
    uint32_t code = 0;
    const char *set = NULL;
    if (t->source[t->at] == '\\') {
        enum item item = read_escape(t, false, &code, &set);
        if (item == ITEM_BAD)
            return -1;
        if (item == ITEM_SET) {
            t->atom = t->out->len;
            put(t, set);
            return 0;
        }
    } else {
        t->at += (size_t)ltd_utf8_next((const uint8_t *)t->source + t->at, t->len - t->at, &code);
    }
    t->atom = t->out->len;
    put_code(t, code);
    return 0;
}

static int read_one(struct translator *t)
{
    char c = t->source[t->at];
    if (c == '*' || c == '+' || c == '?' || c == '{')
        return read_repeat(t);
    t->repeated = false;
    if (c == '[')
        return read_class(t);
    if (c == '(')
        return open_group(t);
    if (c == ')')
        return close_group(t);
    if (c == '|' || c == '^' || c == '$' || c == '.') {
        char text[2] = {c, '\0'};
        t->atom = c == '.' ? t->out->len : NO_ATOM;
        put(t, text);
        t->at++;
        return 0;
    }
    return read_literal(t);
}

int model_pattern_translate(const char *source, size_t len, struct ltd_bytes *out,
                            const char *where, struct ltd_err *err)
{
    struct translator t = {
        .source = source, .len = len, .out = out, .where = where, .err = err, .atom = NO_ATOM};
    size_t good = ltd_utf8_valid_prefix(source, len);
    if (good != len)
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: at byte %zu: found a byte that is no UTF-8, "
                        "expected a pattern",
                        where, good);
    while (t.at < t.len)
        if (read_one(&t) != 0)
            return -1;
    if (t.depth > 0)
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: at byte %zu: found the end of the pattern, "
                        "expected )",
                        where, len);
    if (out->failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory", where);
    return 0;
}
