# The inner loops under kernel/ are compiled once per instruction set and chosen when the device
# is opened; they are -O3 whatever the build type, since a step without it takes minutes.
# No -ffast-math: these loops must see NaN and infinity.
set(LOCKSTEP_KERNEL_OPTIONS -O3 -fopenmp-simd -fno-math-errno -fno-trapping-math
                            -ffp-contract=fast)
# The address sanitizer's stand-in for the stack is aligned to less than a vector of 64 bytes, which
# gcc does not know when it spills one there.
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  list(APPEND LOCKSTEP_KERNEL_OPTIONS "SHELL:--param asan-use-after-return=0")
endif()
target_compile_options(lockstep_engine_device_cpu PRIVATE -O3 -fno-math-errno -fno-trapping-math)

function(lockstep_cpu_kernels variant)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/engine/device/cpu/kernel/*.c)
  set(target lockstep_cpu_kernel_${variant})
  add_library(${target} OBJECT ${sources})
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${target} PRIVATE KERNEL_VARIANT=${variant})
  target_compile_options(${target} PRIVATE ${LOCKSTEP_KERNEL_OPTIONS} ${ARGN})
  target_sources(lockstep_engine_device_cpu PRIVATE $<TARGET_OBJECTS:${target}>)
endfunction()

lockstep_cpu_kernels(generic)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  lockstep_cpu_kernels(avx2 -march=x86-64-v3)
  lockstep_cpu_kernels(avx512 -march=x86-64-v4 -mprefer-vector-width=512)
  target_compile_definitions(lockstep_engine_device_cpu PUBLIC LOCKSTEP_CPU_X86=1)
  include(CheckCCompilerFlag)
  check_c_compiler_flag("-mamx-tile -mamx-bf16" LOCKSTEP_COMPILER_HAS_AMX)
endif()
# Matrix units, in sources of their own: the rest must run on processors without them.
if(LOCKSTEP_COMPILER_HAS_AMX AND CMAKE_SYSTEM_NAME STREQUAL "Linux")
  file(GLOB matrix_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/engine/device/cpu/matrix/*.c)
  add_library(lockstep_cpu_matrix OBJECT ${matrix_sources})
  target_include_directories(lockstep_cpu_matrix PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_options(lockstep_cpu_matrix PRIVATE ${LOCKSTEP_KERNEL_OPTIONS} -march=x86-64-v4
                                                     -mamx-tile -mamx-bf16)
  target_sources(lockstep_engine_device_cpu PRIVATE $<TARGET_OBJECTS:lockstep_cpu_matrix>)
  target_compile_definitions(lockstep_engine_device_cpu PUBLIC LOCKSTEP_CPU_MATRIX=1)
endif()
