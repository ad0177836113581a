#!/usr/bin/env bash
# Runs an image of build_without_docker.sh as `docker run --read-only --network host` would: its
# root cannot be written, its user is the image's own and gains no rights.
#   deploy/run_without_docker.sh cpu MODELS [WORD OF salience]...
# As root, with buildah and bubblewrap (Debian: apt-get install buildah bubblewrap).
set -euo pipefail
export STORAGE_DRIVER=vfs
target=$1
models=$(realpath "$2")
shift 2
[ $# -gt 0 ] || set -- serve /models --config /etc/salience.toml

container=$(buildah from --pull-never "localhost/salience:$target")
trap 'buildah rm "$container" >/dev/null' EXIT
root=$(buildah mount "$container")
user=$(buildah inspect --format '{{.OCIv1.Config.User}}' "$container")

bwrap --ro-bind "$root" / --proc /proc --dev /dev --ro-bind "$models" /models \
    --unshare-ipc --unshare-uts --die-with-parent --new-session --clearenv \
    --setenv PATH /usr/local/bin:/usr/bin:/bin --setenv PYTHONUNBUFFERED 1 \
    setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups --no-new-privs \
    --bounding-set=-all salience "$@" &
running=$!
# bwrap hands no signal on; its one child is the server.
trap 'kill -TERM $(cat "/proc/$running/task/$running/children")' TERM INT
status=0
wait "$running" || status=$?
# Above 128 it was the waiting that a signal ended.
[ "$status" -le 128 ] || { status=0 && wait "$running" || status=$?; }
exit "$status"
