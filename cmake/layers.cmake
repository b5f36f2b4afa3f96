# latentd_layer(NAME SOURCES ... LINKS ... PRIVATE ...): the static library of one layer.
#   LINKS    layers below it and libraries that its headers show
#   PRIVATE  libraries that only its .c files use
function(latentd_layer name)
  cmake_parse_arguments(L "" "" "SOURCES;LINKS;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${L_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  target_link_libraries(${name} PUBLIC ${L_LINKS} PRIVATE ${L_PRIVATE})
endfunction()

# latentd_test(NAME SOURCES ... LINKS ... ARGS ... LABELS ...): one cmocka program, run by ctest.
function(latentd_test name)
  cmake_parse_arguments(T "" "" "SOURCES;LINKS;ARGS;LABELS" ${ARGN})
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE ${T_LINKS} PkgConfig::CMOCKA)
  target_compile_definitions(${name} PRIVATE
    TEST_DATA_DIR="${PROJECT_SOURCE_DIR}/tests/data"
    SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name} ${T_ARGS})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600 LABELS "${T_LABELS}")
endfunction()
