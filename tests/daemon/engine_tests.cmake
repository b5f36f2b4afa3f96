# Tests of the engine and its parts; included by tests/daemon/CMakeLists.txt.
latentd_test(test_idpool SOURCES test_idpool.c LINKS daemon_core LABELS unit)
latentd_test(test_textout SOURCES test_textout.c LINKS daemon_core LABELS unit)
latentd_test(test_engine SOURCES test_engine.c LINKS daemon_core LABELS "unit;threads")
