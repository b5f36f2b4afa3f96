# Tests of the scheduler, which needs nothing above base/.
latentd_test(test_sched_cost SOURCES test_sched_cost.c LINKS sched m LABELS unit)
latentd_test(test_sched SOURCES test_sched.c LINKS sched LABELS unit)
latentd_test(test_sched_sim SOURCES test_sched_sim.c sched_sim.c LINKS sched m LABELS unit)
