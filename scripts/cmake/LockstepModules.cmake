# Optional modules, loaded at run time from the folder of the executable: the executable itself
# needs neither a GPU toolkit nor MPI. Included at file scope, as enable_language() must be.
# A module is absent when its folder has no sources yet, when it is switched off, or when its
# toolkit is not found; each of the last two is said once, at configure time.

# lockstep_module(NAME SOURCES files... LIBRARIES libraries...)
function(lockstep_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_library(${name} MODULE ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  target_link_libraries(${name} PRIVATE lockstep_engine_tensor ${ARG_LIBRARIES})
  if(TARGET lockstep)
    add_dependencies(lockstep ${name})
  endif()
endfunction()

file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/engine/device/cuda/*.cu)
file(GLOB cuda_c_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/engine/device/cuda/*.c)
file(GLOB nccl_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/engine/comm/nccl/*.c)
if(cuda_sources AND LOCKSTEP_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    if(NOT CMAKE_CUDA_ARCHITECTURES)
      # Set before enable_language(), which would choose its own. A100 as machine code; H100 as
      # machine code and as PTX, which later GPUs compile when the module is loaded.
      set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
    endif()
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    # What is not needed is not linked: a missing library would keep the module from loading.
    set(cuda_libraries CUDA::cudart_static CUDA::cublasLt ${CMAKE_DL_LIBS})
    find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
    # Only the header: the library is loaded at run time, when several GPUs are used.
    if(NCCL_INCLUDE_DIR)
      list(APPEND cuda_c_sources ${nccl_sources})
      list(APPEND cuda_libraries lockstep_engine_comm)
    else()
      message(STATUS "No nccl.h: ranks on GPUs exchange data through host memory")
    endif()
    lockstep_module(lockstep_cuda SOURCES ${cuda_sources} ${cuda_c_sources}
                    LIBRARIES lockstep_engine_device_common ${cuda_libraries})
    set_target_properties(lockstep_cuda PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON
                          CUDA_RUNTIME_LIBRARY Static
                          BUILD_RPATH "${CUDAToolkit_LIBRARY_DIR}")
    target_compile_options(lockstep_cuda PRIVATE
                           $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>)
    if(LOCKSTEP_WERROR)
      target_compile_options(lockstep_cuda PRIVATE
                             $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
    endif()
    if(NCCL_INCLUDE_DIR)
      target_include_directories(lockstep_cuda SYSTEM PRIVATE ${NCCL_INCLUDE_DIR})
    endif()
  else()
    message(STATUS "No CUDA compiler: the CUDA device is left out")
  endif()
endif()

file(GLOB mpi_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/engine/comm/mpi/*.c)
if(mpi_sources AND LOCKSTEP_MPI)
  find_package(MPI COMPONENTS C)
  if(MPI_C_FOUND)
    lockstep_module(lockstep_mpi SOURCES ${mpi_sources} LIBRARIES lockstep_engine_comm MPI::MPI_C)
  else()
    message(STATUS "No MPI: runs of several ranks on the CPU are left out")
  endif()
endif()
