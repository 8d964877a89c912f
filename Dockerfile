# One image with every binary of mailtown. `docker compose up --build` builds it from source, with nothing but Docker.
#
# Two ways lead to the same runtime; MAILTOWN_BUILD, which compose passes on as the build target, chooses:
#   from-source   the default: compiles in a container, dependencies and objects kept in cache mounts
#   prebuilt      copies what the host compiled, in seconds and without pulling any image:
#                   RUSTFLAGS="-C target-feature=+crt-static" \
#                     cargo build --release --target x86_64-unknown-linux-gnu
#                   MAILTOWN_BUILD=prebuilt docker compose up --build
# Without a `# syntax=` line, heredocs and `COPY --link`, so that it builds where no registry can be reached.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# crt-static links glibc in: the binaries run on an empty file system. It needs an explicit --target, without which
# RUSTFLAGS would reach build scripts and procedural macros too.
RUN --mount=type=cache,id=mailtown-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=mailtown-target,target=/src/target \
    set -eu; \
    host="$(rustc --print host-tuple)"; \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$host" \
        -p smtp-gateway -p pop3-gateway -p mailbox-store -p pseudo-dns -p agent -p mailtown; \
    mkdir /binaries; \
    for binary in smtp-gateway pop3-gateway mailbox-store pseudo-dns agent mailtown; do \
        cp "target/$host/release/$binary" /binaries/; \
    done

# Nothing to attack: no shell, no libraries, no writable directory but /data, no root.
FROM scratch AS runtime
LABEL org.opencontainers.image.title="mailtown" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# BuildKit makes a WORKDIR as the current user's. A named volume mounted over it takes on that owner.
USER 10001:10001
WORKDIR /data

FROM runtime AS prebuilt
COPY target/x86_64-unknown-linux-gnu/release/smtp-gateway \
     target/x86_64-unknown-linux-gnu/release/pop3-gateway \
     target/x86_64-unknown-linux-gnu/release/mailbox-store \
     target/x86_64-unknown-linux-gnu/release/pseudo-dns \
     target/x86_64-unknown-linux-gnu/release/agent \
     target/x86_64-unknown-linux-gnu/release/mailtown \
     /usr/local/bin/

FROM runtime AS from-source
COPY --from=build /binaries/ /usr/local/bin/
