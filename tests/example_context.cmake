# cmake -DEXAMPLE=... -DMAKE_TINY_MODEL=... -P example_context.cmake: runs docs/examples/context.cc.
string(RANDOM LENGTH 12 name)
set(folder /tmp/geist-example-${name})
file(MAKE_DIRECTORY ${folder})
execute_process(COMMAND ${MAKE_TINY_MODEL} ${folder}/tiny.gguf COMMAND_ERROR_IS_FATAL ANY)
foreach(shared 288 576)  # 9 pages of 32 tokens: bob's; then alice's too
  execute_process(COMMAND ${EXAMPLE} ${folder}/tiny.gguf ${folder}/pages OUTPUT_VARIABLE out COMMAND_ERROR_IS_FATAL ANY)
  if(NOT out MATCHES "^${shared} tokens were shared; 10 pages are kept")
    message(FATAL_ERROR "expected ${shared} tokens: ${out}")
  endif()
endforeach()
file(REMOVE_RECURSE ${folder})
