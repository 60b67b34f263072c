#!/usr/bin/env bash
# Installs the Debian packages that tests/system needs, if they are missing and we may. Never fails the build:
# where it cannot install, it says so, and the tests that need them skip and name what is missing.
set -uo pipefail

packages=(buildah debootstrap iproute2 util-linux chromium chromium-driver fonts-dejavu-core)
commands=(buildah debootstrap ip unshare chromium chromedriver)

missing() {
    for command in "${commands[@]}"; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null || echo "$command"
    done
}

cannot() {
    echo "install-system-packages: $1; missing: $(missing | tr '\n' ' '). Tests that need them will skip." >&2
    exit 0
}

[ -z "$(missing)" ] && exit 0
[ "$(id -u)" = 0 ] || cannot "not root"
command -v apt-get >/dev/null || cannot "no apt-get"

export DEBIAN_FRONTEND=noninteractive
echo "install-system-packages: installing ${packages[*]}"
timeout 120 apt-get update -qq || echo "install-system-packages: apt-get update failed; trying with the old lists" >&2
timeout 300 apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null || cannot "apt-get install failed"
