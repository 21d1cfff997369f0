# Builds the files of configs/ into a library, so that the program works from anywhere.
#
#   include(embed)
#   lockstep_embed_configs(TARGET)
#
# The same file, run as a script, writes the C source:
#   cmake -DROOT=<source folder> -DOUTPUT=<file.c> -P embed.cmake
if(CMAKE_SCRIPT_MODE_FILE)
  file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/configs/*.yaml)
  list(SORT files)
  set(arrays "")
  set(rows "")
  set(count 0)
  foreach(path IN LISTS files)
    file(READ ${ROOT}/${path} bytes HEX)
    string(REGEX REPLACE "(................................)" "\\1\n    " bytes "${bytes}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
    string(APPEND arrays "static const unsigned char text_${count}[] = {\n    ${bytes}0};\n")
    string(APPEND rows "    {\"${path}\", (const char *)text_${count}, sizeof(text_${count}) - 1},\n")
    math(EXPR count "${count} + 1")
  endforeach()
  file(WRITE ${OUTPUT} "/* Made from configs/ by embed.cmake. */\n"
       "#include \"engine/config/search.h\"\n\n${arrays}\n"
       "const struct embedded_file embedded_configs[] = {\n${rows}};\n"
       "const int embedded_config_count = ${count};\n")
  return()
endif()

function(lockstep_embed_configs target)
  set(script ${CMAKE_SOURCE_DIR}/scripts/cmake/embed.cmake)
  set(output ${CMAKE_BINARY_DIR}/embedded_configs.c)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/configs/*.yaml)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DROOT=${CMAKE_SOURCE_DIR} -DOUTPUT=${output} -P ${script}
    DEPENDS ${files} ${script}
    COMMENT "Building configs/ in")
  target_sources(${target} PRIVATE ${output})
endfunction()
