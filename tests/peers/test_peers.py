"""A town exchanges mail with Postfix and Exim. Run by tests/peers/run, in namespaces of its own."""

import email
import email.policy
import quopri
import re
import smtplib
import sys
import unittest
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "interop"))
import counted
import machine
import servers
import town
from servers import EXIM, GLOBAL_USER, POSTFIX, TOWN, USERS

CLIENTS = 8
ARRIVAL_SECONDS = 150
# Every n-th message names somebody who does not exist, too.
FAILS_EVERY = 10


def message(number, sender, recipients):
    """A message that can be told from all others."""
    lines = [
        f"From: {sender}",
        f"To: {', '.join(recipients)}",
        f"Subject: {number}",
        f"Message-ID: <{number}.{sender}>",
        "Date: Fri, 27 Nov 2026 12:00:00 +0000",
        "",
        ".begins with a dot",
        "h\u00e9" if number % 3 == 0 else "h",
        "x" * (number * 37 % 900),
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def recipients(number, domain):
    """One to three users of a domain, and at times somebody who does not exist."""
    chosen = [USERS[(number + step) % len(USERS)] for step in range(1 + number % 3)]
    nobody = [f"nobody{number}"] if number % FAILS_EVERY == 0 else []
    return [f"{user}@{domain}" for user in chosen + nobody]


def connection(server):
    """A client at the server's own address, from which it takes mail for elsewhere."""
    return smtplib.SMTP(server.address, 25, timeout=60, source_address=(server.address, 0))


def send(server, origin, numbers, domain):
    """Sends messages of users of `origin` through its server."""
    with connection(server) as client:
        for number in numbers:
            sender = f"{USERS[number % len(USERS)]}@{origin}"
            to = recipients(number, domain)
            client.sendmail(sender, to, message(number, sender, to), ["BODY=8BITMIME"])


def parse(raw):
    return email.message_from_bytes(raw, policy=email.policy.SMTP)


def failed_recipients(raw):
    """The addresses of which a failure message tells."""
    report = parse(raw)
    if report.get_content_type() != "multipart/report":
        return []
    (status,) = [part for part in report.walk() if part.get_content_type() == "message/delivery-status"]
    fields = [block for block in status.get_payload() if "Final-Recipient" in block]
    assert all(block["Action"] == "failed" for block in fields), str(status)
    assert all(block["Status"].strip().startswith("5.") for block in fields), str(status)
    return [block["Final-Recipient"].partition(";")[2].strip() for block in fields]


class Exchange(unittest.TestCase):
    """Mail between the town and one peer."""

    peer_class = None
    messages = 1000

    @classmethod
    def setUpClass(cls):
        cls.town = cls.servers[TOWN]

    def exchange(self, origin, destination):
        """Sends all messages from one server to the other, and checks every copy and every failure message."""
        shares = [range(first, self.messages, CLIENTS) for first in range(CLIENTS)]
        seen, told = self.seen(destination), self.failures(origin)
        counts = {domain: self.count(domain) for domain in (origin, destination)}
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda share: send(self.servers[origin], origin, share, destination), shares))
        expected, failing = self.expected(destination)

        def everything():
            is_there = self.count(destination) - counts[destination] >= expected.total()
            return is_there and self.count(origin) - counts[origin] >= failing.total()

        self.await_mail(everything, "all mail and all failure messages")
        self.assertEqual(self.seen(destination) - seen, expected, "lost or doubled")
        self.assertEqual(self.failures(origin) - told, failing)

    def await_mail(self, test, what):
        """Waits for mail; says what the servers have logged where it does not come."""
        try:
            town.poll(test, ARRIVAL_SECONDS, what)
        except AssertionError as error:
            tails = "\n".join(server.tail() for server in self.servers.values())
            raise AssertionError(f"{error}\n{tails}") from None

    def expected(self, domain):
        """Which message each user should get, and of which failed recipients each sender should be told."""
        arriving, failing = Counter(), Counter()
        for number in range(self.messages):
            for recipient in recipients(number, domain):
                user = recipient.partition("@")[0]
                if user in USERS:
                    arriving[user, str(number)] += 1
                else:
                    failing[USERS[number % len(USERS)], recipient] += 1
        return arriving, failing

    def count(self, domain):
        return sum(self.servers[domain].count(user) for user in USERS)

    def seen(self, domain):
        """Which message each user has got from elsewhere, and how often."""
        found = Counter()
        for user in USERS:
            for raw in self.servers[domain].messages(user):
                parsed = parse(raw)
                if parsed.get_content_type() != "multipart/report":
                    self.assert_intact(raw, parsed)
                    found[user, parsed["Subject"]] += 1
        return found

    def assert_intact(self, raw, parsed):
        """The message is what was sent, below what each server puts above it."""
        sender = parsed["From"]
        domain = parsed["To"].rpartition("@")[2].strip()
        number = int(parsed["Subject"])
        sent = message(number, sender, recipients(number, domain))
        self.assertTrue(raw.endswith(sent), f"{raw[-400:]} is not {sent[-400:]}")

    def failures(self, domain):
        """Of which recipients each user was told that they failed, and how often."""
        found = Counter()
        for user in USERS:
            for raw in self.servers[domain].messages(user):
                found.update((user, recipient) for recipient in failed_recipients(raw))
        return found

    def assert_over_tls(self, origin, destination):
        """Every message came over TLS: the Received of the destination says so (RFC 3848)."""
        hops = []
        for user in USERS:
            for raw in self.servers[destination].messages(user):
                received = parse(raw).get_all("Received", [])
                hops += [field for field in received if re.match(rf"from (\S+ \(helo=)?mx\.{origin}", field)]
        self.assertTrue(hops)
        for hop in hops:
            self.assertRegex(hop, r"\swith ((UTF8)?E?SMTPS|esmtps)[\s;]")


def beyond_ascii(self):
    """Mail between users beyond ASCII, and a failure message about one who does not exist, both ways (RFC 6531, RFC 6533)."""
    for origin, destination in (TOWN, POSTFIX), (POSTFIX, TOWN):
        with self.subTest(origin=origin):
            sender, recipient, nobody = f"{GLOBAL_USER}@{origin}", f"{GLOBAL_USER}@{destination}", f"h\u00e9@{destination}"
            sent = message(0, sender, [recipient])
            with connection(self.servers[origin]) as client:
                client.ehlo()
                client.sendmail(sender, [recipient, nobody], sent, ["SMTPUTF8", "BODY=8BITMIME"])

            def arrived(domain, test):
                return [raw for raw in self.servers[domain].messages(GLOBAL_USER) if test(raw)]

            is_report_of = lambda raw: nobody in reported(raw)
            self.await_mail(lambda: arrived(destination, lambda raw: raw.endswith(sent)), "the mail")
            self.await_mail(lambda: arrived(origin, is_report_of), f"a failure message about {nobody}")


def reported(raw):
    """What a failure message says of its recipients, decoded."""
    parts = [part for part in parse(raw).walk() if part.get_content_type() == "message/global-delivery-status"]
    # Python takes what is inside for a message.
    encoded = raw[raw.find(b"message/global-delivery-status") :] if parts else b""
    return encoded.decode(errors="replace") + quopri.decodestring(encoded).decode(errors="replace")


def exchanges(peer):
    """The tests of one peer."""

    class Tests(Exchange):
        def test_1_mail_of_the_town(self):
            self.exchange(TOWN, peer)
            self.assert_over_tls(TOWN, peer)

        def test_2_mail_to_the_town(self):
            self.exchange(peer, TOWN)
            self.assert_over_tls(peer, TOWN)

        def test_3_a_failure_behind_an_alias_is_told_across_servers(self):
            """The server that forwards tells the sender, who is at the other server."""
            for origin, forwarder in (TOWN, peer), (peer, TOWN):
                with self.subTest(forwarder=forwarder):
                    sender = f"{USERS[0]}@{origin}"
                    with connection(self.servers[origin]) as client:
                        client.sendmail(sender, [f"forwarded@{forwarder}"], message(0, sender, []))
                    expected = servers.FORWARDED[forwarder]
                    told = lambda: self.failures(origin)[USERS[0], expected]
                    self.await_mail(lambda: told() == 1, f"a failure message about {expected}")

    if peer == POSTFIX:
        Tests.test_4_addresses_beyond_ascii = beyond_ascii
    Tests.__qualname__ = Tests.__name__ = peer.partition(".")[0].title()
    return Tests


def main():
    binaries, exim, directory, *options = sys.argv[1:]
    if "--messages" in options:
        position = options.index("--messages")
        Exchange.messages = int(options[position + 1])
    users = {"mail-owner": servers.MAIL_UID, servers.Exim.USER: servers.Exim.UID}
    machine.prepare(directory, servers.ADDRESSES.values(), servers.ADDRESSES[TOWN], users)
    running = []
    try:
        running.append(servers.Town(Path(binaries), directory))
        running.append(servers.Postfix(directory))
        running.append(servers.Exim(exim, directory))
        Exchange.servers = {server.domain: server for server in running}
        suite = unittest.TestSuite()
        for peer in POSTFIX, EXIM:
            suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(exchanges(peer)))
        result = counted.CountedResult()
        suite.run(result)
    finally:
        for server in reversed(running):
            server.stop()
    print(f"{result.passed} passed, {result.failed} failed")
    return 0 if result.passed and not result.failed else 1


if __name__ == "__main__":
    sys.exit(main())
