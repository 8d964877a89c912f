"""A running town as a Python client meets it: the two data files, smtplib and poplib, nothing else."""

import poplib
import smtplib
import time
import tomllib
from contextlib import contextmanager

# No step of these tests may wait longer for one answer of a server.
TIMEOUT_SECONDS = 30


class Town:
    """Where the servers of `config` and `zone` listen, `host` being the machine that the zone calls the local one."""

    def __init__(self, config, zone, host="127.0.0.1"):
        with open(config, "rb") as file:
            self.config = tomllib.load(file)
        with open(zone, "rb") as file:
            self.zone = tomllib.load(file)
        self.host = host
        # The built-in default.
        self.profile = self.config.get("profile", "rfc")
        self.passwords = {
            address: password
            for accounts in self.config["accounts"].values()
            for address, password in accounts.items()
        }

    def server(self, address):
        """The name of the server that keeps this address."""
        return next(name for name, accounts in self.config["accounts"].items() if address in accounts)

    def endpoint(self, address, protocol):
        """Host and port of the "smtp" or "pop" server that an agent of this address looks up."""
        name = self.config["agent"][domain_of(address)][protocol]
        value = self.zone["P"][f"{name}."]
        host, _, port = value.rpartition(":")
        return host or self.host, int(port)

    def smtp(self, address):
        """An smtplib client of the SMTP server of this address's domain."""
        return smtplib.SMTP(*self.endpoint(address, "smtp"), timeout=TIMEOUT_SECONDS)

    def pop3(self, address):
        """A poplib client of the POP3 server of this address's domain, not logged in."""
        return poplib.POP3(*self.endpoint(address, "pop"), timeout=TIMEOUT_SECONDS)

    @contextmanager
    def maildrop(self, address):
        """A poplib client logged in as this address; QUIT at the end, unless the block failed."""
        client = self._log_in(address)
        try:
            yield client
            client.quit()
        finally:
            client.close()

    def _log_in(self, address):
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            client = self.pop3(address)
            try:
                client.user(address)
                client.pass_(self.passwords[address])
                return client
            except poplib.error_proto as error:
                client.close()
                # A session that was dropped a moment ago may hold the lock a moment longer.
                if "[IN-USE]" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def empty(self, address):
        """Deletes all mail of this address."""
        with self.maildrop(address) as client:
            for number in range(1, client.stat()[0] + 1):
                client.dele(number)

    def messages(self, address):
        """All messages of this address, as bytes with CRLF line ends."""
        with self.maildrop(address) as client:
            return [retrieve(client, number) for number in range(1, client.stat()[0] + 1)]

    def wait_for_mail(self, address, count=1, seconds=10.0):
        """Polls until this address has `count` messages or more, and returns them all."""

        def arrived():
            with self.maildrop(address) as client:
                return client.stat()[0] >= count

        poll(arrived, seconds, f"{count} messages for {address}")
        return self.messages(address)


def domain_of(address):
    """The part of an address after its last @."""
    return address.rpartition("@")[2]


def retrieve(client, number):
    """A message of an open maildrop, as bytes with CRLF line ends."""
    _, lines, _ = client.retr(number)
    return b"".join(line + b"\r\n" for line in lines)


def poll(condition, seconds, what):
    """Returns the first true value of `condition()`; fails when there is none for `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.03)
