# shellcheck shell=bash disable=SC2154
# Sourced by tests/compose/run: the base image that Dockerfile's from-source build starts from.
# Expects $scratch, and as_root of engine.sh.

builder_image=$(sed -n 's/^FROM \(rust:[^ ]*\) AS build$/\1/p' Dockerfile)

# Makes $builder_image available locally. Returns 1, having said why, when it cannot be.
#   MAILTOWN_TEST_BASE=pull       from its registry, as users get it
#   MAILTOWN_TEST_BASE=stand-in   made from Debian packages and this machine's Rust, under the same tag: where no
#                                 registry can be reached. Kept in the engine's state. Never publish it: it has this
#                                 machine's CA file.
# Unless told otherwise a CI machine that is not GitHub's makes the stand-in, and all others pull.
provide_builder_image() {
    if docker image inspect "$builder_image" >/dev/null 2>&1; then
        echo "base: $builder_image is here already$(stand_in_note)"
        return
    fi
    local default=pull
    if [ -n "${CI:-}" ] && [ -z "${GITHUB_ACTIONS:-}" ]; then default=stand-in; fi
    case "${MAILTOWN_TEST_BASE:-$default}" in
    pull)
        timeout 300 docker pull --quiet "$builder_image" && return
        echo "base: $builder_image cannot be pulled; MAILTOWN_TEST_BASE=stand-in makes one without a registry"
        return 1
        ;;
    stand-in)
        make_stand_in
        ;;
    *)
        echo "base: MAILTOWN_TEST_BASE is neither pull nor stand-in"
        return 1
        ;;
    esac
}

stand_in_note() {
    if [ "$(docker image inspect --format '{{index .Config.Labels "mailtown.stand-in"}}' "$builder_image")" = true ]; then
        echo " (a stand-in)"
    fi
}

make_stand_in() {
    local wanted=${builder_image#rust:} sysroot
    wanted=${wanted%%-*}
    if ! command -v mmdebstrap >/dev/null; then
        echo "base: no mmdebstrap to make a stand-in for $builder_image with"
        return 1
    fi
    case "$(rustc --version)" in
    "rustc $wanted."*) ;;
    *)
        echo "base: a stand-in for $builder_image needs Rust $wanted, not $(rustc --version)"
        return 1
        ;;
    esac
    sysroot=$(rustc --print sysroot)
    # The toolchain finds its libraries relative to itself, so it needs no rustup in /usr/local.
    # shellcheck disable=SC2016  # $1 is the hook's own: the new root
    if ! as_root env SYSROOT="$sysroot" mmdebstrap --quiet --variant=minbase --include=ca-certificates,gcc,libc6-dev \
        --customize-hook='cd "$SYSROOT" && tar -c bin/cargo bin/rustc lib/*.so* lib/rustlib/*-linux-gnu |
            tar -C "$1/usr/local" -x --no-same-owner' \
        --customize-hook='chroot "$1" rustc --version' \
        --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs' \
        bookworm "$scratch/base.tar" >"$scratch/mmdebstrap.log" 2>&1; then
        tail -n 5 "$scratch/mmdebstrap.log"
        echo "base: the stand-in for $builder_image cannot be made (see above)"
        return 1
    fi
    docker import --change "ENV CARGO_HOME=/usr/local/cargo" --change "LABEL mailtown.stand-in=true" \
        "$scratch/base.tar" "$builder_image" >/dev/null || return 1
    as_root rm "$scratch/base.tar"
    echo "base: made a stand-in for $builder_image"
}
