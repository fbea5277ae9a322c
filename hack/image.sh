#!/usr/bin/env bash
# image.sh [NAME...]: writes bin/images/NAME.tar for each of crossfade, redis, versitygw, pause
# (all of them by default), tagged localhost/NAME:dev. No container engine is needed; load one
# with hack/kube/load.sh, `kind load image-archive` or `docker load`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
IMAGES=$BIN/images
mkdir -p "$IMAGES"
cd "$ROOT"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

static() { # PACKAGE OUTPUT
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$2" "$1"
}
image() { # NAME ENTRYPOINT FILES...
  local name=$1 entrypoint=$2
  shift 2
  "$work/mkimage" -o "$work/$name.tar" -tag "localhost/$name:dev" -entrypoint "$entrypoint" "$@"
  mv -f "$work/$name.tar" "$IMAGES/$name.tar"
  say "wrote $IMAGES/$name.tar"
}
# with_libraries PROGRAM...: PROGRAM and every library it needs, the loader among them.
with_libraries() {
  local program
  for program in "$@"; do printf '%s:/usr/local/bin/%s\n' "$(realpath "$program")" "${program##*/}"; done
  ldd "$@" | grep -oE '/[^ :]+\.so[^ :]*' | sort -u | while read -r lib; do printf '%s:%s\n' "$(realpath "$lib")" "$lib"; done
}

static ./hack/mkimage "$work/mkimage"
[ $# -gt 0 ] || set -- crossfade redis versitygw pause
for name in "$@"; do
  case $name in
    crossfade)
      static . "$work/crossfade"
      image crossfade /crossfade "$work/crossfade:/crossfade"
      ;;
    pause)
      static ./hack/pause "$work/pause"
      image pause /pause "$work/pause:/pause"
      ;;
    redis)
      "$ROOT/hack/redis.sh"
      mapfile -t files < <(with_libraries "$(command -v redis-server)" "$(command -v redis-cli)")
      files+=("$(realpath /bin/sh):/bin/sh" ":/data:1777") # sh: for commands as the official images allow
      image redis /usr/local/bin/redis-server "${files[@]}"
      ;;
    versitygw)
      "$ROOT/hack/tool.sh" versitygw
      image versitygw /versitygw "$BIN/versitygw:/versitygw" ":/data:1777"
      ;;
    *) die "unknown image $name" ;;
  esac
done
