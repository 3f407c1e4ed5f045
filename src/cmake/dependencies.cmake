# Finds external packages. LibTorch comes from -DTorch_DIR or CMAKE_PREFIX_PATH, else from build/deps.cmake
# (scripts/setup.sh), else it is the torch of the python3 on PATH.
if(NOT Torch_DIR AND NOT CMAKE_PREFIX_PATH MATCHES "torch")
  execute_process(
    COMMAND python3 -c "import torch; print(torch.utils.cmake_prefix_path)"
    OUTPUT_VARIABLE _torch_prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(_torch_prefix)
    list(APPEND CMAKE_PREFIX_PATH ${_torch_prefix})
  endif()
endif()

# nvcc 13 compiles C++20, but CMake 3.25 cannot ask it to, so CUDA sources are C++17. The CUDA LibTorch enables the
# CUDA language itself, so these variables are set before it is searched for.
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(TORCH_CUDA_ARCH_LIST "8.0;9.0a")  # silences the guess of LibTorch; the targets here name their own

find_package(Torch 2.11 QUIET)
if(NOT Torch_FOUND)
  message(FATAL_ERROR "LibTorch 2.11 was not found. Run scripts/setup.sh, or pass -DCMAKE_PREFIX_PATH=<libtorch> "
                      "(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)').")
endif()
# LibTorch names link folders of an MKL that it does not use; those that do not exist would only be searched in vain.
if(TARGET caffe2::mkl)
  get_target_property(_folders caffe2::mkl INTERFACE_LINK_DIRECTORIES)
  set(_existing)
  foreach(folder ${_folders})
    if(IS_ABSOLUTE "${folder}" AND EXISTS "${folder}")
      list(APPEND _existing ${folder})
    endif()
  endforeach()
  set_property(TARGET caffe2::mkl PROPERTY INTERFACE_LINK_DIRECTORIES ${_existing})
endif()
# LibTorch appends -gencode flags for its own guess to CMAKE_CUDA_FLAGS and switches CMAKE_CUDA_ARCHITECTURES off. The
# targets here use CUDA_ARCHITECTURES.
set(CMAKE_CUDA_ARCHITECTURES ${RSE_CUDA_ARCHITECTURES})
string(REGEX REPLACE "-gencode[ ;]*[^ ;]+" "" CMAKE_CUDA_FLAGS "${CMAKE_CUDA_FLAGS}")

if(RSE_CUDA STREQUAL "OFF")
  set(RSE_WITH_CUDA FALSE)
elseif(TORCH_CUDA_LIBRARIES OR TARGET torch_cuda)
  set(RSE_WITH_CUDA TRUE)
elseif(RSE_CUDA STREQUAL "ON")
  message(FATAL_ERROR "RSE_CUDA=ON, but this LibTorch was built without CUDA: ${TORCH_INSTALL_PREFIX}")
else()
  set(RSE_WITH_CUDA FALSE)
endif()
if(RSE_WITH_CUDA)
  enable_language(CUDA)
  find_package(CUDAToolkit 12 REQUIRED)
endif()
message(STATUS "RSE: LibTorch ${Torch_VERSION} at ${TORCH_INSTALL_PREFIX}, CUDA part: ${RSE_WITH_CUDA}")

find_package(Threads REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
if(RSE_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()

# The Python that draws reports. build/deps.cmake names one that has matplotlib.
if(NOT RSE_REPORT_PYTHON)
  set(RSE_REPORT_PYTHON python3)
endif()
