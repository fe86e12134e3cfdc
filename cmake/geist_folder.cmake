# geist_folder(NAME DEPS a b ... LIBS x y ...)
#
# One static library a folder, from every .cc in it. By the end of a file's name:
#   _test.cc   goes into NAME_test (GoogleTest), each case a ctest named NAME.Suite.Case
#   _bench.cc  goes into NAME_bench (Google Benchmark); a run with tiny sizes is a ctest
#   _fuzz.cc   is a libFuzzer target of its own in the fuzz preset; in every other preset it is
#              linked with a driver that replays its corpus (tests/corpus/STEM/) as a ctest
#   _fma.cc _avx2.cc _avx512.cc _avx512vnni.cc _avx512amx.cc, _neon.cc _neondot.cc   are compiled for that
#              instruction set, on processors of its family; _fma.cc is plain C++, of which the compiler is to
#              make what it can, in every preset
function(geist_folder name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  set(tests ${sources})
  set(benches ${sources})
  set(fuzzers ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")
  list(FILTER sources EXCLUDE REGEX "(_test|_bench|_fuzz|main)\\.cc$")
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(FILTER sources EXCLUDE REGEX "_(fma|avx2|avx512|avx512vnni|avx512amx)\\.cc$")
  endif()
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    list(FILTER sources EXCLUDE REGEX "_(neon|neondot)\\.cc$")
  endif()

  if(NOT sources)
    return()
  endif()
  add_library(geist_${name} STATIC ${sources})
  target_include_directories(geist_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  set(deps)
  foreach(dep ${ARG_DEPS})
    if(TARGET geist_${dep})  # a folder may still be empty
      list(APPEND deps geist_${dep})
    endif()
  endforeach()
  target_link_libraries(geist_${name} PUBLIC ${deps} PRIVATE ${ARG_LIBS} Threads::Threads)
  foreach(source ${sources})
    if(source MATCHES "_fma\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-O3")
    elseif(source MATCHES "_avx2\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
    elseif(source MATCHES "_avx512vnni\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mprefer-vector-width=512")
    elseif(source MATCHES "_avx512amx\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mamx-tile;-mamx-int8;-mprefer-vector-width=512")
    elseif(source MATCHES "_avx512\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mprefer-vector-width=512")
    endif()
    if(source MATCHES "_neondot\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-march=armv8.2-a+dotprod")
    endif()
    # Unrolled by force: under a sanitizer these take a compiler minutes and gigabytes. Their reads and
    # writes are the scalar variant's, which is instrumented, and tests compare the two at odd sizes.
    if(GEIST_SANITIZE AND source MATCHES "/panel_avx[^/]*\\.cc$")
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS "-fno-sanitize=all")
    endif()
  endforeach()

  if(GEIST_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE geist_${name} ${ARG_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
    target_include_directories(${name}_test PRIVATE ${PROJECT_SOURCE_DIR})  # "tests/support/..."
    target_compile_definitions(${name}_test PRIVATE GEIST_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    target_compile_options(${name}_test PRIVATE -O1)  # compiled in a fifth less time, and no slower to run
    gtest_discover_tests(${name}_test TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120
      PROPERTIES TIMEOUT 600)
  endif()
  if(GEIST_BENCH AND benches)
    add_executable(${name}_bench ${benches})
    target_link_libraries(${name}_bench PRIVATE geist_${name} ${ARG_LIBS} benchmark::benchmark benchmark::benchmark_main)
    target_compile_definitions(${name}_bench PRIVATE GEIST_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    if(GEIST_TESTS)
      add_test(NAME bench.${name} COMMAND ${name}_bench --benchmark_min_time=0.001)
    endif()
  endif()
  foreach(fuzzer ${fuzzers})
    get_filename_component(stem ${fuzzer} NAME_WE)
    add_executable(${stem} ${fuzzer})
    target_link_libraries(${stem} PRIVATE geist_${name} ${ARG_LIBS})
    if(GEIST_FUZZ)
      target_link_options(${stem} PRIVATE -fsanitize=fuzzer)
    else()
      target_sources(${stem} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz_replay_main.cc)
      if(GEIST_TESTS)
        add_test(NAME fuzz-regression.${stem} COMMAND ${stem} ${PROJECT_SOURCE_DIR}/tests/corpus/${stem})
      endif()
    endif()
  endforeach()
endfunction()
