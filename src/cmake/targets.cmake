# Defines how a layer becomes a target.
#
#   rse_layer(core SOURCES a.cpp b.cpp LINKS yaml-cpp [TORCH] [SHARED])
#   rse_program(rse-train rse_train.cpp LINKS rse_train)
#   rse_test(core SOURCES a_test.cpp LINKS rse_core [TORCH])    every TEST() becomes a ctest entry
#
# torch/torch.h costs about 30 s per file, so the targets marked TORCH share one precompiled header (target
# rse_torch_pch). A precompiled header fits only objects compiled with the same flags, so everything, programs too, is
# compiled with -fPIC. Symbols are hidden unless a declaration says otherwise (ops/exports.map says why).
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fPIC;-fvisibility=hidden;-fvisibility-inlines-hidden>")

# Where every file finds its libraries, as built and as installed: beside itself, in LibTorch, then in the folders
# that were linked from. The paths are final from the start: for a build path that is replaced when installing, CMake
# keeps room by empty entries, and an empty entry is the current folder.
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)
file(GLOB _torch_cudart ${TORCH_INSTALL_PREFIX}/../nvidia/*/lib/libcudart.so.*)  # beside a wheel of LibTorch
set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib" "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}" "${TORCH_INSTALL_PREFIX}/lib")
foreach(file ${_torch_cudart})
  get_filename_component(folder ${file} DIRECTORY)
  get_filename_component(folder ${folder} ABSOLUTE)
  list(APPEND CMAKE_INSTALL_RPATH ${folder})
endforeach()
list(REMOVE_DUPLICATES CMAKE_INSTALL_RPATH)

add_library(rse_options INTERFACE)
target_compile_options(rse_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Werror>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Werror>)
# GCC 13 warns about code of its own library when LibTorch's small vectors are inlined into this code.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 13)
  target_compile_options(rse_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-error=array-bounds;-Wno-error=stringop-overflow;-Wno-error=stringop-overread>)
endif()
target_include_directories(rse_options INTERFACE
  $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src>)
if(RSE_ASAN)
  target_compile_options(rse_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined;-fno-omit-frame-pointer;-fno-sanitize-recover=undefined>)
  target_link_options(rse_options INTERFACE -fsanitize=address,undefined)
endif()

# Uses LibTorch, but hides the warnings of its headers. LibTorch ships headers of another fmt than the one that the
# project and spdlog link, so the latter come first.
get_target_property(_fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/include_first)
file(CREATE_LINK ${_fmt_include}/fmt ${CMAKE_BINARY_DIR}/include_first/fmt SYMBOLIC)
add_library(rse_torch INTERFACE)
target_link_libraries(rse_torch INTERFACE ${TORCH_LIBRARIES})
# libtorch.so exports std::filesystem symbols of another libstdc++, so the system's libstdc++ comes first (see also
# remove_tree in core/file.h). It is one option, so that nothing comes between its parts.
target_link_options(rse_torch INTERFACE "LINKER:--push-state,--no-as-needed,-lstdc++,--pop-state")
target_include_directories(rse_torch SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/include_first ${TORCH_INCLUDE_DIRS})

add_library(rse_torch_pch OBJECT ${CMAKE_SOURCE_DIR}/src/cmake/torch_pch.cpp)
target_link_libraries(rse_torch_pch PRIVATE rse_options rse_torch spdlog::spdlog fmt::fmt)
target_precompile_headers(rse_torch_pch PRIVATE ${CMAKE_SOURCE_DIR}/src/cmake/torch_pch.h)

# This holds in the build only; rseConfig.cmake says what an installed target links.
function(_rse_use_torch target)
  target_link_libraries(${target} PUBLIC $<BUILD_INTERFACE:rse_torch> $<BUILD_INTERFACE:spdlog::spdlog>
                                         $<BUILD_INTERFACE:fmt::fmt>)
  target_precompile_headers(${target} REUSE_FROM rse_torch_pch)
endfunction()

function(rse_layer name)
  cmake_parse_arguments(ARG "TORCH;SHARED" "" "SOURCES;LINKS;PRIVATE_LINKS" ${ARGN})
  set(kind STATIC)
  if(ARG_SHARED)
    set(kind SHARED)
  endif()
  add_library(rse_${name} ${kind} ${ARG_SOURCES})
  target_link_libraries(rse_${name} PUBLIC ${ARG_LINKS} PRIVATE rse_options ${ARG_PRIVATE_LINKS})
  target_include_directories(rse_${name} PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src>)
  if(ARG_TORCH)
    _rse_use_torch(rse_${name})
  endif()
endfunction()

function(rse_program name source)
  cmake_parse_arguments(ARG "TORCH" "" "LINKS" ${ARGN})
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE rse_options ${ARG_LINKS})
  if(ARG_TORCH)
    _rse_use_torch(${name})
  endif()
  set(exports ${CMAKE_SOURCE_DIR}/src/cmake/no_exports.map)
  target_link_options(${name} PRIVATE "LINKER:--version-script=${exports}")
  set_target_properties(${name} PROPERTIES LINK_DEPENDS ${exports})
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

# Each test program is started at test time to list its cases. LABEL (default: the layer) goes to every case.
function(rse_test name)
  cmake_parse_arguments(ARG "TORCH" "LABEL" "SOURCES;LINKS" ${ARGN})
  set(target rse_${name}_tests)
  add_executable(${target} ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE rse_options ${ARG_LINKS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
  if(ARG_TORCH)
    _rse_use_torch(${target})
  endif()
  set(label ${name})
  if(ARG_LABEL)
    set(label ${ARG_LABEL})
  endif()
  # Suites whose names begin with Gpu need a GPU and are skipped without one, so they get the label gpu.
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120 TEST_FILTER "-Gpu*:*/Gpu*"
    TEST_LIST ${target}_cases PROPERTIES LABELS ${label} TIMEOUT 600)
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120 TEST_FILTER "Gpu*:*/Gpu*"
    TEST_LIST ${target}_gpu_cases PROPERTIES LABELS gpu TIMEOUT 600)
endfunction()
if(RSE_BUILD_TESTS)
  include(GoogleTest)
endif()
