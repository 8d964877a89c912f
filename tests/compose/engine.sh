# shellcheck shell=bash disable=SC2154
# Sourced by tests/compose/run: an engine that answers, and the compose and buildx plugins.
# Expects $cache, a directory that may outlive the test, and $scratch, one that does not.

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Uses the engine that answers, or else starts one of our own, with its own state, until stop_engine.
engine_pidfile=
provide_engine() {
    if docker info >/dev/null 2>&1; then
        echo "engine: $(docker version --format '{{.Server.Version}}'), running already"
        return
    fi
    local driver tries
    # The machine's own daemon.json would contradict these flags.
    echo "{}" >"$scratch/daemon.json"
    for driver in overlay2 fuse-overlayfs vfs; do
        # State is kept per driver: what one wrote, another cannot read. The socket's path must be short. The MTU is
        # one that tunnels let pass: many a virtual machine's link carries less than it says.
        as_root dockerd --config-file "$scratch/daemon.json" --mtu 1400 --storage-driver "$driver" \
            --data-root "$cache/docker/$driver" --exec-root "$scratch/exec" --pidfile "$scratch/dockerd.pid" \
            --group "$(id -gn)" --host "unix://$scratch/docker.sock" >"$scratch/dockerd.log" 2>&1 </dev/null &
        engine_pidfile=$scratch/dockerd.pid
        export DOCKER_HOST=unix://$scratch/docker.sock
        for ((tries = 0; tries < 150; tries++)); do
            if docker info >/dev/null 2>&1; then
                echo "engine: $(docker version --format '{{.Server.Version}}'), our own, storage driver $driver"
                return
            fi
            kill -0 $! 2>/dev/null || break
            sleep 0.2
        done
        stop_engine
    done
    tail -n 20 "$scratch/dockerd.log" >&2
    echo "error: no Docker engine answers, and none can be started (see above)" >&2
    return 1
}

stop_engine() {
    [ -n "$engine_pidfile" ] && as_root test -s "$engine_pidfile" || return 0
    local pid
    pid=$(as_root cat "$engine_pidfile")
    as_root kill "$pid" || true
    while as_root kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    engine_pidfile=
}

# Uses the plugins that are installed, or else Debian 13's, which run on Debian 12, in a configuration of our own.
provide_plugins() {
    if ! docker compose version >/dev/null 2>&1 || ! docker buildx version >/dev/null 2>&1; then
        export DOCKER_CONFIG=$cache/docker-config
        [ -x "$DOCKER_CONFIG/cli-plugins/docker-buildx" ] || fetch_plugins
    fi
    echo "compose: $(docker compose version --short), buildx: $(docker buildx version | cut -d ' ' -f 2)"
}

fetch_plugins() {
    local source="$scratch/trixie.list" package
    mkdir -p "$scratch/lists/partial" "$scratch/plugins" "$DOCKER_CONFIG/cli-plugins"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" \
        >"$source"
    # A source list and an index of their own: the machine's apt never learns of Debian 13.
    local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$source" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$scratch/lists" -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)")
    "${apt[@]}" update
    (cd "$scratch/plugins" && "${apt[@]}" download docker-compose docker-buildx)
    for package in "$scratch"/plugins/*.deb; do
        dpkg-deb -x "$package" "$scratch/plugins"
    done
    cp "$scratch"/plugins/usr/libexec/docker/cli-plugins/docker-{compose,buildx} "$DOCKER_CONFIG/cli-plugins/"
}
