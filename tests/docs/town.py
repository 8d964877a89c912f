"""A town that runs on ports of its own: what it counts, what it logs, and which configuration keys it knows."""

import contextlib
import os
import poplib
import re
import smtplib
import socket
import subprocess
import time
import tomllib
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
START_SECONDS = 60
CALL_SECONDS = 30
HTTP_KEYS = "store", "dns_http", "smtp_http", "pop_http"
# The second one wants to be taken for a line about somebody else.
REFUSED_USERS = "usr@gmail.com", '"x}: pop3{peer=192.0.2.1:1 user=x}: pop3.login"@gmail.com'
PROBE = "no_such_key"


@dataclass
class Site:
    """Where a town is."""

    config: Path
    zone: Path
    # By server and key, and by the port that the shipped configuration has instead.
    ports: dict
    moved: dict


def build():
    """Builds what is started here, together with the system tests, so that after those nothing is left to build."""
    command = ["cargo", "build", "--quiet", "--locked", "--workspace", "--test", "system", "--bin", "mailtown"]
    subprocess.run(command, cwd=ROOT, check=True)


def free_ports(count):
    """Ports that nothing listens on."""
    with contextlib.ExitStack() as sockets:
        bound = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in bound]


def site(directory):
    """Writes the shipped configuration and zone with other ports."""
    text = (ROOT / "data/config.toml").read_text()
    shipped = [int(port) for port in re.findall(r"(?m)^\w+ = (\d+)$", text)]
    moved = dict(zip(shipped, free_ports(len(shipped))))
    config, zone = directory / "config.toml", directory / "fdns.toml"
    config.write_text(move(text, moved))
    zone.write_text(move((ROOT / "data/fdns.toml").read_text(), moved))
    servers = tomllib.loads(config.read_text())["server"]
    ports = {
        (server, key): port for server, keys in servers.items() for key, port in keys.items() if port in moved.values()
    }
    return Site(config, zone, ports, moved)


def move(text, moved):
    """A text with the ports of a town in place of the shipped ones."""
    return re.sub(r"\b\d{4}\b", lambda match: str(moved.get(int(match[0]), match[0])), text)


@contextlib.contextmanager
def running(directory, *options):
    """A town with these options, from when all of its services are ready; its log is in the file `log`."""
    town = site(directory)
    command = [BUILT / "mailtown", "--config", town.config, "--zone", town.zone, "--state", directory / "state", *options]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=environment())
    try:
        deadline = time.monotonic() + START_SECONDS
        while not all(is_ready(url) for url in urls(town)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"error: the town did not start:\n{(directory / 'log').read_text()}")
            time.sleep(0.05)
        yield town
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)


def environment():
    """This one, without what would change a town."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAILTOWN_")}


def urls(town):
    return [f"http://127.0.0.1:{port}" for (_, key), port in town.ports.items() if key in HTTP_KEYS]


def is_ready(url):
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=CALL_SECONDS) as response:
            return response.status == 200
    except OSError:
        return False


def refuse_logins(town):
    """Logs in with wrong passwords, over SMTP and over POP3."""
    for user in REFUSED_USERS:
        with smtplib.SMTP("127.0.0.1", town.ports["gmail.com", "smtp"], timeout=CALL_SECONDS) as client:
            try:
                client.login(user, "wrong")
            except smtplib.SMTPAuthenticationError:
                pass
            else:
                raise SystemExit(f"error: {user} logged in with a wrong password")
        client = poplib.POP3("127.0.0.1", town.ports["gmail.com", "pop"], timeout=CALL_SECONDS)
        client.user(user)
        try:
            client.pass_("wrong")
        except poplib.error_proto:
            client.quit()
        else:
            raise SystemExit(f"error: {user} logged in with a wrong password")


def metrics(town):
    """The lines that all services count with."""
    lines = []
    for url in urls(town):
        with urllib.request.urlopen(f"{url}/metrics", timeout=CALL_SECONDS) as response:
            lines += [line for line in response.read().decode().splitlines() if not line.startswith("#")]
    return lines


# Their keys are servers' names, and below them addresses.
TABLES_OF_SERVERS = ("accounts", "aliases")


def configuration_keys(directory, documented):
    """Every key that a town knows, in the form of the table: a table's own name where its keys are anybody's."""
    town = site(directory)
    found = set()
    for key in known_keys(town, None):
        tables = {row.rpartition(".")[0] for row in documented if row.startswith(f"{key}.")}
        if not tables:
            found.add(key)
        for table in tables:
            found |= {f"{table}.{inner}" for inner in known_keys(town, table)}
    # A table within a table has rows for its own keys.
    return {key for key in found if not any(row.startswith(f"{key}.") for row in documented)}


def known_keys(town, table):
    """The keys that a table has, as the town tells when it is asked for one that is not there."""
    text = town.config.read_text()
    if table is None:
        text = f"{PROBE} = 1\n{text}"
    elif table in TABLES_OF_SERVERS:
        return {'"NAME"'}
    else:
        for placeholder, name in {"NAME": "gmail.com", "DOMAIN": "gmail.com", "ADDRESS": "usr@gmail.com"}.items():
            table = table.replace(f'"{placeholder}"', f'"{name}"')
        header = f"[{table}]\n"
        text = text if header in text else f"{text}\n{header}"
        text = text.replace(header, f"{header}{PROBE} = 1\n")
    probe = town.config.with_name("probe.toml")
    probe.write_text(text)
    command = [BUILT / "mailtown", "--config", probe, "--zone", ROOT / "data/fdns.toml", "check"]
    options = {"capture_output": True, "text": True, "env": environment(), "timeout": CALL_SECONDS}
    outcome = subprocess.run(command, **options, check=False)
    _, unknown, expected = outcome.stderr.partition(f"unknown field `{PROBE}`, expected")
    assert unknown, f"{table}: {outcome.stderr}"
    return set(re.findall(r"`(\w+)`", expected.splitlines()[0]))
