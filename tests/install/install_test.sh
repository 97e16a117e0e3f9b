#!/bin/bash
# What `cmake --install` puts down serves a project outside of this tree, through find_package and
# through pkg-config, shared and static, and as a preload.
#
# install_test.sh BUILD_DIR LIBDIR CXX
set -euo pipefail
build=$1 libdir=$2 cxx=$3
example=$(dirname "$(readlink -f "$0")")/example
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/prefix

fail() {
  printf 'FAILED: %s\n' "$*"
  exit 1
}

# check PROGRAM shared|static [NODES]: it runs, says what its heaps hold, and has its numaheap from
# where it should. The heaps together hold more than the 11 MB that the program does.
check() {
  local out nodes
  out=$("$1") || fail "$1 exits with status $?: $out"
  printf '%s\n%s\n' "$1" "$out"
  nodes=$(grep -cE '^node [0-9]+: [0-9]+ bytes in use$' <<<"$out") || true
  ((nodes == ${3:-1})) || fail "$1 shows $nodes nodes"
  awk '/^node/ { sum += $3 } END { exit !(sum > 11e6) }' <<<"$out" ||
    fail "$1 shows too small a heap"
  if readelf -d "$1" | grep -q 'NEEDED.*libnumaheap'; then
    [[ $2 == shared ]] || fail "$1 needs the shared library"
  else
    [[ $2 == static ]] || fail "$1 does not need the shared library"
  fi
}

unset NUMAHEAP_CONFIG NUMAHEAP_OPTIONS
cmake --install "$build" --prefix "$prefix" >/dev/null

echo "-- find_package"
cmake -G Ninja -S "$example" -B "$scratch/example" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_PREFIX_PATH="$prefix" >"$scratch/log" 2>&1 ||
  fail "$(cat "$scratch/log")"
cmake --build "$scratch/example" >"$scratch/log" 2>&1 || fail "$(cat "$scratch/log")"
check "$scratch/example/shared" shared
check "$scratch/example/static" static

echo "-- pkg-config"
export PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig
[[ $(readlink -f "$(pkg-config --variable=prefix numaheap)") == "$prefix" ]] ||
  fail "numaheap.pc has another prefix"
read -ra compile < <(pkg-config --cflags numaheap)
read -ra shared < <(pkg-config --libs numaheap)
read -ra static < <(pkg-config --static --libs numaheap)
"$cxx" -O2 "${compile[@]}" "$example/main.cc" "${shared[@]}" -o "$scratch/shared"
"$cxx" -O2 "${compile[@]}" "$example/main.cc" -Wl,-Bstatic "${static[@]}" -Wl,-Bdynamic \
  -o "$scratch/static"
LD_LIBRARY_PATH=$prefix/$libdir check "$scratch/shared" shared
check "$scratch/static" static

echo "-- two nodes: the installed library finds its installed plugins"
export NUMAHEAP_OPTIONS="topology.synthetic=numa:2 pu:1"
LD_LIBRARY_PATH=$prefix/$libdir check "$scratch/shared" shared 2
unset NUMAHEAP_OPTIONS

echo "-- preload"
maps=$(LD_PRELOAD=$prefix/$libdir/libnumaheap.so cat /proc/self/maps)
[[ $maps == *"$prefix/$libdir/libnumaheap.so"* ]] ||
  fail "the installed library can't be preloaded"

[[ $("$prefix/bin/numaheap" --version) == "numaheap "* ]] ||
  fail "the installed command can't run"

# Of the installed files, the program's header is the only one, and the soname is a link.
[[ $(find "$prefix/include" -type f -printf '%f ') == "numaheap.h " ]] ||
  fail "installed headers: $(find "$prefix/include" -type f)"
[[ -L $prefix/$libdir/$(readelf -d "$prefix/$libdir/libnumaheap.so" |
  sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p') ]] || fail "no link of the soname's name"
