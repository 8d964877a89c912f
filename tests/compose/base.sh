# shellcheck shell=bash disable=SC2154
# Sourced by tests/compose/run: the images that the town needs from a registry.
# Expects $scratch, and as_root of engine.sh.

# What Dockerfile's from-source build starts from.
builder_image=$(sed -n 's/^FROM \(rust:[^ ]*\) AS build$/\1/p' Dockerfile)
# The database of profile postgres.
postgres_image=$(sed -n 's/^ *image: \(postgres:[^ ]*\)$/\1/p' docker-compose.yml)

# provide_image IMAGE MAKE: makes IMAGE available locally. Returns 1, having said why, when it cannot be.
#   MAILTOWN_TEST_BASE=pull       from its registry, as users get it
#   MAILTOWN_TEST_BASE=stand-in   what MAKE makes of Debian packages under the same tag: where no registry can be
#                                 reached. Kept in the engine's state. Never publish it: it may have this machine's CA
#                                 file.
# Unless told otherwise a CI machine that is not GitHub's makes the stand-in, and all others pull.
provide_image() {
    local image=$1 make=$2 default=pull
    if docker image inspect "$image" >/dev/null 2>&1; then
        echo "base: $image is here already$(stand_in_note "$image")"
        return
    fi
    if [ -n "${CI:-}" ] && [ -z "${GITHUB_ACTIONS:-}" ]; then default=stand-in; fi
    case "${MAILTOWN_TEST_BASE:-$default}" in
    pull)
        timeout 300 docker pull --quiet "$image" && return
        echo "base: $image cannot be pulled; MAILTOWN_TEST_BASE=stand-in makes one without a registry"
        return 1
        ;;
    stand-in)
        "$make"
        ;;
    *)
        echo "base: MAILTOWN_TEST_BASE is neither pull nor stand-in"
        return 1
        ;;
    esac
}

stand_in_note() {
    if [ "$(docker image inspect --format '{{index .Config.Labels "mailtown.stand-in"}}' "$1")" = true ]; then
        echo " (a stand-in)"
    fi
}

make_builder_stand_in() {
    local wanted=${builder_image#rust:} sysroot
    wanted=${wanted%%-*}
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
    bootstrap "$builder_image" bookworm --include=ca-certificates,gcc,libc6-dev \
        --customize-hook="cd '$sysroot'"' && tar -c bin/cargo bin/rustc lib/*.so* lib/rustlib/*-linux-gnu |
            tar -C "$1/usr/local" -x --no-same-owner' \
        --customize-hook='chroot "$1" rustc --version' \
        --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs' || return 1
    import "$builder_image" --change "ENV CARGO_HOME=/usr/local/cargo"
}

# As far as docker-compose.yml uses the official image, with the PostgreSQL of Debian 13.
make_postgres_stand_in() {
    local major=17 wanted=${postgres_image#postgres:}
    wanted=${wanted%%-*}
    # Debian's package creates a database cluster of its own, which the official image has not.
    # shellcheck disable=SC2016  # $1 is the hook's own: the new root
    bootstrap "$postgres_image" trixie --include="postgresql-$major" \
        --customize-hook='rm -rf "$1"/var/lib/postgresql/* "$1"/etc/postgresql/*' \
        --customize-hook='mkdir "$1/docker-entrypoint-initdb.d"' \
        --customize-hook='chroot "$1" install -d -o postgres -g postgres /run/postgresql' --skip=cleanup/run \
        --customize-hook='copy-in tests/compose/docker-entrypoint.sh /usr/local/bin' || return 1
    import "$postgres_image" \
        --change "ENV PGDATA=/var/lib/postgresql/$wanted/docker" \
        --change "ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/lib/postgresql/$major/bin" \
        --change "VOLUME /var/lib/postgresql" \
        --change 'ENTRYPOINT ["docker-entrypoint.sh"]' --change 'CMD ["postgres"]'
}

# bootstrap IMAGE SUITE OPTION...: a Debian file system in $scratch/base.tar.
bootstrap() {
    local image=$1 suite=$2
    shift 2
    if ! command -v mmdebstrap >/dev/null; then
        echo "base: no mmdebstrap to make a stand-in for $image with"
        return 1
    fi
    if ! as_root mmdebstrap --quiet --variant=minbase "$@" "$suite" "$scratch/base.tar" \
        >"$scratch/mmdebstrap.log" 2>&1; then
        tail -n 5 "$scratch/mmdebstrap.log"
        echo "base: the stand-in for $image cannot be made (see above)"
        return 1
    fi
}

# import IMAGE OPTION...: $scratch/base.tar becomes that image.
import() {
    local image=$1
    shift
    docker import "$@" --change "LABEL mailtown.stand-in=true" "$scratch/base.tar" "$image" >/dev/null || return 1
    as_root rm "$scratch/base.tar"
    echo "base: made a stand-in for $image"
}
