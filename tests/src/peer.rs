//! Another domain's mail server, which behaves as its test wants.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a peer does about a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Says this; lines are separated by LF.
    Say(String),
    /// Says this, but not before something else is said: so a client must go on without waiting.
    Withhold(String),
    /// Says this and closes the connection.
    Part(String),
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
    /// Says nothing any more.
    Hang,
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::Say(text.to_owned())
    }
}

/// Answers a line of the given connection (from 1). The greeting answers the empty line, and what follows the
/// message answers its final dot; the message's lines are not asked about. The transcript so far is at hand.
type Script = dyn Fn(&Line<'_>) -> Answer + Send + Sync;

/// What was received, and when.
#[derive(Debug)]
pub struct Line<'a> {
    /// Which connection it came over, from 1.
    pub connection: usize,
    /// Without CRLF; the verb of a command is in upper case.
    pub text: &'a str,
    /// The message before its final dot; otherwise empty.
    pub message: &'a str,
}

/// A server that takes everything.
pub fn polite(line: &Line<'_>) -> Answer {
    match line.text.split([' ', ':']).next().unwrap_or_default() {
        "" => "220 peer.example ready".into(),
        "EHLO" => "250-peer.example HELLO\n250-PIPELINING\n250-SIZE 100000000\n250 8BITMIME".into(),
        "MAIL" | "RSET" => "250 2.1.0 OK".into(),
        "RCPT" => "250 2.1.5 OK".into(),
        "DATA" => "354 go on".into(),
        "." => "250 2.0.0 taken".into(),
        "QUIT" => "221 2.0.0 Bye".into(),
        _ => "500 5.5.2 what?".into(),
    }
}

/// A scripted SMTP server.
#[derive(Debug)]
pub struct FakePeer {
    port: u16,
    transcript: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl FakePeer {
    /// Listens on any free port.
    ///
    /// # Panics
    /// When that fails.
    pub async fn start(script: impl Fn(&Line<'_>) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let transcript = Arc::default();
        let task = tokio::spawn(accept(listener, Arc::new(script), Arc::clone(&transcript)));
        Self { port, transcript, task }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All that was said: `-- n` where connection n began, `C: ` and `S: ` before each line, and `-- closed`.
    ///
    /// # Panics
    /// When the peer has panicked.
    pub fn transcript(&self) -> Vec<String> {
        self.transcript.lock().unwrap().clone()
    }

    /// The transcript, once it holds this line n times.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn heard(&self, line: &str, times: usize) -> Vec<String> {
        crate::eventually(&format!("{line:?} from the relay"), crate::PATIENCE, async || {
            let transcript = self.transcript();
            (transcript.iter().filter(|said| *said == line).count() >= times).then_some(transcript)
        })
        .await
    }
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        self.task.abort();
        if std::thread::panicking() {
            eprintln!("--- the peer on port {}:\n{}", self.port, self.transcript().join("\n"));
        }
    }
}

async fn accept(listener: TcpListener, script: Arc<Script>, transcript: Arc<Mutex<Vec<String>>>) {
    for number in 1.. {
        let (stream, _) = listener.accept().await.unwrap();
        let connection = Connection {
            number,
            stream: BufReader::new(stream),
            script: Arc::clone(&script),
            transcript: Arc::clone(&transcript),
            withheld: String::new(),
        };
        tokio::spawn(connection.serve());
    }
}

struct Connection {
    number: usize,
    stream: BufReader<TcpStream>,
    script: Arc<Script>,
    transcript: Arc<Mutex<Vec<String>>>,
    withheld: String,
}

impl Connection {
    async fn serve(mut self) {
        self.note(format!("-- {}", self.number));
        let mut going = self.answer("", "").await.is_some();
        while going {
            let Some(text) = self.command().await else { break };
            going = match self.answer(&text, "").await {
                Some(true) => self.message().await.is_some(),
                Some(false) => true,
                None => false,
            };
        }
        self.note("-- closed".to_owned());
    }

    /// Reads a message and answers its final dot.
    async fn message(&mut self) -> Option<bool> {
        let mut message = String::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                return self.answer(".", &message).await;
            }
            message.push_str(&line);
            message.push('\n');
        }
    }

    /// Sends the reply; returns whether a message follows. `None` at the end.
    async fn answer(&mut self, text: &str, message: &str) -> Option<bool> {
        match (self.script)(&Line { connection: self.number, text, message }) {
            Answer::Withhold(reply) => {
                self.withheld.push_str(&reply);
                self.withheld.push('\n');
                Some(false)
            }
            Answer::Say(reply) => {
                self.say(&reply).await?;
                Some(reply.starts_with("354"))
            }
            Answer::Part(reply) => {
                self.say(&reply).await?;
                self.stream.shutdown().await.ok()?;
                None
            }
            Answer::Close => None,
            Answer::Reset => {
                self.stream.get_ref().set_zero_linger().ok()?;
                None
            }
            Answer::Hang => {
                // Until the client has had enough.
                while self.line().await.is_some() {}
                None
            }
        }
    }

    async fn say(&mut self, reply: &str) -> Option<()> {
        let said = std::mem::take(&mut self.withheld) + reply;
        said.lines().for_each(|line| self.note(format!("S: {line}")));
        let wire = said.replace('\n', "\r\n") + "\r\n";
        self.stream.write_all(wire.as_bytes()).await.ok()
    }

    /// A command. The relay of profile `tutorial` writes verbs in lower case; what a peer does is the same.
    async fn command(&mut self) -> Option<String> {
        let mut text = self.read().await?;
        let verb = text.find(' ').unwrap_or(text.len());
        text[..verb].make_ascii_uppercase();
        self.note(format!("C: {text}"));
        Some(text)
    }

    async fn line(&mut self) -> Option<String> {
        let text = self.read().await?;
        self.note(format!("C: {text}"));
        Some(text)
    }

    async fn read(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line).await;
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r\n")?).into_owned();
        read.ok().map(|_| text)
    }

    fn note(&self, line: String) {
        self.transcript.lock().unwrap().push(line);
    }
}
