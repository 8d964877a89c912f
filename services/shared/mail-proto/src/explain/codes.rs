//! SMTP reply codes.

use super::Explanation;

pub(super) fn explain(code: u16) -> Option<Explanation> {
    let row = CODES.iter().find(|row| row.0 == code).or_else(|| CLASSES.iter().find(|row| row.0 == code / 100));
    row.map(|&(_, rfc, section, text)| Explanation { text, rfc, section })
}

type Row = (u16, u16, &'static str, &'static str);

/// What the first digit alone says, for codes that no RFC lists.
const CLASSES: &[Row] = &[
    (2, 5321, "4.2.1", "The server has done what was asked."),
    (3, 5321, "4.2.1", "The server accepts the command and waits for the rest of what belongs to it."),
    (4, 5321, "4.2.1", "The server cannot do this now; the same may work later."),
    (5, 5321, "4.2.1", "The server refuses this; the same will be refused again."),
];

const CODES: &[Row] = &[
    (211, 5321, "4.2.3", "The server tells its status, or answers HELP."),
    (214, 5321, "4.2.3", "The server answers HELP in words for people."),
    (220, 5321, "4.2.3", "The server is ready: for commands after the greeting, for TLS after STARTTLS."),
    (221, 5321, "4.2.3", "The server says good-bye and closes the connection."),
    (235, 4954, "4", "The client is logged in."),
    (250, 5321, "4.2.3", "The server has done what was asked; after the final dot, the message is now its duty."),
    (251, 5321, "3.4", "The mailbox has moved; the server forwards the mail."),
    (252, 5321, "3.5.3", "The server does not tell whether the mailbox exists, but would try to deliver."),
    (253, 1985, "5.3", "The server begins to send the messages that wait for the client."),
    (334, 4954, "4", "The server sends a challenge in base64, and waits for the client's response."),
    (354, 5321, "4.1.1.4", "The server waits for the message, up to a line with a single dot."),
    (421, 5321, "3.8", "The server closes the connection; try again later."),
    (432, 4954, "6", "The user has to log in with PLAIN once, so that the server can keep the password in a new form."),
    (450, 5321, "4.2.3", "The mailbox cannot be used now; try again later."),
    (451, 5321, "4.2.3", "The server has trouble of its own; try again later."),
    (452, 5321, "4.2.3", "The server has no room now, or takes no more recipients at once; try again later."),
    (454, 4954, "6", "TLS or logins are not possible now; try again later."),
    (455, 5321, "4.1.1.11", "The server cannot honour a parameter of MAIL or RCPT now; try again later."),
    (458, 1985, "5.3", "The server cannot send the messages that wait for this node."),
    (459, 1985, "5.3", "The server does not let this client have the messages of this node."),
    (500, 5321, "4.2.2", "The server does not know this command, or the line is too long."),
    (501, 5321, "4.2.2", "The command is known, and what follows it is malformed."),
    (502, 5321, "4.2.4", "The command is known, and this server does not offer it."),
    (503, 5321, "4.1.4", "The command is not allowed at this point of the dialogue."),
    (504, 5321, "4.2.2", "The command is known, and this server does not offer this kind of argument."),
    (521, 7504, "3", "This host takes no mail at all."),
    (530, 4954, "6", "The client has to log in, or to say STARTTLS, before it may do this."),
    (534, 4954, "6", "This mechanism is too weak for this user; take a stronger one."),
    (535, 4954, "6", "The login has failed: name or password is wrong."),
    (538, 4954, "6", "This mechanism may be used only over TLS."),
    (550, 5321, "4.2.3", "The mailbox does not exist, or the server does not want this mail."),
    (551, 5321, "3.4", "The user is not here; the reply names another address."),
    (552, 5321, "4.2.3", "The message is too large, or the mailbox is full."),
    (553, 5321, "4.2.3", "The name of the mailbox is not allowed."),
    (554, 5321, "4.2.2", "The transaction has failed, or at the beginning: the server takes no mail from here."),
    (555, 5321, "4.1.1.11", "The server does not know a parameter of MAIL or RCPT, or its value."),
    (556, 7504, "4", "The recipient's domain takes no mail at all."),
];
