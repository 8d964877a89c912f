//! The limit of open file descriptors, and what to do about a lack of them.

use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};
use std::io;

/// How many descriptors this process may have open.
pub fn limit() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// What to do about an error that the limit has caused.
pub fn remedy(error: &io::Error) -> Option<String> {
    is_exhausted(error).then(|| {
        let limit = limit();
        format!("raise the limit of open file descriptors, which is {limit}, with `ulimit -n` or LimitNOFILE=")
    })
}

/// Whether there was no descriptor left, in this process or on this machine.
pub fn is_exhausted(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error())).contains(&error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exhaustion_is_blamed_on_the_limit() {
        for (errno, expected) in [(Errno::MFILE, true), (Errno::NFILE, true), (Errno::NOENT, false)] {
            let error = io::Error::from(errno);
            assert_eq!(is_exhausted(&error), expected, "{error}");
            assert_eq!(remedy(&error).is_some(), expected, "{error}");
        }
    }
}
