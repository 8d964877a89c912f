//! Fields of reports: delivery status (RFC 3464) and disposition (RFC 8098) notifications, complaints (RFC 5965).

use super::Row;

pub(super) const FIELDS: &[Row] = &[
    ("Original-Envelope-Id", 3464, "2.2.1", "The sender's own name for the envelope, as given with ENVID."),
    ("Reporting-MTA", 3464, "2.2.2", "The server that writes this report."),
    ("DSN-Gateway", 3464, "2.2.3", "The gateway that translated the report from another mail system."),
    ("Received-From-MTA", 3464, "2.2.4", "The server from which the message came."),
    ("Arrival-Date", 3464, "2.2.5", "When the message came to the reporting server."),
    ("Original-Recipient", 3464, "2.3.1", "The recipient as the sender named it at first."),
    ("Final-Recipient", 3464, "2.3.2", "The recipient that this part of the report is about."),
    ("Action", 3464, "2.3.3", "What has become of the message: failed, delayed, delivered, relayed or expanded."),
    ("Status", 3464, "2.3.4", "The enhanced status code, which says why."),
    ("Remote-MTA", 3464, "2.3.5", "The other server that said so."),
    ("Diagnostic-Code", 3464, "2.3.6", "The reply of the other server, word for word."),
    ("Last-Attempt-Date", 3464, "2.3.7", "When delivery was tried the last time."),
    ("Final-Log-ID", 3464, "2.3.8", "The name of the message in the last server's log."),
    ("Will-Retry-Until", 3464, "2.3.9", "Until when the server goes on trying."),
    ("Disposition-Notification-To", 8098, "2.1", "The author wants to be told when the message is displayed."),
    ("Disposition-Notification-Options", 8098, "2.2", "How the author wants to be told of it."),
    ("Reporting-UA", 8098, "3.2.1", "The mail program that writes this report."),
    ("MDN-Gateway", 8098, "3.2.2", "The gateway that translated the report from another mail system."),
    ("Original-Message-ID", 8098, "3.2.5", "The Message-ID of the message that the report is about."),
    ("Disposition", 8098, "3.2.6", "What the reader's program did with the message, such as displayed."),
    ("Feedback-Type", 5965, "3.1", "What kind of complaint the report is, such as abuse."),
    ("User-Agent", 5965, "3.1", "The program that has written the report."),
];
