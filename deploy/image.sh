#!/usr/bin/env bash
# Builds the container image from a static binary, with what is here: docker, podman or buildah. Pulls nothing.
# Usage: deploy/image.sh BINARY [NAME]; `deploy/image.sh builder` names the builder, or fails.
set -euo pipefail

builder() {
    if docker info >/dev/null 2>&1; then
        echo docker
    elif command -v podman >/dev/null; then
        echo podman
    elif command -v buildah >/dev/null; then
        echo buildah
    else
        echo "no builder of images is here: please start docker, or install podman or buildah" >&2
        return 1
    fi
}

if [ "$1" = builder ]; then
    builder
    exit
fi

binary=$1
name=${2:-the-well}
here=$(cd "$(dirname "$0")" && pwd)
certificates=/etc/ssl/certs/ca-certificates.crt

# Nothing in an empty image would load it otherwise.
if readelf --program-headers --wide "$binary" | grep -q INTERP; then
    echo "$binary is not static: build it for $(uname -m)-unknown-linux-musl (make image does)" >&2
    exit 1
fi
[ -e "$certificates" ] || {
    echo "please install: ca-certificates (an archive on https needs them)" >&2
    exit 1
}
builder=$(builder)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir "$context/data"
cp "$certificates" "$context/certificates.crt"
strip --strip-debug -o "$context/well" "$binary"
chmod 755 "$context/well"
chmod 644 "$context/certificates.crt"
"$builder" build --tag "$name" --file "$here/Dockerfile" "$context"
