#!/usr/bin/env python3
"""Plays a newcomer in a fresh clone: starts the town and the agent as README.md says, and compares the dialogue.

tests/first-hour/run prepares clone, PATH and engine, and calls this with the way to test: docker or cargo.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True  # leave no __pycache__ in the source tree
from readme import WAYS, Readme  # noqa: E402

# A build from nothing on two cores.
START_SECONDS = 20 * 60
DIALOGUE_SECONDS = 10 * 60
# Each with the beginning of its greeting.
SERVERS = {1025: b"220 ", 3110: b"+OK", 2025: b"220 ", 2110: b"+OK"}


def greets(port, greeting):
    """Whether the server of this port says who it is. Docker takes connections before it does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(len(greeting)) == greeting
    except OSError:
        return False


def wait_for_town(town):
    """Waits until all servers greet; gives up when the command has ended."""
    deadline = time.monotonic() + START_SECONDS
    while not all(greets(port, greeting) for port, greeting in SERVERS.items()):
        if town.poll() is not None:
            raise SystemExit(f"error: the town's command ended with {town.returncode}")
        if time.monotonic() > deadline:
            raise SystemExit(f"error: no town after {START_SECONDS} s")
        time.sleep(0.5)


def play(command, readme, clone):
    """Types what the README types, and returns whether the agent prints what it prints."""
    typed, expected = readme.dialogue()
    done = subprocess.run(
        ["bash", "-c", command], cwd=clone, input=typed, stdout=subprocess.PIPE, text=True, timeout=DIALOGUE_SECONDS
    )
    if (done.returncode, done.stdout) == (0, expected):
        return True
    print(f"the agent ended with {done.returncode} and printed:\n{done.stdout}\nREADME.md has:\n{expected}", flush=True)
    return False


def main():
    """Reads the arguments and plays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", required=True, choices=WAYS)
    parser.add_argument("--clone", required=True, type=Path)
    arguments = parser.parse_args()
    readme = Readme(arguments.clone / "README.md")
    start, agent = readme.commands(arguments.way)
    print(f"$ {start}", flush=True)
    # A group of its own: the whole of it gets the signal that Ctrl-C is.
    town = subprocess.Popen(["bash", "-c", start], cwd=arguments.clone, start_new_session=True)
    try:
        wait_for_town(town)
        print(f"$ {agent}", flush=True)
        fits = play(agent, readme, arguments.clone)
    finally:
        if town.poll() is None:
            os.killpg(town.pid, signal.SIGINT)
            town.wait(timeout=60)
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
