//! A message on its way to the client (RFC 1939 §5 RETR, §7 TOP).

use crate::{
    dot::DotEncoder,
    pop3::{Extent, Top},
};

/// The message has not the octets that were announced. What was sent must not be made to look complete:
/// the connection is closed without the final dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message has not the {announced} octets it should have")]
pub struct WrongLength {
    /// How many it should have.
    pub announced: u64,
}

/// Turns the pieces of a message into what is sent after `+OK`, in no more memory than a piece takes.
#[derive(Debug)]
pub struct Transfer {
    dots: DotEncoder,
    /// `None` when all of the message is sent.
    top: Option<Top>,
    announced: u64,
    received: u64,
}

impl Transfer {
    /// For `extent` of a message of `octets`.
    pub fn new(octets: u64, extent: Extent) -> Self {
        let top = match extent {
            Extent::Whole => None,
            Extent::Top(body_lines) => Some(Top::new(body_lines)),
        };
        Self { dots: DotEncoder::default(), top, announced: octets, received: 0 }
    }

    /// Appends to `output` what the next octets of the message become.
    ///
    /// # Errors
    /// [`WrongLength`] when they are too many.
    pub fn piece(&mut self, octets: &[u8], output: &mut Vec<u8>) -> Result<(), WrongLength> {
        self.received = self.received.saturating_add(octets.len() as u64);
        if self.received > self.announced {
            return Err(self.wrong_length());
        }
        let part = match &mut self.top {
            Some(top) => top.take(octets),
            None => octets,
        };
        self.dots.encode(part, output);
        Ok(())
    }

    /// Whether the rest of the message is not needed.
    pub fn is_complete(&self) -> bool {
        self.top.as_ref().is_some_and(Top::is_complete)
    }

    /// Appends the final dot.
    ///
    /// # Errors
    /// [`WrongLength`] when octets are missing.
    pub fn finish(self, output: &mut Vec<u8>) -> Result<(), WrongLength> {
        if self.received < self.announced && !self.is_complete() {
            return Err(self.wrong_length());
        }
        self.dots.finish(output);
        Ok(())
    }

    fn wrong_length(&self) -> WrongLength {
        WrongLength { announced: self.announced }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(announced: u64, extent: Extent, message: &[u8], chunk: usize) -> Result<String, WrongLength> {
        let mut output = Vec::new();
        let mut transfer = Transfer::new(announced, extent);
        for piece in message.chunks(chunk) {
            transfer.piece(piece, &mut output)?;
        }
        transfer.finish(&mut output)?;
        Ok(String::from_utf8(output).unwrap())
    }

    #[test]
    fn messages_on_the_wire() {
        let message = b"A: b\r\n\r\n.one\r\ntwo";
        for chunk in 1..=message.len() {
            let [whole, top] = [Extent::Whole, Extent::Top(1)].map(|extent| transfer(17, extent, message, chunk));
            assert_eq!(whole.as_deref(), Ok("A: b\r\n\r\n..one\r\ntwo\r\n.\r\n"));
            assert_eq!(top.as_deref(), Ok("A: b\r\n\r\n..one\r\n.\r\n"));
        }
        assert_eq!(transfer(0, Extent::Whole, b"", 1).as_deref(), Ok(".\r\n"));
    }

    #[test]
    fn a_message_of_another_length_never_looks_complete() {
        for announced in [2, 4] {
            for extent in [Extent::Whole, Extent::Top(9)] {
                assert_eq!(transfer(announced, extent, b"abc", 1), Err(WrongLength { announced }));
            }
        }
    }

    #[test]
    fn a_top_may_end_before_the_message_does() {
        let mut transfer = Transfer::new(1000, Extent::Top(0));
        let mut output = Vec::new();
        assert_eq!(transfer.piece(b"A: b\r\n\r\nbody", &mut output), Ok(()));
        assert!(transfer.is_complete());
        assert_eq!(transfer.finish(&mut output), Ok(()));
        assert_eq!(output, b"A: b\r\n\r\n.\r\n");
    }
}
