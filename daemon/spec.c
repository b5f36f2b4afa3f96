/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/spec.c - the end of a spec; it is made in daemon/spec_decode.c. */
#include "daemon/spec.h"

#include <stdlib.h>

void spec_destroy(struct job_spec *spec)
{
    if (!spec)
        return;
    for (int32_t i = 0; i < spec->n_stop; i++)
        free(spec->stop[i].text);
    free(spec->prompt);
    free(spec->known.ids);
    free(spec->known.steps);
    free(spec->wire);
    free(spec);
}
