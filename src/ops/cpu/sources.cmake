# The CPU kernel's sources, relative to src/ops, in RSE_OPS_CPU_SOURCES. One templated kernel, one file per
# instruction set with its own flags; which one runs is decided at run time (cpu/dispatch.cpp).
set(RSE_OPS_CPU_SOURCES
  cpu/attention_cpu.cpp cpu/packing.cpp cpu/dispatch.cpp cpu/kernels_generic.cpp)
set(_kernel_flags -O3 -ffp-contract=fast)
set(_kernel_files cpu/kernels_generic.cpp)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND _kernel_files cpu/kernels_avx2.cpp cpu/kernels_avx512.cpp)
  set(_avx2_flags -mavx2 -mfma)
  set(_avx512_flags ${_avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
  list(APPEND RSE_OPS_CPU_SOURCES cpu/kernels_avx2.cpp cpu/kernels_avx512.cpp)
endif()
set_source_files_properties(${_kernel_files} PROPERTIES SKIP_PRECOMPILE_HEADERS ON
  COMPILE_OPTIONS "${_kernel_flags}")
if(_avx512_flags)
  set_source_files_properties(cpu/kernels_avx2.cpp PROPERTIES COMPILE_OPTIONS "${_kernel_flags};${_avx2_flags}")
  set_source_files_properties(cpu/kernels_avx512.cpp PROPERTIES COMPILE_OPTIONS "${_kernel_flags};${_avx512_flags}")
endif()
