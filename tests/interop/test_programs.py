#!/usr/bin/env python3
"""A running town against the mail clients that Debian has: swaks, msmtp, gsasl and curl, and Python's. What is not
installed is skipped.

    tests/interop/test_programs.py [--config data/config.toml] [--zone data/fdns.toml] [--host 127.0.0.1] [--ca FILE] [TEST ...]

FILE is what `mailtown ca` prints, for the tests over TLS; without it they are skipped.

Needs the accounts of the shipped data/config.toml, on any ports; all mail of usr2@mail.sustech.edu.cn is deleted.
"""

import argparse
import base64
import hashlib
import hmac
import secrets
import shutil
import smtplib
import ssl
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

town = authority = None  # set by main()


def program(name, *arguments):
    """Runs a program with a message as its input; returns its exit code and what it has printed."""
    if shutil.which(name) is None:
        raise unittest.SkipTest(f"there is no {name} here")
    done = subprocess.run(
        [name, *arguments], input=MESSAGE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_SECONDS
    )
    return done.returncode, done.stdout.decode(errors="replace")


def submission(key):
    """Host and port under `key` of the server of USR1. The host is a name, as clients compare it with the certificate."""
    host, _ = town.endpoint(USR1, "smtp")
    return "localhost" if host == "127.0.0.1" else host, town.config["server"][town.server(USR1)][key]


class TlsTest(unittest.TestCase):
    """Starts each test with an empty maildrop. Each program trusts the town's authority and nobody else."""

    def setUp(self):
        if authority is None:
            self.skipTest("there is no --ca")
        town.empty(USR2)

    def assert_sends_verified(self, run):
        """`run(authority)` sends a message, and refuses a server that another authority knows."""
        code, output = run(authority)
        self.assertEqual(code, 0, output)
        self.assertEqual(len(town.wait_for_mail(USR2)), 1)
        code, output = run(self.stranger())
        self.assertNotEqual(code, 0, output)
        self.assertEqual(len(town.messages(USR2)), 1)

    def stranger(self):
        """The certificate of an authority that has nothing to do with the town."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = f"{directory.name}/stranger.pem"
        options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=stranger"]
        code, output = program("openssl", "req", "-x509", *options, "-keyout", f"{directory.name}/key", "-out", path)
        self.assertEqual(code, 0, output)
        return path


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


class SwaksOverTls(TlsTest):
    """--tls is STARTTLS, --tlsc is TLS from the first octet on."""

    def run_swaks(self, option, key, ca):
        host, port = submission(key)
        server = ["--server", f"{host}:{port}", option, "--tls-verify", "--tls-ca-path", ca]
        login = ["--auth", "PLAIN", "--auth-user", USR1, "--auth-password", PASSWORD]
        return program("swaks", *server, *login, "--from", USR1, "--to", USR2)

    def test_starttls(self):
        self.assert_sends_verified(lambda ca: self.run_swaks("--tls", "submission", ca))

    def test_tls_from_the_first_octet_on(self):
        self.assert_sends_verified(lambda ca: self.run_swaks("--tlsc", "submissions", ca))


class Msmtp(ProgramTest):
    """msmtp knows SCRAM and tokens, too."""

    def run_msmtp(self, mechanism, password):
        host, port = town.endpoint(USR1, "smtp")
        server = [f"--host={host}", f"--port={port}", "--tls=off", f"--from={USR1}"]
        login = [f"--auth={mechanism}", f"--user={USR1}", f"--passwordeval=echo {password}"]
        return program("msmtp", *server, *login, USR2)

    def test_mechanisms(self):
        self.assert_sends(self.run_msmtp, ("plain", "login", "scram-sha-256", "oauthbearer", "xoauth2"))


class MsmtpOverTls(TlsTest):
    """msmtp tells the two by --tls-starttls."""

    def run_msmtp(self, starttls, key, ca):
        host, port = submission(key)
        server = [f"--host={host}", f"--port={port}", f"--from={USR1}"]
        tls = ["--tls=on", f"--tls-starttls={starttls}", f"--tls-trust-file={ca}"]
        login = ["--auth=scram-sha-256", f"--user={USR1}", f"--passwordeval=echo {PASSWORD}"]
        return program("msmtp", *server, *tls, *login, USR2)

    def test_starttls(self):
        self.assert_sends_verified(lambda ca: self.run_msmtp("on", "submission", ca))

    def test_tls_from_the_first_octet_on(self):
        self.assert_sends_verified(lambda ca: self.run_msmtp("off", "submissions", ca))


class GsaslOverTls(unittest.TestCase):
    """gsasl binds the login to the TLS connection."""

    def run_gsasl(self, mechanism, password):
        host, port = submission("submission")
        login = ["-a", USR1, "-p", password, "-m", mechanism]
        options = ["--smtp", "--quiet", f"--x509-ca-file={authority}", "--connect", f"{host}:{port}"]
        return program("gsasl", *options, *login)

    def test_mechanisms(self):
        if authority is None:
            self.skipTest("there is no --ca")
        # Over TLS, gsasl does not go on with SCRAM-SHA-256, which would leave the login unbound.
        for mechanism in ("SCRAM-SHA-256-PLUS", "PLAIN"):
            with self.subTest(mechanism):
                code, output = self.run_gsasl(mechanism, PASSWORD)
                self.assertEqual(code, 0, output)
                code, output = self.run_gsasl(mechanism, "wrong")
                self.assertNotEqual(code, 0, output)


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


class CurlOverTls(TlsTest):
    """smtps:// is TLS from the first octet on, --ssl-reqd is STARTTLS."""

    def run_curl(self, scheme, key, ca):
        host, port = submission(key)
        with tempfile.NamedTemporaryFile() as message:
            message.write(MESSAGE)
            message.flush()
            mail = ["--mail-from", USR1, "--mail-rcpt", USR2, "--upload-file", message.name]
            options = ["--silent", "--show-error", "--noproxy", "*", "--cacert", ca, "--ssl-reqd"]
            return program("curl", *options, "--user", f"{USR1}:{PASSWORD}", *mail, f"{scheme}://{host}:{port}")

    def test_starttls(self):
        self.assert_sends_verified(lambda ca: self.run_curl("smtp", "submission", ca))

    def test_tls_from_the_first_octet_on(self):
        self.assert_sends_verified(lambda ca: self.run_curl("smtps", "submissions", ca))


class PythonOverTls(TlsTest):
    """smtplib."""

    def send(self, key, ca):
        host, port = submission(key)
        context = ssl.create_default_context(cafile=ca)
        try:
            if key == "submissions":
                client = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=context)
            else:
                client = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
            with client:
                if key != "submissions":
                    client.starttls(context=context)
                client.login(USR1, PASSWORD)
                client.sendmail(USR1, [USR2], MESSAGE)
        except ssl.SSLCertVerificationError as error:
            return 1, str(error)
        return 0, ""

    def test_starttls(self):
        self.assert_sends_verified(lambda ca: self.send("submission", ca))

    def test_tls_from_the_first_octet_on(self):
        self.assert_sends_verified(lambda ca: self.send("submissions", ca))

    def log_in_bound(self, certificate):
        """Logs in with SCRAM-SHA-256-PLUS, bound to `certificate` or else to the server's own; returns the last reply's code."""
        context = ssl.create_default_context(cafile=authority)
        with smtplib.SMTP_SSL(*submission("submissions"), timeout=TIMEOUT_SECONDS, context=context) as client:
            client.ehlo()
            self.assertIn("SCRAM-SHA-256-PLUS", client.esmtp_features["auth"].split())
            certificate = certificate or client.sock.getpeercert(binary_form=True)
            # RFC 5929 §4.1, RFC 5802 §3.
            header, binding = b"p=tls-server-end-point,,", hashlib.sha256(certificate).digest()
            bare = f"n={USR1},r={secrets.token_hex(12)}".encode()
            _, challenge = client.docmd("AUTH", f"SCRAM-SHA-256-PLUS {encoded(header + bare)}")
            first = base64.b64decode(challenge)
            fields = dict(field.split("=", 1) for field in first.decode().split(","))
            salt, iterations = base64.b64decode(fields["s"]), int(fields["i"])
            salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, iterations)
            final = f"c={encoded(header + binding)},r={fields['r']}".encode()
            message = b",".join([bare, first, final])
            key = hmac.digest(salted, b"Client Key", "sha256")
            signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
            proof = bytes(left ^ right for left, right in zip(key, signature, strict=True))
            code, challenge = client.docmd(encoded(final + b",p=" + encoded(proof).encode()))
            if code == 334:
                proved = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
                self.assertEqual(base64.b64decode(challenge), b"v=" + encoded(proved).encode())
                code, _ = client.docmd("")
            return code

    def test_a_login_is_bound_to_its_connection(self):
        self.assertEqual(self.log_in_bound(None), 235)
        # As if somebody in between had shown this certificate to the client.
        self.assertEqual(self.log_in_bound(b"another certificate"), 535)


def encoded(octets):
    """In base64, as text."""
    return base64.b64encode(octets).decode()


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
    return counted.run(suite, "programs")


if __name__ == "__main__":
    sys.exit(main())
