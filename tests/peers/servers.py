"""The three servers of the test: a town of one stack, a Postfix and an Exim. Each has an address and a mail domain."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "interop"))
import town

TOWN, POSTFIX, EXIM = "town.test", "postfix.test", "exim.test"
# Addresses for documentation (RFC 5737), on the loopback of the test.
ADDRESSES = {TOWN: "192.0.2.2", POSTFIX: "192.0.2.3", EXIM: "192.0.2.4"}
# Who exists in each domain. Nobody else does.
USERS = [f"user{number}" for number in range(5)]
# Exists in the town and at Postfix, beyond ASCII (RFC 6531). Debian's small Exim knows no such addresses.
GLOBAL_USER = "gr\u00fcn"
# Mail to it goes on to somebody at another server who does not exist.
FORWARDED = {TOWN: f"nobody@{POSTFIX}", POSTFIX: f"nobody@{TOWN}", EXIM: f"nobody@{TOWN}"}
START_SECONDS = 30
STOP_SECONDS = 30
# Owns the maildrops of Postfix.
MAIL_UID = 8001


class Server:
    """A server of a domain."""

    def __init__(self, domain, directory):
        self.domain = domain
        self.address = ADDRESSES[domain]
        self.directory = Path(directory) / domain
        self.directory.mkdir()
        self.log = self.directory / "log"

    def start(self, *command):
        """Runs the server until `stop`, and waits until it greets."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        town.poll(self.greets, START_SECONDS, f"{self.domain} greets; see {self.tail()}")

    def greets(self):
        try:
            with socket.create_connection((self.address, 25), timeout=START_SECONDS) as client:
                return client.recv(3) == b"220"
        except ConnectionRefusedError:
            assert self.process.poll() is None, f"{self.domain} has ended:\n{self.tail()}"
            return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_SECONDS)

    def tail(self):
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(line[:300] for line in lines[-20:])


class Town(Server):
    """A town of one stack, which also answers for the domains of the two others."""

    def __init__(self, binaries, directory):
        super().__init__(TOWN, directory)
        config, zone = self.directory / "config.toml", self.directory / "fdns.toml"
        accounts = "".join(f'"{user}@{TOWN}" = "{user}"\n' for user in [*USERS, GLOBAL_USER])
        config.write_text(
            f"""profile = "rfc"
# The peers send more in a minute than strangers may.
trusted_networks = ["192.0.2.0/24"]
[server."mx.{TOWN}"]
smtp = 25
pop = 110
store = 1080
dns = 53
dns_http = 1054
smtp_http = 1026
pop_http = 1111
[accounts."mx.{TOWN}"]
{accounts}
[agent."{TOWN}"]
smtp = "mx.{TOWN}"
pop = "pop.{TOWN}"
[aliases."mx.{TOWN}"]
"forwarded@{TOWN}" = "{FORWARDED[TOWN]}"
"""
        )
        exchanges = "".join(f'"{domain}." = "mx.{domain}."\n' for domain in ADDRESSES)
        ports = "".join(f'"mx.{domain}." = "{address}:25"\n' for domain, address in ADDRESSES.items())
        zone.write_text(f'[MX]\n{exchanges}\n[P]\n{ports}"pop.{TOWN}." = "{self.address}:110"\n')
        state = self.directory / "state"
        self.client = town.Town(config, zone)
        options = ["--config", config, "--zone", zone, "--state", state, "--bind", self.address]
        self.start(binaries / "mailtown", *options)

    def messages(self, user):
        """All mail of a user."""
        return self.client.messages(f"{user}@{TOWN}")

    def count(self, user):
        """How many messages a user has."""
        with self.client.maildrop(f"{user}@{TOWN}") as client:
            return client.stat()[0]


class Maildirs(Server):
    """A server that keeps its users' mail in Maildirs."""

    def __init__(self, domain, directory):
        super().__init__(domain, directory)
        self.homes = self.directory / "homes"
        self.homes.mkdir()
        os.chown(self.homes, MAIL_UID, MAIL_UID)
        self.cert, self.key = machine.certificate(self.directory, f"mx.{domain}")

    def messages(self, user):
        """All mail of a user, with CRLF line ends."""
        return [file.read_bytes().replace(b"\n", b"\r\n") for file in self.files(user)]

    def count(self, user):
        """How many messages a user has."""
        return len(self.files(user))

    def files(self, user):
        new = self.homes / user / "new"
        return list(new.iterdir()) if new.is_dir() else []


class Postfix(Maildirs):
    """Debian's Postfix, with nothing of the machine's own configuration."""

    def __init__(self, directory):
        super().__init__(POSTFIX, directory)
        etc, queue, data = (self.directory / name for name in ("etc", "queue", "data"))
        for path in etc, queue, data:
            path.mkdir()
        owner = subprocess.run(["id", "-u", "postfix"], capture_output=True, text=True, check=True).stdout
        os.chown(data, int(owner), -1)
        (etc / "dynamicmaps.cf").write_text("")
        (etc / "users").write_text("".join(f"/^{user}@{POSTFIX}$/ {user}/\n" for user in [*USERS, GLOBAL_USER]))
        (etc / "aliases").write_text(f"/^forwarded@{POSTFIX}$/ {FORWARDED[POSTFIX]}\n")
        (etc / "main.cf").write_text(self.main_cf(etc, queue, data))
        (etc / "master.cf").write_text(MASTER_CF.replace("ADDRESS", self.address))
        self.control = ["postfix", "-c", etc]
        self.start(*self.control, "start-fg")

    def main_cf(self, etc, queue, data):
        return f"""compatibility_level = 3.6
config_directory = {etc}
queue_directory = {queue}
data_directory = {data}
maillog_file = {self.log}
maillog_file_prefixes = {self.directory}
myhostname = mx.{POSTFIX}
mydestination =
mynetworks = {self.address}
inet_interfaces = {self.address}
inet_protocols = ipv4
smtp_bind_address = {self.address}
smtpd_peername_lookup = no
virtual_mailbox_domains = {POSTFIX}
virtual_mailbox_maps = regexp:{etc}/users
virtual_mailbox_base = {self.homes}
virtual_uid_maps = static:{MAIL_UID}
virtual_gid_maps = static:{MAIL_UID}
virtual_alias_maps = regexp:{etc}/aliases
alias_maps =
alias_database =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_cert_file = {self.cert}
smtpd_tls_key_file = {self.key}
smtpd_tls_received_header = yes
smtp_tls_security_level = may
smtp_tls_loglevel = 1
minimal_backoff_time = 2s
queue_run_delay = 2s
"""

    def stop(self):
        subprocess.run([*self.control, "stop"], check=True, capture_output=True)
        self.process.wait(STOP_SECONDS)


# Without chroot: its jail would have to be furnished.
MASTER_CF = """smtp inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Exim(Maildirs):
    """Debian's Exim, unpacked and not installed."""

    USER, UID = "Debian-exim", 8002

    def __init__(self, program, directory):
        super().__init__(EXIM, directory)
        for path in (self.directory / "spool", self.directory / "logs", self.homes):
            path.mkdir(exist_ok=True)
            os.chown(path, self.UID, self.UID)
        os.chown(self.key, self.UID, self.UID)
        configuration = self.directory / "exim.conf"
        configuration.write_text(self.configuration(program))
        # In the foreground, with a queue runner each two seconds.
        self.start(program, "-C", configuration, "-bdf", "-q2s")

    def configuration(self, program):
        return f"""primary_hostname = mx.{EXIM}
domainlist local = {EXIM}
exim_path = {program}
spool_directory = {self.directory}/spool
log_file_path = {self.directory}/logs/%s
local_interfaces = {self.address}
daemon_smtp_ports = 25
disable_ipv6 = true
host_lookup =
rfc1413_hosts =
tls_advertise_hosts = *
tls_certificate = {self.cert}
tls_privatekey = {self.key}
chunking_advertise_hosts = *
dsn_advertise_hosts = *
acl_smtp_rcpt = check_recipient
acl_smtp_data = accept_message
never_users =
# A process with a configuration of its own is not root again.
deliver_drop_privilege = true
keep_environment =
smtp_accept_max = 200
smtp_accept_max_per_connection = 100000
smtp_accept_queue_per_connection = 0
begin acl
check_recipient:
  accept hosts = {self.address}
  deny message = relay not permitted
       !domains = +local
  require verify = recipient
  accept
accept_message:
  accept
begin routers
forwarded:
  driver = redirect
  domains = +local
  local_parts = forwarded
  data = {FORWARDED[EXIM]}
  no_verify
known_forwarded:
  driver = accept
  domains = +local
  local_parts = forwarded
  verify_only
users:
  driver = accept
  domains = +local
  local_parts = {" : ".join(USERS)}
  transport = maildir
elsewhere:
  driver = dnslookup
  domains = ! +local
  transport = remote
  self = fail
  no_more
begin transports
maildir:
  driver = appendfile
  directory = {self.homes}/${{local_part_data}}
  maildir_format
  create_directory
  delivery_date_add
  return_path_add
remote:
  driver = smtp
  interface = {self.address}

begin retry
* * F,1h,2s
"""
