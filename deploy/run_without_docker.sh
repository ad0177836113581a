#!/usr/bin/env bash
# Runs an image of build_without_docker.sh as `docker run --read-only --tmpfs /tmp --network host`
# would: its root cannot be written, its user is the image's own and gains no rights.
#   deploy/run_without_docker.sh [--volume DIR:PLACE[:ro]]... cpu MODELS [WORD OF salience]...
# As root, with buildah and bubblewrap (Debian: apt-get install buildah bubblewrap).
set -euo pipefail
volumes=()
while [ "${1-}" = --volume ]; do
    volumes+=("$2")
    shift 2
done
target=$1
volumes+=("$2:/models:ro")
shift 2
[ $# -gt 0 ] || set -- serve /models --config /etc/salience.toml --address 127.0.0.1:50051

buildah() { command buildah --storage-driver vfs "$@"; }

container=$(buildah from --pull-never "localhost/salience:$target")
trap 'buildah rm "$container" >/dev/null' EXIT
root=$(buildah mount "$container")
user=$(buildah inspect --format '{{.OCIv1.Config.User}}' "$container")

mounts=()
for volume in "${volumes[@]}"; do
    IFS=: read -r directory place how <<<"$volume"
    mkdir --parents "$root$place"
    mounts+=("--${how:+ro-}bind" "$(realpath "$directory")" "$place")
done

bwrap --ro-bind "$root" / --proc /proc --dev /dev --perms 1777 --tmpfs /tmp "${mounts[@]}" \
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
