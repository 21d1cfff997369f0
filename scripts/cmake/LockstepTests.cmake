# Helpers of tests/.

# lockstep_source_words(FILE KEY OUT)
# The words of the lines "/* KEY: word word */" of a C file: a test says there what it needs
# beyond the library of its folder, so that adding one touches no build file.
function(lockstep_source_words file key out)
  file(STRINGS ${file} lines REGEX "^/\\* ${key}: .* \\*/$")
  set(words "")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE "^/\\* ${key}: +(.*[^ ]) +\\*/$" "\\1" line "${line}")
    string(REGEX REPLACE "[ ,]+" ";" line "${line}")
    list(APPEND words ${line})
  endforeach()
  if(words)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  endif()
  set(${out} "${words}" PARENT_SCOPE)
endfunction()

# lockstep_test(NAME LABELS labels... COMMAND command...)
# add_test() with the limits and the environment that every test of this project runs under.
function(lockstep_test name)
  cmake_parse_arguments(ARG "" "" "LABELS;COMMAND" ${ARGN})
  add_test(NAME ${name} COMMAND ${ARG_COMMAND})
  set(environment LC_ALL=C.UTF-8 OMP_WAIT_POLICY=passive)
  if(LOCKSTEP_SANITIZE MATCHES "thread")
    # The OpenMP library is not instrumented: its threads would be reported.
    list(APPEND environment OMP_NUM_THREADS=1
         TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1)
  elseif(LOCKSTEP_SANITIZE)
    list(APPEND environment UBSAN_OPTIONS=print_stacktrace=1
         ASAN_OPTIONS=detect_stack_use_after_return=1:allocator_may_return_null=1)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT 600 LABELS "${ARG_LABELS}"
                       ENVIRONMENT "${environment}")
endfunction()

# lockstep_test_definitions(TARGET): the paths that a test may use.
function(lockstep_test_definitions target)
  target_compile_definitions(${target} PRIVATE LOCKSTEP_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                             LOCKSTEP_TEST_DATA="${CMAKE_SOURCE_DIR}/tests/data")
  if(TARGET lockstep)
    target_compile_definitions(${target} PRIVATE LOCKSTEP_BINARY="$<TARGET_FILE:lockstep>")
  endif()
endfunction()
