#!/usr/bin/env bash
# Builds an image of the Dockerfile where there is no Docker engine, and no base image to pull:
#   deploy/build_without_docker.sh cpu [OPTION OF BUILDAH]...
# As root, with mmdebstrap and buildah (Debian: apt-get install buildah mmdebstrap).
set -euo pipefail
cd "$(dirname "$0")/.."
# Neither needs anything of the kernel that a container or a small machine withholds. The driver is
# an option, for STORAGE_DRIVER says nothing to buildah 1.28.
export BUILDAH_ISOLATION=chroot
buildah() { command buildah --storage-driver vfs "$@"; }
target=$1
shift
base=localhost/debian-python:3.11

# Debian 12 has Python 3.11 too. Nothing else lives there, so pip may install into it.
if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    tree=$(mktemp --directory)
    trap 'rm -rf "$tree"' EXIT
    mmdebstrap --variant=minbase \
        --include=ca-certificates,python3,python3-pip,python3-venv,python-is-python3 \
        --customize-hook='rm "$1"/usr/lib/python3.11/EXTERNALLY-MANAGED' \
        bookworm "$tree/base.tar"
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$tree/base.tar"
    buildah config --env PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet --rm "$container" "$base"
fi

# Images as OCI has them hold no health check: it would be dropped.
buildah build --format docker --build-arg BASE="$base" --target "$target" --tag "localhost/salience:$target" "$@" .
