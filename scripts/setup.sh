#!/usr/bin/env bash
# Installs what the build needs and writes build/deps.cmake, which CMakeLists.txt reads.
#
#   scripts/setup.sh            distribution packages (Debian 12, Ubuntu 24.04), LibTorch 2.11, a CUDA compiler, and
#                               matplotlib for reports
#
# What is already right is used as it is: installed packages; LibTorch 2.11 of the python3 on PATH, of
# RSE_TORCH_PREFIX (the folder that holds TorchConfig.cmake's share/cmake), or of an earlier run; nvcc on PATH or in
# /usr/local/cuda. Downloads go outside the clone, to RSE_HOME (default ~/.cache/rse), in pinned versions.
# RSE_NVCC=pip takes nvcc from PyPI even where the machine has one.
set -euo pipefail
called_from=${RSE_CALLED_FROM:-$PWD}
cd "$(dirname "$0")/.."

# A user's relative path is relative to the folder that the user called from.
absolute() { case $1 in '' | /*) echo "$1" ;; *) echo "$called_from/$1" ;; esac; }
RSE_HOME=$(absolute "${RSE_HOME:-}")
RSE_TORCH_PREFIX=$(absolute "${RSE_TORCH_PREFIX:-}")
case ${RSE_REPORT_PYTHON:-} in */*) RSE_REPORT_PYTHON=$(absolute "$RSE_REPORT_PYTHON") ;; esac  # else a name on PATH
rse_home="${RSE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/rse}"
mkdir -p "$rse_home" build
exec 9>"$rse_home/setup.lock"
flock 9  # set-ups that start at the same time run one after the other

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 2; }

# 1. Install the packages of the distribution.
packages=(libyaml-cpp-dev libspdlog-dev libfmt-dev libsentencepiece-dev libgtest-dev libgmock-dev
          libcli11-dev nlohmann-json3-dev libzstd-dev zlib1g-dev)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
need_tool() { command -v "$1" >/dev/null || missing+=("$2"); }
need_tool g++ g++
need_tool cmake cmake
need_tool ninja ninja-build
need_tool pkg-config pkg-config
need_tool python3 python3
need_tool git git
# RSE_EXTRA_PACKAGES names further packages that one script needs (quickstart needs its text).
for package in ${RSE_EXTRA_PACKAGES:-}; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done

install_packages() {
  [ $# -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "these packages are missing, and there is no apt-get to install them: $*"
  [ "$(id -u)" = 0 ] || fail "these packages are missing; install them as root, then run this again: apt-get install $*"
  say "installing $*"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
install_packages ${missing[@]+"${missing[@]}"}
cmake_version=$(cmake --version | sed -n '1s/[^0-9]*//p')
[ "$(printf '3.25\n%s\n' "$cmake_version" | sort -V | head -n 1)" = 3.25 ] ||
  fail "cmake is $cmake_version; 3.25 or newer is needed"

# 2. make_venv makes a virtual environment with exactly the versions of a requirements file, once.
make_venv() {  # make_venv FOLDER REQUIREMENTS
  local folder=$1 requirements=$2 stamp
  stamp=$(sha256sum <"$requirements" | cut -c1-64)
  if [ "$(cat "$folder/.rse-complete" 2>/dev/null)" = "$stamp" ]; then
    say "using $folder"
    return
  fi
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then install_packages python3-venv; fi
  say "downloading $(grep -vc '^#' "$requirements") pinned packages to $folder (once)"
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/python" -m pip install -q --disable-pip-version-check --no-deps -r "$requirements"
  echo "$stamp" >"$folder/.rse-complete"
}

# 3. Find or install LibTorch.
torch_of() { "$1" -c 'import torch
if torch.__version__.startswith("2.11."): print(torch.utils.cmake_prefix_path)' 2>/dev/null || true; }
if [ -n "${RSE_TORCH_PREFIX:-}" ]; then
  torch_prefix=$RSE_TORCH_PREFIX
  [ -f "$torch_prefix/Torch/TorchConfig.cmake" ] || fail "RSE_TORCH_PREFIX=$torch_prefix has no Torch/TorchConfig.cmake"
else
  torch_prefix=$(torch_of python3)
  if [ -z "$torch_prefix" ]; then
    make_venv "$rse_home/torch-2.11.0" scripts/requirements-torch.txt
    python3 scripts/close_search_paths.py "$rse_home/torch-2.11.0"
    torch_prefix=$(torch_of "$rse_home/torch-2.11.0/bin/python")
    [ -n "$torch_prefix" ] || fail "torch of $rse_home/torch-2.11.0 does not load; remove that folder and run this again"
  fi
fi
say "LibTorch: $torch_prefix"

# 4. Find or install a CUDA compiler. The LibTorch for CUDA asks for one even where there is no GPU.
nvcc=$(command -v nvcc || true)
[ -n "$nvcc" ] || { [ -x /usr/local/cuda/bin/nvcc ] && nvcc=/usr/local/cuda/bin/nvcc; } || true
[ "${RSE_NVCC:-auto}" != pip ] || nvcc=
cuda_root=
if [ -z "$nvcc" ] && grep -qs 'CUDA' "$torch_prefix/Caffe2/Caffe2Config.cmake" &&
    [ -e "$torch_prefix/../../lib/libtorch_cuda.so" ]; then
  make_venv "$rse_home/cuda-13.0.2" scripts/requirements-nvcc.txt
  cuda_root=$(echo "$rse_home"/cuda-13.0.2/lib/python3.*/site-packages/nvidia/cu13)
  nvcc=$cuda_root/bin/nvcc
  [ -x "$nvcc" ] || fail "there is no nvcc under $cuda_root"
  # The wheels hold only libNAME.so.N, but linkers ask for libNAME.so. CMake looks in lib64 too.
  for library in "$cuda_root"/lib/*.so.*; do
    ln -sf "$(basename "$library")" "${library%%.so.*}.so"
  done
  [ -e "$cuda_root/lib64" ] || ln -s lib "$cuda_root/lib64"
fi
[ -z "$nvcc" ] || say "nvcc: $nvcc ($("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p'))"

# 5. Find or make a Python that draws reports, which needs matplotlib. Everything else works without it, so its absence
# is no error.
report_python=
for python in "${RSE_REPORT_PYTHON:-}" python3; do
  if [ -n "$python" ] && "$python" -c 'import matplotlib' 2>/dev/null; then
    report_python=$(command -v "$python")
    break
  fi
done
if [ -z "$report_python" ]; then
  set +e  # "if make_venv" would not do: inside a condition a failing step does not end the function
  (set -e; make_venv "$rse_home/report-1" scripts/requirements-report.txt)
  made=$?
  set -e
  if [ $made = 0 ]; then
    report_python=$rse_home/report-1/bin/python
  else
    say "matplotlib is not installed and could not be installed; for reports install it and run this again"
  fi
fi
[ -z "$report_python" ] || say "reports are drawn by $report_python"

{
  echo "# Written by scripts/setup.sh."
  echo "list(APPEND CMAKE_PREFIX_PATH \"$torch_prefix\")"
  [ -z "$nvcc" ] || echo "set(CMAKE_CUDA_COMPILER \"$nvcc\" CACHE FILEPATH \"\")"
  if [ -n "$cuda_root" ]; then
    echo "set(CUDAToolkit_ROOT \"$cuda_root\" CACHE PATH \"\")"
    echo "set(CUDA_TOOLKIT_ROOT_DIR \"$cuda_root\" CACHE PATH \"\")"
  fi
  [ -z "$report_python" ] || echo "set(RSE_REPORT_PYTHON \"$report_python\")"
} >build/deps.cmake.tmp
mv build/deps.cmake.tmp build/deps.cmake
say "done"
