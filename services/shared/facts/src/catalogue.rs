//! All facts. To add one, add it here and call it where it happens.

use crate::{Count, Fact, Quoted, Seconds, Shown};

/// Makes a struct with a method `log` of each fact, and the list [`FACTS`].
macro_rules! facts {
    ($($target:literal { $(
        #[doc = $meaning:literal]
        $name:literal $level:ident $fact:ident { $($field:ident: $kind:ident),* }
    )* })*) => {
        /// All facts, in the order of the catalogue.
        pub const FACTS: &[Fact] = &[$($(Fact {
            name: $name,
            level: tracing::Level::$level,
            fields: &[$(stringify!($field)),*],
            meaning: $meaning.trim_ascii(),
        },)*)*];
        $($(
            #[doc = $meaning]
            #[derive(Debug, Clone, Copy)]
            #[allow(non_camel_case_types, missing_docs, reason = "each field has a type parameter of its name")]
            pub struct $fact<$($field),*> { $(pub $field: $field),* }

            #[allow(non_camel_case_types, reason = "each field has a type parameter of its name")]
            impl<$($field: $kind),*> $fact<$($field),*> {
                /// Writes the line.
                pub fn log(&self) {
                    tracing::event!(
                        name: $name, target: $target, tracing::Level::$level,
                        { $($field = <$field as $kind>::value(&self.$field)),* }, $name
                    );
                }
            }
        )*)*
    };
}

facts! {
    "service_kit" {
        /// A service listens.
        "service.listening" INFO ServiceListening { protocol: Quoted, address: Shown }
        /// A program was told to stop, and stops.
        "service.stopping" INFO ServiceStopping { signal: Quoted }
        /// A service has stopped.
        "service.stopped" INFO ServiceStopped {}
        /// A program was told to read its files again.
        "service.reload" INFO ServiceReload { signal: Quoted }
        /// Connections that did not finish in time were cut when the service stopped.
        "service.connections_cut" WARN ServiceConnectionsCut { connections: Count }
        /// No connection can be accepted now.
        "service.accept_failed" WARN ServiceAcceptFailed { error: Quoted, remedy: Quoted }
        /// A connection from the `proxy_networks` was closed, because it does not begin with a header of the PROXY protocol.
        "service.proxy_failed" WARN ServiceProxyFailed { peer: Shown, error: Quoted }
        /// The process may have too few file descriptors for the configured numbers of connections.
        "service.descriptors_short" WARN ServiceDescriptorsShort { limit: Count, needed: Count, remedy: Quoted }
        /// The limit of file descriptors cannot be raised.
        "service.descriptors_fixed" WARN ServiceDescriptorsFixed { error: Quoted }
        /// The configuration was read again.
        "config.read" INFO ConfigRead { file: Quoted }
        /// A key has changed that needs a restart.
        "config.restart_needed" WARN ConfigRestartNeeded { key: Quoted }
        /// The configuration has an error; the old one stays in force.
        "config.refused" ERROR ConfigRefused { error: Quoted }
    }
    "console" {
        /// The webhook was not told of a new message, because it is too slow.
        "console.announcement_dropped" WARN ConsoleAnnouncementDropped { message_id: Shown }
        /// The webhook does not take what it is told of a new message.
        "console.webhook_failed" WARN ConsoleWebhookFailed { message_id: Shown, error: Quoted }
    }
    "pseudo_dns" {
        /// A zone was read, and is served.
        "dns.zone_read" INFO DnsZoneRead { file: Quoted, record_sets: Count }
        /// The zone has an error; the old one is served.
        "dns.zone_refused" ERROR DnsZoneRefused { error: Quoted }
        /// A datagram cannot be received.
        "dns.receive_failed" WARN DnsReceiveFailed { error: Quoted }
        /// A connection over TCP was refused, because too many are open.
        "dns.connection_refused" INFO DnsConnectionRefused { peer: Shown }
        /// A response cannot be encoded.
        "dns.response_failed" ERROR DnsResponseFailed { error: Quoted }
    }
    "town_tls" {
        /// The town's authority has issued a server's certificate.
        "tls.certificate_issued" INFO TlsCertificateIssued { name: Quoted, file: Shown }
        /// A changed certificate cannot be used; the one before stays in use.
        "tls.reload_failed" ERROR TlsReloadFailed { error: Quoted }
    }
    "smtp_gateway" {
        /// A message is durable, and its client was told 250.
        "smtp.accepted" INFO SmtpAccepted { message_id: Shown, recipients: Count, octets: Count, seconds: Seconds }
        /// A sender, a recipient or a message was refused.
        "smtp.rejected" INFO SmtpRejected { command: Quoted, code: Count, reply: Quoted }
        /// A client has logged in with AUTH.
        "smtp.login" INFO SmtpLogin { user: Quoted }
        /// A client has failed to log in with AUTH.
        "smtp.login_failed" WARN SmtpLoginFailed { peer: Shown, reason: Quoted }
        /// A connection was refused, because too many are open.
        "smtp.connection_refused" INFO SmtpConnectionRefused { peer: Shown }
        /// There is no certificate, so this port stays closed.
        "smtp.certificate_missing" WARN SmtpCertificateMissing { port: Quoted }
        /// A client and this server have not agreed on TLS.
        "smtp.tls_failed" INFO SmtpTlsFailed { peer: Shown, error: Quoted }
        /// These networks may send as any local user without a password.
        "smtp.networks_trusted" WARN SmtpNetworksTrusted { networks: Quoted }
        /// The store gave no usable answer.
        "smtp.store_failed" WARN SmtpStoreFailed { error: Quoted }
        /// The store did not answer in time.
        "smtp.store_late" WARN SmtpStoreLate {}
        /// Another server has taken the message for this recipient.
        "relay.relayed" INFO RelayRelayed { message_id: Shown, recipient: Shown }
        /// An attempt failed for now; there will be another one.
        "relay.deferred" INFO RelayDeferred { message_id: Shown, recipient: Shown, reply: Quoted, retry_seconds: Count }
        /// The message failed for this recipient.
        "relay.failed" INFO RelayFailed { message_id: Shown, recipient: Shown, reply: Quoted }
        /// The message was tried until `relay.expiry`, and failed for this recipient.
        "relay.expired" INFO RelayExpired { message_id: Shown, recipient: Shown, reply: Quoted }
        /// A recipient turned out to be local, and the store delivers to it.
        "relay.handed_over" INFO RelayHandedOver { message_id: Shown, recipient: Shown }
        /// A recipient was given back untried, because the service stops.
        "relay.released" INFO RelayReleased { message_id: Shown, recipient: Shown }
        /// An exchange cannot be used.
        "relay.exchange_failed" INFO RelayExchangeFailed { exchange: Quoted, error: Quoted }
        /// TLS with an exchange has failed. With `relay.tls = "opportunistic"`, the mail goes in the clear.
        "relay.tls_failed" INFO RelayTlsFailed { exchange: Quoted, error: Quoted }
        /// A file of `[relay]` cannot be used. It is read again for each connection.
        "relay.file_unusable" WARN RelayFileUnusable { error: Quoted }
        /// A name cannot be looked up.
        "relay.lookup_failed" WARN RelayLookupFailed { name: Quoted, error: Quoted }
        /// The queue cannot be read now.
        "relay.queue_failed" WARN RelayQueueFailed { error: Quoted }
        /// A lease was lost; another worker goes on.
        "relay.lease_lost" WARN RelayLeaseLost {}
        /// A lease cannot be renewed now.
        "relay.renewal_failed" WARN RelayRenewalFailed { error: Quoted }
        /// What became of a message could not be recorded; it may be sent again.
        "relay.outcome_lost" WARN RelayOutcomeLost { message_id: Shown, error: Quoted }
        /// A failure message cannot be stored; its sender is not told.
        "relay.report_lost" ERROR RelayReportLost { message_id: Shown, error: Quoted }
        /// Transactions that did not finish in time were cut when the service stopped.
        "relay.transactions_cut" WARN RelayTransactionsCut { transactions: Count }
    }
    "pop3_gateway" {
        /// A user has logged in.
        "pop3.login" INFO Pop3Login { messages: Count }
        /// The user is unknown, or the password is wrong; with USER and PASS, or with AUTH.
        "pop3.login_refused" WARN Pop3LoginRefused {}
        /// Another session has the maildrop.
        "pop3.maildrop_in_use" INFO Pop3MaildropInUse {}
        /// The user has logged in less than `pop3.login_delay` ago.
        "pop3.login_too_soon" INFO Pop3LoginTooSoon {}
        /// A connection was refused, because too many are open.
        "pop3.connection_refused" INFO Pop3ConnectionRefused { peer: Shown }
        /// A connection broke.
        "pop3.connection_broke" INFO Pop3ConnectionBroke { error: Quoted }
        /// There is no certificate, so this port stays closed.
        "pop3.certificate_missing" WARN Pop3CertificateMissing { port: Quoted }
        /// A client and this server have not agreed on TLS.
        "pop3.tls_failed" INFO Pop3TlsFailed { peer: Shown, error: Quoted }
        /// The store gave no usable answer about a login.
        "pop3.store_failed" WARN Pop3StoreFailed { error: Quoted }
        /// The store did not answer in time about a login.
        "pop3.store_late" WARN Pop3StoreLate {}
        /// A maildrop cannot be opened now.
        "pop3.open_failed" WARN Pop3OpenFailed { error: Quoted }
        /// A message cannot be read.
        "pop3.read_failed" WARN Pop3ReadFailed { message_id: Shown, error: Quoted }
        /// Messages were deleted at QUIT.
        "pop3.deleted" INFO Pop3Deleted { messages: Count }
        /// Messages cannot be deleted.
        "pop3.delete_failed" WARN Pop3DeleteFailed { messages: Count, error: Quoted }
        /// The lock of a maildrop is lost; nothing will be deleted at QUIT.
        "pop3.lock_lost" WARN Pop3LockLost {}
        /// The lock of a maildrop cannot be renewed now.
        "pop3.renewal_failed" WARN Pop3RenewalFailed { error: Quoted }
        /// A maildrop cannot be unlocked; its lease runs out.
        "pop3.unlock_failed" WARN Pop3UnlockFailed { error: Quoted }
    }
    "mailbox_store" {
        /// A message is durable.
        "store.submitted" DEBUG StoreSubmitted { message_id: Shown, transaction: Quoted, repeated: Shown }
        /// The storage cannot serve a request now, or a message is damaged.
        "store.request_failed" WARN StoreRequestFailed { error: Quoted }
        /// A request failed by a fault of the store.
        "store.fault" ERROR StoreFault { error: Quoted }
        /// Records that cannot be decoded were quarantined.
        "store.quarantined" ERROR StoreQuarantined { message_id: Shown, records: Count, reason: Quoted }
        /// So many logins from this address have failed that its next ones are delayed.
        "store.logins_delayed" WARN StoreLoginsDelayed { client: Shown, failures: Count }
        /// The accounts of the configuration were read again.
        "store.accounts_read" INFO StoreAccountsRead { accounts: Count }
        /// Every user logs in with every password, because the configuration says so.
        "store.every_login" WARN StoreEveryLogin {}
        /// Every address of the local domains gets a mailbox with its first mail, because the configuration says so.
        "store.every_address" WARN StoreEveryAddress {}
        /// The accounts cannot be read or written now, and stay as they were.
        "store.accounts_kept" ERROR StoreAccountsKept { error: Quoted }
        /// The store has accounts that the configuration does not name; they stay.
        "store.accounts_unnamed" INFO StoreAccountsUnnamed { accounts: Count }
        /// Two accounts are spellings of one address. Mail for any other spelling goes to the first.
        "store.accounts_alike" WARN StoreAccountsAlike { account: Shown, other: Shown }
        /// An account was added, changed or removed by the API.
        "store.account_changed" INFO StoreAccountChanged { address: Shown, change: Shown }
        /// A message of the queue was retried, held, released or removed by the API.
        "store.queue_changed" INFO StoreQueueChanged { message_id: Shown, recipients: Count, change: Shown }
        /// A snapshot was taken.
        "store.snapshot_taken" INFO StoreSnapshotTaken { snapshot: Shown, messages: Count, octets: Count }
        /// The store has become what it was when a snapshot was taken.
        "store.restored" INFO StoreRestored { snapshot: Shown, messages: Count }
        /// A password cannot be hashed now.
        "store.hash_failed" WARN StoreHashFailed { address: Shown, error: Quoted }
        /// The list of checked passwords cannot be read or written; the next start checks them again.
        "store.checked_lost" WARN StoreCheckedLost { error: Quoted }
        /// Housekeeping failed, and will be tried again.
        "store.maintenance_failed" WARN StoreMaintenanceFailed { task: Quoted, error: Quoted }
        /// A maildrop whose caller has gone cannot be unlocked; its lease runs out.
        "store.unlock_failed" WARN StoreUnlockFailed { error: Quoted }
    }
}
