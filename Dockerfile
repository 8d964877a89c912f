# One image with every binary of mailtown. It runs a whole town:
#
#   docker build --tag mailtown .
#   docker run --rm -p 1025:1025 -p 3110:3110 -p 127.0.0.1:8025:8025 -v mailtown:/data mailtown
#
# or one service of it, as docker-compose.yml does. `docker compose up --build` builds it with nothing but Docker.
#
# There are two ways to build it. MAILTOWN_BUILD chooses: compose passes it on as the build target.
#   from-source   the default: compiles in a container, and keeps dependencies and objects in cache mounts
#   prebuilt      copies what the host compiled, in seconds and without pulling any image:
#                   RUSTFLAGS="-C target-feature=+crt-static" \
#                     cargo build --release --target x86_64-unknown-linux-gnu
#                   MAILTOWN_BUILD=prebuilt docker compose up --build
#                 On an arm64 machine the target is aarch64-unknown-linux-gnu.
# CARGO_PROFILE_RELEASE_LTO=off, CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 and CARGO_PROFILE_RELEASE_OPT_LEVEL=1 in the
# environment of compose make a build three times as fast; the programs are slower then.
# There is no `# syntax=` line, no heredoc and no `COPY --link`, so that it builds where no registry can be reached.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
ARG CARGO_PROFILE_RELEASE_LTO
ARG CARGO_PROFILE_RELEASE_CODEGEN_UNITS
ARG CARGO_PROFILE_RELEASE_OPT_LEVEL
# crt-static links glibc in: the binaries run on an empty file system. It needs an explicit --target, without which
# RUSTFLAGS would reach build scripts and procedural macros too. This stage runs on the platform that is built for, so
# the compiler's own platform is the right one.
RUN --mount=type=cache,id=mailtown-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=mailtown-target,target=/src/target \
    set -eu; \
    host="$(rustc --print host-tuple)"; \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$host" \
        -p smtp-gateway -p pop3-gateway -p mailbox-store -p pseudo-dns -p agent -p town-console -p mailtown; \
    mkdir /binaries; \
    for binary in smtp-gateway pop3-gateway mailbox-store pseudo-dns agent console mailtown; do \
        cp "target/$host/release/$binary" /binaries/; \
    done

# Nothing to attack: no shell, no libraries, no writable directory except /data and /tls, no root.
FROM scratch AS runtime
LABEL org.opencontainers.image.title="mailtown" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# The default town, and how the one process of it listens: SMTP, POP3 and DNS for everybody to whom Docker publishes
# them, the internal HTTP inside the container only. Whoever publishes the console's port, 8025, decides who sees all mail:
# it asks for no password.
COPY data/config.toml data/fdns.toml /etc/mailtown/
ENV MAILTOWN_CONFIG=/etc/mailtown/config.toml \
    MAILTOWN_ZONE=/etc/mailtown/fdns.toml \
    MAILTOWN_STATE=/data \
    MAILTOWN_BIND=0.0.0.0 \
    MAILTOWN_HTTP_BIND=127.0.0.1 \
    MAILTOWN_CONSOLE_AUTH=none \
    MAILTOWN_TRUSTED_NETWORKS=127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7
# BuildKit makes a WORKDIR as the current user's. A named volume mounted over it takes on that owner. It is no VOLUME: the
# services that keep nothing would each get a writable one. In /tls docker-compose.yml has certificates.
USER 10001:10001
WORKDIR /tls
WORKDIR /data
EXPOSE 8025 1025 1587 1465 3110 3995 2025 2587 2465 2110 2995 1053/udp 1053/tcp 2053/udp 2053/tcp
# A failed check is seen within 15 s, but a start may take a minute.
HEALTHCHECK --interval=2s --timeout=3s --retries=3 --start-period=60s CMD ["mailtown", "healthcheck"]
CMD ["mailtown"]

FROM runtime AS prebuilt-amd64
COPY target/x86_64-unknown-linux-gnu/release/smtp-gateway \
     target/x86_64-unknown-linux-gnu/release/pop3-gateway \
     target/x86_64-unknown-linux-gnu/release/mailbox-store \
     target/x86_64-unknown-linux-gnu/release/pseudo-dns \
     target/x86_64-unknown-linux-gnu/release/agent \
     target/x86_64-unknown-linux-gnu/release/console \
     target/x86_64-unknown-linux-gnu/release/mailtown \
     /usr/local/bin/

FROM runtime AS prebuilt-arm64
COPY target/aarch64-unknown-linux-gnu/release/smtp-gateway \
     target/aarch64-unknown-linux-gnu/release/pop3-gateway \
     target/aarch64-unknown-linux-gnu/release/mailbox-store \
     target/aarch64-unknown-linux-gnu/release/pseudo-dns \
     target/aarch64-unknown-linux-gnu/release/agent \
     target/aarch64-unknown-linux-gnu/release/console \
     target/aarch64-unknown-linux-gnu/release/mailtown \
     /usr/local/bin/

# The builder sets it: amd64 or arm64, from --platform or from the machine. An ARG of this name would hide it.
FROM prebuilt-${TARGETARCH} AS prebuilt

# The last stage is what `docker build` builds.
FROM runtime AS from-source
COPY --from=build /binaries/ /usr/local/bin/
