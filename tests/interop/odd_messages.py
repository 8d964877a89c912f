"""Messages that mail software is known to stumble over, the same ones each time."""

import random

LONGEST_LINE = 10_000
# Not a multiple of anything that a client reads at once.
LARGE_LINES = 4_001


def generate(count, except_for=frozenset()):
    """`count` messages, no two alike, none of a kind in `except_for`."""
    chance = random.Random(1939)
    kinds = [kind for kind in KINDS if kind.__name__ not in except_for]
    messages = []
    for number in range(count):
        headers = f"Message-ID: <{number}@odd.example>\r\nSubject: odd {number}\r\n".encode()
        messages.append(kinds[number % len(kinds)](headers, chance))
    return messages


def plain(headers, chance):
    """Nothing odd."""
    return headers + b"\r\n" + b"".join(words(chance) for _ in range(chance.randrange(1, 30)))


def leading_dots(headers, chance):
    """Lines that begin with dots, and lines of nothing else."""
    lines = (b"." * chance.randrange(1, 5) + chance.choice((b"", b"", b" text", b"QUIT")) + b"\r\n" for _ in range(20))
    return headers + b"\r\n" + b"".join(lines)


def no_final_newline(headers, chance):
    return plain(headers, chance)[:-2]


def dot_and_no_newline(headers, chance):
    return plain(headers, chance) + b"."


def long_lines(headers, chance):
    return headers + b"\r\n" + b"".join(b"x" * length + b"\r\n" for length in (998, 999, 2047, 4096, LONGEST_LINE))


def long_lines_of_dots(headers, chance):
    return headers + b"\r\n" + b"".join(b"." * length + b"\r\n" for length in (511, 512, 513, 1024, LONGEST_LINE))


def eight_bit(headers, chance):
    """Octets over 127, UTF-8 or not, also in the headers."""
    octets = bytes(range(128, 256))
    return headers + b"X-Name: caf\xe9\r\n\r\n" + "Füße, 邮件\r\n".encode() + octets + b"\r\n"


def empty_body(headers, chance):
    return headers + b"\r\n"


def no_body(headers, chance):
    """Not even the empty line."""
    return headers


def empty_lines(headers, chance):
    return headers + b"\r\n" * chance.randrange(2, 60)


def many_headers(headers, chance):
    return headers + b"".join(b"X-Header-%d: %s" % (number, words(chance)) for number in range(500)) + b"\r\nbody\r\n"


def folded_headers(headers, chance):
    return headers + b"X-Folded: a" + b"\r\n\tb" * 100 + b"\r\n  c\r\n\r\nbody\r\n"


def white_space(headers, chance):
    """White space before line ends, and lines of nothing else."""
    return headers + b"\r\n \r\n\t\r\ntext \t \r\n   \r\n"


def from_lines(headers, chance):
    """What mbox files part messages by."""
    return headers + b"\r\nFrom somebody\r\n>From nobody\r\nFrom: else\r\n"


def replies(headers, chance):
    """What looks like a reply or the end of one."""
    return headers + b"\r\n+OK\r\n-ERR\r\n.\r\n..\r\n+OK 3 octets\r\n. \r\n.\t\r\n"


def control_octets(headers, chance):
    """All control octets except NUL, LF and CR."""
    return headers + b"\r\n" + bytes(octet for octet in range(1, 32) if octet not in b"\r\n") + b"\x7f\r\n"


def nul(headers, chance):
    return headers + b"\r\na\0b\r\n\0\r\n"


def large(headers, chance):
    return headers + b"\r\n" + words(chance) * LARGE_LINES


def words(chance):
    return b" ".join(chance.choice((b"one", b"two", b"three", b"four")) for _ in range(chance.randrange(1, 12))) + b"\r\n"


KINDS = (
    plain,
    leading_dots,
    no_final_newline,
    dot_and_no_newline,
    long_lines,
    long_lines_of_dots,
    eight_bit,
    empty_body,
    no_body,
    empty_lines,
    many_headers,
    folded_headers,
    white_space,
    from_lines,
    replies,
    control_octets,
    nul,
    large,
)
