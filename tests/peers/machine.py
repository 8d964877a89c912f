"""A machine of its own for the test: a loopback and a resolver that nobody else has."""

import fcntl
import socket
import struct
import subprocess
from pathlib import Path

# The calls of netdevice(7) that switch an interface on and give it an address.
SIOCSIFADDR, SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8913, 0x8914, 1


def raise_loopback(addresses):
    """Switches the interface on, with these addresses too. A new network namespace has it switched off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))
        for number, address in enumerate(addresses):
            name, octets = f"lo:{number}".encode(), socket.inet_aton(address)
            request = struct.pack("16sHH4s8x", name, socket.AF_INET, 0, octets)
            fcntl.ioctl(any_socket, SIOCSIFADDR, request)


def replace(directory, path, text):
    """Puts another file in the place of a file of this machine, for this mount namespace only."""
    replacement = Path(directory) / path.lstrip("/").replace("/", "-")
    replacement.write_text(text)
    replacement.chmod(0o644)
    # A link would be followed, and what it names may not be there.
    subprocess.run(["mount", "--bind", replacement, Path(path).resolve()], check=True)


def prepare(directory, addresses, name_server, users):
    """Leaves this machine alone with its addresses, its resolver and these users, each of whom has an id."""
    raise_loopback(addresses)
    replace(directory, "/etc/resolv.conf", f"nameserver {name_server}\noptions attempts:1 timeout:5\n")
    replace(directory, "/etc/hosts", "127.0.0.1 localhost\n")
    passwd = "".join(f"{name}:x:{number}:{number}::/:/usr/sbin/nologin\n" for name, number in users.items())
    group = "".join(f"{name}:x:{number}:\n" for name, number in users.items())
    replace(directory, "/etc/passwd", Path("/etc/passwd").read_text() + passwd)
    replace(directory, "/etc/group", Path("/etc/group").read_text() + group)


def certificate(directory, name):
    """A certificate that signs itself, and its key, as two paths."""
    cert, key = (Path(directory) / f"{name}.{kind}" for kind in ("pem", "key"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
        + ["-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    return cert, key
