# Tests of the engine and its parts; included by tests/daemon/CMakeLists.txt.
latentd_test(test_idpool SOURCES test_idpool.c LINKS daemon_core LABELS unit)
latentd_test(test_pages SOURCES test_pages.c LINKS daemon_core LABELS unit)
latentd_test(test_textout SOURCES test_textout.c LINKS daemon_core LABELS unit)
latentd_test(test_engine SOURCES test_engine.c engine_rig.c LINKS daemon_core LABELS "unit;threads")
# The threads are those of test_engine: not once more under the thread sanitizer, where it takes minutes.
latentd_test(test_engine_depth SOURCES test_engine_depth.c engine_rig.c LINKS daemon_core LABELS unit)
latentd_test(test_engine_fuzz SOURCES test_engine_fuzz.c engine_rig.c LINKS daemon_core LABELS unit)
latentd_test(test_engine_places SOURCES test_engine_places.c engine_rig.c LINKS daemon_core LABELS unit)
latentd_test(test_engine_restart SOURCES test_engine_restart.c engine_rig.c LINKS daemon_core LABELS unit)
# It starts MPI in its own process, so leaks that Open MPI leaves at exit are to be told from ours.
set(e2e_dir ${PROJECT_SOURCE_DIR}/tests/e2e)
set_tests_properties(test_engine test_engine_depth test_engine_fuzz test_engine_places
                     test_engine_restart PROPERTIES ENVIRONMENT
  "ASAN_OPTIONS=detect_leaks=1:fast_unwind_on_malloc=0;LSAN_OPTIONS=suppressions=${e2e_dir}/lsan.supp:print_suppressions=0;TSAN_OPTIONS=suppressions=${e2e_dir}/tsan.supp")
