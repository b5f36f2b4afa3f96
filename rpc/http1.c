/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/http1.c - see rpc/http1.h. In order: the head of a request, its fields, the answer. */
#include "rpc/http1.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* One request. Texts are borrowed from the buffer. */
struct head {
    int refused; /* HTTP status of what cannot be read; 0: the rest holds */
    const char *method, *path, *authorization;
    size_t method_len, path_len, authorization_len;
    int minor;              /* of HTTP/1.x */
    int n_hosts;            /* fields of that name */
    bool keep_alive, close; /* "close" was said: nothing that follows takes it back */
};

void rpc_http1_init(struct rpc_http1 *http1)
{
    *http1 = (struct rpc_http1){0};
    ltd_bytes_init(&http1->in);
}

void rpc_http1_fini(struct rpc_http1 *http1)
{
    ltd_bytes_fini(&http1->in);
}

bool rpc_http1_put(struct rpc_http1 *http1, const void *data, size_t len)
{
    if (len > RPC_HTTP1_WAITING_BYTES - http1->in.len)
        return false;
    ltd_bytes_put(&http1->in, data, len);
    return !http1->in.failed;
}

int rpc_http1_recognise(const uint8_t *data, size_t len)
{
    static const char *const words[] = {"GET ", "HEAD "};
    int answer = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        if (memcmp(data, words[i], len < n ? len : n) != 0)
            continue;
        answer = len >= n ? 1 : -1;
    }
    return answer;
}

/* ---- the head of a request ---- */

/*
 * Octets up to and including the empty line, 0 while it has not come, or minus the HTTP status of
 * the refusal. Each octet is looked at once, however small the pieces are in which they come.
 */
static int find_end(struct rpc_http1 *h)
{
    const uint8_t *in = h->in.data;
    while (h->scanned < h->in.len && h->scanned < RPC_HTTP1_HEAD_BYTES) {
        size_t at = h->scanned++;
        if (in[at] != '\n')
            continue;
        if (at == h->line_begin || in[at - 1] != '\r')
            return -400;
        if (at == h->line_begin + 1)
            return (int)at + 1;
        h->line_begin = at + 1;
    }
    return h->scanned == RPC_HTTP1_HEAD_BYTES ? -431 : 0;
}

static bool is_token(const char *text, size_t len)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool is_digit = c >= '0' && c <= '9';
        if (!is_letter && !is_digit && (c == '\0' || !strchr(marks, c)))
            return false;
    }
    return len > 0;
}

static bool is_visible(const char *text, size_t len, bool blanks)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool is_blank = c == ' ' || c == '\t';
        if (c == 0x7f || (is_blank ? !blanks : c <= ' '))
            return false;
    }
    return true;
}

/* A proxy's form of the target names scheme and host in front of the path. RFC 9112 §3.2.2. */
static void skip_authority(struct head *head)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t n = strlen(schemes[i]);
        if (head->path_len <= n || strncasecmp(head->path, schemes[i], n) != 0)
            continue;
        const char *slash = memchr(head->path + n, '/', head->path_len - n);
        if (!slash)
            return;
        head->path_len -= (size_t)(slash - head->path);
        head->path = slash;
        return;
    }
}

/* "GET /metrics HTTP/1.1": three words, one blank between two. */
static int parse_request_line(const char *line, size_t len, struct head *head)
{
    static const char version[] = "HTTP/1.";
    const char *blank = memchr(line, ' ', len);
    if (!blank || !is_token(line, (size_t)(blank - line)))
        return 400;
    head->method = line;
    head->method_len = (size_t)(blank - line);
    head->path = blank + 1;
    size_t rest = len - head->method_len - 1;
    blank = memchr(head->path, ' ', rest);
    if (!blank || blank == head->path ||
        !is_visible(head->path, (size_t)(blank - head->path), false))
        return 400;
    head->path_len = (size_t)(blank - head->path);
    rest -= head->path_len + 1;
    const char *at = blank + 1;
    if (rest != sizeof version || memcmp(at, "HTTP/", 5) != 0)
        return 400;
    if (memcmp(at, version, sizeof version - 1) != 0 || at[7] < '0' || at[7] > '1')
        return 505;
    head->minor = at[7] - '0';
    skip_authority(head);
    return head->path[0] == '/' ? 0 : 400;
}

/* ---- its fields ---- */

static bool equals(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && strncasecmp(text, word, len) == 0;
}

static void trim(const char **text, size_t *len)
{
    while (*len > 0 && (**text == ' ' || **text == '\t')) {
        (*text)++;
        (*len)--;
    }
    while (*len > 0 && ((*text)[*len - 1] == ' ' || (*text)[*len - 1] == '\t'))
        (*len)--;
}

/* "close" or "keep-alive" in a list of words; "close" wins, wherever it stands. RFC 9112 §9.3. */
static void take_connection(const char *value, size_t len, struct head *head)
{
    while (len > 0) {
        const char *comma = memchr(value, ',', len);
        size_t n = comma ? (size_t)(comma - value) : len;
        const char *word = value;
        size_t word_len = n;
        trim(&word, &word_len);
        if (equals(word, word_len, "close")) {
            head->keep_alive = false;
            head->close = true;
            return;
        }
        if (equals(word, word_len, "keep-alive"))
            head->keep_alive = !head->close;
        value += comma ? n + 1 : n;
        len -= comma ? n + 1 : n;
    }
}

static int take_field(const char *name, size_t name_len, const char *value, size_t len,
                      struct head *head)
{
    if (equals(name, name_len, "host")) {
        head->n_hosts++;
    } else if (equals(name, name_len, "connection")) {
        take_connection(value, len, head);
    } else if (equals(name, name_len, "transfer-encoding")) {
        return 400; /* no request here has a body */
    } else if (equals(name, name_len, "content-length")) {
        return len == 1 && *value == '0' ? 0 : 400;
    } else if (equals(name, name_len, "authorization")) {
        if (head->authorization)
            return 400;
        head->authorization = value;
        head->authorization_len = len;
    }
    return 0;
}

static int parse_field(const char *line, size_t len, struct head *head)
{
    const char *colon = memchr(line, ':', len);
    if (!colon || !is_token(line, (size_t)(colon - line)))
        return 400;
    const char *value = colon + 1;
    size_t value_len = len - (size_t)(value - line);
    trim(&value, &value_len);
    if (!is_visible(value, value_len, true))
        return 400;
    return take_field(line, (size_t)(colon - line), value, value_len, head);
}

/* `len` octets that end in an empty line, each line in CRLF: find_end() has seen to that. */
static void parse_head(const char *text, size_t len, struct head *head)
{
    const char *line = text;
    const char *end = text + len - 2;
    for (int i = 0; line < end && head->refused == 0; i++) {
        const char *lf = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)(lf - line) - 1;
        head->refused = i == 0 ? parse_request_line(line, n, head) : parse_field(line, n, head);
        if (i == 0)
            head->keep_alive = head->minor == 1;
        line = lf + 1;
    }
    if (line == text) /* an empty line where a request was due */
        head->refused = 400;
    if (head->refused == 0 && (head->n_hosts > 1 || (head->n_hosts == 0 && head->minor == 1)))
        head->refused = 400;
}

/* ---- the answer ---- */

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *text;
    } rows[] = {{200, "OK"},
                {400, "Bad Request"},
                {401, "Unauthorized"},
                {403, "Forbidden"},
                {404, "Not Found"},
                {405, "Method Not Allowed"},
                {431, "Request Header Fields Too Large"},
                {500, "Internal Server Error"},
                {503, "Service Unavailable"},
                {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].status == status)
            return rows[i].text;
    return ""; /* the text is for people; programs read the number */
}

static void put_answer(struct ltd_bytes *out, const struct rpc_page_answer *answer, bool keep_alive,
                       bool with_body)
{
    char head[400], date[40];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    snprintf(head, sizeof head,
             "HTTP/1.1 %d %s\r\n"
             "Date: %s\r\n"
             "Content-Type: %s\r\n"
             "Content-Length: %zu\r\n"
             "Cache-Control: no-store\r\n"
             "%s%s"
             "Connection: %s\r\n\r\n",
             answer->status, reason_of(answer->status), date, answer->content_type,
             answer->body.len, answer->status == 405 ? "Allow: GET, HEAD\r\n" : "",
             answer->status == 401 ? "WWW-Authenticate: Bearer\r\n" : "",
             keep_alive ? "keep-alive" : "close");
    ltd_bytes_put_str(out, head);
    if (with_body)
        ltd_bytes_put(out, answer->body.data, answer->body.len);
}

static void put_refusal(struct ltd_bytes *out, int status)
{
    struct rpc_page_answer answer = {.status = status, .content_type = "text/plain; charset=utf-8"};
    ltd_bytes_init(&answer.body);
    ltd_bytes_put_str(&answer.body, reason_of(status));
    ltd_bytes_put_str(&answer.body, "\n");
    put_answer(out, &answer, false, true);
    rpc_page_answer_fini(&answer);
}

static void put_page(struct ltd_bytes *out, const struct head *head,
                     const struct rpc_shared *shared, const struct rpc_peer *peer)
{
    const struct rpc_page_request request = {
        .peer = peer,
        .method = head->method,
        .method_len = head->method_len,
        .path = head->path,
        .path_len = head->path_len,
        .authorization = head->authorization,
        .authorization_len = head->authorization_len,
    };
    struct rpc_page_answer answer;
    bool is_head = head->method_len == 4 && memcmp(head->method, "HEAD", 4) == 0;
    rpc_page_make(shared, &request, &answer);
    put_answer(out, &answer, head->keep_alive, !is_head);
    rpc_page_answer_fini(&answer);
}

/* The buffer keeps its memory only while more requests wait in it. */
static void drop(struct rpc_http1 *http1, size_t n)
{
    http1->in.len -= n;
    http1->scanned = http1->line_begin = 0;
    if (http1->in.len > 0)
        memmove(http1->in.data, http1->in.data + n, http1->in.len);
    else
        ltd_bytes_fini(&http1->in);
}

enum rpc_http1_next rpc_http1_next(struct rpc_http1 *http1, const struct rpc_shared *shared,
                                   const struct rpc_peer *peer, struct ltd_bytes *out)
{
    struct head head = {0};
    int n = find_end(http1);
    if (n == 0)
        return RPC_HTTP1_MORE;
    if (n < 0)
        head.refused = -n;
    else
        parse_head((const char *)http1->in.data, (size_t)n, &head);
    if (head.refused) {
        put_refusal(out, head.refused);
        return RPC_HTTP1_LAST;
    }
    put_page(out, &head, shared, peer);
    drop(http1, (size_t)n);
    return head.keep_alive ? RPC_HTTP1_ANSWERED : RPC_HTTP1_LAST;
}
