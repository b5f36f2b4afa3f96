/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/startup.c - see daemon/startup.h. */
#include "daemon/startup.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "daemon/store_tool.h"
#include "daemon/tls_options.h"

#define GUARD "LATENTD_LIBRARIES_TAMED"

/*
 * A team that is used again at once should stay awake, an idle one must sleep. Alone on a machine
 * about 10 us of spinning serve both. Beside other ranks even that is too much: with 3 ranks x 2
 * threads on 2 cores a tick took 27-30 ms with this spinning and 0.9-3 ms without any (and seconds
 * with the library's own default), because a thread that spins keeps the one it waits for from
 * running.
 */
static void tame_openmp(void)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY"))
        return;
    const char *n_local = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    if (n_local && atoi(n_local) > 1)
        setenv("OMP_WAIT_POLICY", "passive", 1);
    else
        setenv("GOMP_SPINCOUNT", "5000", 1);
}

void startup_tame_libraries(char *const *argv)
{
    char self[PATH_MAX];
    if (getenv(GUARD))
        return;
    setenv(GUARD, "1", 1);
    tame_openmp();
    setenv("OPENBLAS_NUM_THREADS", "1", 0);
    /* By its own name, so that ps and pgrep show it. */
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = '\0';
        execv(self, argv);
    }
    /* Without /proc the program runs as well, it only wakes and spins more. */
}

static void end_at_once(int signum)
{
    (void)signum;
    _exit(EXIT_ORDER);
}

void startup_set_signals(void)
{
    static const int stops[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
        signal(stops[i], end_at_once);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
}

void startup_ignore_signals(void)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
}

/* What `latentctl store` runs. Unlike a daemon that does not start, a tool ends with the status that
 * stands for its error. */
static int run_store_tool(enum config_action action, const char *path)
{
    struct ltd_err err = {0};
    int rc = action == CONFIG_STORE_CHECK    ? store_tool_check(path, stdout, &err)
             : action == CONFIG_STORE_VACUUM ? store_tool_vacuum(path, stdout, &err)
                                             : store_tool_export(path, stdout, &err);
    if (rc == 0 && fflush(stdout) == 0)
        return EXIT_ORDER;
    fprintf(stderr, "latentd: %s\n", err.code != LTD_OK ? err.msg : "standard output is closed");
    return err.code != LTD_OK ? ltd_code_exit_status(err.code) : EXIT_FAILED;
}

static void print(struct ltd_bytes *text, FILE *to)
{
    fwrite(text->data, 1, text->len, to);
    ltd_bytes_fini(text);
}

/* What a start would read besides the model; run as the user that the service runs as. */
static bool check_files(const struct config *config)
{
    struct ltd_err err = {0};
    struct rpc_tls *tls;
    if (tls_options_open(config, &tls, &err) != 0)
        fprintf(stderr, "tls_certificate: %s\n", err.msg);
    rpc_tls_destroy(tls);
    return err.code == LTD_OK;
}

bool startup_answer(enum config_action action, const struct config *config,
                    const struct config_report *report, int *status)
{
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    *status = report->n_mistakes ? EXIT_REFUSED : EXIT_ORDER;
    if (report->n_mistakes) {
        /* Under mpirun this is printed by rank 0 alone, behind the handshake. */
        if (action == CONFIG_RUN)
            return false;
        fwrite(report->text.data, 1, report->text.len, stderr);
        return true;
    }
    if (action == CONFIG_CHECK && !check_files(config)) {
        *status = EXIT_REFUSED;
        return true;
    }
    switch (action) {
    case CONFIG_RUN:
        return false;
    case CONFIG_CHECK:
        ltd_bytes_put_str(&text, "configuration is valid\n");
        config_print_values(config, &text);
        break;
    case CONFIG_HELP:
        config_print_help(&text);
        break;
    case CONFIG_VERSION:
        ltd_bytes_put_str(&text, "latentd " LATENTD_VERSION "\n");
        break;
    case CONFIG_MARKDOWN:
        config_print_markdown(&text);
        break;
    case CONFIG_MANUAL:
        config_print_manual(&text);
        break;
    case CONFIG_STORE_CHECK:
    case CONFIG_STORE_VACUUM:
    case CONFIG_STORE_EXPORT:
        *status = run_store_tool(action, config->store_path);
        break;
    }
    print(&text, stdout);
    return true;
}

int startup_exit_status(enum ltd_code code)
{
    switch (code) {
    case LTD_OK:
        return EXIT_ORDER;
    case LTD_E_INVALID:
    case LTD_E_NOT_FOUND:
    case LTD_E_CORRUPT:
    case LTD_E_UNIMPLEMENTED:
        return EXIT_REFUSED;
    case LTD_E_RANK:
    case LTD_E_PEER:
        return EXIT_LOST;
    case LTD_E_CANCELLED:
    case LTD_E_DEADLINE:
    case LTD_E_EXISTS:
    case LTD_E_EXHAUSTED:
    case LTD_E_PRECONDITION:
    case LTD_E_RANGE:
    case LTD_E_UNAUTHENTICATED:
    case LTD_E_PERMISSION:
    case LTD_E_UNAVAILABLE:
    case LTD_E_INTERNAL:
    case LTD_N_CODES:
        break;
    }
    return EXIT_FAILED;
}
