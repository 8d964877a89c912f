"""Runs unittest suites with one line a test, and counts."""

import sys
import time
import traceback
import unittest


class CountedResult(unittest.TestResult):
    """One line a test with its time, and failures at once with their traceback."""

    def __init__(self):
        super().__init__()
        self.passed = 0
        self._started = 0.0

    def startTest(self, test):
        super().startTest(test)
        self._started = time.monotonic()

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self._line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._failed(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._failed(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line(f"skipped ({reason})", test)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._failed(subtest, err)

    @property
    def failed(self):
        return len(self.failures) + len(self.errors)

    def _failed(self, test, err):
        self._line("FAILED", test)
        traceback.print_exception(*err, file=sys.stdout)
        sys.stdout.flush()

    def _line(self, verdict, test):
        # A failure in setUpClass comes as a holder that is no test case.
        title = test.id().removeprefix("__main__.") if hasattr(test, "id") else str(test)
        print(f"  {verdict:7} {title} ({time.monotonic() - self._started:.2f} s)", flush=True)


def run(suite, name):
    """Runs `suite` and prints its count; returns the exit code, which is not 0 either when nothing was tested."""
    result = CountedResult()
    suite.run(result)
    print(f"{name}: {result.passed} ok, {result.failed} failed, {len(result.skipped)} skipped", flush=True)
    return 0 if result.passed and not result.failed else 1
