/* SPDX-License-Identifier: Apache-2.0 */
/* cli/credentials.c - see cli/credentials.h. */
#include "cli/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A variable that is set to nothing is not set. */
static const char *from_environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/*
 * A regular file that everybody may read is a token that everybody has. Pipes and devices have no
 * such bits that mean anything.
 */
static int refuse_public(int fd, const char *what, struct ltd_err *err)
{
    struct stat about;
    if (fstat(fd, &about) != 0)
        return ltd_fail(err, LTD_E_INVALID, "%s: %s", what, strerror(errno));
    if (S_ISREG(about.st_mode) && (about.st_mode & (S_IROTH | S_IWOTH)))
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: everybody can read or write it (mode %03o), expected 600", what,
                        (unsigned)about.st_mode & 0777);
    return 0;
}

static int read_token_file(const char *path, const char *who, struct cli_credentials *out,
                           struct ltd_err *err)
{
    char what[256];
    snprintf(what, sizeof what, "%s: %.200s", who, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ltd_fail(err, LTD_E_INVALID, "%s: %s", what, strerror(errno));
    int rc = refuse_public(fd, what, err);
    if (rc == 0)
        rc = cli_token_read(fd, what, out->token, err);
    close(fd);
    return rc;
}

static int read_token(const struct cli_common *common, struct cli_credentials *out,
                      struct ltd_err *err)
{
    const char *text = from_environment("LATENTD_TOKEN");
    const char *path = from_environment("LATENTD_TOKEN_FILE");
    if (common->token_file)
        return read_token_file(common->token_file, "--token-file", out, err);
    if (text) {
        if (cli_token_check(text, "$LATENTD_TOKEN", err) != 0)
            return -1;
        snprintf(out->token, sizeof out->token, "%s", text);
        return 0;
    }
    return path ? read_token_file(path, "$LATENTD_TOKEN_FILE", out, err) : 0;
}

int cli_credentials_read(struct cli_credentials *out, const struct cli_common *common,
                         const char *address, struct ltd_err *err)
{
    bool is_tls = strncmp(address, "tls:", strlen("tls:")) == 0;
    const struct {
        const char *given, *variable, **to;
    } files[] = {
        {common->tls_ca, "LATENTD_TLS_CA", &out->options.ca_file},
        {common->tls_cert, "LATENTD_TLS_CERT", &out->options.certificate_file},
        {common->tls_key, "LATENTD_TLS_KEY", &out->options.key_file},
        {common->tls_name, "LATENTD_TLS_NAME", &out->options.server_name},
    };
    *out = (struct cli_credentials){.options = {0}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        *files[i].to = files[i].given ? files[i].given
                       : is_tls       ? from_environment(files[i].variable)
                                      : NULL;
    if (read_token(common, out, err) != 0)
        return -1;
    out->options.token = out->token[0] ? out->token : NULL;
    return 0;
}

void cli_credentials_wipe(struct cli_credentials *credentials)
{
    explicit_bzero(credentials->token, sizeof credentials->token);
    credentials->options.token = NULL;
}
