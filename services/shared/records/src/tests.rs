//! Sessions as their taps see them.

use crate::{Opening, Recorder, Recording, Records, trace::Position};
use internal_api::{Flow, Form, Handled, Mark, MessageId, Protocol, Record, Role, Seen, SessionId, TracePage};
use jiff::Timestamp;
use mail_net::{Direction, Kind, ManualClock};
use std::time::Duration;
use town_config::{Secrets, Trace};

struct Service {
    records: Records,
    recorder: Recorder,
    clock: ManualClock,
}

impl Service {
    fn new(settings: Trace) -> Self {
        Self::among(Records::default(), "smtp-gateway", settings)
    }

    fn among(records: Records, service: &'static str, settings: Trace) -> Self {
        let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let stack = "gmail.com".parse().unwrap();
        let recorder = Recorder::new(records.clone(), (stack, service), move || settings, clock.clock().wall);
        Self { records, recorder, clock }
    }

    /// Opens a session later than those before.
    fn open(&self) -> Recording {
        self.clock.advance(Duration::from_millis(1));
        let (local, remote) = ("127.0.0.1:2025".parse().ok(), "127.0.0.1:50000".parse().ok());
        self.recorder.open(Opening { role: Role::Server, protocol: Protocol::Smtp, local, remote })
    }

    fn trace(&self, after: &str, limit: usize) -> TracePage {
        self.recorder.trace(after.parse().unwrap_or_default(), limit)
    }

    /// The newest session with all that was seen of it.
    fn newest(&self) -> (internal_api::RecordedSession, Vec<Record>) {
        self.records.before(None, 1)[0].dialogue()
    }
}

/// What a record is, in few words.
fn brief(what: &Seen) -> String {
    match what {
        Seen::Opened { .. } => "opened".to_owned(),
        Seen::Closed { state } => format!("closed: {}", state.ended.as_deref().unwrap_or_default()),
        Seen::Mark(mark) => format!("{mark:?}").split([' ', '{']).next().unwrap().to_owned(),
        Seen::Octets(seen) => {
            let sign = if seen.direction == Flow::Received { '>' } else { '<' };
            let text = String::from_utf8(seen.octets.bytes().unwrap().into_owned()).unwrap();
            format!(
                "{sign} {}{}",
                text.trim_end(),
                if seen.missing > 0 { format!("(+{})", seen.missing) } else { String::new() }
            )
        }
    }
}

fn briefs(page: &TracePage) -> Vec<String> {
    page.records.iter().map(|traced| brief(&traced.record.what)).collect()
}

#[test]
fn ids_grow_while_the_clock_stands() {
    let service = Service::new(Trace::default());
    let opening = || Opening { role: Role::Client, protocol: Protocol::Smtp, local: None, remote: None };
    let open: Vec<_> = (0..100).map(|_| service.recorder.open(opening())).collect();
    let ids: Vec<SessionId> = service.trace("", 1000).records.iter().map(|record| record.session).collect();
    assert!(ids.len() == open.len() && ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
}

#[test]
fn a_session_is_recorded_from_its_beginning_to_its_end() {
    let service = Service::new(Trace::default());
    let recording = service.open();
    recording.octets(Direction::Sent, Kind::Line, b"220 gmail.com\r\n");
    service.clock.advance(Duration::from_millis(5));
    recording.octets(Direction::Received, Kind::Line, b"RCPT TO:<nobody@gmail.com>\r\n");
    recording.octets(Direction::Sent, Kind::Line, b"550-5.1.1 no\r\n");
    recording.octets(Direction::Sent, Kind::Line, b"550 5.1.1 no such mailbox\r\n");
    let message = MessageId::from_number(7);
    recording.mark(|| Mark::Message { message, how: Handled::Accepted, transaction: 1, recipients: Vec::new() });
    recording.mark(|| Mark::LoggedIn { user: "usr@gmail.com".to_owned() });
    recording.ends("QUIT");
    recording.ends("a later reason");
    assert_eq!(service.newest().0.closed_at, None);
    drop(recording);

    let (session, records) = service.newest();
    assert_eq!((session.refusals, session.last_refusal.as_deref()), (1, Some("550 5.1.1 no such mailbox")));
    assert_eq!((session.octets_received, session.octets_sent), (28, 15 + 14 + 27));
    assert_eq!((session.messages, session.user.as_deref()), (vec![message], Some("usr@gmail.com")));
    assert_eq!((session.ended.as_deref(), session.missing_records), (Some("QUIT"), 0));
    assert_eq!(session.id.connection(), session.connection);
    assert_eq!(records[1].at.as_nanosecond() - records[0].at.as_nanosecond(), 5_000_000);
    let seen: Vec<_> = records.iter().map(|record| brief(&record.what)).collect();
    let dialogue = ["< 220 gmail.com", "> RCPT TO:<nobody@gmail.com>", "< 550-5.1.1 no", "< 550 5.1.1 no such mailbox"];
    assert_eq!(seen[..4], dialogue);
    assert_eq!(seen[4..], ["Message", "LoggedIn"]);
    assert_eq!(briefs(&service.trace("", 100))[0], "opened");
    assert_eq!(briefs(&service.trace("", 100)).last().unwrap(), "closed: QUIT");
}

#[test]
fn nothing_is_recorded_while_that_is_off() {
    let service = Service::new(Trace { enabled: false, ..Trace::default() });
    let recording = service.open();
    recording.octets(Direction::Sent, Kind::Line, b"220 gmail.com\r\n");
    recording.mark(|| panic!("no mark is made"));
    drop(recording);
    assert_eq!(service.trace("", 100).records, []);
}

#[test]
fn a_password_is_masked_unless_the_configuration_says_otherwise() {
    for (secrets, shown) in [(Secrets::Mask, "> PASS ****"), (Secrets::Show, "> PASS pass")] {
        let service = Service::new(Trace { secrets, ..Trace::default() });
        let recording = service.open();
        recording.octets(Direction::Received, Kind::Secret, b"PASS pass\r\n");
        let (_, records) = service.newest();
        assert_eq!(brief(&records[0].what), shown);
        let Seen::Octets(seen) = &records[0].what else { panic!("{records:?}") };
        assert_eq!(seen.form, Form::Secret);
    }
}

/// A client that pipelines AUTH LOGIN does not know that it was refused.
#[test]
fn what_follows_auth_is_masked_until_the_next_command() {
    let service = Service::new(Trace::default());
    let recording = service.open();
    let lines = ["AUTH LOGIN", "dXNy", "cGFzcw==", "NOOP", "typed", "AUTH PLAIN", "QUIT"];
    for line in lines {
        recording.octets(Direction::Received, Kind::Line, format!("{line}\r\n").as_bytes());
    }
    let (_, records) = service.newest();
    let seen: Vec<_> = records.iter().map(|record| brief(&record.what)).collect();
    assert_eq!(seen, ["> AUTH LOGIN", "> ****", "> ********", "> NOOP", "> typed", "> AUTH PLAIN", "> QUIT"]);
    // PASS is over with its line.
    recording.octets(
        Direction::Received,
        Kind::Secret,
        b"PASS x
",
    );
    recording.octets(
        Direction::Received,
        Kind::Line,
        b"XYZZY
",
    );
    let (_, records) = service.newest();
    assert_eq!(brief(&records[7].what), "> PASS *");
    assert_eq!(brief(&records[8].what), "> XYZZY");
}

/// A lock is renewed while a client reads.
#[test]
fn a_call_of_the_store_does_not_end_a_body() {
    let service = Service::new(Trace { body_octets: 4, ..Trace::default() });
    let recording = service.open();
    let (service_name, request) = ("mailbox-store".to_owned(), "PUT /".to_owned());
    recording.octets(Direction::Sent, Kind::Body, b"123456");
    recording.mark(|| Mark::Called { service: service_name, request, status: None, microseconds: 0 });
    recording.octets(Direction::Sent, Kind::Body, b"789");
    drop(recording);
    let seen: Vec<_> = service.newest().1.iter().map(|record| brief(&record.what)).collect();
    assert_eq!(seen, ["< 1234", "Called", "< (+5)"]);
}

/// Queries and responses of DNS over TCP.
#[test]
fn bodies_in_both_directions_are_apart() {
    let service = Service::new(Trace { body_octets: 4, ..Trace::default() });
    let recording = service.open();
    for direction in [Direction::Received, Direction::Sent].repeat(2) {
        recording.octets(direction, Kind::Body, b"123");
    }
    let seen: Vec<_> = service.newest().1.iter().map(|record| brief(&record.what)).collect();
    assert_eq!(seen, ["> 123", "< 123", "> 123", "< 123"]);
}

#[test]
fn bodies_that_are_not_kept_take_no_memory() {
    let service = Service::new(Trace { octets: 64 * 1024, ..Trace::default() });
    let recording = service.open();
    for direction in [Direction::Received, Direction::Sent].repeat(10_000) {
        recording.octets(direction, Kind::Body, b"a query of DNS over TCP");
    }
    assert!(service.records.octets() < 64 * 1024 / 2, "{}", service.records.octets());
    assert!(service.newest().0.missing_records > 0);
}

#[test]
fn of_each_body_only_the_beginning_is_kept() {
    let service = Service::new(Trace { body_octets: 6, ..Trace::default() });
    let recording = service.open();
    let body = |octets: &[u8]| recording.octets(Direction::Received, Kind::Body, octets);
    body(b"1234");
    body(b"5678");
    body(b"90");
    recording.octets(Direction::Sent, Kind::Line, b"250 OK\r\n");
    body(b"abcdef");
    recording.octets(Direction::Sent, Kind::Line, b"250 OK\r\n");
    body(b"ABCDEFGH");
    drop(recording);
    let (session, records) = service.newest();
    let seen: Vec<_> = records.iter().map(|record| brief(&record.what)).collect();
    assert_eq!(seen, ["> 1234", "> 56", "> (+4)", "< 250 OK", "> abcdef", "< 250 OK", "> ABCDEF", "> (+2)"]);
    assert_eq!(session.octets_received, 24);
}

#[test]
fn the_oldest_closed_sessions_are_forgotten_first() {
    const SESSIONS: u32 = 200_000;
    let limit = 64 * 1024;
    let service = Service::new(Trace { octets: limit, ..Trace::default() });
    let open = service.open();
    open.octets(Direction::Sent, Kind::Line, b"220 the open one\r\n");
    let oldest = service.newest().0.id;
    for number in 0..SESSIONS {
        let recording = service.open();
        recording.octets(Direction::Sent, Kind::Line, format!("220 {number}\r\n").as_bytes());
        drop(recording);
        assert!(service.records.octets() < limit + 4096, "{} octets", service.records.octets());
    }
    let known = service.records.before(None, usize::MAX);
    let dropped = service.records.dropped();
    assert_eq!((known.len() as u64 + dropped.sessions, dropped.records), (u64::from(SESSIONS) + 1, 0));
    assert!(known.len() > 10, "{} are known", known.len());
    assert_eq!(known.last().unwrap().id(), oldest);
    assert_eq!(brief(&known[0].dialogue().1[0].what), format!("< 220 {}", SESSIONS - 1));
}

#[test]
fn one_session_does_not_push_out_all_others() {
    let service = Service::new(Trace { octets: 256 * 1024, ..Trace::default() });
    for _ in 0..20 {
        drop(service.open());
    }
    let recording = service.open();
    for number in 0..100_000 {
        recording.octets(Direction::Received, Kind::Line, format!("NOOP {number}\r\n").as_bytes());
    }
    assert!(service.records.octets() < 256 * 1024);
    assert_eq!(service.records.before(None, usize::MAX).len(), 21);
    let (session, records) = service.newest();
    assert_eq!(session.missing_records + records.len() as u64, 100_000);
    assert_eq!(service.records.dropped().records, session.missing_records);
}

#[test]
fn the_trace_has_the_records_of_all_sessions_in_one_order() {
    let service = Service::new(Trace::default());
    let (one, other) = (service.open(), service.open());
    let say = |recording: &Recording, text: &str| recording.octets(Direction::Sent, Kind::Line, text.as_bytes());
    let script = [(&one, "a"), (&other, "b"), (&other, "c"), (&one, "d"), (&other, "e")];
    script.iter().for_each(|(recording, text)| say(recording, text));
    drop(one);
    let all = ["opened", "opened", "< a", "< b", "< c", "< d", "< e", "closed: cut off"];
    assert_eq!(briefs(&service.trace("", 100)), all);
    for limit in 1..=all.len() {
        let (mut after, mut read) = (String::new(), Vec::new());
        loop {
            let page = service.trace(&after, limit);
            assert!(page.records.len() <= limit);
            if page.records.is_empty() {
                break;
            }
            read.extend(briefs(&page));
            after = page.next_after;
        }
        assert_eq!(read, all, "in pages of {limit}");
    }
    let after = service.trace("", 100).next_after;
    say(&other, "later");
    assert_eq!(briefs(&service.trace(&after, 100)), ["< later"]);
    let elsewhere = Position { run: 1, sequence: 5 }.to_string();
    assert_eq!(briefs(&service.trace(&elsewhere, 1)), ["opened"], "a cursor of another run is the beginning");
}

#[test]
fn services_of_a_process_see_their_own_sessions_only() {
    let records = Records::default();
    let smtp = Service::among(records.clone(), "smtp-gateway", Trace::default());
    let pop3 = Service::among(records, "pop3-gateway", Trace::default());
    drop((smtp.open(), pop3.open()));
    assert_eq!(smtp.trace("", 100).records.len(), 2);
    assert_eq!(pop3.trace("", 100).records.len(), 2);
    let ids =
        |service: &Service| service.trace("", 100).records.iter().map(|it| it.session).collect::<Vec<SessionId>>();
    assert!(ids(&smtp).iter().all(|id| !ids(&pop3).contains(id)));
}

/// Whoever reads the trace while many threads record misses nothing.
#[test]
fn a_reader_beside_writers_misses_nothing() {
    const WRITERS: usize = 4;
    const SESSIONS: usize = 200;
    let service = Service::new(Trace::default());
    let read = std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                for _ in 0..SESSIONS {
                    let recording = service.open();
                    recording.octets(Direction::Sent, Kind::Line, b"220\r\n");
                }
            });
        }
        let mut sequences = Vec::new();
        let mut after = String::new();
        while sequences.len() < WRITERS * SESSIONS * 3 {
            let page = service.trace(&after, 100);
            sequences.extend(page.records.iter().map(|traced| traced.record.sequence));
            after = page.next_after;
        }
        sequences
    });
    assert_eq!(read, (1..=(WRITERS * SESSIONS * 3) as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reader_waits_for_the_next_record() {
    let service = Service::new(Trace::default());
    let recording = service.open();
    let after = service.recorder.end_of_trace();
    let io = service.clock.clock().io;
    let waiting = service.recorder.next_trace(after, 10, io);
    let recording_later = async {
        tokio::task::yield_now().await;
        recording.octets(Direction::Sent, Kind::Line, b"220 late\r\n");
    };
    let (page, ()) = tokio::join!(waiting, recording_later);
    assert_eq!(briefs(&page), ["< 220 late"]);
}
