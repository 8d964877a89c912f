//! Where the HTTP side of a service listens: on a TCP port, and on a Unix socket where one is wanted.

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};

/// How many connections may wait to be accepted. On a Unix socket, one more fails at once.
const BACKLOG: u32 = 4096;
/// Nobody but the owner may connect.
const MODE: u32 = 0o600;

/// The sockets of a service's HTTP side.
#[derive(Debug)]
pub struct HttpListener {
    tcp: TcpListener,
    socket: Option<HttpSocket>,
}

impl HttpListener {
    /// Also listens on a Unix socket at `path`, which only the user of this process may connect to. A socket that a process
    /// has left there is replaced, and the file is removed when the service ends.
    ///
    /// # Errors
    /// [`SocketError`].
    pub async fn with_socket(self, path: &Path) -> Result<Self, SocketError> {
        Ok(Self { socket: Some(HttpSocket::bind(path).await?), ..self })
    }

    /// The address of the TCP port.
    ///
    /// # Errors
    /// When the system does not tell it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    pub(super) fn into_parts(self) -> (TcpListener, Option<HttpSocket>) {
        (self.tcp, self.socket)
    }
}

impl From<TcpListener> for HttpListener {
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, socket: None }
    }
}

/// Why a service does not listen on a Unix socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens there.
    #[error("{}: another process listens there; stop it, or give another path", .0.display())]
    InUse(PathBuf),
    /// A file of another user tells that a service of that user may listen there.
    #[error("{}: this file is another user's, whose service may listen; if none does, remove it; else run this service as that user, or give another path", .0.display())]
    Foreign(PathBuf),
    /// Something else has this name.
    #[error("{}: there is something else with this name; remove it, or give another path", .0.display())]
    Other(PathBuf),
    /// The system refuses it.
    #[error("{}: {reason}; give a path of up to about 100 octets, in a directory that this process may write", path.display())]
    Failed {
        /// The path that was given.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

/// A Unix socket that is listened on. Its file is removed when this is dropped.
#[derive(Debug)]
pub(super) struct HttpSocket {
    // Dropped first: while the listener lives, no other file has the number of this one, and nobody takes it for a file
    // that was left.
    pub(super) file: SocketFile,
    pub(super) listener: UnixListener,
}

impl HttpSocket {
    pub(super) async fn bind(path: &Path) -> Result<Self, SocketError> {
        // Until the socket listens, another process would take its file for one that was left.
        let _lock = lock(path)?;
        make_room(path).await?;
        Self::bind_now(path).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => SocketError::InUse(path.to_owned()),
            _ => SocketError::Failed { path: path.to_owned(), reason: error },
        })
    }

    fn bind_now(path: &Path) -> io::Result<Self> {
        let socket = UnixSocket::new_stream()?;
        // On Linux, the file begins with the mode of the socket. Elsewhere, this may fail, and the line below comes in time:
        // nobody can connect before `listen`.
        let _ = fchmod(&socket, Mode::from_raw_mode(MODE));
        socket.bind(path)?;
        let file = SocketFile::new(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        Ok(Self { file, listener: socket.listen(BACKLOG)? })
    }
}

/// Locks a path for one service that starts. The file of the lock stays: if it were removed, two could hold it.
fn lock(path: &Path) -> Result<fs::File, SocketError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock => SocketError::InUse(path.to_owned()),
        io::ErrorKind::PermissionDenied if name.exists() => SocketError::Foreign(name.clone()),
        _ => SocketError::Failed { path: path.to_owned(), reason: error },
    };
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(&name);
    let file = file.map_err(failed)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| failed(error.into()))?;
    Ok(file)
}

/// Removes a socket that nobody listens on any more: a process that is killed leaves it.
async fn make_room(path: &Path) -> Result<(), SocketError> {
    let failed = |error| SocketError::Failed { path: path.to_owned(), reason: error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::Other(path.to_owned())),
        Ok(_) => {}
    }
    match occupant(UnixStream::connect(path).await.map_err(|error| error.kind()).err()) {
        Occupant::Nobody => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        },
        Occupant::Somebody => Err(SocketError::InUse(path.to_owned())),
        Occupant::Unknown => Err(SocketError::Foreign(path.to_owned())),
    }
}

/// Who listens on a socket.
#[derive(Debug, PartialEq, Eq)]
enum Occupant {
    Nobody,
    Somebody,
    /// Only another user may know.
    Unknown,
}

/// What a connection to the socket, or its failure, tells.
fn occupant(failure: Option<io::ErrorKind>) -> Occupant {
    match failure {
        Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Occupant::Nobody,
        Some(io::ErrorKind::PermissionDenied) => Occupant::Unknown,
        // The queue of a listener may be full.
        Some(_) | None => Occupant::Somebody,
    }
}

/// The file of a socket.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// The numbers of its device and of itself.
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Meanwhile, another process may have put its own there.
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listener() -> HttpListener {
        TcpListener::bind("127.0.0.1:0").await.unwrap().into()
    }

    #[tokio::test]
    async fn only_the_owner_may_connect_and_the_socket_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.sock");
        let listening = listener().await.with_socket(&path).await.unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).await.unwrap();
        drop(listening);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_was_left_is_replaced_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.sock");
        // A listener that is closed leaves its file, as a process that is killed does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = listener().await.with_socket(&path).await.unwrap();
        let error = listener().await.with_socket(&path).await.unwrap_err();
        assert!(matches!(error, SocketError::InUse(_)), "{error}");
        UnixStream::connect(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let second = listener().await.with_socket(&path).await.unwrap();
        drop(first);
        UnixStream::connect(&path).await.expect("the file of the second is not the first one's to remove");
        drop(second);
        fs::write(&path, "mail").unwrap();
        let error = listener().await.with_socket(&path).await.unwrap_err();
        assert!(matches!(error, SocketError::Other(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mail");
    }

    #[tokio::test]
    async fn one_service_at_a_time_starts_at_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.sock");
        let starting = lock(&path).unwrap();
        // Its socket is bound, and does not listen yet.
        let socket = UnixSocket::new_stream().unwrap();
        socket.bind(&path).unwrap();
        let error = listener().await.with_socket(&path).await.unwrap_err();
        assert!(matches!(error, SocketError::InUse(_)), "{error}");
        let _listener = socket.listen(1).unwrap();
        drop(starting);
        UnixStream::connect(&path).await.expect("the file is still that of the first");
    }

    /// While a socket has its name, somebody listens: nobody takes it for one that was left.
    #[tokio::test]
    async fn the_name_goes_before_the_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.sock");
        for _ in 0..200 {
            let socket = HttpSocket::bind(&path).await.unwrap();
            let (connects, has_connected) = std::sync::mpsc::channel();
            let client = path.clone();
            // Fewer than the queue of the listener takes.
            let failure = std::thread::spawn(move || {
                let connect = |_| std::os::unix::net::UnixStream::connect(&client).map(|_| connects.send(())).err();
                (0..2000).find_map(connect)
            });
            has_connected.recv().unwrap();
            drop(socket);
            let failure = failure.join().unwrap().map(|error| error.kind());
            assert!(failure.is_none_or(|kind| kind == io::ErrorKind::NotFound), "{failure:?}");
        }
    }

    /// A test that runs as root may connect everywhere.
    #[test]
    fn who_may_not_connect_does_not_know_who_listens() {
        let table = [
            (None, Occupant::Somebody),
            (Some(io::ErrorKind::WouldBlock), Occupant::Somebody),
            (Some(io::ErrorKind::ConnectionRefused), Occupant::Nobody),
            (Some(io::ErrorKind::NotFound), Occupant::Nobody),
            (Some(io::ErrorKind::PermissionDenied), Occupant::Unknown),
        ];
        for (failure, expected) in table {
            assert_eq!(occupant(failure), expected, "{failure:?}");
        }
        let told = SocketError::Foreign("/run/store.sock".into()).to_string();
        assert!(told.starts_with("/run/store.sock: this file is another user's"), "{told}");
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_is_told() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["no/such/directory".to_owned(), "x".repeat(150)] {
            let error = listener().await.with_socket(&directory.path().join(name)).await.unwrap_err();
            assert!(matches!(error, SocketError::Failed { .. }), "{error}");
        }
    }
}
