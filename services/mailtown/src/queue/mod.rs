//! The command line of `mailtown queue`.

mod changes;
mod listing;

use crate::{
    client::{NamedStore, Stores, told},
    output::NO_OUTPUT,
};
use anyhow::{Context, bail, ensure};
use changes::{Change, all, each};
use clap::Subcommand;
use internal_api::{MessageId, QueuePage, QueuedMessage};
use listing::{Form, Listing};

const EXAMPLES: &str = "\
Examples:
  mailtown queue                          what waits at all servers
  mailtown queue -n gmail.com --json      one JSON object in each line
  mailtown queue hold 06gk2w1s8n4qz
  mailtown queue retry --all

In the list, * after an id says that the message is being tried, and ! that it is on hold.";

/// What waits to be sent on, and what can be done about it.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Queue {
    /// Print one JSON object in each line, for programs
    #[arg(long)]
    json: bool,
    /// Instead of listing what waits:
    #[command(subcommand)]
    action: Option<Action>,
}

/// What can be done about the queue.
#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// List what waits: id, octets, arrival, server, sender, and the recipients with the last reply and the next attempt
    #[command(visible_alias = "ls", after_help = "Examples:\n  mailtown queue list\n  mailtown queue list --json")]
    List {
        /// Print one JSON object in each line, for programs
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of one message that waits
    #[command(after_help = "Example:\n  mailtown queue show 06gk2w1s8n4qz")]
    Show {
        /// Print a JSON object, for programs
        #[arg(long)]
        json: bool,
        /// The message
        #[arg(value_name = "ID")]
        id: Option<MessageId>,
    },
    /// Try messages now; those on hold must be released first
    #[command(after_help = "Examples:\n  mailtown queue retry 06gk2w1s8n4qz\n  mailtown queue retry --all")]
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// Put messages on hold: they are not tried and do not expire until they are released
    #[command(
        after_help = "Examples:\n  mailtown queue hold 06gk2w1s8n4qz 06gk2w1sbh2e4\n  mailtown queue hold -n gmail.com --all"
    )]
    Hold {
        #[command(flatten)]
        which: Which,
    },
    /// Release messages that are on hold, and try them now
    #[command(
        visible_alias = "unhold",
        after_help = "Examples:\n  mailtown queue release 06gk2w1s8n4qz 06gk2w1sbh2e4\n  mailtown queue release --all"
    )]
    Release {
        #[command(flatten)]
        which: Which,
    },
    /// Give messages up for all recipients that wait; their senders get a failure message
    #[command(
        after_help = "Examples:\n  mailtown queue give-up 06gk2w1s8n4qz\n  mailtown queue -n gmail.com give-up --all\n\n\
                      A message that is being tried stays; give it up when the attempt has ended."
    )]
    GiveUp {
        #[command(flatten)]
        which: Which,
    },
    /// Remove messages from the queue; their senders are not told
    #[command(visible_aliases = ["delete", "rm"], after_help = "Examples:\n  mailtown queue remove 06gk2w1s8n4qz\n  \
                            mailtown queue -n gmail.com remove --all\n\n\
                            Maildrops keep the messages that they have. A message that is being tried stays; remove it when \
                            the attempt has ended.")]
    Remove {
        #[command(flatten)]
        which: Which,
    },
}

/// Some messages, or all.
#[derive(Debug, Clone, clap::Args)]
struct Which {
    /// All messages of the servers that -n names, or of all servers
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// The messages
    // Not required by clap, which does not know where ids come from.
    #[arg(value_name = "ID")]
    ids: Vec<MessageId>,
}

impl Queue {
    /// Does it. `stores` finds those of the running town.
    ///
    /// # Errors
    /// One line that says why it cannot.
    pub(crate) async fn run(self, stores: Stores<'_>) -> anyhow::Result<()> {
        ensure!(
            !self.json || matches!(self.action, None | Some(Action::List { .. } | Action::Show { .. })),
            "--json is for the list and for show; leave it out"
        );
        let (are_named, stores) = (stores.are_named, stores.all()?);
        match self.action {
            None => list(&stores, are_named, Form::of(self.json)).await,
            Some(Action::List { json }) => list(&stores, are_named, Form::of(json || self.json)).await,
            Some(Action::Show { json, id }) => {
                let id = id.context("give the id of a message, which `mailtown queue` lists")?;
                let (store, message) = find(&stores, id).await?;
                let mut listing =
                    Listing::new(anstream::stdout(), Form::of(json || self.json), [store.server.as_str()]);
                listing.show(&store.server, &message).context(NO_OUTPUT)
            }
            Some(Action::Retry { which }) => which.change(&stores, Change::Retry).await,
            Some(Action::Hold { which }) => which.change(&stores, Change::Hold).await,
            Some(Action::Release { which }) => which.change(&stores, Change::Release).await,
            Some(Action::GiveUp { which }) => which.change(&stores, Change::GiveUp).await,
            Some(Action::Remove { which }) => which.change(&stores, Change::Remove).await,
        }
    }
}

impl Which {
    async fn change(self, stores: &[NamedStore], change: Change) -> anyhow::Result<()> {
        if self.all {
            return all(stores, change).await;
        }
        ensure!(!self.ids.is_empty(), "give the ids of messages, which `mailtown queue` lists, or --all");
        each(stores, self.ids, change).await
    }
}

/// A page of a store's queue.
async fn page(store: &NamedStore, after: Option<&str>) -> anyhow::Result<QueuePage> {
    let page = store.client.queue(after).await.map_err(|error| store.failed(error));
    page.with_context(|| format!("{}: the queue cannot be read", store.server))
}

/// Prints what waits, page by page. A store that fails does not hide the queues of the others.
async fn list(stores: &[NamedStore], are_named: bool, form: Form) -> anyhow::Result<()> {
    let servers: Vec<_> = stores.iter().map(|store| store.server.as_str()).collect();
    let mut listing = Listing::new(anstream::stdout(), form, servers.iter().copied());
    if are_named {
        listing = listing.of_only(&servers);
    }
    let mut failures = Vec::new();
    for store in stores {
        let (mut after, mut message) = (None, None::<QueuedMessage>);
        loop {
            let page = match page(store, after.as_deref()).await {
                Ok(page) => page,
                Err(failure) => break failures.push(failure),
            };
            // The recipients of a message may be on two pages.
            for entry in page.entries {
                match &mut message {
                    Some(message) if message.message == entry.message => message.add(entry),
                    _ => {
                        if let Some(whole) = message.replace(entry.into()) {
                            listing.message(&store.server, &whole).context(NO_OUTPUT)?;
                        }
                    }
                }
            }
            after = page.next_after;
            if after.is_none() {
                break;
            }
        }
        if let Some(whole) = message {
            listing.message(&store.server, &whole).context(NO_OUTPUT)?;
        }
    }
    // What cannot be read may not be empty.
    if failures.is_empty() || !listing.is_empty() {
        listing.end().context(NO_OUTPUT)?;
    }
    told(failures)
}

/// The store in whose queue a message is, and the message.
async fn find(stores: &[NamedStore], id: MessageId) -> anyhow::Result<(&NamedStore, QueuedMessage)> {
    let mut silent = None;
    for store in stores {
        match store.client.queued(id).await {
            Ok(Some(message)) => return Ok((store, message)),
            Ok(None) => {}
            // Another may have it.
            Err(error) => silent = silent.or(Some((store, error))),
        }
    }
    if let Some((store, error)) = silent {
        return Err(store.failed(error)).with_context(|| format!("{}: {id}: cannot be looked for", store.server));
    }
    let servers: Vec<_> = stores.iter().map(|store| store.server.as_str()).collect();
    bail!("{id} is not in the queue of {}", servers.join(", "))
}
