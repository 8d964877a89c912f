"""Mail that flows while its servers are killed, and the account of it."""

import itertools
import smtplib
import threading
import time
from collections import Counter, defaultdict

from town import TIMEOUT_SECONDS, poll

# A pause between two messages of a sender: enough of them, and not more than can be read again in no time.
PAUSE_SECONDS = 0.05
# How long to wait for a server that may be dead; whoever is slower than that is asked again, and it is counted.
ANSWER_SECONDS = 5
# Each so many messages one that a store streams through a file.
LARGE_EVERY = 100
LARGE_LINES = 6000


class Flow:
    """Sends numbered messages until the block ends, two senders for each route, each message until it is acknowledged.

    A route is the sender, the recipients, and a function that returns host and port of each gateway there is.
    """

    def __init__(self, routes):
        self.acknowledged = {}  # number → (sender, recipients)
        # number → attempts after which nobody can say whether the message was taken.
        self.uncertain = Counter()
        self._refusals = Counter()  # of the time since the last report
        self._longest_wait_seconds = 0.0
        self._counts = defaultdict(int)  # sender → how many of its messages were acknowledged
        self._failures = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._routes = routes
        self._threads = [threading.Thread(target=self._run, args=route) for route in routes for _ in range(2)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def advance(self, messages=30):
        """Waits until each route has had so many further messages acknowledged."""
        with self._lock:
            goals = {sender: self._counts[sender] + messages for sender, *_ in self._routes}

        def reached():
            assert not self._failures, self._failures
            return all(self._counts[sender] >= goal for sender, goal in goals.items())

        poll(reached, 2 * TIMEOUT_SECONDS, f"{messages} messages acknowledged")

    def report(self):
        """What the senders saw since the last report."""
        with self._lock:
            refusals, self._refusals = self._refusals, Counter()
            seconds, self._longest_wait_seconds = self._longest_wait_seconds, 0.0
        return f"a message took {seconds:.1f} s at most, {dict(refusals) or 'nothing'} refused"

    def _run(self, sender, recipients, gateways):
        while not self._ended.wait(PAUSE_SECONDS):
            with self._lock:
                number = next(self._numbers)
            try:
                self._send_until_acknowledged(number, sender, recipients, gateways)
            except Exception as error:  # noqa: BLE001: told by advance()
                self._failures.append(repr(error))
                return

    def _send_until_acknowledged(self, number, sender, recipients, gateways):
        lines = LARGE_LINES if number % LARGE_EVERY == 0 else 1
        message = f"Subject: {number}\n\n" + f"{'x' * 70}\n" * lines
        started = time.monotonic()
        for turn in itertools.count(number):
            there = gateways()
            if self._is_acknowledged(there[turn % len(there)], sender, recipients, message, number):
                break
            if time.monotonic() > started + 2 * TIMEOUT_SECONDS:
                raise AssertionError(f"nobody took message {number} of {sender}")
        with self._lock:
            self.acknowledged[number] = (sender, recipients)
            self._counts[sender] += 1
            self._longest_wait_seconds = max(self._longest_wait_seconds, time.monotonic() - started)

    def _is_acknowledged(self, gateway, sender, recipients, message, number):
        acknowledged = False
        try:
            with smtplib.SMTP(*gateway, timeout=ANSWER_SECONDS) as client:
                acknowledged = client.sendmail(sender, recipients, message) == {}
        except smtplib.SMTPResponseException as error:
            if error.smtp_code >= 500:
                raise
            self._refusals[f"{error.smtp_code} {error.smtp_error.decode()}"] += 1
        except smtplib.SMTPRecipientsRefused as error:
            if any(code >= 500 for code, _ in error.recipients.values()):
                raise
            self._refusals[repr(error)] += 1
        except (OSError, smtplib.SMTPException):
            self.uncertain[number] += not acknowledged
            self._ended.wait(PAUSE_SECONDS)
        return acknowledged


def number_of(message):
    """The number of a message of the flow."""
    first_line = message.partition(b"\r\n")[0]
    return int(first_line.removeprefix(b"Subject: "))
