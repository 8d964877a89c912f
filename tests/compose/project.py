"""A compose project that is up, as Docker sees it."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from town import Town, poll

ROOT = Path(__file__).resolve().parents[2]
TOKEN = os.environ["MAILTOWN_TOKEN"]
CONTAINER_USER = 10001

town = Town(ROOT / "data" / "config.toml", ROOT / "data" / "fdns.toml")


class Project:
    """The project `name` of docker-compose.yml, run with the profiles of the environment."""

    def __init__(self, name):
        self.name = name

    def compose(self, *words):
        """Runs `docker compose` on this project and returns what it printed."""
        command = ["docker", "compose", "--project-name", self.name, *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def containers(self):
        """What `docker inspect` says of each container, by the name of its service."""
        label = f"label=com.docker.compose.project={self.name}"
        ids = subprocess.check_output(["docker", "ps", "--all", "--quiet", "--filter", label], text=True).split()
        inspected = json.loads(subprocess.check_output(["docker", "inspect", *ids]))
        return {entry["Config"]["Labels"]["com.docker.compose.service"]: entry for entry in inspected}

    def wait_until_healthy(self, *services):
        """Waits until the health checks of these services say so."""

        def healthy():
            found = self.containers()
            return all(found[service]["State"]["Health"]["Status"] == "healthy" for service in services)

        poll(healthy, 60, f"{services} healthy")


def check_confinement(test, entry, uid=None):
    """The process of this container is `uid`, or anybody but root; may do nothing special, and become nobody else."""
    test.assertEqual(entry["HostConfig"]["CapDrop"], ["ALL"])
    test.assertIn("no-new-privileges:true", entry["HostConfig"]["SecurityOpt"])
    test.assertFalse(entry["HostConfig"]["Privileged"])
    status = Path(f"/proc/{entry['State']['Pid']}/status")
    if status.exists():  # not where the engine runs in a machine of its own
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        real, *others = map(int, fields["Uid"].split())
        test.assertEqual(others, [real] * 3)
        test.assertNotEqual(real, 0)
        test.assertEqual(real, uid or real)
        test.assertEqual(int(fields["CapEff"], 16), 0)
        test.assertEqual(int(fields["CapBnd"], 16), 0)
        test.assertEqual(fields["NoNewPrivs"].strip(), "1")


def api(stack, path, token=TOKEN, key="store"):
    """GETs from the HTTP port `key` of a stack; returns status, content type and body."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{town.config['server'][stack][key]}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get_content_type(), error.read()


def console(method, path, body=None):
    """Calls the console; returns its JSON, if there is any."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:8025{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return None if answer.status == 204 else json.load(answer)
