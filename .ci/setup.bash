# What ./run and ./test share: the Debian packages, and the build. Sourced; the caller sets `root`.
# Nothing is assumed but bash, coreutils and apt. Everything here is said on stderr, because the
# stdout of `./run PROGRAM` is the program's own.

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# The packages of the given sections of .ci/packages, one per line.
listed_packages() {
  local line section=
  while IFS= read -r line; do
    case $line in
      '' | '#'*) ;;
      '['*']') section=${line//[\[\]]/} ;;
      *) [[ " $* " != *" $section "* ]] || printf '%s\n' "$line" ;;
    esac
  done <"$root/.ci/packages"
}

# Installs what is missing of the given sections, or prints the one line that would and exits 1.
require_packages() {
  local wanted=() installed missing=() name as_root=() log install
  mapfile -t wanted < <(listed_packages "$@")
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    fail "this is not Debian; needed are the equivalents of: ${wanted[*]}"

  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null ||
    true) # it fails if one is unknown
  for name in "${wanted[@]}"; do
    [[ $'\n'$installed$'\n' == *$'\n'"installed $name"$'\n'* ]] || missing+=("$name")
  done
  ((${#missing[@]})) || return 0

  if ((EUID != 0)); then
    if ! sudo -n true 2>/dev/null; then
      printf '%s: packages are missing, and only root may install them; this does:\n' "${0##*/}" >&2
      install="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
      if command -v sudo >/dev/null; then
        printf "sudo sh -c '%s'\n" "$install" >&2
      else
        printf "su -c '%s'\n" "$install" >&2
      fi
      exit 1
    fi
    as_root=(sudo -n)
  fi

  printf '%s: installing %s\n' "${0##*/}" "${missing[*]}" >&2
  log=$(mktemp)
  install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=120 -y --no-install-recommends install "${missing[@]}")
  # The lists are brought up to date only if they turn out to be empty or too old.
  if ! "${install[@]}" >"$log" 2>&1 </dev/null &&
    ! { "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=120 update &&
      "${install[@]}"; } >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    rm -f "$log"
    fail "could not install: ${missing[*]}"
  fi
  rm -f "$log"
}

# build PRESET [TARGET…]: brings build/PRESET up to date; silent when it is.
build() {
  local preset=$1 log
  shift
  mkdir -p "$root/build"
  (
    flock 9 # ninja does not expect a second one in the same tree
    cd "$root"
    if [[ ! build/$preset/build.ninja -nt CMakePresets.json ]]; then
      printf '%s: building build/%s, which takes minutes the first time\n' "${0##*/}" "$preset" >&2
      log=$(cmake --preset "$preset" 2>&1) || fail "$log"
    fi
    cmake --build --preset "$preset" ${1:+--target "$@"} -- --quiet 2>&1 |
      { grep -vFx 'ninja: no work to do.' >&2 || true; }
  ) 9>"$root/build/.lock" </dev/null || fail "build/$preset could not be built"
}
