/* SPDX-License-Identifier: Apache-2.0 */
/* bench/machine.c - see bench/machine.h. */
#include "bench/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The rest of the first line of /proc/cpuinfo that begins with `key`. */
static void print_cpu(const char *key)
{
    char line[512];
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        char *value = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !value)
            continue;
        printf("# machine:%s", value + 1);
        break;
    }
    if (f)
        fclose(f);
}

/* What one core has for itself, as the kernel writes it: "512K". */
static void print_l2(void)
{
    char size[32] = "";
    FILE *f = fopen("/sys/devices/system/cpu/cpu0/cache/index2/size", "r");
    if (f && fgets(size, sizeof size, f))
        printf("# level-2 cache of a core: %s", size);
    if (f)
        fclose(f);
}

void bench_print_machine(int argc, char *const *argv)
{
    char date[32];
    double load[1] = {0};
    time_t now = time(NULL);
    const char *name = strrchr(argv[0], '/');
    strftime(date, sizeof date, "%Y-%m-%d", gmtime(&now));
    printf("# date: %s\n# commit: %s\n# command: %s", date, BENCH_COMMIT,
           name ? name + 1 : argv[0]);
    for (int i = 1; i < argc; i++)
        printf(" %s", argv[i]);
    printf("\n");
    print_cpu("model name");
    print_l2();
    printf("# processors: %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
    if (getloadavg(load, 1) > 0)
        printf("# load before: %.1f (what else the machine was doing)\n", load[0]);
}
