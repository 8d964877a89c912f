//! Reading a file that a user names, whatever it is.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// The most that is read.
const LIMIT_OCTETS: u64 = 16 * 1024 * 1024;

/// Reads a regular file of at most 16 MiB. A pipe or device is refused: to read it might never end.
///
/// # Errors
/// When it is anything else, or cannot be read.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
    // A pipe without a writer would keep whoever opens it.
    let without_waiting = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(without_waiting).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(invalid("not a regular file"));
    }
    let mut content = Vec::new();
    file.take(LIMIT_OCTETS + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LIMIT_OCTETS {
        return Err(invalid("larger than 16 MiB"));
    }
    Ok(content)
}

/// As [`read`], for text.
///
/// # Errors
/// As [`read`], and when it is not UTF-8.
pub(crate) fn read_to_string(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use std::fs::{self, File};

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("good"), "text").unwrap();
        assert_eq!(read(&path("good")).unwrap(), b"text");
        mkfifoat(CWD, path("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        fs::create_dir(path("directory")).unwrap();
        File::create(path("huge")).unwrap().set_len(LIMIT_OCTETS + 1).unwrap();
        let table =
            [("pipe", "not a regular file"), ("directory", "not a regular file"), ("huge", "larger than 16 MiB")];
        for (name, expected) in table {
            assert_eq!(read(&path(name)).unwrap_err().to_string(), expected, "{name}");
        }
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().to_string(), "not a regular file");
        assert_eq!(read(&path("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(path("octets"), b"\xff").unwrap();
        assert_eq!(read_to_string(&path("octets")).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
