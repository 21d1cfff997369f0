# Build options, warnings and sanitizers. Presets in CMakePresets.json set these.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

option(LOCKSTEP_TESTS "Build the tests" ON)
option(LOCKSTEP_WERROR "Treat warnings as errors" OFF)
option(LOCKSTEP_READLINE "Use GNU Readline (GPL-3+) for the prompt" ON)
option(LOCKSTEP_OPENMP "Use OpenMP threads in CPU kernels" ON)
option(LOCKSTEP_CUDA "Build the CUDA device when the toolkit is found" ON)
option(LOCKSTEP_MPI "Build the MPI communicator when MPI is found" ON)
option(LOCKSTEP_FUZZ "Build the fuzzers (clang only)" OFF)
set(LOCKSTEP_SANITIZE "" CACHE STRING "Sanitizers, for example address,undefined or thread")
option(LOCKSTEP_COVERAGE "Instrument for coverage" OFF)

add_compile_definitions(_GNU_SOURCE)
add_compile_options(
  $<$<COMPILE_LANGUAGE:C>:-Wall> $<$<COMPILE_LANGUAGE:C>:-Wextra>
  $<$<COMPILE_LANGUAGE:C>:-Wpedantic> $<$<COMPILE_LANGUAGE:C>:-Wshadow>
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
  $<$<COMPILE_LANGUAGE:C>:-Wvla> $<$<COMPILE_LANGUAGE:C>:-Wundef>
  $<$<COMPILE_LANGUAGE:C>:-Wwrite-strings> $<$<COMPILE_LANGUAGE:C>:-Wformat=2>)
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
  # Not about the source: clang reports each "omp simd" loop that it could not vectorise, of which
  # there are many without optimisation or under a sanitizer.
  add_compile_options($<$<COMPILE_LANGUAGE:C>:-Wno-pass-failed>)
endif()
if(LOCKSTEP_WERROR)
  add_compile_options($<$<COMPILE_LANGUAGE:C>:-Werror>)
endif()
if(NOT LOCKSTEP_OPENMP)
  add_compile_options($<$<COMPILE_LANGUAGE:C>:-Wno-unknown-pragmas>)
endif()

if(LOCKSTEP_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "LOCKSTEP_FUZZ needs clang (libFuzzer): configure with CC=clang")
  endif()
  # The libraries are instrumented here; only the fuzzers link libFuzzer's main.
  add_compile_options($<$<COMPILE_LANGUAGE:C>:-fsanitize=fuzzer-no-link>)
endif()
if(LOCKSTEP_SANITIZE)
  # no-recover: a finding of the undefined behaviour sanitizer must fail the test, not scroll by.
  add_compile_options($<$<COMPILE_LANGUAGE:C>:-fsanitize=${LOCKSTEP_SANITIZE}>
                      $<$<COMPILE_LANGUAGE:C>:-fno-sanitize-recover=all>
                      $<$<COMPILE_LANGUAGE:C>:-fno-omit-frame-pointer>)
  add_link_options(-fsanitize=${LOCKSTEP_SANITIZE})
endif()
if(LOCKSTEP_COVERAGE)
  add_compile_options($<$<COMPILE_LANGUAGE:C>:--coverage>)
  add_link_options(--coverage)
endif()
