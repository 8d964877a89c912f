//! Mailboxes for whoever gets mail: `accept = "any"`, for test-beds.

use crate::{
    accounts::Accounts,
    store::{self, Account, LocalMail, Newcomers, Result, StoredPassword, admits, new_mailbox},
};
use internal_api::{MailboxSummary, Resolved};
use mail_proto::{Mailbox, sasl::ScramVerifier};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::Mutex;
use town_config::{Accept, Auth, LiveStack, Password, Stack};

/// Gives mailboxes to addresses that have none, where the configuration says so.
pub(crate) struct Admission {
    accounts: Arc<Accounts>,
    stack: LiveStack,
    /// What is stored of `accept_password`, as that was last. All these mailboxes share it: hashing takes long.
    password: Mutex<Option<(Password, StoredPassword)>>,
}

impl Admission {
    pub(crate) fn new(accounts: Arc<Accounts>, stack: LiveStack) -> Self {
        Self { accounts, stack, password: Mutex::default() }
    }

    /// What an address means here. One that would get a mailbox with its first mail is an empty mailbox.
    pub(crate) async fn resolve(&self, address: &Mailbox) -> Result<Resolved> {
        let resolved = store::Accounts::resolve(self.accounts.store(), address).await?;
        let stack = self.stack.current();
        Ok(match resolved {
            Resolved::Unknown if admits(&stack, address) => Resolved::Mailbox(empty(new_mailbox(&stack, address))),
            resolved => resolved,
        })
    }

    /// Gives a mailbox to each of these addresses, and of those that they stand for, that may have one and has none.
    pub(crate) async fn admit(&self, addresses: impl IntoIterator<Item = &Mailbox>) -> Result<()> {
        let stack = self.stack.current();
        if stack.accept != Accept::Any {
            return Ok(());
        }
        let mut open: Vec<Mailbox> = addresses.into_iter().cloned().collect();
        let (mut seen, mut new): (BTreeSet<Mailbox>, Vec<Account>) = Default::default();
        while let Some(address) = open.pop() {
            if !admits(&stack, &address) || !seen.insert(address.clone()) {
                continue;
            }
            match store::Accounts::resolve(self.accounts.store(), &address).await? {
                Resolved::Mailbox(_) => {}
                Resolved::Alias { target } => open.push(target),
                Resolved::List { members: targets } | Resolved::CatchAll { targets } => open.extend(targets),
                Resolved::Unknown => new.push(new_mailbox(&stack, &address)),
            }
        }
        // All at once: each change takes a commit.
        if new.is_empty() { Ok(()) } else { self.accounts.admit(new, self.password(&stack).await?).await }
    }

    /// The mailbox that this user would get, and the verifier of its password. `None` for a user who has one.
    pub(crate) async fn newcomer(&self, address: &Mailbox) -> Result<Option<(Mailbox, ScramVerifier)>> {
        let stack = self.stack.current();
        if !admits(&stack, address) {
            return Ok(None);
        }
        match store::Accounts::resolve(self.accounts.store(), address).await? {
            Resolved::Unknown => {
                let verifier = self.password(&stack).await?.verifier;
                Ok(verifier.map(|verifier| (new_mailbox(&stack, address).address, verifier)))
            }
            _ => Ok(None),
        }
    }

    /// Which mail stays here, and who gets a mailbox with it.
    pub(crate) async fn local_mail(&self) -> Result<LocalMail> {
        let stack = self.stack.current();
        let newcomers = match stack.accept {
            Accept::Any => Some(Newcomers { password: self.password(&stack).await?, stack: Arc::clone(&stack) }),
            Accept::Accounts => None,
        };
        Ok(LocalMail::of(&stack, newcomers))
    }

    /// Gives a mailbox to a user who logs in before his first mail with the password that he will have.
    pub(crate) async fn admit_user(&self, address: &Mailbox, password: &str) -> Result<()> {
        let stack = self.stack.current();
        let fits = stack.auth == Auth::Any || stack.accept_password.expose() == password;
        if fits { self.admit([address]).await } else { Ok(()) }
    }

    async fn password(&self, stack: &Stack) -> Result<StoredPassword> {
        let mut known = self.password.lock().await;
        match &*known {
            Some((password, stored)) if *password == stack.accept_password => Ok(stored.clone()),
            _ => {
                let stored = self.accounts.stored(stack.accept_password.expose().to_owned()).await?;
                *known = Some((stack.accept_password.clone(), stored.clone()));
                Ok(stored)
            }
        }
    }
}

fn empty(Account { address, quota, .. }: Account) -> MailboxSummary {
    MailboxSummary { address, messages: 0, octets: 0, quota_messages: quota.messages, quota_octets: quota.octets }
}
