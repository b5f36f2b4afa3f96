/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/job_given.c - see daemon/job_given.h. */
#include "daemon/job_given.h"

#include <stdio.h>
#include <string.h>

#define DEFAULTS ", max_tokens %d, max_steps %d"
#define EARLY    ", early_steps %d in %15s"

void job_given_put(const char *numerics, const struct job_given *given,
                   char text[JOB_NUMERICS_BYTES])
{
    char early[48] = "";
    if (given->early_steps > 0)
        snprintf(early, sizeof early, ", early_steps %d in %s", given->early_steps,
                 given->early_format);
    snprintf(text, JOB_NUMERICS_BYTES, "%s" DEFAULTS "%s", numerics, given->max_tokens,
             given->max_steps, early);
}

static bool take_early(const char *text, struct job_given *given)
{
    int len = 0;
    return sscanf(text, EARLY "%n", &given->early_steps, given->early_format, &len) == 2 &&
           text[len] == '\0' && given->early_steps > 0;
}

bool job_given_take(const char *text, struct job_given *given)
{
    int len = 0;
    *given = (struct job_given){0};
    if (!*text)
        return true;
    if (sscanf(text, DEFAULTS "%n", &given->max_tokens, &given->max_steps, &len) != 2)
        return false;
    return !text[len] || take_early(text + len, given);
}

int32_t job_early_steps(const struct job *job)
{
    /* It is the last thing of the text, and nothing before it has such a name. */
    const char *at = strstr(job->numerics, ", early_steps ");
    struct job_given given = {0};
    return at && take_early(at, &given) ? given.early_steps : 0;
}
