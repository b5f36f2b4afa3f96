/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/config_table.c - the rows: every option there is, with its reason.
 *
 * An option exists only if somebody can say when to change it (the `effect` text). Defaults suit a
 * small model on one machine; what depends on the model has default 0, "choose", and the help says
 * how it is chosen. A row that is added here appears in --help and --check-config by itself;
 * docs/configuration.md is made by `latentd --print-options-markdown`, and a test fails while it
 * is not (tests/daemon/test_config.c).
 */
#include "daemon/config_table.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "cluster/shard.h"
#include "kernels/dispatch.h"
#include "model/checkpoint.h"
#include "model/kv.h"
#include "rpc/address.h"

static bool check_address(const char *text, char *why)
{
    struct rpc_address address;
    struct ltd_err err = {0};
    if (rpc_address_parse(text, &address, &err) == 0)
        return true;
    snprintf(why, CONFIG_WHY_BYTES,
             "expected HOST:PORT, [IPV6]:PORT, either behind tls:, or unix:/PATH, with a port in "
             "[0, 65535] (%.*s)",
             240, err.msg);
    return false;
}

static bool check_address_or_none(const char *text, char *why)
{
    return *text == '\0' || check_address(text, why);
}

static bool check_tls_client(const char *text, char *why)
{
    if (strcmp(text, "off") == 0 || strcmp(text, "ask") == 0 || strcmp(text, "require") == 0)
        return true;
    snprintf(why, CONFIG_WHY_BYTES, "expected off, ask or require");
    return false;
}

static bool check_log_level(const char *text, char *why)
{
    enum ltd_log_level level;
    if (ltd_log_level_parse(text, &level))
        return true;
    snprintf(why, CONFIG_WHY_BYTES, "expected error, warning, info, debug or trace");
    return false;
}

static bool check_format(const char *text, char *why)
{
    enum kern_format format;
    if (kern_format_parse(text, &format) == 0)
        return true;
    snprintf(why, CONFIG_WHY_BYTES, "expected f32, bf16, int8 or int4");
    return false;
}

static bool check_early_format(const char *text, char *why)
{
    if (strcmp(text, "none") == 0)
        return true;
    if (check_format(text, why))
        return true;
    snprintf(why, CONFIG_WHY_BYTES, "expected none, f32, bf16, int8 or int4");
    return false;
}

static bool check_weights(const char *text, char *why)
{
    enum model_use use;
    if (model_use_parse(text, &use) == 0)
        return true;
    snprintf(why, CONFIG_WHY_BYTES, "expected auto, mmap or copy");
    return false;
}

static bool check_tier(const char *text, char *why)
{
    struct kern_tier_info info;
    if (strcmp(text, "auto") == 0)
        return true;
    for (int32_t i = 0; i < kern_tier_count(); i++) {
        kern_tier_describe(i, &info);
        if (strcmp(info.name, text) == 0 && info.available)
            return true;
        if (strcmp(info.name, text) == 0) {
            snprintf(why, CONFIG_WHY_BYTES, "expected a tier that this machine can run: %s",
                     info.refusal);
            return false;
        }
    }
    int n = snprintf(why, CONFIG_WHY_BYTES, "expected auto");
    for (int32_t i = 0; i < kern_tier_count() && n < CONFIG_WHY_BYTES; i++) {
        kern_tier_describe(i, &info);
        n += snprintf(why + n, (size_t)(CONFIG_WHY_BYTES - n), " or %s", info.name);
    }
    return false;
}

/* The number of ranks is not known yet; each share is judged, their count is at start. */
static bool check_shares(const char *text, char *why)
{
    double shares[CLUS_MAX_RANKS];
    struct ltd_err err = {0};
    int32_t n = 1;
    for (const char *c = text; *c; c++)
        n += *c == ',';
    if (*text == '\0')
        return true;
    if (n <= CLUS_MAX_RANKS && clus_shares_parse(text, n, shares, &err) == 0)
        return true;
    snprintf(why, CONFIG_WHY_BYTES,
             "expected one positive number per rank, separated by commas (%.*s)", 240,
             n > CLUS_MAX_RANKS ? "too many of them" : err.msg);
    return false;
}

/*
 * The name only: whether N suits the model's recurrent block is known when the model is. One layer
 * divides every N, and any depth will do, so what is refused here is refused for every model.
 */
static bool check_kv_policy(const char *text, char *why)
{
    struct model_kv_policy policy;
    struct ltd_err err = {0};
    if (*text == '\0' || model_kv_policy_parse(text, 1, 1, &policy, &err) == 0)
        return true;
    snprintf(why, CONFIG_WHY_BYTES,
             "expected full, latest-m4, compress-sN, compress-anchor, latest-m4-compress-sN or "
             "latest-m4-compress-anchor (%.*s)",
             200, err.msg);
    return false;
}

static bool check_kv_format(const char *text, char *why)
{
    enum model_kv_format format;
    if (model_kv_format_parse(text, &format, NULL) == 0)
        return true;
    snprintf(why, CONFIG_WHY_BYTES, "expected f32 or bf16");
    return false;
}

static bool check_overlap(const char *text, char *why)
{
    if (strcmp(text, "auto") == 0 || strcmp(text, "on") == 0 || strcmp(text, "off") == 0)
        return true;
    snprintf(why, CONFIG_WHY_BYTES, "expected auto, on or off");
    return false;
}

static bool check_other_numerics(const char *text, char *why)
{
    if (strcmp(text, "wait") == 0 || strcmp(text, "fail") == 0)
        return true;
    snprintf(why, CONFIG_WHY_BYTES, "expected wait or fail");
    return false;
}

static bool check_switch(const char *text, char *why)
{
    if (strcmp(text, "on") == 0 || strcmp(text, "off") == 0)
        return true;
    snprintf(why, CONFIG_WHY_BYTES, "expected on or off");
    return false;
}

#define FIELD(name) #name
#define AT(field)   offsetof(struct config, field)

const struct config_option config_options[] = {
    {FIELD(model), CONFIG_TYPE_TEXT, AT(model), "", "", 0, 0, NULL, "a directory with config.json",
     "--model", "Model and endpoint",
     "Directory of the model: config.json, the safetensors files, and tokenizer.json when there is "
     "one. Its last component is the model's name on the API.",
     "Required. Every rank reads its own rows of the weights from this path, so it must exist on "
     "every host."},
    {FIELD(listen), CONFIG_TYPE_ADDRESSES, AT(listen), "127.0.0.1:7470", "", 0, 0, check_address,
     "HOST:PORT or [IPV6]:PORT, either behind tls:, or unix:/PATH", "--listen",
     "Model and endpoint",
     "Address of the gRPC endpoint; may be given up to 16 times. With tls: in front, TLS alone is "
     "spoken there. Port 0 takes a free port, and the log says which.",
     "Without access_file everybody who reaches an address may do everything: let it listen beyond "
     "the host only on a network whose machines may all use the model. Addresses on the command "
     "line replace those of the file."},
    {FIELD(metrics_listen), CONFIG_TYPE_TEXT, AT(metrics_listen), "", "", 0, 0,
     check_address_or_none, "empty, HOST:PORT or [IPV6]:PORT, either behind tls:, or unix:/PATH",
     NULL, "Model and endpoint",
     "One more address, for the plain pages alone: /metrics, /healthz, /readyz. They are answered "
     "on "
     "every address of listen, too.",
     "When monitoring comes from another network than the callers, or no call may come from "
     "there."},
    {FIELD(tls_certificate), CONFIG_TYPE_TEXT, AT(tls_certificate), "", "", 0, 0, NULL,
     "empty or a PEM file", NULL, "Model and endpoint",
     "The server's certificate for addresses with tls:, and the chain up to its root behind it.",
     "Required with such an address. A handshake with a P-256 key costs less time than one with "
     "RSA. SIGUSR2 reads it, the key and the CA again: replace the files first. An expired "
     "certificate is refused; one that expires while it is in use stays in use."},
    {FIELD(tls_key), CONFIG_TYPE_TEXT, AT(tls_key), "", "", 0, 0, NULL, "empty or a PEM file", NULL,
     "Model and endpoint", "The private key of tls_certificate, without a passphrase.",
     "Required with it. A file that others than its owner may read is refused."},
    {FIELD(tls_client), CONFIG_TYPE_TEXT, AT(tls_client), "off", "", 0, 0, check_tls_client,
     "off, ask or require", NULL, "Model and endpoint",
     "Whether clients show a certificate: not at all, if they have one, or they are not served. "
     "What is shown must be signed by tls_client_ca, and its common name says who calls.",
     "ask, when some callers have a certificate and others a token; require, when nobody else may "
     "even connect."},
    {FIELD(tls_client_ca), CONFIG_TYPE_TEXT, AT(tls_client_ca), "", "", 0, 0, NULL,
     "empty or a PEM file", NULL, "Model and endpoint",
     "Certificates of those who sign clients' certificates; no others are trusted.",
     "Required unless tls_client is off. There are no revocation lists: let clients' certificates "
     "be short-lived."},
    {FIELD(access_file), CONFIG_TYPE_TEXT, AT(access_file), "", "", 0, 0, NULL, "a path", NULL,
     "Model and endpoint",
     "File that says who may use the service: tokens, user ids, certificates, and what each may do "
     "(docs/access.md). Empty: everybody who reaches a listen address may do everything.",
     "Whenever the endpoint can be reached by more than those who may do everything. SIGUSR2 reads "
     "it again."},
    {FIELD(ready_file), CONFIG_TYPE_TEXT, AT(ready_file), "", "", 0, 0, NULL, "a path", NULL,
     "Model and endpoint",
     "File that is written, one real listen address per line, once the service is ready, and "
     "removed when it stops.",
     "For scripts that start a daemon with port 0 and wait for it."},
    {FIELD(log_level), CONFIG_TYPE_TEXT, AT(log_level), "info", "", 0, 0, check_log_level,
     "error, warning, info, debug or trace", "--log-level", "Model and endpoint",
     "Lines of this level and above are written to standard error.",
     "debug adds a few lines per job, trace several per recurrent step. Prompts are only written "
     "at debug."},

    {FIELD(tier), CONFIG_TYPE_TEXT, AT(tier), "auto", "", 0, 0, check_tier,
     "auto or the name of a kernel tier", NULL, "Ranks and kernels",
     "Kernel tier that computes. auto takes the best one that every rank can run with equal bits.",
     "Pin a tier to keep answers byte-identical when a faster machine joins the cluster."},
    {FIELD(format), CONFIG_TYPE_TEXT, AT(format), "f32", "", 0, 0, check_format,
     "f32, bf16, int8 or int4", NULL, "Ranks and kernels",
     "How the weights are held and multiplied: f32; bf16 in half the bytes; int8 in a quarter, "
     "with a scale for each row; int4 in a seventh, with a scale for each 32 weights. tier=auto "
     "takes the best tier that has the format.",
     "A step reads all weights of the recurrent block, so fewer bytes make it faster and need less "
     "memory. It changes answers and is part of what fixes their bytes; docs/numerics.md has how "
     "far each format is from f32. Where the files are BF16, bf16 rounds no weight."},
    {FIELD(early_format), CONFIG_TYPE_TEXT, AT(early_format), "none", "", 0, 0, check_early_format,
     "none, f32, bf16, int8 or int4", NULL, "Ranks and kernels",
     "A second copy of the recurrent block, in this format, for the first steps of each thought; "
     "how many of them, a job says (early_steps). none: one copy.",
     "Early steps forgive more than late ones, so a cheaper format costs little there "
     "(docs/numerics.md#ladder). Both copies are in memory. It changes answers of jobs with early "
     "steps, and of no others."},
    {FIELD(early_steps), CONFIG_TYPE_INT, AT(early_steps), "0", "steps", 0, 4096, NULL, "", NULL,
     "Ranks and kernels",
     "How many steps of each position jobs make with the early copy when they do not say; at most "
     "max_steps.",
     "Needs early_format. It changes answers; each job records how many it was."},
    {FIELD(weights), CONFIG_TYPE_TEXT, AT(weights), "auto", "", 0, 0, check_weights,
     "auto, mmap or copy", NULL, "Ranks and kernels",
     "What becomes of the weights of a packed directory: mmap uses them where they lie in the "
     "file, "
     "where a rank's rows allow it; copy reads them into memory of their own; auto copies small "
     "matrices and uses large ones in place. Other directories are always read into memory.",
     "copy, when the file may be changed or its disk may go away while the service runs. mmap "
     "starts "
     "faster, and ranks on one host share the memory. Answers do not depend on it."},
    {FIELD(threads), CONFIG_TYPE_INT, AT(threads), "0", "threads", 0, 1024, NULL, "", "--threads",
     "Ranks and kernels",
     "Kernel threads of each rank. 0: the processors this process may use, divided by the ranks "
     "on the host.",
     "Lower it to leave processors to other programs. Answers do not depend on it."},
    {FIELD(shares), CONFIG_TYPE_TEXT, AT(shares), "", "", 0, 0, check_shares,
     "one positive number per rank, separated by commas", NULL, "Ranks and kernels",
     "How much of the recurrent block each rank owns, for example 1,1,2. Empty: equal shares.",
     "Give a slow machine a smaller share. Answers do not depend on it."},
    {FIELD(control_interface), CONFIG_TYPE_TEXT, AT(control_interface), "", "", 0, 0, NULL,
     "an address, interface, network or host name", NULL, "Ranks and kernels",
     "Address on which rank 0 accepts the control connections of the other ranks. Empty: loopback "
     "when all ranks are on one host, else rank 0's address on the cluster's network.",
     "Needed when the first network interface that is up, or the one named to Open MPI by "
     "btl_tcp_if_include, is not the one that the other hosts reach."},
    {FIELD(linger_ms), CONFIG_TYPE_NUMBER, AT(linger_ms), "20", "ms", 0, 60000, NULL, "", NULL,
     "Ranks and kernels", "How long ranks wait for the next tick awake before they go to sleep.",
     "Longer saves a wake-up of about 0.1 ms for traffic with gaps, and costs a busy processor per "
     "rank during the gap."},
    {FIELD(overlap), CONFIG_TYPE_TEXT, AT(overlap), "auto", "", 0, 0, check_overlap,
     "auto, on or off", NULL, "Ranks and kernels",
     "Compute prelude, coda and head for some jobs while the ranks take a step for others. auto: "
     "on when the ranks are on several hosts, else off.",
     "On one host both would want the same processors. Answers do not depend on it."},
    {FIELD(tick_record), CONFIG_TYPE_TEXT, AT(tick_record), "", "", 0, 0, NULL, "a path", NULL,
     "Ranks and kernels", "File that receives every tick of the stream to the ranks.",
     "For debugging: the file replays what the ranks did. It grows without limit."},

    {FIELD(max_steps), CONFIG_TYPE_INT, AT(max_steps), "0", "steps", 0, 4096, NULL, "", NULL,
     "Depth and memory",
     "Largest depth that a job may ask for. 0: 64, or twice the model's mean_recurrence if that is "
     "more.",
     "With kv_slots 0 the key-value cache has room for this many steps per position, so memory "
     "grows with it."},
    {FIELD(kv_slots), CONFIG_TYPE_INT, AT(kv_slots), "0", "entries", 0, 4096, NULL, "", NULL,
     "Depth and memory",
     "Key-value entries kept per layer and position; step k uses entry k mod kv_slots. 0: as many "
     "as max_steps, so every step keeps its own.",
     "Small values make memory independent of depth. It changes answers: part of what fixes the "
     "bytes of an answer."},
    {FIELD(kv_policy), CONFIG_TYPE_TEXT, AT(kv_policy), "", "", 0, 0, check_kv_policy,
     "full, latest-m4, compress-sN, compress-anchor, latest-m4-compress-sN or "
     "latest-m4-compress-anchor",
     NULL, "Depth and memory",
     "A published cache policy by name; overrides kv_slots. Empty: kv_slots, and positions that "
     "left early are read at their latest entry.",
     "To reproduce results of the model's authors. It changes answers."},
    {FIELD(kv_format), CONFIG_TYPE_TEXT, AT(kv_format), "f32", "", 0, 0, check_kv_format,
     "f32 or bf16", NULL, "Depth and memory",
     "How keys and values are kept: f32 as they were computed, bf16 rounded to half the bytes.",
     "bf16 holds twice the positions in the same memory and halves what attention reads. Like "
     "kv_slots it changes answers and is part of what fixes their bytes."},
    {FIELD(kv_memory), CONFIG_TYPE_INT, AT(kv_memory), "0", "MiB", 0, 16777216, NULL, "", NULL,
     "Depth and memory",
     "Memory for keys and values of all ranks together. 0: room for max_jobs_running whole "
     "contexts, but at most a quarter of the memory of rank 0's host.",
     "More lets more or longer jobs run at once; pages are only taken from the system when used."},
    {FIELD(kv_pages), CONFIG_TYPE_INT, AT(kv_pages), "0", "pages", 0, 16777216, NULL, "", NULL,
     "Depth and memory",
     "Pages of 16 positions that keys and values of all running jobs share; overrides kv_memory. "
     "0: as many as kv_memory holds.",
     "For tests and for exact capacity plans."},
    {FIELD(kv_cached_memory), CONFIG_TYPE_INT, AT(kv_cached_memory), "64", "MiB", 0, 16777216, NULL,
     "", NULL, "Depth and memory",
     "Of the key-value memory, how much finished jobs may leave filled for later jobs whose "
     "prompts begin with the same tokens. 0: nothing is left.",
     "More spares reading long common beginnings again, and keeps that memory in use while nothing "
     "runs. It takes no page from anybody: jobs that need the room get it. Of no use where steps "
     "share entries (small kv_slots, compress policies): there beginnings are always read again. "
     "Answers do not depend on it."},
    {FIELD(max_batch), CONFIG_TYPE_INT, AT(max_batch), "64", "positions", 1, 4096, NULL, "", NULL,
     "Depth and memory", "Positions that take a recurrent step together.",
     "Larger raises throughput until the step is bound by arithmetic, and the time of one step. "
     "Answers do not depend on it."},
    {FIELD(prefill_chunk), CONFIG_TYPE_INT, AT(prefill_chunk), "32", "positions", 1, 4096, NULL, "",
     NULL, "Depth and memory", "Prompt positions of one job in one tick; at most max_batch.",
     "Smaller keeps the tokens of running jobs flowing while a long prompt is read."},
    {FIELD(prefill_share), CONFIG_TYPE_NUMBER, AT(prefill_share), "0.5", "", 0.01, 0.99, NULL, "",
     NULL, "Depth and memory",
     "How much of their pace jobs that write may lose to prompts that are being read: 0.5 lets a "
     "token take twice the time at most.",
     "Smaller keeps the pace of running jobs, larger lets new ones start sooner. Without running "
     "jobs it does not count."},

    {FIELD(max_jobs_running), CONFIG_TYPE_INT, AT(max_jobs_running), "32", "jobs", 1, 4096, NULL,
     "", NULL, "Jobs", "Jobs that run at once; others wait in the queue.",
     "Raise it together with kv_memory."},
    {FIELD(max_queue), CONFIG_TYPE_INT, AT(max_queue), "256", "jobs", 0, 65536, NULL, "", NULL,
     "Jobs",
     "Jobs that may be unfinished beyond max_jobs_running. One more is refused with "
     "RESOURCE_EXHAUSTED and told when to try again. When half as many wait, jobs that gave a "
     "range of steps are down to its lower end.",
     "A bound on waiting time and memory; clients are expected to retry."},
    {FIELD(priority_ageing_seconds), CONFIG_TYPE_NUMBER, AT(priority_ageing_seconds), "10", "s",
     0.001, 86400, NULL, "", NULL, "Jobs",
     "A priority whose jobs had no turn gains one level per so long, until one has its turn.",
     "Longer makes priorities stricter, shorter lets low ones through sooner. Priority 0 never "
     "gains."},
    {FIELD(held_jobs), CONFIG_TYPE_INT, AT(held_jobs), "8", "jobs", 0, 4096, NULL, "", NULL, "Jobs",
     "Finished jobs whose keys and values are kept, so that Continue goes on at once instead of "
     "reading everything again. The oldest gives way, and all do when a job needs the room.",
     "More for clients that ask for further thought after every answer. Answers do not depend on "
     "it."},
    {FIELD(default_max_tokens), CONFIG_TYPE_INT, AT(default_max_tokens), "0", "tokens", 0, 1048576,
     NULL, "", NULL, "Jobs",
     "max_tokens of a job that does not say. 0: max_new_tokens of generation_config.json, or 256. "
     "A job that does not say never asks for more than its context has room for.",
     "To make short answers the rule."},
    {FIELD(store), CONFIG_TYPE_TEXT, AT(store), "auto", "", 0, 0, NULL, "auto, memory or a path",
     "--store", "Jobs",
     "Where the log of all jobs is kept. A path: a database file that survives the process; jobs "
     "that "
     "were accepted go on after a restart, with the same bytes. memory: jobs end with the process. "
     "auto: jobs.db in the state directory that systemd gives the service, else memory.",
     "One file belongs to one daemon. Put it on a disk that keeps what it was told to keep: a job "
     "is "
     "answered when its log is on that disk."},
    {FIELD(other_numerics), CONFIG_TYPE_TEXT, AT(other_numerics), "wait", "", 0, 0,
     check_other_numerics, "wait or fail", NULL, "Jobs",
     "What becomes of unfinished jobs in the log that were begun with another model, format, "
     "kernel tier or cache policy, or where latentd, the C library or the processor compute with "
     "other bits: their answers would go on with other bytes. wait: they stay as they are until a "
     "daemon serves what they need. fail: they end with an error.",
     "fail where a changed model means that old jobs are of no use any more."},
    {FIELD(finished_jobs_kept), CONFIG_TYPE_INT, AT(finished_jobs_kept), "1000", "jobs", 0, 1000000,
     NULL, "", NULL, "Jobs", "Finished jobs that can still be read; the oldest is forgotten first.",
     "Retention by count."},
    {FIELD(finished_job_seconds), CONFIG_TYPE_NUMBER, AT(finished_job_seconds), "3600", "s", 0,
     31536000, NULL, "", NULL, "Jobs", "How long a finished job can still be read.",
     "Retention by age; request ids are remembered as long as their jobs."},
    {FIELD(finished_jobs_memory), CONFIG_TYPE_INT, AT(finished_jobs_memory), "64", "MiB", 1,
     1048576, NULL, "", NULL, "Jobs",
     "Space that the events of finished jobs may take together, in memory or in the database; the "
     "oldest is forgotten first.",
     "Retention by size: keeps memory, or the file, from growing whatever the jobs write."},

    {FIELD(max_connections), CONFIG_TYPE_INT, AT(max_connections), "1024", "connections", 1, 65536,
     NULL, "", NULL, "Limits", "Client connections at once; one more is closed at once.",
     "Each idle connection costs about 16 KiB and a file descriptor."},
    {FIELD(max_connections_per_address), CONFIG_TYPE_INT, AT(max_connections_per_address), "256",
     "connections", 0, 65536, NULL, "", NULL, "Limits",
     "Connections of one address of another host at once, with IPv6 of one /64 network; one more "
     "is "
     "closed at once. 0: no limit but max_connections.",
     "More when many clients come through one proxy or one address translation."},
    {FIELD(max_connections_local), CONFIG_TYPE_INT, AT(max_connections_local), "0", "connections",
     0, 65536, NULL, "", NULL, "Limits",
     "The same for each loopback address and for each user of a Unix socket. 0: no limit but "
     "max_connections.",
     "On a host whose users do not trust each other."},
    {FIELD(max_calls_per_connection), CONFIG_TYPE_INT, AT(max_calls_per_connection), "100", "calls",
     1, 65536, NULL, "", NULL, "Limits", "Concurrent calls on one connection.",
     "Clients that watch many jobs over one connection need more."},
    {FIELD(max_connection_age_seconds), CONFIG_TYPE_NUMBER, AT(max_connection_age_seconds), "0",
     "s", 0, 31536000, NULL, "", NULL, "Limits",
     "Age at which a connection is asked to end (GOAWAY max_age), a tenth sooner or later. Running "
     "calls go on, clients make new ones on a new connection. 0: never.",
     "Behind a load balancer, so that clients spread again after a change."},
    {FIELD(max_connection_age_grace_seconds), CONFIG_TYPE_NUMBER,
     AT(max_connection_age_grace_seconds), "300", "s", 0.001, 31536000, NULL, "", NULL, "Limits",
     "How long calls may go on after that before they end with UNAVAILABLE. A Watch that is ended "
     "so "
     "is resumed by its client where it was.",
     "Longer when Generate calls take longer."},
    {FIELD(min_ping_seconds), CONFIG_TYPE_NUMBER, AT(min_ping_seconds), "10", "s", 0.001, 86400,
     NULL, "", NULL, "Limits",
     "Clients that send keepalive PINGs sooner than this after each other, with nothing sent to "
     "them in between, are told too_many_pings and disconnected at the third.",
     "Less when clients must notice a dead network sooner; their keepalive time must not be below "
     "it."},
    {FIELD(max_prompt_request_bytes), CONFIG_TYPE_INT, AT(max_prompt_request_bytes), "4194304",
     "bytes", 1024, 16777216, NULL, "", NULL, "Limits",
     "Largest request message of calls that carry a prompt. A larger one is refused with "
     "RESOURCE_EXHAUSTED before it is read.",
     "Only for models with a very long context."},
    {FIELD(max_request_bytes), CONFIG_TYPE_INT, AT(max_request_bytes), "65536", "bytes", 1024,
     16777216, NULL, "", NULL, "Limits", "Largest request message of all other calls.",
     "Never, in practice."},
    {FIELD(drain_seconds), CONFIG_TYPE_NUMBER, AT(drain_seconds), "5", "s", 0, 86400, NULL, "",
     NULL, "Limits",
     "How long running jobs may go on after SIGUSR1, or after SIGTERM without mpirun, before they "
     "are ended with UNAVAILABLE. Under mpirun SIGTERM leaves half a second at most. Where the log "
     "is "
     "durable this is for calls that are bound to their job (Generate, Score); all other jobs are "
     "parked at once, and go on after the restart.",
     "Longer lets more jobs end well, and makes a restart take longer. Set TimeoutStopSec of the "
     "unit above it."},
    {FIELD(test_service), CONFIG_TYPE_TEXT, AT(test_service), "off", "", 0, 0, check_switch,
     "on or off", NULL, "Limits",
     "Serve grpc.testing.TestService, too: what the public gRPC interoperability tests call. "
     "Refused "
     "when an address of listen can be reached from another host.",
     "To point a gRPC client library's own test program at latentd."},
};

const int32_t config_n_options = (int32_t)(sizeof config_options / sizeof *config_options);

const struct config_option *config_option_find(const char *name, size_t len)
{
    for (int32_t i = 0; i < config_n_options; i++)
        if (strlen(config_options[i].name) == len && memcmp(config_options[i].name, name, len) == 0)
            return &config_options[i];
    return NULL;
}

#define NEAR_NAME_BYTES 40 /* the longest option name is 24; longer words are nobody's typo */

/* Changes, insertions and deletions between two words, case and '-'/'_' not counted. */
static int32_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int32_t row[NEAR_NAME_BYTES + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (int32_t)j;
    for (size_t i = 1; i <= a_len; i++) {
        int32_t diagonal = row[0];
        row[0] = (int32_t)i;
        for (size_t j = 1; j <= b_len; j++) {
            char x = a[i - 1] == '-' ? '_' : (char)tolower((unsigned char)a[i - 1]);
            int32_t change = diagonal + (x != b[j - 1]);
            diagonal = row[j];
            int32_t best = row[j - 1] < row[j] ? row[j - 1] + 1 : row[j] + 1;
            row[j] = change < best ? change : best;
        }
    }
    return row[b_len];
}

const struct config_option *config_option_nearest(const char *name, size_t len)
{
    const struct config_option *best = NULL;
    int32_t best_distance = 4; /* three slips of the finger; more is another word */
    if (len > NEAR_NAME_BYTES)
        return NULL;
    for (int32_t i = 0; i < config_n_options; i++) {
        const char *candidate = config_options[i].name;
        int32_t d = distance(name, len, candidate, strlen(candidate));
        if (d < best_distance && (size_t)d < strlen(candidate) - 1) {
            best = &config_options[i];
            best_distance = d;
        }
    }
    return best;
}

void config_option_expected(const struct config_option *option, char *out, size_t size)
{
    const char *unit = option->unit;
    switch (option->type) {
    case CONFIG_TYPE_INT:
        snprintf(out, size, "a whole number in [%.0f, %.0f]%s%s", option->min, option->max,
                 *unit ? " " : "", unit);
        break;
    case CONFIG_TYPE_NUMBER:
        snprintf(out, size, "a number in [%g, %.10g]%s%s", option->min, option->max,
                 *unit ? " " : "", unit);
        break;
    case CONFIG_TYPE_TEXT:
    case CONFIG_TYPE_ADDRESSES:
        snprintf(out, size, "%s", option->expected);
        break;
    }
}
