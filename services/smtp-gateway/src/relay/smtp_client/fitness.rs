//! Whether an exchange can take a message at all. Nothing is converted: that would break signatures.

use super::{Broken, Connection, Context, Outgoing};
use internal_api::{ApiError, RawMessage};
use mail_proto::smtp::Reply;

impl Outgoing<'_> {
    /// Whether its addresses, or what goes before it, need SMTPUTF8 (RFC 6531 §3.1).
    pub(super) fn goes_beyond_ascii(&self) -> bool {
        let are_ascii = self.recipients.iter().all(|recipient| recipient.mailbox.is_ascii());
        !are_ascii
            || !self.message.reverse_path.is_ascii()
            || self.trace.as_ref().is_some_and(|trace| !trace.is_ascii())
    }
}

impl Connection {
    /// Checks that the exchange has the extensions that this message needs. Another exchange of the domain may have them.
    ///
    /// # Errors
    /// [`Broken::Unable`], or [`Broken::Store`] when the octets of the message are needed to know, and the store does not
    /// give them.
    pub(crate) async fn check(&self, context: &Context, mail: &Outgoing<'_>) -> Result<(), Broken> {
        match self.obstacle(context, mail).await? {
            Some(obstacle) => Err(Broken::Unable(obstacle)),
            None => Ok(()),
        }
    }

    async fn obstacle(&self, context: &Context, mail: &Outgoing<'_>) -> Result<Option<Reply>, ApiError> {
        let (name, extensions) = (&self.exchange.name, self.client.extensions());
        if !extensions.smtputf8 {
            if mail.goes_beyond_ascii() {
                let text = format!("{name} takes no addresses beyond ASCII (SMTPUTF8), and the message has one");
                return Ok(Some(Reply::new(553, (6, 7), text)));
            }
            // RFC 6531 §3.2: the sender may have said it of a message that does not need it.
            if mail.message.parameters.smtputf8 && !has_ascii_header(mail.open(context).await?).await? {
                let text = format!("{name} takes no header beyond ASCII (SMTPUTF8), and the message has one");
                return Ok(Some(Reply::new(550, (6, 9), text)));
            }
        }
        // RFC 6152 §3.
        if !extensions.eight_bit_mime && !is_seven_bit(mail.open(context).await?).await? {
            let text = format!("{name} takes no 8-bit messages, and this is one");
            return Ok(Some(Reply::new(554, (6, 3), text)));
        }
        Ok(None)
    }
}

async fn is_seven_bit(mut raw: RawMessage) -> Result<bool, ApiError> {
    while let Some(chunk) = raw.chunk().await? {
        if !chunk.is_ascii() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn has_ascii_header(mut raw: RawMessage) -> Result<bool, ApiError> {
    let mut header = HeaderSection::default();
    while let Some(chunk) = raw.chunk().await? {
        if let Some(is_ascii) = header.read(&chunk) {
            return Ok(is_ascii);
        }
    }
    Ok(true)
}

/// A header section that is read in pieces.
#[derive(Debug)]
struct HeaderSection {
    /// The last octets of what was read: the empty line may begin in them.
    last: Vec<u8>,
}

impl Default for HeaderSection {
    /// At its beginning, where an empty line may stand.
    fn default() -> Self {
        Self { last: b"\r\n".to_vec() }
    }
}

impl HeaderSection {
    /// Takes the next piece. Tells whether the section is in ASCII, as soon as that is known.
    fn read(&mut self, piece: &[u8]) -> Option<bool> {
        let mut read = std::mem::take(&mut self.last);
        read.extend_from_slice(piece);
        let end = memchr::memmem::find(&read, b"\r\n\r\n");
        let is_ascii = read[..end.unwrap_or(read.len())].is_ascii();
        self.last = read.split_off(read.len().saturating_sub(b"\r\n\r".len()));
        (end.is_some() || !is_ascii).then_some(is_ascii)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_header_section_is_looked_at() {
        let table = [
            ("Subject: x\r\n\r\né\r\n", Some(true)),
            ("\r\né\r\n", Some(true)),
            ("", None),
            ("Subject: x\r\n", None),
            ("Subject: é\r\n\r\nx\r\n", Some(false)),
            ("Subject: x\r\nX: é", Some(false)),
        ];
        for (message, expected) in table {
            let octets = message.as_bytes();
            for cut in 0..=octets.len() {
                let mut header = HeaderSection::default();
                let known = header.read(&octets[..cut]).or_else(|| header.read(&octets[cut..]));
                assert_eq!(known, expected, "{message:?} {cut}");
            }
            let mut header = HeaderSection::default();
            assert_eq!(octets.chunks(1).find_map(|octet| header.read(octet)), expected, "{message:?}");
        }
    }
}
