# cmake -DEXAMPLE=... -DMAKE_TINY_MODEL=... -P example_context.cmake: runs docs/examples/context.cc.
string(RANDOM LENGTH 12 name)
set(folder /tmp/geist-example-${name})
file(MAKE_DIRECTORY ${folder})
execute_process(COMMAND ${MAKE_TINY_MODEL} ${folder}/tiny.gguf COMMAND_ERROR_IS_FATAL ANY)
foreach(shared 0 288)  # 9 pages of 32 tokens: those of the second question; after a restart of both
  execute_process(COMMAND ${EXAMPLE} ${folder}/tiny.gguf ${folder}/pages OUTPUT_VARIABLE out COMMAND_ERROR_IS_FATAL ANY)
  math(EXPR both "${shared} + 288")
  if(NOT out STREQUAL "${shared} tokens were shared; 10 pages are kept\n${both} tokens were shared; 10 pages are kept\n")
    message(FATAL_ERROR "expected ${shared} tokens: ${out}")
  endif()
endforeach()
file(REMOVE_RECURSE ${folder})
