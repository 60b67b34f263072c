#!/usr/bin/env bash
# Proves the Dockerfile by a real build, with no registry and no Docker daemon, then runs the image and scores a pair.
#   deploy/build-without-registry.sh MODEL_FOLDER
# MODEL_FOLDER is a small checkpoint that `reward-server serve` can read; it is baked in, and also mounted.
# Needs root, buildah, debootstrap, ip and unshare (deploy/install-system-packages.sh). The base image is made by
# debootstrap from this machine's own Debian mirror and kept in CACHE, so that a second build is quicker.
# LIMIT_S bounds the whole (a first build took 6.5 minutes, a later one 3.3, on two busy cores).
set -euo pipefail
if [ -z "${UNDER_LIMIT:-}" ]; then
    UNDER_LIMIT=yes exec timeout --kill-after=30 "${LIMIT_S:-540}" "$0" "$@"
fi
export PATH="$PATH:/usr/sbin:/sbin"

model="$(realpath "${1:?usage: deploy/build-without-registry.sh MODEL_FOLDER}")"
repo="$(cd "$(dirname "$0")/.." && pwd)"
cache="${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reward-server}"
work="$(mktemp -d "${TMPDIR:-/tmp}/reward-server-image.XXXXXX")"
image=localhost/reward-server:proof
suite="$(. /etc/os-release && echo "$VERSION_CODENAME")"
base_tar="$cache/base-$suite.tar"

# vfs copies every layer but needs no kernel support; chroot isolation needs no runtime.
store=(--root "$work/storage" --runroot "$work/run" --storage-driver vfs)
container=""

clean_up() {
    trap '' TERM INT # a time limit signals the whole group, and twice: cleaning goes on
    [ -z "$container" ] || buildah "${store[@]}" umount "$container" >/dev/null || true
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 143' TERM INT # waits for the command in progress, which gets the signal too

say() { echo "build-without-registry: $* (${SECONDS} s)"; }

make_base() {
    local mirror
    mirror="$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $suite" 'Component: main' | head -n 1)"
    mkdir -p "$cache"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$work/base" "$mirror" \
        >"$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log" >&2; return 1; }
    rm -rf "$work/base/var/cache/apt" "$work/base/var/lib/apt/lists"
    # Written beside and renamed, so that an interrupted run leaves no half a base.
    tar -C "$work/base" -cf "$base_tar.$$" .
    mv "$base_tar.$$" "$base_tar"
    rm -rf "$work/base"
}

import_base() {
    local scratch
    scratch="$(buildah "${store[@]}" from scratch)"
    buildah "${store[@]}" add --quiet "$scratch" "$base_tar" / >/dev/null
    buildah "${store[@]}" commit --quiet --rm "$scratch" localhost/base >/dev/null
}

stage_context() {
    # What a clean checkout holds, plus the stand-in model; .dockerignore does its work on top.
    mkdir -p "$work/context/models"
    (cd "$repo" && git ls-files -z --deduplicate --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/context")
    cp -r "$model" "$work/context/models/baked"
    mkdir "$work/mounted"
    cp -r "$model" "$work/mounted/by-hand"
    chmod -R a+rX "$work/mounted"
}

build() {
    local volumes=() volume
    while read -r volume; do volumes+=(--volume "$volume"); done < <(python3 "$repo/deploy/machine_pip.py" "$work/pip.conf")
    buildah "${store[@]}" build --isolation chroot --format docker --pull-never --layers=false \
        --build-arg BASE_IMAGE=localhost/base --build-arg MODEL_FOLDER=models/baked --build-arg MODEL_NAME=baked \
        "${volumes[@]}" --tag "$image" "$work/context" >"$work/build.log" 2>&1 \
        || { tail -n 40 "$work/build.log" >&2; return 1; }
}

run_image() {
    local root
    container="$(buildah "${store[@]}" from --pull-never "$image")"
    root="$(buildah "${store[@]}" mount "$container")"
    buildah "${store[@]}" inspect --type image "$image" >"$work/config.json"
    say "root file system $(du -sm --one-file-system "$root" | cut -f1) MB, of it base $(($(stat -c %s "$base_tar") / 1000000)) MB"
    # Namespaces of its own: no network but loopback, no mount or process left behind.
    unshare --mount --net --pid --fork --kill-child --mount-proc \
        python3 "$repo/deploy/run_image.py" "$root" "$work/config.json" "$work/mounted/by-hand"
}

main() {
    if [ -f "$base_tar" ]; then say "base kept from an earlier run: $base_tar"; else make_base; say "base made with debootstrap"; fi
    import_base
    say "base imported"
    stage_context
    build
    say "image built"
    run_image
    say "image runs"
}

main
