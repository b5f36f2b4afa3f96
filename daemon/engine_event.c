/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/engine_event.c - see daemon/engine_event.h. */
#include "daemon/engine_event.h"

#include <stdlib.h>

void engine_event_destroy(struct engine_event *event)
{
    if (!event)
        return;
    free(event->text);
    free(event->score_logprobs);
    free(event->score_greedy);
    free(event->score_steps);
    free(event);
}
