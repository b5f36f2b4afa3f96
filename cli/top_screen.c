/* SPDX-License-Identifier: Apache-2.0 */
/* cli/top_screen.c - see cli/top_screen.h. */
#include "cli/top_screen.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/status_text.h"
#include "cli/table.h"

static void put_title(const struct cli_top_view *view, struct ltd_bytes *out)
{
    const Latentd__V1__ClusterStatus *s = view->status;
    char uptime[CLI_UPTIME_BYTES], ranks[64];
    uint64_t n_threads = 0;
    for (size_t i = 0; i < s->n_ranks; i++)
        n_threads += s->ranks[i]->threads;
    ltd_bytes_put_str(out, "latentd ");
    ltd_bytes_put(out, s->version.data, s->version.len);
    ltd_bytes_put_str(out, ", ");
    ltd_bytes_put(out, s->state.data, s->state.len);
    if (view->model) {
        ltd_bytes_put_str(out, " ");
        ltd_bytes_put(out, view->model->name.data, view->model->name.len);
    }
    ltd_bytes_put_str(out, ", up ");
    ltd_bytes_put_str(out, cli_uptime_text(s->uptime_ms, uptime));
    snprintf(ranks, sizeof ranks, ", %zu rank%s, %" PRIu64 " thread%s\n", s->n_ranks,
             s->n_ranks == 1 ? "" : "s", n_threads, n_threads == 1 ? "" : "s");
    ltd_bytes_put_str(out, ranks);
}

/* What the rates are of; or why they are old. */
static void put_interval(const struct cli_top_view *view, struct ltd_bytes *out)
{
    char line[LTD_ERR_MSG_BYTES + 64];
    if (view->failure && view->failure->code != LTD_OK)
        snprintf(line, sizeof line, "no newer status: %s: %s\n", ltd_code_name(view->failure->code),
                 view->failure->msg);
    else if (view->rates->is_since_start)
        snprintf(line, sizeof line, "rates since the daemon's start\n");
    else
        snprintf(line, sizeof line, "rates of the last %.1f s\n", view->rates->seconds);
    ltd_bytes_put_str(out, line);
}

void cli_top_screen(const struct cli_top_view *view, struct ltd_bytes *out)
{
    struct cli_table table;
    put_title(view, out);
    put_interval(view, out);
    ltd_bytes_put_str(out, "\n");
    cli_table_init(&table, "ll");
    cli_status_rows(&table, view->status, view->rates);
    cli_table_put(&table, out);
    cli_table_fini(&table);
    ltd_bytes_put_str(out, "\n");
    cli_depth_table(view->status, out);
}
