#!/usr/bin/env python3
"""The compose town with a virtual clock. tests/compose/run starts it with MAILTOWN_CLOCK, calls this, and stops it."""

import argparse
import sys
import time
import unittest
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "interop"))
sys.dont_write_bytecode = True  # leave no __pycache__ in the source tree
import counted  # noqa: E402
from project import Project, console, town  # noqa: E402

USR1 = "usr1@mail.sustech.edu.cn"
USR = "usr@gmail.com"
BUSY = "451 4.3.2 not now"

project = start = None  # set by main()


def hours(moment):
    """How many hours after the start of the town this is."""
    return round((datetime.fromisoformat(moment) - datetime.fromisoformat(start)).total_seconds() / 3600, 2)


class Clock(unittest.TestCase):
    """Time moves in all containers together."""

    maxDiff = None

    def setUp(self):
        for address in (USR1, USR):
            town.empty(address)
        self.addCleanup(console, "DELETE", "/v1/faults")

    def refuse(self):
        """From now on gmail.com has no time for the relay of exmail.qq.com."""
        place = {"stack": "exmail.qq.com", "service": "smtp-gateway", "peer": "gmail.com", "verb": "RCPT"}
        told = console("PUT", "/v1/faults/busy", {"where": place, "what": {"reply": BUSY}})
        self.assertEqual(told["untold"], {})

    def send(self, subject):
        """Sends a message to the other server; returns its id."""
        with town.smtp(USR1) as client:
            self.assertEqual(client.sendmail(USR1, [USR], f"Subject: {subject}\n\n"), {})
        found = console("GET", f"/v1/mail/wait?query=subject:{subject}&timeout=20")
        return found["mail"][0]["id"]

    def advance(self, **where):
        moved = console("POST", "/v1/clock/advance", where)
        self.assertEqual((moved["reached"], moved["unreachable"]), (True, []), moved)
        return moved

    def kinds(self, message):
        return [event["kind"] for event in console("GET", f"/v1/mail/{message}")["events"]]

    def test_a_message_lives_its_whole_retry_life_in_a_moment(self):
        self.refuse()
        began = time.monotonic()
        message = self.send("lost")
        moved = self.advance(by="26h")
        kinds = self.kinds(message)
        print(f"{moved['steps']} steps of the clock, {time.monotonic() - began:.2f} s from the message to its bounce")
        self.assertGreaterEqual(kinds.count("deferred"), 6, kinds)
        self.assertEqual([kinds.count(kind) for kind in ("reported", "expired", "bounced")], [1, 1, 1], kinds)
        delayed, failed = town.wait_for_mail(USR1, 2)
        self.assertIn(b"Action: delayed", delayed)
        self.assertIn(b"Action: failed", failed)
        self.assertIn(BUSY.encode(), failed)
        self.assertEqual(console("GET", "/v1/faults/busy")["fired"], kinds.count("deferred") + 1)

    def test_a_container_that_starts_anew_has_the_time_of_the_town(self):
        self.refuse()
        message = self.send("later")
        before = hours(self.advance(by="3h")["now"])
        project.compose("restart", "--timeout", "5", "exmail-store", "exmail-smtp")
        project.wait_until_healthy("exmail-store", "exmail-smtp")
        self.assertEqual(hours(console("GET", "/v1/clock")["now"]), before)
        console("DELETE", "/v1/faults")
        self.advance(next_due=True)
        self.assertIn("relayed", self.kinds(message))
        (arrived,) = town.wait_for_mail(USR, 1)
        self.assertIn(b"Subject: later", arrived)


def main():
    """Reads the arguments and runs the tests."""
    global project, start
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", required=True, help="name of the compose project, which is up")
    parser.add_argument("--start", required=True, help="the time that the town was started with")
    arguments = parser.parse_args()
    project, start = Project(arguments.project), arguments.start
    return counted.run(unittest.defaultTestLoader.loadTestsFromTestCase(Clock), "clock")


if __name__ == "__main__":
    sys.exit(main())
