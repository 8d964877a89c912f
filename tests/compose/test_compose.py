#!/usr/bin/env python3
"""The compose town as Docker and the host see it. tests/compose/run starts the town, calls this, and stops the town."""

import argparse
import json
import poplib
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import unittest
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "interop"))
sys.dont_write_bytecode = True  # leave no __pycache__ in the source tree
import counted  # noqa: E402
from project import CONTAINER_USER, ROOT, TOKEN, Project, api, check_confinement, console, town  # noqa: E402
from town import poll  # noqa: E402

USR1 = "usr1@mail.sustech.edu.cn"
USR2 = "usr2@mail.sustech.edu.cn"
USR = "usr@gmail.com"
SERVICES = {f"{stack}-{service}" for stack in ("exmail", "gmail") for service in ("smtp", "pop3", "store", "dns")}
SERVICES.add("console")
# It issues the certificates, and ends.
ONE_SHOT = "certificates"
PORT_KEYS = ("smtp", "pop", "store", "dns", "dns_http", "smtp_http", "pop_http", "submission", "submissions", "pops")

arguments = project = None  # set by main()


class ComposeTest(unittest.TestCase):
    """Starts each test with empty maildrops."""

    maxDiff = None

    def setUp(self):
        for address in (USR1, USR2, USR):
            town.empty(address)

    def send(self, sender, recipients, message):
        with town.smtp(sender) as client:
            self.assertEqual(client.sendmail(sender, recipients, message), {})


class Confinement(unittest.TestCase):
    """What each container may do."""

    def test_nine_healthy_containers_of_one_image(self):
        found = project.containers()
        self.assertEqual(set(found), SERVICES | {ONE_SHOT})
        self.assertEqual({found[service]["State"]["Health"]["Status"] for service in SERVICES}, {"healthy"})
        self.assertEqual(found[ONE_SHOT]["State"]["ExitCode"], 0)
        self.assertEqual(len({entry["Image"] for entry in found.values()}), 1)

    def test_nobody_is_root_or_may_become_it(self):
        for service, entry in project.containers().items():
            with self.subTest(service):
                self.assertEqual(entry["Config"]["User"], f"{CONTAINER_USER}:{CONTAINER_USER}")
                check_confinement(self, entry, CONTAINER_USER)

    def test_only_own_volumes_can_be_written(self):
        for service, entry in project.containers().items():
            with self.subTest(service):
                self.assertTrue(entry["HostConfig"]["ReadonlyRootfs"])
                writable = {mount["Destination"] for mount in entry["Mounts"] if mount["RW"]}
                own = {"/data"} if service.endswith("-store") else {"/data", "/tls"} if service == ONE_SHOT else set()
                self.assertEqual(writable, own)

    def test_image_is_empty_but_for_the_binaries(self):
        image = project.containers()["exmail-smtp"]["Image"]
        container = subprocess.check_output(["docker", "create", image, "smtp-gateway"], text=True).strip()
        try:
            export = subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE)
            names = subprocess.check_output(["tar", "--list"], stdin=export.stdout, text=True).split()
            export.stdout.close()
            self.assertEqual(export.wait(), 0)
        finally:
            subprocess.run(["docker", "rm", container], stdout=subprocess.DEVNULL, check=True)
        binaries = {"smtp-gateway", "pop3-gateway", "mailbox-store", "pseudo-dns", "agent", "console", "mailtown"}
        # Docker itself puts /dev, /etc, /proc, /sys and .dockerenv into every container.
        own = {name for name in names if not re.match(r"(\./)?(dev|etc|proc|sys|\.dockerenv)(/|$)", name)}
        directories = {"data/", "tls/", "usr/", "usr/local/", "usr/local/bin/"}
        self.assertEqual(own, directories | {f"usr/local/bin/{binary}" for binary in binaries})


class Ports(unittest.TestCase):
    """Every port of the configuration answers on loopback, and nowhere else."""

    def ports(self):
        return [town.config["server"][stack][key] for stack in town.config["server"] for key in PORT_KEYS]

    def test_published_on_loopback(self):
        for port in self.ports():
            with self.subTest(port):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()

    def test_refused_on_every_other_address(self):
        addresses = [word for word in subprocess.check_output(["hostname", "-I"], text=True).split() if ":" not in word]
        self.assertTrue(addresses, "the project's own bridge gives this host an address")
        for address in addresses:
            for port in self.ports():
                with self.subTest(f"{address}:{port}"), self.assertRaises(ConnectionRefusedError):
                    socket.create_connection((address, port), timeout=5).close()

    def test_every_service_tells_its_health_without_a_token(self):
        for stack in town.config["server"]:
            for key in ("store", "dns_http", "smtp_http", "pop_http"):
                for path in ("/livez", "/readyz"):
                    with self.subTest(stack=stack, key=key, path=path):
                        self.assertEqual(api(stack, path, token=None, key=key)[0], 200)


class Names(unittest.TestCase):
    """Real DNS on the published ports."""

    def dig(self, port, *words):
        command = ["dig", "@127.0.0.1", "-p", str(port), "+time=5", "+tries=1", *words]
        return subprocess.check_output(command, text=True, timeout=30)

    def test_mx_over_udp_and_tcp_from_both_stacks(self):
        for stack in town.config["server"]:
            port = town.config["server"][stack]["dns"]
            for transport in ("+notcp", "+tcp"):
                with self.subTest(stack=stack, transport=transport):
                    answer = self.dig(port, transport, "+short", "mail.sustech.edu.cn", "MX")
                    self.assertRegex(answer, r"^\d+ mxbiz1\.qq\.com\.\n$")

    def test_unknown_name_is_nxdomain(self):
        self.assertIn("status: NXDOMAIN", self.dig(1053, "nowhere.example", "MX"))

    def test_name_without_mx_is_an_empty_answer(self):
        answer = self.dig(1053, "pop.gmail.com", "MX")
        self.assertIn("status: NOERROR", answer)
        self.assertIn("ANSWER: 0", answer)


class Agent(ComposeTest):
    """The tutorial of the README through the agent on the host, its input on a pipe."""

    def command(self):
        """What starts the agent."""
        config, zone = ROOT / "data" / "config.toml", ROOT / "data" / "fdns.toml"
        return [arguments.agent, "--config", str(config), "--zone", str(zone)]

    def assert_silent(self, errors):
        self.assertEqual(errors, "")

    def agent(self, address, *lines):
        """What the agent prints, line by line, without its prompts."""
        command = [*self.command(), "-e", address, "-p", town.passwords[address]]
        typed = "".join(f"{line}\n" for line in lines)
        done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assert_silent(done.stderr)
        self.assertTrue(done.stdout.startswith("[smtp|pop|exit]>>> "), done.stdout)
        prompts = r"^(?:\[smtp\|pop\|exit\]>>> |\[pop\]>>> |To: |Subject: |Content: )+"
        printed = [re.sub(prompts, "", line) for line in done.stdout.splitlines()]
        return [line for line in printed if line]

    LOGGED_IN = ["b'+OK POP3 server ready'", "b'+OK'", "b'+OK user successfully logged on'"]

    def test_tutorial(self):
        cases = (
            (USR1, "This is a test emailing myself.", 195, ["VGhpcyBpcyBhIHRlc3QgZW1haWxpbmcgbXlzZWxmLg=="]),
            (
                USR2,
                "This is a test emailing other user in the same domain.",
                223,
                ["VGhpcyBpcyBhIHRlc3QgZW1haWxpbmcgb3RoZXIgdXNlciBpbiB0aGUgc2FtZSBkb21haW4u"],
            ),
            (
                USR,
                "This is a test emailing other user in the different domain.",
                233,
                ["VGhpcyBpcyBhIHRlc3QgZW1haWxpbmcgb3RoZXIgdXNlciBpbiB0aGUgZGlmZmVyZW50IGRvbWFp", "bi4="],
            ),
        )
        for recipient, content, octets, encoded in cases:
            with self.subTest(recipient):
                self.agent(USR1, "smtp", recipient, "", "Test", content, "exit")
                town.wait_for_mail(recipient)
                printed = self.agent(recipient, "pop", "stat", "list", "retr 1", "dele 1", "stat", "quit", "exit")
                self.assertEqual(
                    printed,
                    [
                        *self.LOGGED_IN,
                        f"1 messages ({octets} bytes)",
                        f"[b'1 {octets}']",
                        "b'Content-Type: text/plain; charset=\"utf-8\"'",
                        "b'MIME-Version: 1.0'",
                        "b'Content-Transfer-Encoding: base64'",
                        "b'Subject: Test'",
                        f"b'From: {USR1}'",
                        "b''",
                        *(f"b'{line}'" for line in encoded),
                        "b'+OK message 1 deleted'",
                        "0 messages (0 bytes)",
                        "b'+OK'",
                    ],
                )

    def test_empty_maildrop(self):
        printed = self.agent(USR1, "pop", "stat", "list", "noop", "rset", "quit", "exit")
        answers = ["0 messages (0 bytes)", "[]", "b'+OK'", "b'+OK 0 messages (0 octets)'", "b'+OK'"]
        self.assertEqual(printed, self.LOGGED_IN + answers)


class AgentInTheNetwork(Agent):
    """The same through `docker compose run`: servers are found by their names in the town's network."""

    def command(self):
        return ["docker", "compose", "--project-name", project.name, "run", "--rm", "--no-TTY", "agent"]

    def assert_silent(self, errors):
        # Compose tells there of the container that it makes.
        self.assertNotIn("pseudo-dns", errors)


class Api(ComposeTest):
    """The store's HTTP API on its published port."""

    def test_lists_what_pop3_lists(self):
        for number in range(3):
            self.send(USR1, USR1, f"Subject: {number}\n\n")
        town.wait_for_mail(USR1, 3)
        status, media_type, body = api("exmail.qq.com", f"/v1/mailboxes/{USR1}/messages")
        self.assertEqual((status, media_type), (200, "application/json"))
        with town.maildrop(USR1) as client:
            uidl = [line.split()[1].decode() for line in client.uidl()[1]]
            self.assertEqual([message["id"] for message in json.loads(body)["messages"]], uidl)
        status, media_type, raw = api("exmail.qq.com", f"/v1/messages/{uidl[0]}/raw")
        self.assertEqual((status, media_type, raw), (200, "message/rfc822", b"Subject: 0\r\n\r\n"))

    def test_refuses_whoever_has_no_token(self):
        for stack in town.config["server"]:
            for token in (None, "", "wrong", TOKEN + "x", TOKEN[:-1]):
                with self.subTest(stack=stack, token=token):
                    status, media_type, body = api(stack, "/v1/mailboxes", token)
                    self.assertEqual((status, media_type), (401, "application/problem+json"))
                    self.assertEqual(json.loads(body)["status"], 401)


class Console(ComposeTest):
    """What the console has all containers do."""

    def test_a_fault_reaches_its_container(self):
        place = {"stack": "gmail.com", "service": "smtp-gateway", "verb": "RCPT"}
        grey = {"where": place, "what": {"reply": "451 4.7.1 greylisted"}, "when": {"first_per_recipient": 1}}
        try:
            self.assertEqual(console("PUT", "/v1/faults/grey", grey)["untold"], {})
            self.send(USR1, [USR], "Subject: later\n\n")
            self.assertIn(b"Subject: later", town.wait_for_mail(USR, 1, seconds=60)[0])
            self.assertEqual(console("GET", "/v1/faults/grey")["fired"], 1)
        finally:
            self.assertEqual(console("DELETE", "/v1/faults")["faults"], {})

    def test_a_snapshot_is_of_all_containers(self):
        self.send(USR1, [USR, USR2], "Subject: before\n\n")
        before = {user: town.wait_for_mail(user, 1) for user in (USR, USR2)}
        try:
            taken = console("POST", "/v1/snapshots/compose")
            self.assertEqual(taken["stacks"], ["exmail.qq.com", "gmail.com"])
            self.send(USR, [USR1, USR2], "Subject: after\n\n")
            town.wait_for_mail(USR1, 1)
            restored = console("POST", "/v1/snapshots/compose/restore")
            self.assertEqual((restored["unsettled"], restored["unreachable"]), (0, []))
            self.assertEqual({user: town.wait_for_mail(user, 1) for user in before}, before)
            self.assertEqual(json.loads(api("exmail.qq.com", f"/v1/mailboxes/{USR1}/messages")[2])["messages"], [])
        finally:
            console("DELETE", "/v1/snapshots/compose")

    def test_the_clock_is_that_of_the_machine(self):
        self.assertIs(console("GET", "/v1/clock")["virtual"], False)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            console("POST", "/v1/clock/advance", {"by": "1h"})
        with refused.exception as error:
            self.assertEqual(error.code, 409)


class Tls(ComposeTest):
    """The certificates that the one-shot service has issued."""

    def run_one_shot(self, *words):
        return project.compose("run", "--rm", "--no-TTY", ONE_SHOT, *words)

    def context(self):
        return ssl.create_default_context(cadata=self.run_one_shot("mailtown", "ca"))

    def certificate(self, port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            with self.context().wrap_socket(plain, server_hostname="localhost") as encrypted:
                return encrypted.getpeercert(binary_form=True)

    def test_agents_and_servers_are_served_over_tls(self):
        for stack, ports in town.config["server"].items():
            sender = next(iter(town.config["accounts"][stack]))
            with self.subTest(stack), smtplib.SMTP_SSL(
                "localhost", ports["submissions"], timeout=30, context=self.context()
            ) as client:
                client.login(sender, town.passwords[sender])
                self.assertEqual(client.sendmail(sender, [sender], "Subject: submitted over TLS\n\n"), {})
            for key in ("smtp", "submission"):
                with self.subTest(stack=stack, key=key), smtplib.SMTP("localhost", ports[key], timeout=30) as client:
                    client.starttls(context=self.context())
                    self.assertEqual(client.ehlo()[0], 250)
            self.assertEqual(len(town.wait_for_mail(sender)), 1)
            with self.subTest(stack=stack, key="pops"):
                client = poplib.POP3_SSL("localhost", ports["pops"], timeout=30, context=self.context())
                self.assert_reads(client, sender)
            with self.subTest(stack=stack, key="pop"):
                client = poplib.POP3("localhost", ports["pop"], timeout=30)
                client.stls(context=self.context())
                self.assert_reads(client, sender)

    def assert_reads(self, client, user):
        client.user(user)
        client.pass_(town.passwords[user])
        self.assertEqual(client.stat()[0], 1)
        client.quit()

    def test_a_certificate_that_is_good_stays(self):
        port = town.config["server"]["gmail.com"]["submissions"]
        before = self.certificate(port)
        self.run_one_shot()
        self.assertEqual(self.certificate(port), before)


class Outages(ComposeTest):
    """Containers stop, are restarted and are replaced; mail stays."""

    def queue(self):
        return json.loads(api("exmail.qq.com", "/v1/queue")[2])["entries"]

    def test_mail_waits_for_a_peer_that_is_down(self):
        project.compose("stop", "gmail-smtp")
        try:
            self.send(USR1, [USR, USR2], "Subject: patience\n\n")
            # Tried at least once, and kept: the name of a stopped container is unknown, which is no failure for good.
            poll(lambda: any(entry["last_reply"] for entry in self.queue()), 30, "an attempt")
            self.assertEqual([entry["recipient"] for entry in self.queue()], [USR])
            said = self.queue()[0]["last_reply"]
            self.assertIn("gmail-smtp-in.l.google.com", said)
            self.assertIn("a container's name is known only while the container runs", said)
            self.assertIn(b"Subject: patience", town.wait_for_mail(USR2)[0])
            with town.maildrop(USR) as client:
                self.assertEqual(client.stat()[0], 0)
        finally:
            project.compose("start", "gmail-smtp")
        messages = town.wait_for_mail(USR, 1, seconds=90)
        self.assertEqual(len(messages), 1)
        self.assertIn(b"Subject: patience", messages[0])
        poll(lambda: not self.queue(), 10, "an empty queue")
        with town.maildrop(USR1) as client:
            self.assertEqual(client.stat()[0], 0, "no failure message")

    def deliver(self):
        self.send(USR1, USR, "Subject: kept\n\nthrough all of it\n")
        town.wait_for_mail(USR)
        with town.maildrop(USR) as client:
            return client.uidl()[1], client.retr(1)[1]

    def assert_kept(self, before):
        project.wait_until_healthy("gmail-store", "gmail-smtp", "gmail-pop3")
        with town.maildrop(USR) as client:
            self.assertEqual((client.uidl()[1], client.retr(1)[1]), before)

    def test_store_restarted(self):
        before = self.deliver()
        project.compose("restart", "gmail-store")
        self.assert_kept(before)
        self.send(USR1, USR, "Subject: afterwards\n\n")
        self.assertEqual(len(town.wait_for_mail(USR, 2, seconds=30)), 2)

    def test_temporary_files_after_a_restart(self):
        for service in ("exmail-store", "gmail-store"):
            project.compose("restart", service)
            project.wait_until_healthy(service)
            root = Path(f"/proc/{project.containers()[service]['State']['Pid']}/root/tmp")
            try:
                status = root.stat()
            except PermissionError:
                self.fail(f"{root} can be looked at by root only: run this test as root")
            with self.subTest(service):
                self.assertEqual((status.st_uid, status.st_mode & 0o300), (CONTAINER_USER, 0o300))

    def test_a_service_without_its_store_is_seen_in_time(self):
        def health():
            return project.containers()["gmail-pop3"]["State"]["Health"]["Status"]

        project.compose("stop", "gmail-store")
        try:
            # 3 checks of 2 s interval and 3 s time-out; the rest is what a busy machine takes.
            poll(lambda: health() == "unhealthy", 30, "gmail-pop3 unhealthy without its store")
        finally:
            project.compose("start", "gmail-store")
            project.wait_until_healthy("gmail-store", "gmail-pop3", "gmail-smtp")

    def test_store_killed_and_replaced(self):
        before = self.deliver()
        project.compose("kill", "gmail-store")
        project.compose("rm", "--force", "gmail-store")
        project.compose("up", "--detach", "--no-build", "--wait", "gmail-store")
        self.assert_kept(before)


class Stop(unittest.TestCase):
    """Runs last: the town is stopped."""

    maxDiff = None

    def test_logs_tell_no_secret(self):
        logs = project.compose("logs", "--no-color")
        # Words of messages and of passwords that the tests before this one sent.
        for secret in (TOKEN, "pass1", "pass2", "VGhpcyBpcyBhIHRlc3Q", "through all of it"):
            self.assertNotIn(secret, logs)

    def test_nobody_has_crashed_and_all_stop_cleanly(self):
        self.assertEqual({entry["RestartCount"] for entry in project.containers().values()}, {0})
        project.compose("stop")
        exit_codes = {service: entry["State"]["ExitCode"] for service, entry in project.containers().items()}
        self.assertEqual(exit_codes, dict.fromkeys(SERVICES | {ONE_SHOT}, 0))


FULL = (Confinement, Ports, Names, Agent, AgentInTheNetwork, Api, Console, Tls, Outages, Stop)
# What can differ between two ways of building the same image.
BRIEF = (Confinement, Agent, Stop)


def main():
    """Reads the arguments and runs the tests."""
    global arguments, project
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", required=True, help="name of the compose project, which is up")
    parser.add_argument("--agent", required=True, help="the agent's binary")
    parser.add_argument("--brief", action="store_true", help="only what can differ between two builds of the image")
    arguments = parser.parse_args()
    project = Project(arguments.project)
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    suite = unittest.TestSuite(load(case) for case in (BRIEF if arguments.brief else FULL))
    return counted.run(suite, "compose, brief" if arguments.brief else "compose")


if __name__ == "__main__":
    sys.exit(main())
