//! Mail that is there before something is measured.

use crate::load::{message, number_message};
use futures_util::{StreamExt, TryStreamExt, stream};
use internal_api::{StoreClient, Submission};

/// How many submissions are under way at once.
const SUBMISSIONS: usize = 64;
/// Who has sent it.
const SENDER: &str = "s@load.bench";

/// A message for one mailbox.
#[derive(Debug, Clone)]
pub(super) struct Mail {
    /// Tells it from all others of a store.
    pub(super) number: u64,
    /// Whose it is.
    pub(super) recipient: String,
    /// How long it is.
    pub(super) octets: usize,
}

impl Mail {
    /// The message itself.
    ///
    /// # Errors
    /// When there are more messages than this machine can count.
    pub(super) fn text(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = message(SENDER, self.octets);
        number_message(&mut text, usize::try_from(self.number)?);
        Ok(text)
    }
}

/// Puts mail into a store, faster than SMTP would.
///
/// # Errors
/// When the store refuses a message.
pub(super) async fn fill(store: &StoreClient, mail: impl IntoIterator<Item = Mail>) -> anyhow::Result<()> {
    let submissions = stream::iter(mail).map(|mail| submit(store, mail)).buffer_unordered(SUBMISSIONS);
    submissions.try_collect::<()>().await
}

async fn submit(store: &StoreClient, mail: Mail) -> anyhow::Result<()> {
    let transaction = format!("fill-{}", mail.number);
    let submission = Submission::new(transaction, format!("<{SENDER}>").parse()?, [mail.recipient.parse()?]);
    store.submit(&submission, mail.text()?.into()).await?;
    Ok(())
}
