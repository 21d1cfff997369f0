# Files that are compiled into a library, so that the program works from anywhere. They are compiled
# again whenever they change.
#
# lockstep_embed(TARGET SYMBOL FILE)
#   The text of FILE (relative to the source tree) as the zero-terminated `const char SYMBOL[]`.
#   Declare it where it is used.
# lockstep_embed_configs(TARGET)
#   All YAML files under configs/ as the table of engine/config/search.h.
#
# The same file, run as a script (cmake -P), writes the C source.

# The bytes of a file as "0x12,0x34,", in short lines for compilers and editors that mind.
function(lockstep_bytes_of path result)
  file(READ ${path} bytes HEX)
  string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  set(${result} "${bytes}" PARENT_SCOPE)
endfunction()

function(lockstep_write_text input symbol output)
  lockstep_bytes_of(${input} bytes)
  file(WRITE ${output} "extern const char ${symbol}[];\nconst char ${symbol}[] = {\n${bytes}0};\n")
endfunction()

function(lockstep_write_configs root output)
  file(GLOB_RECURSE files RELATIVE ${root} ${root}/configs/*.yaml)
  list(SORT files)
  set(arrays "")
  set(rows "")
  set(count 0)
  foreach(path IN LISTS files)
    lockstep_bytes_of(${root}/${path} bytes)
    string(APPEND arrays "static const unsigned char text_${count}[] = {\n${bytes}0};\n")
    string(APPEND rows "    {\"${path}\", (const char *)text_${count}, sizeof(text_${count}) - 1},\n")
    math(EXPR count "${count} + 1")
  endforeach()
  file(WRITE ${output} "#include \"engine/config/search.h\"\n\n${arrays}\n"
       "const struct embedded_file embedded_configs[] = {\n${rows}};\n"
       "const int embedded_config_count = ${count};\n")
endfunction()

if(CMAKE_SCRIPT_MODE_FILE)
  if(SYMBOL)
    lockstep_write_text(${INPUT} ${SYMBOL} ${OUTPUT})
  else()
    lockstep_write_configs(${INPUT} ${OUTPUT})
  endif()
  return()
endif()

set(LOCKSTEP_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(lockstep_embed target symbol file)
  set(output ${CMAKE_BINARY_DIR}/embedded/${symbol}.c)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DINPUT=${CMAKE_SOURCE_DIR}/${file} -DSYMBOL=${symbol}
            -DOUTPUT=${output} -P ${LOCKSTEP_EMBED_SCRIPT}
    DEPENDS ${CMAKE_SOURCE_DIR}/${file} ${LOCKSTEP_EMBED_SCRIPT}
    VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()

function(lockstep_embed_configs target)
  set(output ${CMAKE_BINARY_DIR}/embedded/configs.c)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/configs/*.yaml)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DINPUT=${CMAKE_SOURCE_DIR} -DOUTPUT=${output}
            -P ${LOCKSTEP_EMBED_SCRIPT}
    DEPENDS ${files} ${LOCKSTEP_EMBED_SCRIPT}
    COMMENT "Building configs/ in"
    VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
