/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/verbs.c - the table of verbs and the options that all of them share; see cli/verb.h.
 */
#include "cli/verb.h"

#include <string.h>

const struct cli_verb *const cli_verbs[] = {
    &cli_think,  &cli_submit, &cli_continue, &cli_watch,      &cli_result, &cli_jobs, &cli_priority,
    &cli_cancel, &cli_delete, &cli_tokenize, &cli_detokenize, &cli_score,  &cli_info, &cli_top,
    &cli_health, &cli_drain,  &cli_store,    &cli_token,      &cli_eval,   &cli_plan,
};

const size_t cli_n_verbs = sizeof cli_verbs / sizeof cli_verbs[0];

#define ROW(field) offsetof(struct cli_common, field)

const struct cli_option cli_common_rows[] = {
    {"server", CLI_TEXT, ROW(server), "ADDRESS",
     "HOST:PORT, tls:HOST:PORT or unix:PATH of the daemon; without it $LATENTD_SERVER, "
     "else " CLI_DEFAULT_SERVER},
    {"json", CLI_FLAG, ROW(json), NULL, "print JSON on standard output"},
    {"timeout", CLI_NUMBER, ROW(timeout_s), "SECONDS",
     "give up after this long, 0 for never; see the manual for each verb's default"},
    {"no-retry", CLI_FLAG, ROW(no_retry), NULL,
     "fail at once when the service is away; without it that is waited out, for 30 s where there "
     "is "
     "no time limit, for ever where a job is followed"},
    {"verbose", CLI_FLAG, ROW(verbose), NULL,
     "say on standard error when the service is away and when it is back"},
    {"tls-ca", CLI_TEXT, ROW(tls_ca), "FILE",
     "with tls: who signs the daemon's certificate, PEM; without it $LATENTD_TLS_CA, else those "
     "that "
     "this system trusts"},
    {"tls-cert", CLI_TEXT, ROW(tls_cert), "FILE",
     "with tls: the certificate that this end shows, PEM, its chain behind it; without it "
     "$LATENTD_TLS_CERT, else none"},
    {"tls-key", CLI_TEXT, ROW(tls_key), "FILE",
     "with tls: the key of that certificate, PEM, a file that only its owner can read; without it "
     "$LATENTD_TLS_KEY"},
    {"tls-name", CLI_TEXT, ROW(tls_name), "NAME",
     "with tls: the name that the daemon's certificate must have; without it "
     "$LATENTD_TLS_NAME, else HOST"},
    {"token-file", CLI_TEXT, ROW(token_file), "FILE",
     "the access token is in this file; without it $LATENTD_TOKEN, else the file "
     "$LATENTD_TOKEN_FILE, else there is none"},
    {"help", CLI_FLAG, ROW(help), NULL, "print this and exit"},
};

_Static_assert(sizeof cli_common_rows / sizeof cli_common_rows[0] == CLI_N_COMMON_ROWS,
               "CLI_N_COMMON_ROWS counts the rows");

const struct cli_verb *cli_verb_find(const char *name)
{
    for (size_t i = 0; i < cli_n_verbs; i++)
        if (strcmp(cli_verbs[i]->name, name) == 0)
            return cli_verbs[i];
    return NULL;
}

const struct cli_verb *cli_verb_nearest(const char *name)
{
    const struct cli_verb *nearest = NULL;
    size_t distance = CLI_NEAREST_MAX + 1;
    for (size_t i = 0; i < cli_n_verbs; i++)
        if (cli_nearest_better(name, strlen(name), cli_verbs[i]->name, &distance))
            nearest = cli_verbs[i];
    return nearest;
}
