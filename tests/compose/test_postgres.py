#!/usr/bin/env python3
"""The compose town of profile postgres, two of each gateway and store: what runs, and who may be killed.

tests/compose/run starts the town with COMPOSE_PROFILES=postgres, calls this, and takes the town down.
"""

import argparse
import json
import os
import poplib
import smtplib
import sys
import unittest
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "interop"))
sys.dont_write_bytecode = True  # leave no __pycache__ in the source tree
import counted  # noqa: E402
from flow import Flow, number_of  # noqa: E402
from project import CONTAINER_USER, TOKEN, Project, api, check_confinement, town  # noqa: E402
from town import TIMEOUT_SECONDS, poll, retrieve  # noqa: E402

USR1 = "usr1@mail.sustech.edu.cn"
USR2 = "usr2@mail.sustech.edu.cn"
USR = "usr@gmail.com"
STACKS = {"exmail": "exmail.qq.com", "gmail": "gmail.com"}
REPLICATED = ("store-1", "store-2", "smtp", "smtp-2", "pop3", "pop3-2")
SERVICES = {f"{stack}-{service}" for stack in STACKS for service in (*REPLICATED, "dns")} | {"postgres", "console"}
# It issues the certificates, and ends.
ONE_SHOT = "certificates"
PORT_KEYS = {"smtp": "smtp", "pop3": "pop", "store": "store"}
# One of each kind, both stores of the stack that sends to both, and what all of them stand on.
GATEWAYS = ("exmail-smtp", "gmail-smtp-2", "exmail-pop3")
VICTIMS = (*GATEWAYS, "exmail-store-1", "exmail-store-2", "gmail-store-1", "postgres")
# What one relay has in flight at once, and must send again if it is killed or cannot settle.
MOST_IN_FLIGHT = 64

DATABASE_PASSWORD = os.environ["MAILTOWN_DATABASE_PASSWORD"]

project = None  # set by main()


def endpoint(service):
    """Where a container of this service listens now. A second one publishes no port: its own address is asked."""
    stack, kind = service.split("-")[:2]
    networks = project.containers()[service]["NetworkSettings"]["Networks"]
    return networks[f"{project.name}_default"]["IPAddress"], town.config["server"][STACKS[stack]][PORT_KEYS[kind]]


def maildrop(service, address):
    """A poplib client of this POP3 gateway, logged in."""
    client = poplib.POP3(*endpoint(service), timeout=TIMEOUT_SECONDS)
    client.user(address)
    client.pass_(town.passwords[address])
    return client


class Topology(unittest.TestCase):
    """What runs, and what it may do."""

    maxDiff = None

    def test_two_of_each_over_one_postgresql(self):
        found = project.containers()
        self.assertEqual(set(found), SERVICES | {ONE_SHOT})
        self.assertEqual({found[service]["State"]["Health"]["Status"] for service in SERVICES}, {"healthy"})
        self.assertEqual(found[ONE_SHOT]["State"]["ExitCode"], 0)

    def test_nobody_is_root_or_may_become_it(self):
        for service, entry in project.containers().items():
            with self.subTest(service):
                check_confinement(self, entry, None if service == "postgres" else CONTAINER_USER)

    def test_ports_are_published_once_and_on_loopback_only(self):
        for service, entry in project.containers().items():
            bindings = [binding for ports in entry["NetworkSettings"]["Ports"].values() for binding in ports or ()]
            with self.subTest(service):
                self.assertLessEqual({binding["HostIp"] for binding in bindings}, {"127.0.0.1"})
                is_published = service not in ("postgres", ONE_SHOT) and not service.endswith("-2")
                self.assertEqual(bool(bindings), is_published)

    def query(self, database, sql):
        command = ["psql", "--username=mailtown", f"--dbname={database}", "--tuples-only", "--no-align"]
        return project.compose("exec", "--no-TTY", "postgres", *command, f"--command={sql}").strip()

    def test_each_stack_has_a_database_of_its_own_and_it_is_durable(self):
        for database, stack in STACKS.items():
            with self.subTest(database):
                self.assertEqual(self.query(database, "SELECT value FROM properties WHERE name = 'stack'"), stack)
                for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                    self.assertEqual(self.query(database, f"SHOW {setting}"), "on", setting)

    def test_what_one_gateway_takes_the_other_reads_and_deletes(self):
        for address in (USR2, USR):
            town.empty(address)
        for number, (smtp, pop3) in enumerate((("smtp", "pop3-2"), ("smtp-2", "pop3"))):
            with smtplib.SMTP(*endpoint(f"exmail-{smtp}"), timeout=TIMEOUT_SECONDS) as client:
                client.sendmail(USR1, [USR2, USR], f"Subject: {number}\n\n")
            for stack, address in (("exmail", USR2), ("gmail", USR)):
                with self.subTest(smtp=smtp, pop3=pop3, address=address):
                    self.assertEqual([number_of(message) for message in town.wait_for_mail(address)], [number])
                    client = maildrop(f"{stack}-{pop3}", address)
                    client.dele(1)
                    client.quit()
                    with town.maildrop(address) as client:
                        self.assertEqual(client.stat()[0], 0)


class Kills(unittest.TestCase):
    """Containers are killed while mail flows through all of them."""

    maxDiff = None

    def test_the_other_goes_on_and_nothing_is_lost(self):
        for address in (USR1, USR2, USR):
            town.empty(address)
        there = {service: endpoint(service) for service in SERVICES if "-smtp" in service}
        deleted = []

        def gateways(stack):
            return lambda: [at for service, at in list(there.items()) if service.startswith(stack)]

        routes = ((USR1, (USR2, USR), gateways("exmail")), (USR, (USR1,), gateways("gmail")))
        with Flow(routes) as flow:
            flow.advance()
            for victim in VICTIMS:
                with self.subTest(victim):
                    deleted.append(self.kill(victim, there, flow))
                print(f"    {victim} killed: {flow.report()}", flush=True)
            project.wait_until_healthy(*SERVICES)
        self.assert_settled()
        self.account(flow, Counter(deleted))

    def kill(self, victim, there, flow):
        """Kills a container and starts it again. A POP3 session goes on meanwhile; returns which message it deletes."""
        session = maildrop("exmail-pop3-2", USR2)
        project.compose("kill", victim)
        there.pop(victim, None)
        if victim != "postgres":  # nobody stands in for that one
            flow.advance()
            session.retr(1)
        project.compose("start", victim)
        project.wait_until_healthy(victim)
        if "-smtp" in victim:
            there[victim] = endpoint(victim)
        flow.advance()
        number = number_of(retrieve(session, 1))
        session.dele(1)
        session.quit()
        return number

    def assert_settled(self):
        """The lease of a relay that was killed runs out within a minute."""
        for stack in STACKS.values():
            queue = lambda: json.loads(api(stack, "/v1/queue")[2])["entries"]  # noqa: B023, E731
            poll(lambda: not queue(), 120, f"an empty queue of {stack}")

    def account(self, flow, deleted):
        """Every message that was acknowledged came to every recipient, and came again only if something explains it."""
        arrived = {address: Counter(map(number_of, town.messages(address))) for address in (USR1, USR2, USR)}
        arrived[USR2] += deleted
        relayed_again = 0
        for number, (sender, recipients) in flow.acknowledged.items():
            for recipient in recipients:
                copies = arrived[recipient].pop(number, 0)
                self.assertGreaterEqual(copies, 1, f"message {number} to {recipient} is lost")
                # The sender sent again whatever was not answered.
                again = copies - 1 - flow.uncertain[number]
                if town.server(sender) == town.server(recipient):
                    self.assertLessEqual(again, 0, f"message {number} to {recipient} came {copies} times")
                relayed_again += max(again, 0)
        self.assertEqual({address: dict(numbers) for address, numbers in arrived.items() if numbers}, {})
        print(f"    {len(flow.acknowledged)} messages acknowledged, {relayed_again} relayed again", flush=True)
        self.assertLessEqual(relayed_again, MOST_IN_FLIGHT * len(VICTIMS))


class Restart(unittest.TestCase):
    """Runs last."""

    maxDiff = None

    def test_mail_outlives_its_containers(self):
        def mail(address):
            with town.maildrop(address) as client:
                return client.uidl()[1], retrieve(client, 1)

        before = {address: mail(address) for address in (USR1, USR2, USR)}
        project.compose("down")
        self.assertEqual(project.compose("ps", "--all", "--quiet"), "")
        project.compose("up", "--detach", "--no-build", "--wait")
        self.assertEqual({address: mail(address) for address in before}, before)

    def test_nobody_tells_a_secret_and_all_stop_cleanly(self):
        logs = project.compose("logs", "--no-color")
        for secret in (TOKEN, DATABASE_PASSWORD):
            self.assertNotIn(secret, logs)
        self.assertEqual({entry["RestartCount"] for entry in project.containers().values()}, {0})
        project.compose("stop")
        exit_codes = {service: entry["State"]["ExitCode"] for service, entry in project.containers().items()}
        self.assertEqual(exit_codes, dict.fromkeys(SERVICES | {ONE_SHOT}, 0))


def main():
    """Reads the arguments and runs the tests."""
    global project
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", required=True, help="name of the compose project, which is up")
    project = Project(parser.parse_args().project)
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    return counted.run(unittest.TestSuite(load(case) for case in (Topology, Kills, Restart)), "compose, postgres")


if __name__ == "__main__":
    sys.exit(main())
