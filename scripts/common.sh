# Shared by ./start and ./test: missing packages, configuring, building. Everything is said on standard error,
# so that standard output belongs to geist. Sourced with the root of the repository as working directory.

say() { echo "$(basename "$0"): $*" >&2; }

run_as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing_packages() {
  local package
  grep -v '^#' "$1" | while read -r package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done
}

# install_packages [LIST]: those of the list (scripts/packages.txt) that are missing.
install_packages() {
  local list=${1:-scripts/packages.txt}
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "this is no Debian; please see to it that the packages of $list are here"
    return
  fi
  local missing
  missing=$(missing_packages "$list" | tr '\n' ' ')
  [ -n "${missing// /}" ] || return 0
  say "installing the Debian packages ${missing% }"
  run_as_root apt-get update -q >&2
  # shellcheck disable=SC2086  # a list of words on purpose
  run_as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends $missing >&2
}

# build PRESET TARGET...: configures when needed (a build folder moved from elsewhere is made anew) and builds.
build() {
  local preset=$1
  shift
  local folder=build/$preset
  if [ -f "$folder/CMakeCache.txt" ] &&
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$folder/CMakeCache.txt"; then
    say "$folder was configured for another folder; starting it anew"
    rm -rf "$folder"
  fi
  if [ ! -f "$folder/build.ninja" ]; then
    say "configuring $folder"
    cmake --preset "$preset" >&2
  fi
  local log=$folder/build.log
  if [ -t 2 ]; then
    cmake --build "$folder" --target "$@" >&2
  elif ! cmake --build "$folder" --target "$@" >"$log" 2>&1; then
    grep -E 'error|FAILED' -A 12 "$log" | head -100 >&2
    say "the build failed; all of it is in $log"
    return 1
  fi
}
