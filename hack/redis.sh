#!/usr/bin/env bash
# redis.sh: makes sure that redis-server and redis-cli are on the PATH (Debian's).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
debian redis-server redis-server
