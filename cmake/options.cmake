# Flags that every layer shares. Kernels add their own in kernels/CMakeLists.txt.
add_compile_definitions(_GNU_SOURCE)
add_compile_options(-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
                    -Wcast-align -Wvla -Wundef -Wformat=2 -Werror -fno-common)
# One answer: a compiler that may contract or reorder floating-point sums would give another answer
# in every build, so neither is ever allowed (docs/numerics.md).
add_compile_options(-ffp-contract=off -fno-fast-math)
add_compile_options(-g)

if(LATENTD_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "LATENTD_FUZZ needs clang, found ${CMAKE_C_COMPILER_ID} (cmake --preset fuzz)")
  endif()
  # Every layer tells the fuzzer where it has been; only the targets bring its main function.
  # Warnings are gcc's business, with the flags above; clang has others of the same names.
  add_compile_options(-fsanitize=fuzzer-no-link -Wno-error -Wno-cast-align -Wno-switch)
endif()
if(LATENTD_SANITIZE)
  add_compile_options(-fsanitize=${LATENTD_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${LATENTD_SANITIZE})
else()
  add_compile_options(-fstack-protector-strong)
  add_link_options(-Wl,-z,relro,-z,now)
endif()
