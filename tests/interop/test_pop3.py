#!/usr/bin/env python3
"""A running town against the programs that fetch mail by POP3: mpop, getmail6, fetchmail and curl, and Python's poplib. What
is not installed is skipped.

    tests/interop/test_pop3.py [--config data/config.toml] [--zone data/fdns.toml] [--host 127.0.0.1] [--ca FILE] [TEST ...]

FILE is what `mailtown ca` prints, for the tests over TLS; without it they are skipped. The token of the town's stores, if
they have one, is in MAILTOWN_TOKEN: odd messages go straight to a store, as SMTP cannot carry all of them.

Needs the accounts of the shipped data/config.toml, on any ports; all mail of usr2@mail.sustech.edu.cn is deleted.
"""

import argparse
import base64
import hashlib
import json
import mailbox
import os
import poplib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import unittest
import urllib.request
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True  # leave no __pycache__ in the source tree
import counted  # noqa: E402
import odd_messages  # noqa: E402
from town import Town  # noqa: E402

ADDRESS = "usr2@mail.sustech.edu.cn"
COUNT = 200
# Long enough for a machine that does other things too.
TIMEOUT_SECONDS = 120

town = authority = None  # set by main()


@dataclass(frozen=True)
class Access:
    """How a program reaches a maildrop."""

    name: str
    # The key of the port in the configuration.
    port: str = "pop"
    # None, "stls", or "tls" from the first octet on.
    tls: str | None = None
    # The mechanism of SASL; USER and PASS without.
    mechanism: str | None = None

    def endpoint(self):
        """Host and port. The host is a name, as clients compare it with the certificate."""
        host, port = town.endpoint(ADDRESS, "pop")
        if self.port != "pop":
            port = town.config["server"][town.server(ADDRESS)][self.port]
        return ("localhost" if host == "127.0.0.1" else host), port

    def context(self):
        """What Python's clients know of TLS."""
        return ssl.create_default_context(cafile=authority)


IN_CLEAR = Access("in clear")
STLS = Access("with STLS", tls="stls")
TLS = Access("over TLS", port="pops", tls="tls")
PLAIN = Access("PLAIN over TLS", port="pops", tls="tls", mechanism="PLAIN")
LOGIN = Access("LOGIN with STLS", tls="stls", mechanism="LOGIN")
SCRAM = Access("SCRAM with STLS", tls="stls", mechanism="SCRAM-SHA-256")


def program(name, *arguments, output=None):
    """Runs a program without input; returns its exit code and what it has printed, or has it printed to the file `output`."""
    done = subprocess.run(
        [name, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output or subprocess.PIPE,
        stderr=subprocess.PIPE if output else subprocess.STDOUT,
        timeout=TIMEOUT_SECONDS,
    )
    return done.returncode, (done.stderr if output else done.stdout).decode(errors="replace")


def submit(messages):
    """Puts messages into the maildrop, octet for octet."""
    url = f"http://{town.host}:{town.config['server'][town.server(ADDRESS)]['store']}/v1/messages"
    headers = {"Content-Type": "application/vnd.mailtown.frame"}
    if token := os.environ.get("MAILTOWN_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for message in messages:
        head = {"transaction": os.urandom(16).hex(), "reverse_path": "<>", "recipients": [ADDRESS]}
        frame = json.dumps(head).encode() + b"\n" + message
        opener.open(urllib.request.Request(url, frame, headers), timeout=TIMEOUT_SECONDS).close()


def on_the_wire():
    """All messages of the maildrop as a plain socket gets them, unstuffed, each line with its CRLF."""
    with socket.create_connection(town.endpoint(ADDRESS, "pop"), TIMEOUT_SECONDS) as connection:
        stream = connection.makefile("rwb")
        line_of(stream)
        for command in (f"USER {ADDRESS}", f"PASS {town.passwords[ADDRESS]}", "STAT"):
            stream.write(command.encode() + b"\r\n")
            stream.flush()
            answer = line_of(stream)
        count = int(answer.split()[1])
        stream.write(b"".join(b"RETR %d\r\n" % number for number in range(1, count + 1)) + b"QUIT\r\n")
        stream.flush()
        messages = []
        for _ in range(count):
            line_of(stream)
            lines = iter(lambda: line_of(stream, False), b".\r\n")
            messages.append(b"".join(line.removeprefix(b".") for line in lines))
        line_of(stream)
        return messages


def line_of(stream, is_reply=True):
    """The next line with its CRLF; a reply must be +OK."""
    line = stream.readline()
    while not line.endswith(b"\r\n"):
        more = stream.readline()
        if not more:
            raise AssertionError(f"broken off after {line[:80]!r}")
        line += more
    if is_reply and not line.startswith(b"+OK"):
        raise AssertionError(line)
    return line


def shown(message):
    """The beginning and the end of a message, for people."""
    return message if len(message) < 500 else message[:200] + b" ... " + message[-200:]


class Fetching:
    """The tests of each program. `fetch(access, keep)` returns the messages that it has brought, in any order."""

    # The ways that the program knows.
    accesses = (IN_CLEAR, STLS, TLS)
    # What the program itself cannot carry: octets or lines.
    cannot = frozenset()

    def setUp(self):
        if self.binary and shutil.which(self.binary) is None:
            self.skipTest(f"there is no {self.binary} here")
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.sent = odd_messages.generate(COUNT, except_for=self.cannot)

    def expected(self):
        """What is in the maildrop: what was sent, after what the store has put before it, if anything."""
        received = on_the_wire()
        self.assertEqual(len(received), COUNT)
        for message, sent in zip(received, self.sent, strict=True):
            whole = sent if sent.endswith(b"\r\n") or not sent else sent + b"\r\n"
            if town.profile == "tutorial":
                self.assertEqual(message, whole)
            else:
                self.assertTrue(message.endswith(whole), sent[:80])
        return self.by_digest(received)

    def fetched(self, access, keep):
        return self.by_digest(self.as_received(message) for message in self.fetch(access, keep))

    def by_digest(self, messages):
        """Messages by what tells them apart. Programs keep lines with LF, and some leave out the last line end."""
        found = {}
        for message in messages:
            key = hashlib.sha256(message.replace(b"\r\n", b"\n").rstrip(b"\n")).hexdigest()
            self.assertNotIn(key, found, f"came twice: {shown(message)}")
            found[key] = message
        return found

    def as_received(self, message):
        """A message without what the program has added to it."""
        return message

    def test_keeping(self):
        self.each_access(self.keeps)

    def test_not_keeping(self):
        self.each_access(self.keeps_not)

    def each_access(self, check):
        for access in self.accesses:
            with self.subTest(access.name):
                if access.tls and authority is None:
                    self.skipTest("--ca is not given")
                self.work = self.directory / access.name.replace(" ", "-")
                self.work.mkdir()
                town.empty(ADDRESS)
                submit(self.sent)
                check(access)

    def keeps(self, access):
        expected = self.expected()
        self.assert_same(self.fetched(access, keep=True), expected)
        self.assert_same(self.fetched(access, keep=True), {})
        submit([b"Subject: new\r\n\r\nafter the others\r\n"])
        self.assertEqual(len(self.fetched(access, keep=True)), 1)
        with town.maildrop(ADDRESS) as client:
            self.assertEqual(client.stat()[0], COUNT + 1)

    def keeps_not(self, access):
        expected = self.expected()
        self.assert_same(self.fetched(access, keep=False), expected)
        with town.maildrop(ADDRESS) as client:
            self.assertEqual(client.stat(), (0, 0))
        self.assert_same(self.fetched(access, keep=False), {})

    def assert_same(self, fetched, expected):
        """Each message came once. Of others the beginning and the end are shown."""
        self.assertEqual(len(fetched), len(expected))
        for key in sorted(expected.keys() - fetched.keys()):
            stranger = next(iter(fetched.keys() - expected.keys()))
            self.fail(f"not {shown(expected[key])}, but perhaps {shown(fetched[stranger])}")


class Poplib(Fetching, unittest.TestCase):
    """Python's own."""

    binary = None
    accesses = (IN_CLEAR, STLS, TLS, PLAIN)

    def fetch(self, access, keep):
        poplib._MAXLINE = odd_messages.LONGEST_LINE + 3  # its limit is 2,048 octets
        known = self.work / "uids"
        seen = set(known.read_text().split()) if known.exists() else set()
        client, messages = self.connect(access), []
        if access.mechanism:
            initial = base64.b64encode(f"\0{ADDRESS}\0{town.passwords[ADDRESS]}".encode()).decode()
            client._shortcmd(f"AUTH {access.mechanism} {initial}")  # it has no method for that
        else:
            client.user(ADDRESS)
            client.pass_(town.passwords[ADDRESS])
        for line in client.uidl()[1]:
            number, uid = line.decode().split()
            if uid not in seen:
                messages.append(b"".join(line + b"\r\n" for line in client.retr(number)[1]))
                seen.add(uid)
            if not keep:
                client.dele(number)
        client.quit()
        known.write_text("\n".join(seen))
        return messages

    def connect(self, access):
        if access.tls == "tls":
            return poplib.POP3_SSL(*access.endpoint(), timeout=TIMEOUT_SECONDS, context=access.context())
        client = poplib.POP3(*access.endpoint(), timeout=TIMEOUT_SECONDS)
        if access.tls == "stls":
            client.stls(context=access.context())
        return client


class Curl(Fetching, unittest.TestCase):
    """curl fetches by number; which uids are new is for its user to know."""

    binary = "curl"
    # Debian builds it without SCRAM.
    accesses = (IN_CLEAR, STLS, TLS, PLAIN, LOGIN)

    def fetch(self, access, keep):
        known = self.work / "uids"
        seen = set(known.read_text().split()) if known.exists() else set()
        listed = self.work / "uidl"
        self.curl(access, "", "--request", "UIDL", "--output", str(listed))
        numbers = dict(line.split() for line in listed.read_text().splitlines() if line)
        new = [number for number, uid in numbers.items() if uid not in seen]
        known.write_text("\n".join(numbers.values()))
        if not new:
            return []
        bodies = self.work / "bodies"
        bodies.mkdir(exist_ok=True)
        self.curl(access, "{%s}" % ",".join(new), "--output", f"{bodies}/#1")
        if not keep:
            self.curl(access, "{%s}" % ",".join(new), "--request", "DELE", "--head")
        messages = [(bodies / number).read_bytes() if (bodies / number).exists() else b"" for number in new]
        shutil.rmtree(bodies)
        return messages

    def curl(self, access, path, *more):
        host, port = access.endpoint()
        options = ["--silent", "--show-error", "--noproxy", "*", "--user", f"{ADDRESS}:{town.passwords[ADDRESS]}"]
        if access.tls:
            options += ["--cacert", authority, "--ssl-reqd"]
        if access.mechanism:
            options += ["--login-options", f"AUTH={access.mechanism}"]
        scheme = "pop3s" if access.tls == "tls" else "pop3"
        code, output = program("curl", *options, *more, f"{scheme}://{host}:{port}/{path}")
        self.assertEqual(code, 0, output)


class InMaildir(Fetching):
    """A program that delivers into a Maildir."""

    def new_messages(self):
        """Takes what is in the Maildir out of it."""
        maildir = mailbox.Maildir(self.work / "maildir")
        messages = [maildir.get_bytes(key) for key in maildir.keys()]
        maildir.clear()
        return messages

    def deliver(self):
        """A command that puts its input into the Maildir."""
        path = self.work / "deliver"
        path.write_text(f'#!/bin/sh\nexec cat >"$(mktemp {self.maildir()}/new/XXXXXXXXXX)"\n')
        path.chmod(0o700)
        return path

    def maildir(self):
        path = self.work / "maildir"
        for part in ("cur", "new", "tmp"):
            (path / part).mkdir(parents=True, exist_ok=True)
        return path


class Mpop(InMaildir, unittest.TestCase):
    """mpop pipelines, where CAPA says so."""

    binary = "mpop"
    accesses = (IN_CLEAR, STLS, TLS, PLAIN, LOGIN, SCRAM)

    def fetch(self, access, keep):
        host, port = access.endpoint()
        server = [f"--host={host}", f"--port={port}", "--timeout=60", f"--keep={'on' if keep else 'off'}"]
        login = [f"--user={ADDRESS}", f"--passwordeval=echo {town.passwords[ADDRESS]}", f"--auth={(access.mechanism or 'user').lower()}"]
        tls = ["--tls=off"]
        if access.tls:
            starttls = "on" if access.tls == "stls" else "off"
            tls = ["--tls=on", f"--tls-starttls={starttls}", f"--tls-trust-file={authority}"]
        where = [f"--uidls-file={self.work}/uids", "--received-header=off", f"--delivery=maildir,{self.maildir()}"]
        code, output = program("mpop", "--quiet", *server, *login, *tls, *where)
        self.assertEqual(code, 0, output)
        return self.new_messages()


class Getmail(InMaildir, unittest.TestCase):
    """getmail6."""

    binary = "getmail"
    # It does not know STLS.
    accesses = (IN_CLEAR, TLS)

    def as_received(self, message):
        return message.removeprefix(b"Return-Path: <unknown>\n")

    def fetch(self, access, keep):
        host, port = access.endpoint()
        retriever = "SimplePOP3SSLRetriever" if access.tls == "tls" else "SimplePOP3Retriever"
        tls = f"ca_certs = {authority}\n" if access.tls else ""
        (self.work / "getmailrc").write_text(
            f"[retriever]\ntype = {retriever}\nserver = {host}\nport = {port}\nusername = {ADDRESS}\n"
            f"password = {town.passwords[ADDRESS]}\n{tls}"
            # Its own Maildir is not for root.
            f"[destination]\ntype = MDA_external\npath = {self.deliver()}\nallow_root_commands = true\n"
            f"[options]\nread_all = false\ndelete = {'false' if keep else 'true'}\ndelivered_to = false\n"
            "received = false\nverbose = 0\n"
        )
        code, output = program("getmail", f"--getmaildir={self.work}", "--rcfile=getmailrc")
        self.assertEqual(code, 0, output)
        return self.new_messages()


class Fetchmail(InMaildir, unittest.TestCase):
    """fetchmail, which hands each message to a command."""

    binary = "fetchmail"
    # It takes 8,192 octets of a line for a line.
    cannot = frozenset(("long_lines", "long_lines_of_dots"))

    def fetch(self, access, keep):
        host, port = access.endpoint()
        tls = {None: 'sslproto ""', "stls": 'sslproto "TLS1.2+"', "tls": "ssl"}[access.tls]
        if access.tls:
            tls += f' sslcertck sslcertfile "{authority}"'
        rcfile = self.work / "fetchmailrc"
        rcfile.write_text(
            f'set invisible\nset no bouncemail\npoll {host} service {port} proto pop3 uidl auth {access.mechanism or "password"}\n'
            f'user "{ADDRESS}" password "{town.passwords[ADDRESS]}" {tls} {"keep" if keep else "nokeep"} '
            f'norewrite pass8bits nodropstatus nodropdelivered mda "{self.deliver()}"\n'
        )
        rcfile.chmod(0o600)
        options = ["--nosyslog", "--silent", "--fetchmailrc", str(rcfile), "--idfile", f"{self.work}/ids"]
        code, output = program("fetchmail", *options, "--pidfile", f"{self.work}/pid")
        # 1 says that there was nothing to fetch.
        self.assertIn(code, (0, 1), output)
        return self.new_messages()


def main():
    global town, authority
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="data/config.toml")
    parser.add_argument("--zone", default="data/fdns.toml")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--ca", help="the certificate of the town's authority, for the tests over TLS")
    parser.add_argument("tests", nargs="*", metavar="TEST")
    arguments = parser.parse_args()
    town = Town(arguments.config, arguments.zone, arguments.host)
    authority = arguments.ca
    loader = unittest.TestLoader()
    here = sys.modules[__name__]
    suite = loader.loadTestsFromNames(arguments.tests, here) if arguments.tests else loader.loadTestsFromModule(here)
    return counted.run(suite, "programs that fetch")


if __name__ == "__main__":
    sys.exit(main())
