//! What Wireshark's own programs read in a file. They run without any option that tells them what is in it.

use std::{
    cell::OnceCell,
    collections::HashSet,
    fs,
    process::{Command, Output},
};
use tempfile::TempDir;

/// What the tests look at. The first ones are for what must be true of each packet.
const FIELDS: [&str; 27] = [
    "tcp.flags",
    "ip.checksum.status",
    "tcp.checksum.status",
    "udp.checksum.status",
    "tcp.analysis.flags",
    "ip.src",
    "tcp.srcport",
    "ip.dst",
    "tcp.dstport",
    "frame.number",
    "frame.comment",
    "frame.packet_id",
    "frame.packet_flags_direction",
    "smtp.req.command",
    "smtp.response.code",
    "smtp.data.reassembled.in",
    "smtp.data.reassembled.length",
    "pop.request.command",
    "pop.response.indicator",
    "pop.response.description",
    "pop.response.data",
    "pop.data.reassembled.length",
    "imf.subject",
    "imf.from",
    "dns.qry.name",
    "dns.mx.mail_exchange",
    "dns.flags.response",
];

/// A file that tshark reads, with no preferences of whoever runs the tests.
pub(crate) struct File {
    directory: TempDir,
    rows: OnceCell<Vec<Vec<String>>>,
    info: OnceCell<String>,
}

impl File {
    pub(crate) fn new(octets: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.pcapng"), octets).unwrap();
        Self { directory, rows: OnceCell::new(), info: OnceCell::new() }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).env("WIRESHARK_CONFIG_DIR", self.directory.path()).current_dir(self.directory.path());
        // Times are printed as they are in the file.
        command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
        let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| {
            panic!("{program} does not run ({error}): these tests need Debian's package tshark, which .ci/run installs")
        });
        let stderr = String::from_utf8_lossy(&stderr);
        // What is cut short or malformed is told here.
        let complaints: Vec<_> = stderr.lines().filter(|line| !line.starts_with("Running as user")).collect();
        assert!(status.success() && complaints.is_empty(), "{program} {arguments:?}: {stderr}");
        String::from_utf8(stdout).unwrap()
    }

    pub(crate) fn tshark(&self, arguments: &[&str]) -> String {
        self.run("tshark", &[&["-n", "-r", "a.pcapng"], arguments].concat())
    }

    pub(crate) fn capinfos(&self) -> &str {
        self.info.get_or_init(|| self.run("capinfos", &["a.pcapng"]))
    }

    /// The values of a field, a packet each, those of one packet with commas between them.
    pub(crate) fn field(&self, field: &str) -> Vec<String> {
        self.fields("", [field]).into_iter().map(|[value]| value).collect()
    }

    /// The values of fields, of the packets that have all of them and in whose `condition` field there is something.
    pub(crate) fn fields<const N: usize>(&self, condition: &str, fields: [&str; N]) -> Vec<[String; N]> {
        let column = |field: &str| {
            let column = FIELDS.iter().position(|known| *known == field);
            column.unwrap_or_else(|| panic!("{field} is not in the list of fields"))
        };
        let rows = self.rows().iter().filter(|row| condition.is_empty() || !row[column(condition)].is_empty());
        let rows = rows.map(|row| fields.map(|field| row[column(field)].clone()));
        rows.filter(|row| row.iter().all(|value| !value.is_empty())).collect()
    }

    /// All fields that the tests want, of each packet: one run of tshark takes as long as another.
    fn rows(&self) -> &[Vec<String>] {
        self.rows.get_or_init(|| {
            let mut arguments = vec!["-T", "fields"];
            FIELDS.iter().for_each(|field| arguments.extend(["-e", *field]));
            for check in ["ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE"] {
                arguments.extend(["-o", check]);
            }
            let table = self.tshark(&arguments);
            table.lines().map(|row| row.split('\t').map(str::to_owned).collect()).collect()
        })
    }

    /// Where the SYN of each connection comes from, and where it goes.
    pub(crate) fn connections(&self) -> Vec<String> {
        let syns = self.rows().iter().filter(|row| matches!(row[0].as_str(), "0x0002" | "0x00000002"));
        syns.map(|row| format!("{}:{} {}:{}", row[5], row[6], row[7], row[8])).collect()
    }

    /// How often the expert warns of what.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let table = self.tshark(&["-q", "-z", "expert,warn"]);
        let rows = table.lines().filter(|line| line.trim_start().starts_with(|first: char| first.is_ascii_digit()));
        let rows: Vec<_> = rows.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(rows.is_empty(), table.trim().is_empty(), "{table}");
        rows
    }

    /// What client and server said in a TCP stream, as Follow Stream shows it.
    pub(crate) fn follow(&self, stream: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut client, mut server) = (Vec::new(), Vec::new());
        let text = self.tshark(&["-q", "-z", &format!("follow,tcp,raw,{stream}")]);
        for line in text.lines() {
            if line.starts_with(['=', ':']) || line.starts_with("Node") || line.contains(": ") {
                continue;
            }
            let (to, hex) = match line.strip_prefix('\t') {
                Some(hex) => (&mut server, hex),
                None => (&mut client, line),
            };
            let octets = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
            to.extend(octets.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
        }
        (client, server)
    }

    /// Fails unless all checksums are right, no two connections have the same ends, and the analysis of TCP has nothing to
    /// say: no octet is lost, comes twice, or is confirmed before it comes.
    pub(crate) fn assert_sound(&self) {
        for row in self.rows() {
            // 1 is a good checksum. A packet has TCP or UDP.
            assert_eq!((row[1].as_str(), [row[2].as_str(), &row[3]].concat().as_str()), ("1", "1"), "{row:?}");
            assert_eq!(row[4], "", "{row:?}");
        }
        assert!(!self.rows().is_empty());
        let connections = self.connections();
        assert_eq!(connections.iter().collect::<HashSet<_>>().len(), connections.len(), "{connections:?}");
        assert!(self.capinfos().contains("File encapsulation:  Raw IP"), "{}", self.capinfos());
    }
}
