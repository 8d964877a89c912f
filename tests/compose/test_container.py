#!/usr/bin/env python3
"""A whole town in one container. tests/compose/run builds the image and calls this while no other town is up."""

import argparse
import json
import poplib
import subprocess
import sys
import tempfile
import time
import unittest
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "interop"))
sys.dont_write_bytecode = True  # leave no __pycache__ in the source tree
import counted  # noqa: E402
from project import CONTAINER_USER, ROOT, check_confinement, town  # noqa: E402
from town import poll  # noqa: E402

USR1 = "usr1@mail.sustech.edu.cn"
PUBLISHED = ("1025:1025", "3110:3110", "2025:2025", "2110:2110")
# A store of so many accounts with plain-text passwords serves within this time, in so little memory.
ACCOUNTS = 1000
SERVES_WITHIN_S = 10
MEMORY_KIB = 120 * 1024

image = None  # set by main()


def run(case, *words):
    """Runs a container in the background and returns its name. It is removed after the test, even when it did not start."""
    name = f"mailtown-test-{uuid.uuid4().hex}"
    case.addCleanup(docker, "rm", "--force", "--volumes", name, check=False)
    docker("run", "--detach", "--name", name, *words)
    return name


def docker(*words, check=True):
    """Runs docker and returns what it printed."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"docker {' '.join(words)}: {done.stderr}")
    return done.stdout.strip()


class Container(unittest.TestCase):
    """`docker run -p 1025:1025 -p 3110:3110 mailtown`, with options that take rights away."""

    maxDiff = None

    def start(self, *options):
        """Starts the town and waits until it is healthy; returns the container's name."""
        ports = [word for port in PUBLISHED for word in ("-p", f"127.0.0.1:{port}")]
        container = run(self, *ports, *options, image)
        poll(lambda: self.state(container)["Health"]["Status"] == "healthy", 60, "a healthy container")
        return container

    def state(self, container):
        return json.loads(docker("inspect", container))[0]["State"]

    def assert_mail_flows(self):
        for recipient in town.passwords:
            town.empty(recipient)
            with town.smtp(USR1) as client:
                self.assertEqual(client.sendmail(USR1, [recipient], "Subject: one container\n\n"), {})
            self.assertIn(b"Subject: one container", town.wait_for_mail(recipient)[0])

    def test_a_whole_town_that_stops_cleanly(self):
        container = self.start()
        self.assert_mail_flows()
        docker("stop", container)
        self.assertEqual(self.state(container)["ExitCode"], 0)

    def test_nothing_but_its_data_is_written(self):
        tmpfs = f"/data:uid={CONTAINER_USER},gid={CONTAINER_USER}"
        rights = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true")
        container = self.start("--read-only", "--tmpfs", tmpfs, *rights)
        self.assert_mail_flows()
        check_confinement(self, json.loads(docker("inspect", container))[0], CONTAINER_USER)

    def test_mail_stays_in_its_volume(self):
        volume = f"{image}-data"
        self.addCleanup(docker, "volume", "rm", "--force", volume)
        container = self.start("--volume", f"{volume}:/data")
        self.assert_mail_flows()
        docker("rm", "--force", container)
        self.start("--volume", f"{volume}:/data")
        self.assertEqual(len(town.messages(USR1)), 1)

    def test_many_accounts_are_served_at_once_in_little_memory(self):
        accounts = "".join(f'"many{number}@gmail.com" = "many{number}"\n' for number in range(ACCOUNTS))
        table = '[accounts."gmail.com"]\n'
        default = (ROOT / "data" / "config.toml").read_text()
        self.assertIn(table, default)
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(default.replace(table, table + accounts))
            config.flush()
            Path(config.name).chmod(0o644)
            volume = f"{image}-memory"
            self.addCleanup(docker, "volume", "rm", "--force", volume)
            mounts = ("--volume", f"{volume}:/data", "--volume", f"{config.name}:/etc/mailtown/config.toml:ro")
            for start in ("first", "second"):
                began = time.monotonic()
                ports = [word for port in PUBLISHED for word in ("-p", f"127.0.0.1:{port}")]
                container = run(self, *ports, *mounts, image)
                # The last account of all, whose password is hashed by then for its user alone.
                poll(lambda: can_log_in(ACCOUNTS - 1), SERVES_WITHIN_S, f"a login after the {start} start")
                took = time.monotonic() - began
                poll(lambda: checked_passwords(container) > ACCOUNTS, 180, "all passwords checked")
                for number in range(50):
                    self.assertTrue(can_log_in(number), number)
                peak = peak_kib(self.state(container)["Pid"])
                print(f"{start} start: a login after {took:.1f} s, at most {peak} KiB")
                self.assertLess(peak or 0, MEMORY_KIB)
                docker("rm", "--force", container)


def can_log_in(number):
    """Whether a user of many can read their mail."""
    try:
        client = poplib.POP3("127.0.0.1", 2110, timeout=10)
        try:
            client.user(f"many{number}@gmail.com")
            client.pass_(f"many{number}")
            client.quit()
        finally:
            client.close()
    except (OSError, EOFError, poplib.error_proto):
        return False
    return True


def checked_passwords(container):
    """How many passwords the store of gmail.com has checked and remembered."""
    with tempfile.NamedTemporaryFile() as file:
        docker("cp", f"{container}:/data/gmail.com/passwords.checked", file.name, check=False)
        return Path(file.name).read_text().count("\n") - 1  # the first line is the key


def peak_kib(process):
    """The most memory that a process had; None where the engine runs in a machine of its own."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return None
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["VmHWM"].split()[0])


def main():
    """Reads the arguments and runs the tests."""
    global image
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="the image to run")
    image = parser.parse_args().image
    return counted.run(unittest.defaultTestLoader.loadTestsFromTestCase(Container), "container")


if __name__ == "__main__":
    sys.exit(main())
