/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/machine.h - the comment lines that every result begins with: date, commit, command,
 * machine, and how busy it was. Figures without them are worth nothing a week later.
 */
#ifndef LATENTD_BENCH_MACHINE_H
#define LATENTD_BENCH_MACHINE_H

/* To standard output; argv as main has it, the program by its last name. */
void bench_print_machine(int argc, char *const *argv);

#endif
