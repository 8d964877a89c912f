//! Accounts: who has a mailbox here, and how they log in. For `mailtown accounts` and for people.

use crate::text;
use mail_proto::Mailbox;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where an account comes from, and so who may change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountSource {
    /// It stands in `config.toml`, or is the postmaster of a domain. It is changed there.
    Config,
    /// It stood in `config.toml` once. It may be changed and removed.
    Left,
    /// It was added by this API. It may be changed and removed.
    Api,
}

/// An account, its maildrop and its quotas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountSummary {
    /// The mailbox's address.
    #[schema(value_type = text::Mailbox)]
    pub address: Mailbox,
    /// Where it comes from.
    pub source: AccountSource,
    /// Whether somebody can log in: it has a password, and is not disabled.
    pub enabled: bool,
    /// How many messages its maildrop holds.
    pub messages: u64,
    /// Their octets, added up.
    pub octets: u64,
}

/// One page of `GET /v1/accounts`, by address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountPage {
    /// The accounts of this page.
    pub accounts: Vec<AccountSummary>,
    /// Pass this as `after` to read on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// An account to be added (`POST /v1/accounts`).
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// Its address, in one of the mail domains of the stack.
    #[schema(value_type = text::Mailbox)]
    pub address: Mailbox,
    /// Its password: plain text, or an argon2 PHC string, which is taken as it is.
    #[schema(format = Password, min_length = 1)]
    pub password: String,
}

/// What is to change of an account (`PATCH /v1/accounts/{address}`). What is absent stays.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccountChange {
    /// The new password, as in [`NewAccount`].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Password, min_length = 1)]
    pub password: Option<String>,
    /// Whether its user may log in. A disabled account still gets mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}
