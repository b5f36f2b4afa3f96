/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/page.c - see rpc/page.h. What HTTP/1.1 and HTTP/2 have in common. */
#include "rpc/page.h"

#include <string.h>

#include "rpc/authorize.h"
#include "rpc/conn.h"
#include "rpc/server.h"

static bool equals(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

const struct rpc_page *rpc_page_find(const struct rpc_shared *shared, const char *path, size_t len)
{
    const char *query = memchr(path, '?', len);
    if (query)
        len = (size_t)(query - path);
    for (size_t i = 0; i < shared->n_pages; i++)
        if (equals(path, len, shared->pages[i].path))
            return &shared->pages[i];
    return NULL;
}

/* 0 when the page may be seen, else the HTTP status of the refusal. */
static int refusal(const struct rpc_shared *shared, const struct rpc_page *page,
                   const struct rpc_page_request *request)
{
    struct rpc_question question = {.peer = request->peer, .rights = page->rights};
    struct rpc_identity who = {0};
    struct ltd_err err = {0};
    if (page->rights == 0 || !shared->authorize)
        return 0;
    question.bearer =
        rpc_bearer_token(request->authorization, request->authorization_len, &question.bearer_len);
    if (shared->authorize(shared->authorize_arg, &question, &who, &err) == 0)
        return 0;
    return err.code == LTD_E_UNAUTHENTICATED ? 401 : 403;
}

static void fail(struct rpc_page_answer *out, int status, const char *text)
{
    ltd_bytes_clear(&out->body);
    out->status = status;
    out->content_type = "text/plain; charset=utf-8";
    ltd_bytes_put_str(&out->body, text);
}

void rpc_page_make(const struct rpc_shared *shared, const struct rpc_page_request *request,
                   struct rpc_page_answer *out)
{
    *out = (struct rpc_page_answer){.status = 200, .content_type = "text/plain; charset=utf-8"};
    ltd_bytes_init(&out->body);
    const struct rpc_page *page = rpc_page_find(shared, request->path, request->path_len);
    bool is_read = equals(request->method, request->method_len, "GET") ||
                   equals(request->method, request->method_len, "HEAD");
    int refused = page && is_read ? refusal(shared, page, request) : 0;
    if (!page)
        fail(out, 404, "there is no such page\n");
    else if (!is_read)
        fail(out, 405, "pages are read with GET or HEAD\n");
    else if (refused == 401)
        fail(out, 401, "this page is for those who show a token that is known\n");
    else if (refused)
        fail(out, 403, "the caller has no right to this page\n");
    else
        page->make(page->arg, out);
    if (out->body.failed)
        fail(out, 500, "no memory for the page\n");
}

void rpc_page_answer_fini(struct rpc_page_answer *answer)
{
    ltd_bytes_fini(&answer->body);
}
