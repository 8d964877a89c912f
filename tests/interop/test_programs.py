#!/usr/bin/env python3
"""A running town against the mail clients that Debian has: swaks, msmtp, gsasl and curl. What is not installed is skipped.

    tests/interop/test_programs.py [--config data/config.toml] [--zone data/fdns.toml] [--host 127.0.0.1] [TEST ...]

Needs the accounts of the shipped data/config.toml, on any ports; all mail of usr2@mail.sustech.edu.cn is deleted.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # leave no __pycache__ in the source tree
import counted  # noqa: E402
from town import Town  # noqa: E402

USR1 = "usr1@mail.sustech.edu.cn"
USR2 = "usr2@mail.sustech.edu.cn"
PASSWORD = "pass1"
MESSAGE = b"Subject: sent by a program\r\n\r\nHello\r\n"
# Long enough for a machine that does other things too.
TIMEOUT_SECONDS = 60

town = None  # set by main()


def program(name, *arguments):
    """Runs a program with a message as its input; returns its exit code and what it has printed."""
    if shutil.which(name) is None:
        raise unittest.SkipTest(f"there is no {name} here")
    done = subprocess.run(
        [name, *arguments], input=MESSAGE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_SECONDS
    )
    return done.returncode, done.stdout.decode(errors="replace")


class ProgramTest(unittest.TestCase):
    """Starts each test with an empty maildrop."""

    def setUp(self):
        town.empty(USR2)

    def assert_sends(self, run, mechanisms):
        """`run(mechanism, password)` sends with the right password, and fails with another one."""
        for mechanism in mechanisms:
            with self.subTest(mechanism):
                code, output = run(mechanism, PASSWORD)
                self.assertEqual(code, 0, output)
                code, output = run(mechanism, "wrong")
                self.assertNotEqual(code, 0, output)
        self.assertEqual(len(town.wait_for_mail(USR2, len(mechanisms))), len(mechanisms))


class Swaks(ProgramTest):
    """swaks names the mechanism that it is told."""

    def run_swaks(self, mechanism, password, *more):
        host, port = town.endpoint(USR1, "smtp")
        login = ["--auth", mechanism, "--auth-user", USR1, "--auth-password", password]
        return program("swaks", "--server", f"{host}:{port}", "--from", USR1, "--to", USR2, *login, *more)

    def test_mechanisms(self):
        self.assert_sends(self.run_swaks, ("PLAIN", "LOGIN"))

    def test_pipelining(self):
        code, output = self.run_swaks("PLAIN", PASSWORD, "--pipeline")
        self.assertEqual(code, 0, output)
        self.assertEqual(len(town.wait_for_mail(USR2, 1)), 1)


class Msmtp(ProgramTest):
    """msmtp knows SCRAM and tokens, too."""

    def run_msmtp(self, mechanism, password):
        host, port = town.endpoint(USR1, "smtp")
        server = [f"--host={host}", f"--port={port}", "--tls=off", f"--from={USR1}"]
        login = [f"--auth={mechanism}", f"--user={USR1}", f"--passwordeval=echo {password}"]
        return program("msmtp", *server, *login, USR2)

    def test_mechanisms(self):
        self.assert_sends(self.run_msmtp, ("plain", "login", "scram-sha-256", "oauthbearer", "xoauth2"))


class Gsasl(unittest.TestCase):
    """gsasl logs in, and sends nothing."""

    def run_gsasl(self, mechanism, password):
        host, port = town.endpoint(USR1, "smtp")
        login = ["-a", USR1, "-p", password, "-m", mechanism]
        return program("gsasl", "--smtp", "--no-starttls", "--quiet", "--connect", f"{host}:{port}", *login)

    def test_mechanisms(self):
        for mechanism in ("PLAIN", "LOGIN", "SCRAM-SHA-256"):
            with self.subTest(mechanism):
                code, output = self.run_gsasl(mechanism, PASSWORD)
                self.assertEqual(code, 0, output)
                code, output = self.run_gsasl(mechanism, "wrong")
                self.assertNotEqual(code, 0, output)


class Curl(ProgramTest):
    """curl knows tokens, but SCRAM only where it was built with it."""

    def run_curl(self, mechanism, password):
        host, port = town.endpoint(USR1, "smtp")
        login = ["--user", f"{USR1}:{password}"]
        if mechanism in ("XOAUTH2", "OAUTHBEARER"):
            login = ["--user", f"{USR1}:", "--oauth2-bearer", password]
        with tempfile.NamedTemporaryFile() as message:
            message.write(MESSAGE)
            message.flush()
            mail = ["--mail-from", USR1, "--mail-rcpt", USR2, "--upload-file", message.name]
            options = ["--silent", "--show-error", "--noproxy", "*", "--login-options", f"AUTH={mechanism}"]
            return program("curl", *options, *login, *mail, f"smtp://{host}:{port}")

    def test_mechanisms(self):
        self.assert_sends(self.run_curl, ("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"))


def main():
    global town
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="data/config.toml")
    parser.add_argument("--zone", default="data/fdns.toml")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("tests", nargs="*", metavar="TEST")
    arguments = parser.parse_args()
    town = Town(arguments.config, arguments.zone, arguments.host)
    loader = unittest.TestLoader()
    here = sys.modules[__name__]
    suite = loader.loadTestsFromNames(arguments.tests, here) if arguments.tests else loader.loadTestsFromModule(here)
    return counted.run(suite, "programs")


if __name__ == "__main__":
    sys.exit(main())
