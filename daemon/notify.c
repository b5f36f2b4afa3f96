/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/notify.c - see daemon/notify.h. A failed datagram is nobody's emergency: not reported. */
#include "daemon/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <systemd/sd-daemon.h>

void notify_ready(const char *status)
{
    sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void notify_status(const char *status)
{
    sd_notifyf(0, "STATUS=%s", status);
}

void notify_stopping(void)
{
    sd_notify(0, "STOPPING=1\nSTATUS=draining");
}

void notify_watchdog(void)
{
    sd_notify(0, "WATCHDOG=1");
}

void notify_extend_timeout(uint32_t seconds)
{
    sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%" PRIu64, (uint64_t)seconds * 1000000u);
}

uint64_t notify_watchdog_usec(void)
{
    const char *text = getenv("WATCHDOG_USEC");
    char *end;
    if (!text || *text < '0' || *text > '9')
        return 0;
    errno = 0;
    unsigned long long usec = strtoull(text, &end, 10);
    return *end || errno ? 0 : usec;
}
