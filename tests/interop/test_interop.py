#!/usr/bin/env python3
"""A running town against Python's own smtplib, poplib, tomllib and email, with their default behaviour.

    tests/interop/test_interop.py [--config data/config.toml] [--zone data/fdns.toml] [--host 127.0.0.1] [TEST ...]

Needs the accounts of the shipped data/config.toml, on any ports; all their mail is deleted.
"""

import argparse
import base64
import email
import email.policy
import hashlib
import poplib
import random
import smtplib
import sys
import threading
import unittest
from email.message import EmailMessage
from email.mime.text import MIMEText

sys.dont_write_bytecode = True  # leave no __pycache__ in the source tree
import counted  # noqa: E402
from town import Town, domain_of, retrieve  # noqa: E402

USR1 = "usr1@mail.sustech.edu.cn"
USR2 = "usr2@mail.sustech.edu.cn"
USR = "usr@gmail.com"
EVERYONE = (USR1, USR2, USR)
STRANGER = "stranger@elsewhere.example"

town = None  # set by main()


class TownTest(unittest.TestCase):
    """Starts each test with empty maildrops."""

    def setUp(self):
        for address in EVERYONE:
            town.empty(address)

    def send(self, sender, recipients, message):
        """Sends as smtplib does when nothing else is asked of it; every recipient must be accepted."""
        with town.smtp(sender) as client:
            self.assertEqual(client.sendmail(sender, recipients, message), {})

    def one_message(self, address, seconds=10.0):
        """The only message of a maildrop, once it is there."""
        messages = town.wait_for_mail(address, 1, seconds)
        self.assertEqual(len(messages), 1, f"{address} has more than one message")
        return messages[0]

    def assert_intact(self, received, sent):
        """`received` is `sent`, but for the trace headers that profile "rfc" puts before it."""
        if town.profile == "rfc":
            self.assertTrue(received.endswith(sent), "the message was changed")
            added = email.message_from_bytes(received[: len(received) - len(sent)])
            self.assertLessEqual(set(added.keys()), {"Return-Path", "Received"})
        else:
            self.assertEqual(received, sent)


class Tutorial(TownTest):
    """The three messages of the course's hand-out, composed as its Python client composes them."""

    CASES = (
        (USR1, "This is a test emailing myself.", 195),
        (USR2, "This is a test emailing other user in the same domain.", 223),
        (USR, "This is a test emailing other user in the different domain.", 233),
    )

    def setUp(self):
        if town.profile != "tutorial":
            self.skipTest("sizes are the tutorial's only in profile tutorial")
        super().setUp()

    def test_three_messages_have_195_223_and_233_octets(self):
        for recipient, content, octets in self.CASES:
            with self.subTest(recipient):
                message = MIMEText(content, "plain", "utf-8")
                message["Subject"] = "Test"
                message["From"] = USR1
                self.send(USR1, recipient, message.as_string())
                self.one_message(recipient)
                with town.maildrop(recipient) as client:
                    self.assertEqual(client.stat(), (1, octets))
                    self.assertEqual(client.list()[1], [f"1 {octets}".encode()])
                    self.assertEqual(client.retr(1)[1], self.lines(content))

    def test_empty_maildrop(self):
        with town.maildrop(USR1) as client:
            self.assertEqual(client.stat(), (0, 0))
            self.assertEqual(client.list()[1], [])

    @staticmethod
    def lines(content):
        encoded = base64.b64encode(content.encode())
        return [
            b'Content-Type: text/plain; charset="utf-8"',
            b"MIME-Version: 1.0",
            b"Content-Transfer-Encoding: base64",
            b"Subject: Test",
            f"From: {USR1}".encode(),
            b"",
            *(encoded[start : start + 76] for start in range(0, len(encoded), 76)),
        ]


class Texts(TownTest):
    """What the servers say, word for word."""

    def test_smtp_dialogue(self):
        for address in (USR1, USR):
            server = town.server(address)
            host, port = town.endpoint(address, "smtp")
            client = smtplib.SMTP(timeout=30)
            greeting = client.connect(host, port)
            self.assertEqual(greeting, (220, f"{server} SMTP server ready".encode()))
            self.assertEqual(client.ehlo()[1].splitlines()[0], f"{server} HELLO".encode())
            self.assertLessEqual(
                {"pipelining", "size", "8bitmime", "enhancedstatuscodes"}, set(client.esmtp_features)
            )
            self.assertEqual(client.docmd(f"MAIL FROM:<{address}>"), (250, b"2.1.0 OK"))
            self.assertEqual(client.docmd(f"RCPT TO:<{address}>"), (250, b"2.1.5 OK"))
            self.assertEqual(
                client.docmd("DATA"), (354, b"Start mail input; end with <CRLF>.<CRLF>")
            )
            client.send(b"Subject: texts\r\n\r\nbody\r\n.\r\n")
            code, text = client.getreply()
            self.assertEqual(code, 250)
            self.assertRegex(text, rb"^2\.0\.0 OK queued as \S+$")
            self.assertEqual(client.quit(), (221, b"2.0.0 Bye"))

    def test_helo(self):
        with town.smtp(USR1) as client:
            self.assertEqual(client.helo(), (250, f"{town.server(USR1)} HELLO".encode()))

    def test_pop3_dialogue(self):
        client = town.pop3(USR1)
        self.assertEqual(client.getwelcome(), b"+OK POP3 server ready")
        self.assertEqual(client.user(USR1), b"+OK")
        self.assertEqual(client.pass_(town.passwords[USR1]), b"+OK user successfully logged on")
        self.assertEqual(client.noop(), b"+OK")
        self.assertEqual(client.quit(), b"+OK")

    def test_id_after_the_dot_is_the_uidl(self):
        with town.smtp(USR1) as client:
            client.ehlo()
            client.mail(USR1)
            client.rcpt(USR1)
            _, text = client.data("Subject: id\n\nbody\n")
        self.one_message(USR1)
        with town.maildrop(USR1) as client:
            self.assertEqual(client.uidl()[1], [b"1 " + text.split()[-1]])


class Delivery(TownTest):
    """Mail arrives, everywhere, once, and unchanged."""

    def test_several_recipients_in_both_domains_get_it_once_each(self):
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = USR1, ", ".join(EVERYONE), "for everyone"
        message.set_content("once each\n")
        with town.smtp(USR1) as client:
            self.assertEqual(client.send_message(message), {})
        for address in EVERYONE:
            self.assertEqual(email.message_from_bytes(self.one_message(address))["Subject"], "for everyone")
        # A second copy of the first message would stand before this one, which takes the same way after it.
        self.send(USR1, EVERYONE, "Subject: marker\n\n")
        for address in EVERYONE:
            subjects = [email.message_from_bytes(raw)["Subject"] for raw in town.wait_for_mail(address, 2)]
            self.assertEqual(subjects, ["for everyone", "marker"])

    def test_dots_and_eight_bit_octets_survive(self):
        sent = b"Subject: dots\r\n\r\n.\r\n..\r\n...three\r\n\xff\xfe caf\xc3\xa9\r\n\r\n.leading\r\n \r\n.\r\nend\r\n"
        for recipient in EVERYONE:
            with self.subTest(recipient):
                with town.smtp(USR1) as client:
                    client.sendmail(USR1, recipient, sent, mail_options=["BODY=8BITMIME"])
                self.assert_intact(self.one_message(recipient), sent)

    def test_five_megabytes_across_domains(self):
        noise = base64.encodebytes(random.Random(5).randbytes(5 * 1024 * 1024)).replace(b"\n", b"\r\n")
        sent = b"Subject: big\r\n\r\n" + noise
        self.send(USR1, [USR, USR2], sent)
        for recipient in (USR, USR2):
            received = self.one_message(recipient, seconds=60)
            self.assertEqual(
                hashlib.sha256(received[-len(sent) :]).digest(), hashlib.sha256(sent).digest()
            )
            self.assert_intact(received, sent)

    def test_answers_go_back_the_other_way(self):
        sent = b"Subject: back\r\n\r\nacross\r\n"
        self.send(USR, USR1, sent)
        self.assert_intact(self.one_message(USR1), sent)

    def test_messages_of_one_session_keep_their_order(self):
        with town.smtp(USR1) as client:
            for number in range(10):
                client.sendmail(USR1, USR2, f"Subject: {number}\n\n")
        subjects = [email.message_from_bytes(raw)["Subject"] for raw in town.wait_for_mail(USR2, 10)]
        self.assertEqual(subjects, [str(number) for number in range(10)])

    def test_twenty_clients_at_once(self):
        failures = []

        def client(number):
            try:
                self.send(USR1, [USR, USR2], f"Subject: {number}\n\n")
            except Exception as error:  # a thread has no other way to tell
                failures.append(error)

        threads = [threading.Thread(target=client, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        for recipient in (USR, USR2):
            messages = town.wait_for_mail(recipient, 20, seconds=30)
            subjects = sorted(int(email.message_from_bytes(raw)["Subject"]) for raw in messages)
            self.assertEqual(subjects, list(range(20)))

    def test_domain_is_case_insensitive(self):
        self.send(USR1, "usr@GMAIL.com", "Subject: case\n\n")
        self.one_message(USR)


class FailureMessages(TownTest):
    """What cannot be delivered comes back as RFC 3464 says, with the remote's own words."""

    def failure(self, recipient, seconds):
        """The failure message in USR1's maildrop, taken apart and checked for what all of them share."""
        report = email.message_from_bytes(self.one_message(USR1, seconds), policy=email.policy.default)
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        self.assertIn(USR1, report["To"])
        self.assertEqual(report.defects, [])
        human, status, headers = report.get_payload()
        self.assertEqual(human.get_content_type(), "text/plain")
        self.assertIn(recipient, human.get_content())
        self.assertEqual(status.get_content_type(), "message/delivery-status")
        per_message, per_recipient = status.get_payload()
        self.assertEqual(per_message["Reporting-MTA"].replace(" ", ""), f"dns;{town.server(USR1)}")
        self.assertEqual(per_recipient["Final-Recipient"].replace(" ", ""), f"rfc822;{recipient}")
        self.assertEqual(per_recipient["Action"], "failed")
        self.assertRegex(per_recipient["Status"], r"^5\.\d+\.\d+$")
        self.assertEqual(headers.get_content_type(), "text/rfc822-headers")
        self.assertIn("Subject: lost", headers.get_content())
        self.assertNotIn("not for the report", headers.get_content())
        return human.get_content(), per_recipient

    def test_unknown_user_at_the_other_domain_within_two_seconds(self):
        self.send(USR1, "nobody@gmail.com", "Subject: lost\n\nnot for the report\n")
        human, per_recipient = self.failure("nobody@gmail.com", seconds=2)
        self.assertEqual(per_recipient["Status"], "5.1.1")
        self.assertRegex(per_recipient["Diagnostic-Code"], r"^smtp; ?550 5\.1\.1 ")
        self.assertIn("550 5.1.1", human)

    def test_only_the_recipient_that_failed_is_reported(self):
        self.send(USR1, [USR, "nobody@gmail.com", USR2], "Subject: lost\n\nnot for the report\n")
        self.failure("nobody@gmail.com", seconds=5)
        for recipient in (USR, USR2):
            self.assertIn(b"Subject: lost", self.one_message(recipient))

    def test_unknown_domain(self):
        self.send(USR1, "someone@nowhere.example", "Subject: lost\n\nnot for the report\n")
        self.failure("someone@nowhere.example", seconds=5)

    def test_unknown_user_of_the_senders_own_domain(self):
        unknown = f"nobody@{domain_of(USR1)}"
        if town.profile == "rfc":
            with town.smtp(USR1) as client, self.assertRaises(smtplib.SMTPRecipientsRefused) as refused:
                client.sendmail(USR1, unknown, "Subject: lost\n\n")
            code, text = refused.exception.recipients[unknown]
            self.assertEqual((code, text[:5]), (550, b"5.1.1"))
        else:
            self.send(USR1, unknown, "Subject: lost\n\nnot for the report\n")
            self.failure(unknown, seconds=5)

    def test_failure_message_never_bounces(self):
        with town.smtp(USR1) as client:
            client.ehlo()
            self.assertEqual(client.docmd("MAIL FROM:<>")[0], 250)
            self.assertEqual(client.docmd(f"RCPT TO:<nobody@{domain_of(USR1)}>")[0], 550)
            self.assertEqual(client.docmd(f"RCPT TO:<{USR1}>")[0], 250)
            self.assertEqual(client.data("Subject: a report\n\n")[0], 250)
        self.assertIn(b"Subject: a report", self.one_message(USR1))


class Policy(TownTest):
    """Who may send what."""

    def test_unknown_sender_is_550_at_mail(self):
        nobodies = [f"nobody@{domain_of(USR1)}"]
        # In profile rfc, the case of a local part says nothing here.
        if town.profile == "tutorial":
            nobodies.append(f"Usr1@{domain_of(USR1)}")
        for sender in nobodies:
            with self.subTest(sender), town.smtp(USR1) as client:
                client.ehlo()
                code, text = client.mail(sender)
                self.assertEqual((code, text[:5]), (550, b"5.1.0"))
                self.assertEqual(client.mail(USR1)[0], 250)

    def test_no_relay_for_strangers(self):
        for sender in (STRANGER, USR, ""):
            with self.subTest(sender), town.smtp(USR1) as client:
                client.ehlo()
                self.assertEqual(client.docmd(f"MAIL FROM:<{sender}>")[0], 250)
                for recipient in ("victim@elsewhere.example", USR):
                    code, text = client.rcpt(recipient)
                    self.assertEqual((code, text[:5]), (554, b"5.7.1"))

    def test_mail_from_another_server_for_local_users_only(self):
        with town.smtp(USR1) as client:
            client.ehlo()
            client.mail(STRANGER)
            code, text = client.rcpt(f"nobody@{domain_of(USR1)}")
            self.assertEqual((code, text[:5]), (550, b"5.1.1"))
            self.assertEqual(client.rcpt(USR1)[0], 250)
            self.assertEqual(client.data("Subject: from afar\n\n")[0], 250)
        self.assertIn(b"Subject: from afar", self.one_message(USR1))

    def test_declared_size_over_the_limit_is_552_at_mail(self):
        with town.smtp(USR1) as client:
            client.ehlo()
            limit = int(client.esmtp_features["size"])
            code, text = client.docmd(f"MAIL FROM:<{USR1}> SIZE={limit + 1}")
            self.assertEqual((code, text[:5]), (552, b"5.3.4"))
            self.assertEqual(client.docmd(f"MAIL FROM:<{USR1}> SIZE={limit}")[0], 250)


class InStep(TownTest):
    """The dialogue stays in step whatever arrives."""

    def test_lone_cr_and_lf_are_refused_after_the_real_end(self):
        for body in (b"a\nb", b"a\rb", b"a\n.\nb", b"a\n.\r\nb", b"a\r.\rb", b"a\r\n.\nb", b"a\r\n.\rb"):
            with self.subTest(body), town.smtp(USR1) as client:
                client.ehlo()
                client.mail(USR1)
                client.rcpt(USR2)
                self.assertEqual(client.docmd("DATA")[0], 354)
                client.send(b"Subject: smuggled\r\n\r\n" + body + b"\r\n.\r\nNOOP\r\n")
                code, text = client.getreply()
                self.assertEqual((code, text[:5]), (554, b"5.6.0"))
                self.assertEqual(client.getreply()[0], 250)
        with town.maildrop(USR2) as client:
            self.assertEqual(client.stat()[0], 0)

    def test_pipelining(self):
        with town.smtp(USR1) as client:
            client.ehlo()
            client.send(
                f"MAIL FROM:<{USR1}>\r\nRCPT TO:<{USR2}>\r\nRCPT TO:<nobody>\r\nRCPT TO:<{USR1}>\r\nDATA\r\n".encode()
            )
            self.assertEqual([client.getreply()[0] for _ in range(2)], [250, 250])
            self.assertGreaterEqual(client.getreply()[0], 500)
            self.assertEqual([client.getreply()[0] for _ in range(2)], [250, 354])
            client.send(b"Subject: at once\r\n\r\n.\r\nNOOP\r\nQUIT\r\n")
            self.assertEqual([client.getreply()[0] for _ in range(3)], [250, 250, 221])
            client.close()
        for address in (USR1, USR2):
            self.assertIn(b"Subject: at once", self.one_message(address))

    def test_sequence_errors(self):
        with town.smtp(USR1) as client:
            client.ehlo()
            self.assertEqual(client.docmd("DATA")[0], 503)
            self.assertEqual(client.docmd(f"RCPT TO:<{USR1}>")[0], 503)
            self.assertEqual(client.mail(USR1)[0], 250)
            self.assertEqual(client.docmd(f"MAIL FROM:<{USR1}>")[0], 503)
            self.assertEqual(client.docmd("NONSENSE")[0], 500)
            self.assertEqual(client.rset()[0], 250)
            self.assertEqual(client.docmd(f"RCPT TO:<{USR1}>")[0], 503)

    def test_body_cut_off_is_not_delivered(self):
        client = town.smtp(USR1)
        client.ehlo()
        client.mail(USR1)
        client.rcpt(USR2)
        self.assertEqual(client.docmd("DATA")[0], 354)
        client.send(b"Subject: half\r\n\r\nhalf a bo")
        client.close()
        # What was cut off would stand before this message.
        self.send(USR1, USR2, "Subject: whole\n\n")
        self.assertIn(b"Subject: whole", self.one_message(USR2))


class Maildrop(TownTest):
    """POP3 sessions."""

    def deliver(self, count):
        with town.smtp(USR1) as client:
            for number in range(1, count + 1):
                client.sendmail(USR1, USR1, f"Subject: {number}\n\n.dot\nlast\n")
        town.wait_for_mail(USR1, count)

    def test_dele_marks_and_quit_deletes(self):
        self.deliver(3)
        with town.maildrop(USR1) as client:
            client.dele(2)
            self.assertEqual(client.stat()[0], 2)
            self.assertEqual([line.split()[0] for line in client.list()[1]], [b"1", b"3"])
            for refused in (lambda: client.retr(2), lambda: client.dele(2), lambda: client.list(2)):
                self.assertRaises(poplib.error_proto, refused)
            client.rset()
            self.assertEqual(client.stat()[0], 3)
            client.dele(2)
        subjects = [email.message_from_bytes(raw)["Subject"] for raw in town.messages(USR1)]
        self.assertEqual(subjects, ["1", "3"])

    def test_dropped_connection_deletes_nothing(self):
        self.deliver(1)
        client = town.pop3(USR1)
        client.user(USR1)
        client.pass_(town.passwords[USR1])
        client.dele(1)
        client.close()
        self.assertEqual(len(town.messages(USR1)), 1)

    def test_one_session_at_a_time(self):
        with town.maildrop(USR1):
            second = town.pop3(USR1)
            second.user(USR1)
            with self.assertRaisesRegex(poplib.error_proto, r"-ERR \[IN-USE\]"):
                second.pass_(town.passwords[USR1])
            second.close()

    def test_numbers_are_fixed_for_a_session(self):
        self.deliver(1)
        with town.maildrop(USR1) as client:
            self.send(USR1, [USR1, USR2], "Subject: later\n\n")
            self.one_message(USR2)
            self.assertEqual(client.stat()[0], 1)
        self.assertEqual(len(town.wait_for_mail(USR1, 2)), 2)

    def test_uidl_is_unique_and_stays(self):
        self.deliver(3)
        with town.maildrop(USR1) as client:
            before = client.uidl()[1]
            client.dele(1)
        self.assertEqual(len({line.split()[1] for line in before}), 3)
        with town.maildrop(USR1) as client:
            after = client.uidl()[1]
        self.assertEqual([line.split()[1] for line in after], [line.split()[1] for line in before[1:]])

    def test_top(self):
        self.deliver(1)
        with town.maildrop(USR1) as client:
            self.assertIn("TOP", client.capa())
            whole = client.retr(1)[1]
            end_of_headers = whole.index(b"")
            self.assertEqual(client.top(1, 0)[1], whole[: end_of_headers + 1])
            self.assertEqual(client.top(1, 1)[1], whole[: end_of_headers + 2])
            self.assertEqual(client.top(1, 99)[1], whole)
            self.assertEqual(whole[end_of_headers + 1 :], [b".dot", b"last"])

    def test_list_agrees_with_stat(self):
        self.deliver(3)
        with town.maildrop(USR1) as client:
            sizes = [int(line.split()[1]) for line in client.list()[1]]
            self.assertEqual(client.stat(), (3, sum(sizes)))
            closing_dot = 3 if town.profile == "tutorial" else 0
            self.assertEqual(sizes, [len(retrieve(client, number)) + closing_dot for number in (1, 2, 3)])

    def test_log_in_tells_nothing_about_accounts(self):
        answers = set()
        for user, password in ((USR1, "wrong"), (f"nobody@{domain_of(USR1)}", "pass1"), ("nonsense", "x")):
            client = town.pop3(USR1)
            self.assertEqual(client.user(user), b"+OK")
            with self.assertRaises(poplib.error_proto) as refused:
                client.pass_(password)
            answers.add(refused.exception.args[0])
            client.close()
        self.assertEqual(len(answers), 1, answers)


def main():
    """Reads the arguments and runs the tests."""
    global town
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="data/config.toml")
    parser.add_argument("--zone", default="data/fdns.toml")
    parser.add_argument("--host", default="127.0.0.1", help="stands for the zone's local host")
    parser.add_argument("tests", nargs="*", metavar="TEST", help="such as Delivery or Texts.test_helo")
    arguments = parser.parse_args()
    town = Town(arguments.config, arguments.zone, arguments.host)
    try:
        for address in EVERYONE:
            town.smtp(address).quit()
            town.pop3(address).quit()
    except OSError as error:
        sys.exit(f"error: {domain_of(address)} does not answer ({error}): start the town of {arguments.config} first")
    loader = unittest.TestLoader()
    here = sys.modules[__name__]
    suite = loader.loadTestsFromNames(arguments.tests, here) if arguments.tests else loader.loadTestsFromModule(here)
    return counted.run(suite, "interop")


class LoginTest(TownTest):
    """smtplib's login, which chooses among the mechanisms that it knows."""

    def test_login_and_send(self):
        for user, password in ((USR1, "pass1"), (USR, "pass")):
            with self.subTest(user), town.smtp(user) as client:
                self.assertEqual(client.login(user, password)[0], 235)
                message = MIMEText("sent by " + user)
                self.assertEqual(client.sendmail(user, [USR2], message.as_string()), {})
        self.assertEqual(len(town.wait_for_mail(USR2, 2)), 2)

    def test_each_mechanism(self):
        for mechanism in ("PLAIN", "LOGIN"):
            for initial in (True, False):
                with self.subTest(mechanism, initial=initial), town.smtp(USR1) as client:
                    client.ehlo()
                    client.user, client.password = USR1, "pass1"
                    method = getattr(client, "auth_" + mechanism.lower())
                    code, _ = client.auth(mechanism, method, initial_response_ok=initial)
                    self.assertEqual(code, 235)

    def test_a_wrong_password_is_refused(self):
        with town.smtp(USR1) as client:
            with self.assertRaises(smtplib.SMTPAuthenticationError) as refused:
                client.login(USR1, "wrong")
            self.assertEqual(refused.exception.smtp_code, 535)
            self.assertEqual(client.login(USR1, "pass1")[0], 235)

    def test_nobody_sends_as_somebody_else(self):
        with town.smtp(USR1) as client:
            client.login(USR1, "pass1")
            with self.assertRaises(smtplib.SMTPSenderRefused) as refused:
                client.sendmail(USR2, [USR1], b"Subject: forged\r\n\r\n")
            self.assertEqual(refused.exception.smtp_code, 553)


if __name__ == "__main__":
    sys.exit(main())
