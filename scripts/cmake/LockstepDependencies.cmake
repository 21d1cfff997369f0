# Libraries. Needed: libyaml, libcyaml, jansson, ncurses, OpenBLAS (OpenMP flavour).
# Optional: oneDNN (bf16 matrix units), readline, OpenMP, CUDA, NCCL, MPI.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(CYAML REQUIRED IMPORTED_TARGET libcyaml>=1.3.1)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(NCURSES REQUIRED IMPORTED_TARGET ncursesw)
set(LOCKSTEP_YAML_LIBRARIES PkgConfig::CYAML PkgConfig::YAML)
set(LOCKSTEP_JSON_LIBRARIES PkgConfig::JANSSON)
set(LOCKSTEP_UI_LIBRARIES PkgConfig::NCURSES Threads::Threads)

# The OpenMP flavour shares one thread pool with our own loops; the pthread flavour would
# spin a second pool against them.
find_library(OPENBLAS_LIBRARY NAMES libopenblas.so.0 openblas
             PATHS /usr/lib/${CMAKE_C_LIBRARY_ARCHITECTURE}/openblas-openmp NO_DEFAULT_PATH)
if(NOT OPENBLAS_LIBRARY)
  find_library(OPENBLAS_LIBRARY NAMES openblas REQUIRED)
endif()
find_path(OPENBLAS_INCLUDE_DIR cblas.h
          PATHS /usr/include/${CMAKE_C_LIBRARY_ARCHITECTURE}/openblas-openmp
          PATH_SUFFIXES openblas REQUIRED)
add_library(lockstep_openblas INTERFACE)
target_include_directories(lockstep_openblas SYSTEM INTERFACE ${OPENBLAS_INCLUDE_DIR})
target_link_libraries(lockstep_openblas INTERFACE ${OPENBLAS_LIBRARY} m)
set(LOCKSTEP_CPU_LIBRARIES lockstep_openblas)

find_library(DNNL_LIBRARY dnnl)
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.h)
if(DNNL_LIBRARY AND DNNL_INCLUDE_DIR)
  set(LOCKSTEP_HAVE_DNNL ON)
  list(APPEND LOCKSTEP_CPU_LIBRARIES ${DNNL_LIBRARY})
  add_compile_definitions(LOCKSTEP_HAVE_DNNL=1)
endif()

if(LOCKSTEP_OPENMP)
  find_package(OpenMP COMPONENTS C)
  if(OpenMP_C_FOUND)
    list(APPEND LOCKSTEP_CPU_LIBRARIES OpenMP::OpenMP_C)
    set(LOCKSTEP_OPENMP_LIBRARIES OpenMP::OpenMP_C)
  endif()
endif()

if(LOCKSTEP_READLINE)
  find_library(READLINE_LIBRARY readline)
  find_path(READLINE_INCLUDE_DIR readline/readline.h)
  if(READLINE_LIBRARY AND READLINE_INCLUDE_DIR)
    list(APPEND LOCKSTEP_UI_LIBRARIES ${READLINE_LIBRARY})
    add_compile_definitions(LOCKSTEP_HAVE_READLINE=1)
  endif()
endif()
