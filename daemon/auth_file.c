/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/auth_file.c - see daemon/auth_file.h.
 *
 * A line is cut into words; the first one says which words may follow. Messages show what was found
 * only where it cannot be a secret: somebody will put a token where its hash belongs.
 */
#include "daemon/auth_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/utf8.h"
#include "daemon/auth.h"

#define WORDS_MAX    16 /* the longest sensible line has nine */
#define MISTAKES_MAX 100
#define SHOWN_CHARS  60
#define HASH_PREFIX  "sha256:"
#define CN_BYTES_MAX 256 /* X.520 allows 64 characters; some issuers more */

struct parser {
    const char *path;
    struct auth_table *table;
    struct auth_mistakes *mistakes;
    uint32_t line;
    size_t entries_room, limits_room;
    char *words[WORDS_MAX];
    size_t n_words;
    bool is_out_of_memory;
};

static const struct {
    const char *word;
    uint32_t right;
} rights[] = {
    {"inference", AUTH_INFERENCE}, {"jobs", AUTH_JOBS}, {"cluster", AUTH_CLUSTER},
    {"metrics", AUTH_METRICS},     {"admin", AUTH_ALL},
};
#define N_RIGHTS (sizeof rights / sizeof *rights)

uint32_t auth_right_parse(const char *word)
{
    for (size_t i = 0; i < N_RIGHTS; i++)
        if (strcmp(word, rights[i].word) == 0)
            return rights[i].right;
    return 0;
}

/* ------------------------------------------------------------------------------- mistakes */

__attribute__((format(printf, 2, 3))) static void mistake(struct parser *p, const char *fmt, ...)
{
    char text[600];
    if (p->mistakes->n++ >= MISTAKES_MAX)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ltd_utf8_tidy(text); /* words are cut, and may be cut inside a code point */
    char where[32];
    snprintf(where, sizeof where, ":%u: ", p->line);
    ltd_bytes_put_str(&p->mistakes->text, p->path);
    if (p->line)
        ltd_bytes_put_str(&p->mistakes->text, where);
    else
        ltd_bytes_put_str(&p->mistakes->text, ": ");
    ltd_bytes_put_str(&p->mistakes->text, text);
    ltd_bytes_put_u8(&p->mistakes->text, '\n');
}

/* The first mistake as an error, when there is one. */
static int report(const struct parser *p, struct ltd_err *err)
{
    const struct auth_mistakes *m = p->mistakes;
    if (p->is_out_of_memory || m->text.failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory to read it", p->path);
    if (m->n == 0)
        return 0;
    const uint8_t *end = memchr(m->text.data, '\n', m->text.len);
    size_t len = end ? (size_t)(end - m->text.data) : m->text.len;
    if (m->n == 1)
        return ltd_fail(err, LTD_E_INVALID, "%.*s", (int)len, (const char *)m->text.data);
    return ltd_fail(err, LTD_E_INVALID, "%.*s (and %u more)", (int)len, (const char *)m->text.data,
                    m->n - 1);
}

/* ---------------------------------------------------------------------------------- words */

/* One word from *at, which is cut out in place; NULL at the end, or after a mistake. */
static char *next_word(struct parser *p, char **at)
{
    char *begin = *at + strspn(*at, " \t\r");
    if (*begin == '\0' || *begin == '#')
        return NULL;
    char *end;
    if (*begin == '"') {
        end = strchr(++begin, '"');
        if (!end) {
            mistake(p, "a quoted word has no end, expected a second \" in the same line");
            return NULL;
        }
        if (end[1] && !strchr(" \t\r", end[1])) {
            mistake(p, "a quoted word is followed by more without a blank");
            return NULL;
        }
    } else {
        end = begin + strcspn(begin, " \t\r");
    }
    *at = *end ? end + 1 : end;
    *end = '\0';
    return begin;
}

/* False when there is nothing in the line, or nothing that can be understood. */
static bool cut_words(struct parser *p, char *line)
{
    uint32_t n_before = p->mistakes->n;
    p->n_words = 0;
    for (char *word; (word = next_word(p, &line));) {
        if (p->n_words == WORDS_MAX) {
            mistake(p, "more than %d words, expected fewer", WORDS_MAX);
            return false;
        }
        p->words[p->n_words++] = word;
    }
    return p->n_words > 0 && p->mistakes->n == n_before;
}

static bool take_name(struct parser *p, const char *word, char name[AUTH_NAME_CHARS + 1])
{
    size_t len = strlen(word);
    bool good = len > 0 && len <= AUTH_NAME_CHARS && isalnum((unsigned char)word[0]);
    for (size_t i = 0; good && i < len; i++)
        good = (unsigned char)word[i] < 0x80 &&
               (isalnum((unsigned char)word[i]) || strchr("._-@", word[i]));
    if (good)
        memcpy(name, word, len + 1);
    else
        mistake(p,
                "\"%.*s\" is no name, expected 1 to %d letters and digits, and . _ - @ behind the "
                "first",
                SHOWN_CHARS, word, AUTH_NAME_CHARS);
    return good;
}

static bool take_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    if (!isdigit((unsigned char)*text))
        return false;
    unsigned long long value = strtoull(text, &end, 10);
    *out = value;
    return !*end && !errno && value >= min && value <= max;
}

/* Room for one more behind `n`; NULL without memory. */
static void *grow(struct parser *p, void *old, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return old;
    size_t more = *room ? *room * 2 : 16;
    void *grown = realloc(old, more * size);
    if (!grown) {
        p->is_out_of_memory = true;
        return NULL;
    }
    *room = more;
    return grown;
}

/* ------------------------------------------------------------------------------- entries */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool take_hash(struct parser *p, const char *word, uint8_t hash[AUTH_HASH_BYTES])
{
    const size_t prefix = sizeof HASH_PREFIX - 1;
    bool good = strncmp(word, HASH_PREFIX, prefix) == 0 &&
                strlen(word) == prefix + (size_t)2 * AUTH_HASH_BYTES;
    for (size_t i = 0; good && i < AUTH_HASH_BYTES; i++) {
        int high = hex_digit(word[prefix + 2 * i]), low = hex_digit(word[prefix + 2 * i + 1]);
        good = high >= 0 && low >= 0;
        hash[i] = good ? (uint8_t)(high << 4 | low) : 0;
    }
    if (!good)
        mistake(p,
                "the second word (%zu characters, not shown: it may be a token) is no hash, "
                "expected " HASH_PREFIX " and %d hexadecimal digits",
                strlen(word), 2 * AUTH_HASH_BYTES);
    return good;
}

static bool take_uid(struct parser *p, const char *word, uint32_t *uid)
{
    uint64_t value;
    if (!take_number(word, 0, UINT32_MAX - 1, &value)) {
        mistake(p, "\"%.*s\" is no user id, expected a whole number in [0, %u]", SHOWN_CHARS, word,
                UINT32_MAX - 1);
        return false;
    }
    *uid = (uint32_t)value;
    return true;
}

static bool take_common_name(struct parser *p, const char *word, char **out)
{
    size_t len = strlen(word);
    if (len == 0 || len > CN_BYTES_MAX) {
        mistake(p, "the common name has %zu bytes, expected 1 to %d", len, CN_BYTES_MAX);
        return false;
    }
    *out = strdup(word);
    p->is_out_of_memory |= !*out;
    return *out != NULL;
}

static bool take_rights(struct parser *p, uint32_t *out)
{
    bool good = p->n_words > 3;
    if (!good)
        mistake(p, "no rights, expected one or more of inference, jobs, cluster, metrics, admin");
    for (size_t i = 3; i < p->n_words; i++) {
        uint32_t right = auth_right_parse(p->words[i]);
        if (!right)
            mistake(p, "\"%.*s\" is no right, expected inference, jobs, cluster, metrics or admin",
                    SHOWN_CHARS, p->words[i]);
        good = good && right;
        *out |= right;
    }
    return good;
}

static bool is_same_credential(const struct auth_entry *a, const struct auth_entry *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case AUTH_TOKEN:
        return memcmp(a->hash, b->hash, AUTH_HASH_BYTES) == 0;
    case AUTH_UID:
        return a->uid == b->uid;
    case AUTH_CERT:
        return strcmp(a->common_name, b->common_name) == 0;
    }
    return false;
}

/* The entry that has the same credential, or NULL. */
static const struct auth_entry *find_same(const struct auth_table *table,
                                          const struct auth_entry *entry)
{
    for (size_t i = 0; i < table->n_entries; i++)
        if (is_same_credential(&table->entries[i], entry))
            return &table->entries[i];
    return NULL;
}

static bool take_credential(struct parser *p, struct auth_entry *entry)
{
    switch (entry->kind) {
    case AUTH_TOKEN:
        return take_hash(p, p->words[1], entry->hash);
    case AUTH_UID:
        return take_uid(p, p->words[1], &entry->uid);
    case AUTH_CERT:
        return take_common_name(p, p->words[1], &entry->common_name);
    }
    return false;
}

/* Takes over what the entry owns. */
static void keep_entry(struct parser *p, struct auth_entry *take_entry)
{
    struct auth_table *table = p->table;
    const struct auth_entry *same = find_same(table, take_entry);
    struct auth_entry *grown = NULL;
    if (same)
        mistake(p, "the same %s as in line %u, expected each once",
                same->kind == AUTH_TOKEN ? "token"
                : same->kind == AUTH_UID ? "user id"
                                         : "common name",
                same->line);
    else if (table->n_entries == AUTH_ENTRIES_MAX)
        mistake(p, "more than %d entries, expected at most so many", AUTH_ENTRIES_MAX);
    else
        grown = grow(p, table->entries, table->n_entries, &p->entries_room, sizeof *grown);
    if (grown) {
        table->entries = grown;
        grown[table->n_entries++] = *take_entry;
    } else {
        free(take_entry->common_name);
    }
}

static void take_entry_line(struct parser *p, enum auth_kind kind)
{
    static const char *const who[] = {"sha256:HEX", "N", "COMMONNAME"};
    struct auth_entry entry = {.kind = kind, .line = p->line};
    if (p->n_words < 3) {
        mistake(p, "%zu words, expected %s %s NAME RIGHTS...", p->n_words, p->words[0], who[kind]);
        return;
    }
    /* Behind a hash that is none the token may stand anywhere: nothing more of the line is shown. */
    bool good = take_credential(p, &entry);
    if (!good && kind == AUTH_TOKEN)
        return;
    good = take_name(p, p->words[2], entry.name) && good;
    good = take_rights(p, &entry.rights) && good;
    if (good)
        keep_entry(p, &entry);
    else
        free(entry.common_name);
}

/* -------------------------------------------------------------------------------- limits */

enum { LIMIT_QUEUED, LIMIT_RUNNING, LIMIT_STORED, LIMIT_STEPS, N_LIMITS };

static const struct {
    const char *key;
    uint64_t max;
} limit_keys[N_LIMITS] = {
    [LIMIT_QUEUED] = {"queued", UINT32_MAX},
    [LIMIT_RUNNING] = {"running", UINT32_MAX},
    [LIMIT_STORED] = {"stored", UINT64_C(1) << 40}, /* MiB */
    [LIMIT_STEPS] = {"steps_per_hour", UINT64_C(1) << 62},
};

static void set_limit(struct quota_limits *limits, int which, uint64_t value)
{
    if (which == LIMIT_QUEUED)
        limits->max_queued = (uint32_t)value;
    else if (which == LIMIT_RUNNING)
        limits->max_running = (uint32_t)value;
    else if (which == LIMIT_STORED)
        limits->max_stored_bytes = value << 20;
    else
        limits->max_steps_per_hour = value;
}

static bool take_limit(struct parser *p, const char *word, struct auth_limit *out)
{
    const char *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : 0;
    int which = 0;
    while (which < N_LIMITS &&
           (strlen(limit_keys[which].key) != len || memcmp(limit_keys[which].key, word, len) != 0))
        which++;
    if (which == N_LIMITS) {
        mistake(p,
                "\"%.*s\" is no limit, expected queued=N, running=N, stored=MIB or "
                "steps_per_hour=N",
                SHOWN_CHARS, word);
        return false;
    }
    uint64_t value = 0;
    if (strcmp(equals + 1, "none") != 0 &&
        !take_number(equals + 1, 1, limit_keys[which].max, &value)) {
        mistake(p, "%s: found \"%.*s\", expected none or a whole number in [1, %llu]",
                limit_keys[which].key, SHOWN_CHARS, equals + 1,
                (unsigned long long)limit_keys[which].max);
        return false;
    }
    if (out->said & 1u << which) {
        mistake(p, "%s stands twice in the line, expected once", limit_keys[which].key);
        return false;
    }
    out->said |= 1u << which;
    set_limit(&out->limits, which, value);
    return true;
}

static const struct auth_limit *find_limit(const struct auth_table *table, const char *name)
{
    for (size_t i = 0; i < table->n_limits; i++)
        if (strcmp(table->limits[i].name, name) == 0)
            return &table->limits[i];
    return NULL;
}

static void take_limits_line(struct parser *p)
{
    struct auth_limit limit = {.line = p->line};
    struct auth_table *table = p->table;
    if (p->n_words < 3) {
        mistake(p, "%zu words, expected limits NAME WHAT=N...", p->n_words);
        return;
    }
    bool good = true;
    if (strcmp(p->words[1], "*") == 0)
        strcpy(limit.name, "*");
    else
        good = take_name(p, p->words[1], limit.name);
    for (size_t i = 2; i < p->n_words; i++)
        good = take_limit(p, p->words[i], &limit) && good;
    const struct auth_limit *same = good ? find_limit(table, limit.name) : NULL;
    if (same)
        mistake(p, "limits of %s stand in line %u already, expected one line for each name",
                limit.name, same->line);
    else if (good && table->n_limits == AUTH_ENTRIES_MAX)
        mistake(p, "more than %d lines of limits, expected at most so many", AUTH_ENTRIES_MAX);
    if (same || !good || table->n_limits == AUTH_ENTRIES_MAX)
        return;
    struct auth_limit *grown =
        grow(p, table->limits, table->n_limits, &p->limits_room, sizeof *grown);
    if (!grown)
        return;
    table->limits = grown;
    grown[table->n_limits++] = limit;
}

static struct quota_limits limits_of(const struct auth_limit *own, const struct auth_limit *rest)
{
    struct quota_limits out = own ? own->limits : (struct quota_limits){0};
    unsigned said = own ? own->said : 0;
    if (rest && !(said & 1u << LIMIT_QUEUED))
        out.max_queued = rest->limits.max_queued;
    if (rest && !(said & 1u << LIMIT_RUNNING))
        out.max_running = rest->limits.max_running;
    if (rest && !(said & 1u << LIMIT_STORED))
        out.max_stored_bytes = rest->limits.max_stored_bytes;
    if (rest && !(said & 1u << LIMIT_STEPS))
        out.max_steps_per_hour = rest->limits.max_steps_per_hour;
    return out;
}

void auth_table_limits(const struct auth_table *table, const char *name, struct quota_limits *out)
{
    *out = limits_of(find_limit(table, name), find_limit(table, "*"));
}

/* ---------------------------------------------------------------------------------- file */

static void take_line(struct parser *p, char *line)
{
    static const char *const kinds[] = {"token", "uid", "cert"};
    if (!cut_words(p, line))
        return;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(p->words[0], kinds[i]) == 0) {
            take_entry_line(p, (enum auth_kind)i);
            return;
        }
    }
    if (strcmp(p->words[0], "limits") == 0)
        take_limits_line(p);
    else
        mistake(p,
                "the first word (%zu characters) is unknown, expected token, uid, cert or limits",
                strlen(p->words[0]));
}

static void take_text(struct parser *p, char *text, size_t len)
{
    char *end = text + len;
    size_t good = ltd_utf8_valid_prefix(text, len);
    const char *nul = memchr(text, '\0', len);
    if (good < len || nul) {
        mistake(p, "byte %zu is not text, expected UTF-8 without NUL",
                (nul && (size_t)(nul - text) < good ? (size_t)(nul - text) : good) + 1);
        return;
    }
    for (char *line = text; line < end;) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        char *next = newline ? newline + 1 : end;
        if (newline)
            *newline = '\0';
        p->line++;
        take_line(p, line);
        line = next;
    }
    p->line = 0;
    if (p->mistakes->n == 0 && p->table->n_entries == 0)
        mistake(p, "no entry, expected at least one: nobody could use the service");
}

int auth_table_parse(const char *path, const char *text, size_t len, struct auth_table *table,
                     struct auth_mistakes *mistakes, struct ltd_err *err)
{
    struct parser p = {.path = path, .table = table, .mistakes = mistakes};
    *table = (struct auth_table){0};
    char *copy = malloc(len + 1);
    if (!copy)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory to read it", path);
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    take_text(&p, copy, len);
    free(copy);
    return report(&p, err);
}

/* Whoever can write the file decides who may use the service. */
static void check_safety(struct parser *p, const struct stat *st)
{
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        mistake(p, "its mode is %03o, expected a file that only its owner can write (chmod go-w)",
                (unsigned)st->st_mode & 0777);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        mistake(p, "it belongs to user id %u, expected root or the user of the service (%u)",
                (unsigned)st->st_uid, (unsigned)geteuid());
}

/* The bytes of an open file of at most `size`, or NULL. */
static char *read_all(struct parser *p, int fd, size_t size, size_t *len, struct ltd_err *err)
{
    char *text = malloc(size + 1);
    if (!text)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "%s: no memory to read it", p->path);
    *len = 0;
    while (*len < size) {
        ssize_t n = read(fd, text + *len, size - *len);
        if (n > 0) {
            *len += (size_t)n;
        } else if (n == 0) {
            break; /* it has become shorter: what is there is judged */
        } else if (errno != EINTR) {
            ltd_fail(err, LTD_E_INVALID, "%s: cannot be read: %s", p->path, strerror(errno));
            free(text);
            return NULL;
        }
    }
    return text;
}

int auth_table_read(const char *path, struct auth_table *table, struct auth_mistakes *mistakes,
                    struct ltd_err *err)
{
    struct parser p = {.path = path, .table = table, .mistakes = mistakes};
    struct stat st;
    size_t size, len = 0;
    *table = (struct auth_table){0};
    int fd = ltd_file_open(path, &size, err);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) != 0)
        mistake(&p, "%s", strerror(errno));
    else
        check_safety(&p, &st);
    if (size > AUTH_FILE_BYTES_MAX)
        mistake(&p, "it has %zu bytes, expected at most %u", size, AUTH_FILE_BYTES_MAX);
    char *text = mistakes->n ? NULL : read_all(&p, fd, size, &len, err);
    close(fd);
    if (!text)
        return mistakes->n ? report(&p, err) : -1;
    int rc = auth_table_parse(path, text, len, table, mistakes, err);
    free(text);
    return rc;
}

void auth_table_fini(struct auth_table *table)
{
    for (size_t i = 0; i < table->n_entries; i++)
        free(table->entries[i].common_name);
    free(table->entries);
    free(table->limits);
    *table = (struct auth_table){0};
}
