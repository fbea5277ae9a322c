# lib.sh: what the scripts in hack/ share. Source it: . "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck shell=bash disable=SC2034

shopt -s inherit_errexit # $(...) stops at an error too
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=${CROSSFADE_BIN:-$ROOT/bin}
CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/crossfade
# Debian keeps daemons and ip(8) in sbin, which a plain user's PATH leaves out.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# place FILE TARGET: TARGET becomes FILE in one step, also while TARGET runs.
place() {
  local tmp="$2.$$"
  [ "$1" -ef "$2" ] && return
  mkdir -p "$(dirname "$2")"
  ln -f "$1" "$tmp" 2>/dev/null || cp -f "$1" "$tmp"
  mv -f "$tmp" "$2"
}

# content_key DIR WORDS...: a short hash of every file below DIR, of WORDS and of the Go version.
content_key() {
  local dir=$1
  shift
  {
    (cd "$dir" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
    printf '%s\n' "$@"
    go env GOVERSION GOOS GOARCH
  } | sha256sum | cut -c1-16
}

# go_tool NAME MODULE PACKAGE TIME FLAGS...: prints the path of NAME, built from the pinned MODULE
# directory with FLAGS. A build is kept by content, so that every clone on the machine shares it;
# TIME tells a person how long the build takes.
go_tool() {
  local name=$1 module=$2 package=$3 time=$4 key out
  shift 4
  has go || die "Go 1.26 or later is needed to build $name"
  key=$(content_key "$module" "$package" "$@")
  out=$CACHE/$name-$key
  if [ ! -x "$out" ]; then
    mkdir -p "$CACHE"
    (
      flock 9 # a second caller waits here and then finds the binary
      if [ ! -x "$out" ]; then
        say "building $name ($time on two idle cores, once per version)"
        began=$SECONDS
        cd "$module" || exit
        CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly GOTOOLCHAIN=local \
          go build -trimpath -buildvcs=false -ldflags='-s -w' "$@" -o "$out.$$" "$package" >&2 || die "building $name failed"
        mv -f "$out.$$" "$out"
        say "built $name in $((SECONDS - began)) s"
      fi
    ) 9>"$CACHE/$name.lock" || return
  fi
  printf '%s\n' "$out"
}

# debian COMMAND PACKAGES...: installs Debian PACKAGES when COMMAND is missing.
debian() {
  local command=$1
  shift
  has "$command" && return
  has apt-get || die "$command is needed: install it (Debian packages: $*)"
  [ "$(id -u)" = 0 ] || die "$command is needed; as root: apt-get install --no-install-recommends $*"
  say "installing Debian packages: $* (under a minute)"
  # RUNLEVEL=1 keeps packages from starting their daemons: tests start their own
  local apt=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q -o DPkg::Lock::Timeout=400)
  local install=(install -y --no-install-recommends "$@")
  "${apt[@]}" "${install[@]}" >"$(apt_log)" 2>&1 ||
    { "${apt[@]}" update >>"$(apt_log)" 2>&1 && "${apt[@]}" "${install[@]}" >>"$(apt_log)" 2>&1; } ||
    "${apt[@]}" "${install[@]}" >>"$(apt_log)" 2>&1 || # ceph's packages may need a second run
    { tail -20 "$(apt_log)" >&2 && die "apt-get could not install $*"; }
  has "$command" || die "$command is still missing after installing $*"
}
apt_log() { printf '%s\n' "${TMPDIR:-/tmp}/crossfade-apt.log"; }
