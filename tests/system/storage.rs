//! Storage that is full, read-only or failing, under the whole of a server. Answers are temporary only, and nothing that was
//! acknowledged is lost. Once the storage is well, the server is well too, without a restart.

mod full_start;
mod small_disk;

use crate::campaign::{Kill, Ledger, plan, seed, setting, sound, survive};
use bytes::Bytes;
use futures_util::stream;
use internal_api::{FRAME_MEDIA_TYPE, ProblemKind, Submission, frame};
use mail_proto::{ReversePath, pop3::Command};
use reqwest::{Method, Response, StatusCode, header};
use std::{
    collections::BTreeSet,
    fs, io,
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};
use tokio::{sync::mpsc, time::sleep};
use town_config::PortKey;
use town_tests::{
    EXMAIL, Errno, GMAIL, Operation, PATIENCE, Plan, Pop3Client, ProcessTown, Random, Service, SmtpClient, TOKEN, USR1,
    USR2, eventually,
};

/// What a client hears after the final dot.
const FULL: &str = "after the dot: 452 4.3.1 insufficient storage, try again later";

/// What a client hears when the store cannot even look its sender up. A store may still remember what it read before.
const UNREADABLE: &str =
    "MAIL FROM:<usr1@mail.sustech.edu.cn>: 451 4.3.0 a part of this server is unavailable, try again later";

const STORE: Service = Service { binary: "mailbox-store", server: EXMAIL };

/// Sent to the store in one piece, streamed, and kept as a file; this one is refused long before it has arrived.
const SIZES: [usize; 3] = [100, 100_000, 1_000_000];

/// What is wrong, which operations fail because of it, and how.
const FAULTS: [(&str, &[Operation], Errno); 7] = [
    ("the disk is full", &[Operation::Write], Errno::NOSPC),
    ("the disk is full, for new files too", &[Operation::Write, Operation::Name], Errno::NOSPC),
    ("the quota is used up", &[Operation::Write], Errno::DQUOT),
    ("the file system has become read-only", &[Operation::Write, Operation::Name], Errno::ROFS),
    ("octets cannot be written", &[Operation::Write], Errno::IO),
    ("octets cannot be synced", &[Operation::Sync], Errno::IO),
    ("the disk is gone", &[Operation::Write, Operation::Sync, Operation::Name, Operation::Read], Errno::IO),
];

/// A server with such storage, and what it has acknowledged.
struct Patient {
    town: ProcessTown,
    acknowledged: BTreeSet<String>,
}

#[tokio::test]
async fn failing_storage_is_a_temporary_answer_and_is_seen_to_recover() {
    let town = ProcessTown::start_on_forgetful_disks(Plan::default().limits("pop3_lease = \"10m\"")).await;
    let mut patient = Patient { town, acknowledged: BTreeSet::new() };
    for (what, operations, error) in FAULTS {
        eprintln!("{what}");
        let mut client = patient.town.smtp(EXMAIL).await;
        client.hello().await;
        patient.accepts(&mut client, &format!("before {what}")).await;
        let log_in = async || patient.log_in(USR2, "pass2").await.ok();
        let mut reader = eventually("a maildrop that is not locked", PATIENCE, log_in).await;
        for number in 1..=SIZES.len() as u64 {
            reader.command(Command::Dele(number)).await.unwrap();
        }

        patient.town.disk(EXMAIL).fail(operations, error);
        let readable = !operations.contains(&Operation::Read);
        patient.refuses(&mut client, what, readable).await;
        let refusal = reader.command(Command::Quit).await.unwrap_err().to_string();
        assert!(refusal.starts_with("[SYS/TEMP] "), "{what}: QUIT: {refusal}");

        patient.town.disk(EXMAIL).mend();
        patient.accepts(&mut client, &format!("after {what}")).await;
        assert_eq!(client.command("QUIT").await.unwrap(), "221 2.0.0 Bye");
        assert_eq!(patient.ready().await, StatusCode::OK, "{what}");
        // The lock of the session whose QUIT failed does not outlast the fault, though its lease would.
        let log_in = async || patient.log_in(USR2, "pass2").await.ok();
        let mut reader = eventually("a maildrop that is not locked", PATIENCE, log_in).await;
        reader.command(Command::Quit).await.unwrap();
        // What was refused is nowhere, and what a QUIT could not delete is still there.
        patient.has_all(what).await;
        patient.town.kill(STORE).await;
        patient.town.disk(EXMAIL).forget();
        sound(&patient.town, EXMAIL);
        patient.town.restart(STORE).await;
        patient.has_all(&format!("power cut after {what}")).await;
    }
}

/// The last write is made behind our back, and the sync that follows it succeeds.
#[tokio::test]
async fn a_message_whose_very_end_cannot_be_written_is_refused() {
    let town = ProcessTown::start_on_forgetful_disks(Plan::default()).await;
    let (sender, receiver) = mpsc::channel(1);
    let octets = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|octets| (Ok::<_, io::Error>(octets), receiver))
    });
    let submission = Submission::new("cut", ReversePath::Null, [USR2.parse().unwrap()]);
    let store = town.store(EXMAIL);
    let upload = tokio::spawn(async move { store.submit_stream(&submission, octets).await });
    let most = message("most of it", 300_000);
    sender.send(Bytes::from(most.clone())).await.unwrap();
    let bodies = town.data(EXMAIL).join("bodies");
    let name = eventually("most of the message on the disk", PATIENCE, async || {
        let body = fs::read_dir(&bodies).unwrap().next()?.unwrap();
        (body.metadata().unwrap().len() == most.len() as u64).then(|| body.file_name().into_string().unwrap())
    });
    town.disk(EXMAIL).fail_only(&name.await, &[Operation::Write], Errno::NOSPC);
    sender.send(Bytes::from_static(b".\r\n")).await.unwrap();
    drop(sender);
    let refusal = upload.await.unwrap().unwrap_err();
    assert_eq!(refusal.kind(), Some(ProblemKind::StorageUnavailable), "{refusal}");
    assert_eq!(town.messages(EXMAIL).await.messages, []);
}

impl Patient {
    /// Messages of every size are taken, small ones first.
    async fn accepts(&mut self, client: &mut SmtpClient, what: &str) {
        self.takes(client, what, &SIZES).await;
    }

    async fn takes(&mut self, client: &mut SmtpClient, what: &str, sizes: &[usize]) {
        for (number, size) in sizes.iter().enumerate() {
            let message = message(&format!("{what}, {number}"), *size);
            client.send(USR1, &[USR2], message.as_bytes()).await.unwrap();
            self.acknowledged.insert(message);
        }
    }

    /// What must be written has a temporary answer, over SMTP and HTTP, and the SMTP client stays in step. Mail can be read,
    /// unless nothing can.
    async fn refuses(&self, client: &mut SmtpClient, what: &str, readable: bool) {
        for size in SIZES {
            let refusal = client.send(USR1, &[USR2], message("refused", size).as_bytes()).await.unwrap_err();
            let refusal = refusal.to_string();
            assert!(refusal == FULL || (!readable && refusal == UNREADABLE), "{what}, {size} octets: {refusal}");
            assert_eq!(client.command("NOOP").await.unwrap(), "250 2.0.0 OK", "{what}");
        }
        match self.log_in(USR1, "pass1").await {
            Ok(reader) => reader.quit().await,
            Err(refusal) => {
                let refusal = refusal.to_string();
                assert!(!readable, "{what}: {refusal}");
                assert_eq!(refusal, "[SYS/TEMP] the mailbox store is not available, try again later", "{what}");
            }
        }
        let refusal = self.submit().await;
        assert_eq!(refusal.status(), StatusCode::INSUFFICIENT_STORAGE, "{what}");
        assert_eq!(refusal.headers()["retry-after"], "1", "{what}");
        assert_eq!(self.ready().await, StatusCode::SERVICE_UNAVAILABLE, "{what}");
        let alive = self.town.call(Method::GET, EXMAIL, PortKey::Store, "/livez").await;
        assert_eq!(alive.status(), StatusCode::OK, "{what}");
    }

    async fn ready(&self) -> StatusCode {
        self.town.call(Method::GET, EXMAIL, PortKey::Store, "/readyz").await.status()
    }

    async fn submit(&self) -> Response {
        let url = format!("http://{}/v1/messages", self.town.address(EXMAIL, PortKey::Store));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let submission = Submission::new("refused", ReversePath::Null, [USR2.parse().unwrap()]);
        let body = [&frame(&submission)[..], message("refused", 100).as_bytes()].concat();
        let request = client.post(url).bearer_auth(TOKEN).header(header::CONTENT_TYPE, FRAME_MEDIA_TYPE);
        request.body(body).send().await.unwrap()
    }

    async fn log_in(&self, user: &str, password: &str) -> io::Result<Pop3Client> {
        let mut client = Pop3Client::connect(self.town.address(EXMAIL, PortKey::Pop)).await?;
        client.log_in(user, password).await?;
        Ok(client)
    }

    /// The maildrop holds what was acknowledged, each once and unchanged, and nothing else.
    async fn has_all(&self, what: &str) {
        let store = self.town.store(EXMAIL);
        let mut found = Vec::new();
        for entry in self.town.listing(USR2).await.messages {
            let mut message = store.delivered_message(&USR2.parse().unwrap(), entry.id).await.unwrap();
            let mut octets = Vec::new();
            while let Some(chunk) = message.chunk().await.unwrap() {
                octets.extend_from_slice(&chunk);
            }
            found.push(String::from_utf8(octets).unwrap());
        }
        let subjects: Vec<_> = found.iter().filter_map(|message| message.lines().next()).collect();
        assert_eq!(found.len(), self.acknowledged.len(), "{what}: {subjects:?}");
        assert!(found.iter().all(|message| self.acknowledged.contains(message)), "{what}: {subjects:?}");
    }
}

fn message(what: &str, octets: usize) -> String {
    let line = format!("{octets} octets, sent while all was well: {what}\r\n");
    format!("Subject: {octets} {what}\r\n\r\n{}", line.repeat(octets / line.len()))
}

/// How many messages of this size fill the log, of 4,000 pages of 4 KiB, more than once.
const FILLING: (usize, usize) = (90, 200_000);

/// The log is synced, so messages are taken, but the database is not when the log is folded into it: then the log is all
/// there is of them. A later sync that succeeds has to be one of octets written anew.
#[tokio::test]
async fn a_database_that_cannot_be_synced_does_not_cost_the_log() {
    let town = ProcessTown::start_on_forgetful_disks(Plan::default()).await;
    let mut patient = Patient { town, acknowledged: BTreeSet::new() };
    for mended in [false, true] {
        let mut client = patient.town.smtp(EXMAIL).await;
        client.hello().await;
        patient.town.disk(EXMAIL).fail_only("store.db", &[Operation::Sync], Errno::IO);
        patient.takes(&mut client, &format!("unsynced, {mended}"), &[FILLING.1; FILLING.0]).await;
        let database = fs::metadata(patient.town.data(EXMAIL).join("store.db")).unwrap().len();
        assert!(database > (FILLING.0 * FILLING.1 / 2) as u64, "nothing was folded into the database: {database}");
        if mended {
            patient.town.disk(EXMAIL).mend();
            patient.takes(&mut client, "synced", &[FILLING.1; FILLING.0]).await;
        }
        patient.town.kill(STORE).await;
        patient.town.disk(EXMAIL).forget();
        patient.town.disk(EXMAIL).mend();
        sound(&patient.town, EXMAIL);
        patient.town.restart(STORE).await;
        patient.has_all("power cut").await;
    }
}

/// How long the storage may be well, and how long not, in milliseconds.
const SPELL_MS: RangeInclusive<u64> = 10..=150;
/// How often it fails unless `MAILTOWN_FAULTS` says otherwise.
const SPELLS: u64 = 12;
/// How often in a hundred the power is cut when the storage is well again.
const CUTS_PERCENT: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_failing_storage_loses_nothing() {
    let spells = setting("MAILTOWN_FAULTS").unwrap_or(SPELLS);
    let seed = seed();
    eprintln!("MAILTOWN_FAULTS={spells} MAILTOWN_SEED={seed}");
    let town = ProcessTown::start_on_forgetful_disks(plan()).await;
    let verdict = survive(town, async |town, ledger| fail(town, ledger, spells, Random(seed)).await).await;
    eprintln!("MAILTOWN_SEED={seed}: {verdict}");
    verdict.assert_faultless();
    assert!(verdict.acknowledged as u64 >= spells, "hardly anything was acknowledged");
}

/// Makes a random storage fail in a random way, time and again. A store that cannot write is as one that is killed:
/// what was relayed meanwhile cannot be recorded, and is relayed again.
async fn fail(town: &mut ProcessTown, ledger: &Ledger, spells: u64, mut random: Random) -> Vec<Kill> {
    let mut spoiled = Vec::new();
    for number in 1..=spells {
        sleep(Duration::from_millis(random.within(SPELL_MS))).await;
        let server = if random.percent(50) { EXMAIL } else { GMAIL };
        let (_, operations, error) = FAULTS[random.within(0..=FAULTS.len() as u64 - 1) as usize];
        let service = Service { binary: "mailbox-store", server };
        town.disk(server).fail(operations, error);
        spoiled.push(Kill { at: SystemTime::now(), service });
        sleep(Duration::from_millis(random.within(SPELL_MS))).await;
        spoiled.push(Kill { at: SystemTime::now(), service });
        if random.percent(CUTS_PERCENT) {
            town.kill(service).await;
            town.disk(server).forget_some(&mut random);
            sound(town, server);
            town.disk(server).mend();
            town.restart(service).await;
        } else {
            town.disk(server).mend();
        }
        if number.is_multiple_of(100) {
            eprintln!("{number} faults, {} messages", ledger.len());
        }
    }
    spoiled
}
