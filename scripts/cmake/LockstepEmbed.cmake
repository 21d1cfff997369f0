# lockstep_embed(TARGET SYMBOL FILE)
# Compiles the text of FILE (relative to the source tree) into TARGET as the zero-terminated
# `const char SYMBOL[]`, made again whenever FILE changes. Declare it where it is used.
function(lockstep_embed target symbol file)
  set(output ${CMAKE_BINARY_DIR}/embedded/${symbol}.c)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DINPUT=${CMAKE_SOURCE_DIR}/${file} -DOUTPUT=${output}
            -DSYMBOL=${symbol} -P ${CMAKE_SOURCE_DIR}/scripts/cmake/embed_text.cmake
    DEPENDS ${CMAKE_SOURCE_DIR}/${file} ${CMAKE_SOURCE_DIR}/scripts/cmake/embed_text.cmake
    VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
