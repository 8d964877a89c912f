//! The table of what can be remarked.

use crate::Protocol;
use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// An RFC forbids it.
    Breach,
    /// It is allowed, and unwise.
    Advice,
}

/// Declares [`Breach`] and its table: the variant, its name, its weight, the RFC and section for SMTP and for POP3, and
/// the sentence. Where a breach is of one protocol alone, a section about commands or replies stands for the other.
macro_rules! breaches {
    ($($variant:ident $name:literal $weight:ident, $smtp:literal $in_smtp:literal, $pop3:literal $in_pop3:literal:
       $text:literal;)*) => {
        /// What can be wrong in a dialogue.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Breach {
            $(#[doc = $text] $variant,)*
        }

        impl Breach {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// A short name for lists and programs, such as `bare-lf`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What is wrong, in one sentence.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Whether an RFC forbids it.
            pub fn weight(self) -> Weight {
                match self { $(Self::$variant => Weight::$weight,)* }
            }

            /// The RFC and its section.
            pub fn source(self, protocol: Protocol) -> (u16, &'static str) {
                match (self, protocol) {
                    $((Self::$variant, Protocol::Smtp) => ($smtp, $in_smtp),
                    (Self::$variant, Protocol::Pop3) => ($pop3, $in_pop3),)*
                }
            }
        }
    };
}

breaches! {
    // The octets of a line.
    BareLf "bare-lf" Breach, 5321 "2.3.8", 1939 "3": "The line ends with LF alone; lines end with CR LF.";
    BareCr "bare-cr" Breach, 5321 "2.3.8", 1939 "3": "There is a CR without a LF after it.";
    LfCr "lf-cr" Breach, 5321 "2.3.8", 1939 "3": "The line ends with LF CR, in the wrong order.";
    Nul "nul" Breach, 5321 "4.1.2", 1939 "3": "There is an octet of value 0 (NUL).";
    ControlCharacter "control-character" Breach, 5321 "4.1.2", 1939 "3": "There is a control character in the line.";
    EightBitCommand "eight-bit-command" Breach, 6531 "3.4", 6856 "2.1":
        "The command has octets over 127 without SMTPUTF8 or UTF8.";
    EightBitReply "eight-bit-reply" Breach, 6531 "3.7.4.2", 6856 "2.1":
        "The reply has octets over 127, and the client has not asked for UTF-8.";
    CommandTooLong "command-too-long" Breach, 5321 "4.5.3.1.4", 2449 "4":
        "The command is longer than a server has to take.";
    ReplyTooLong "reply-too-long" Breach, 5321 "4.5.3.1.5", 1939 "3":
        "The line of the reply is longer than 512 octets.";
    LineUnfinished "line-unfinished" Breach, 5321 "2.3.8", 1939 "3": "The connection ended in the middle of a line.";
    ForeignProtocol "foreign-protocol" Breach, 5321 "3.1", 1939 "3":
        "The client speaks another protocol, such as HTTP or TLS.";

    // Commands.
    UnknownCommand "unknown-command" Breach, 5321 "4.1.1", 1939 "3": "No RFC has this command.";
    ArgumentMalformed "argument-malformed" Breach, 5321 "4.1.2", 1939 "3":
        "The argument is missing, or not as the RFC has it.";
    OddSpaces "odd-spaces" Breach, 5321 "3.3", 1939 "3":
        "There is white space before the command, or beside the colon.";
    PathWithoutBrackets "path-without-brackets" Breach, 5321 "4.1.2", 1939 "3": "The address is not in angle brackets.";
    PathMalformed "path-malformed" Breach, 5321 "4.1.2", 1939 "3": "The address is malformed.";
    HelloNotDomain "hello-not-domain" Breach, 5321 "4.1.1.1", 1939 "3":
        "The client's name is neither a domain nor an address in square brackets.";
    ParameterNotAnnounced "parameter-not-announced" Breach, 5321 "4.1.1.11", 1939 "3":
        "The parameter belongs to an extension that the server has not announced.";
    CommandNotAnnounced "command-not-announced" Breach, 5321 "2.2.1", 2449 "5":
        "The command belongs to an extension that the server has not announced.";
    MechanismNotAnnounced "mechanism-not-announced" Breach, 4954 "4", 5034 "3":
        "The server has not announced this mechanism.";
    ResponseNotBase64 "response-not-base64" Breach, 4954 "4", 5034 "4":
        "A response of the login exchange is not base64.";
    ChallengeNotBase64 "challenge-not-base64" Breach, 4954 "4", 5034 "4": "The server's challenge is not base64.";
    PasswordInClear "password-in-clear" Advice, 4954 "4", 8314 "4.1":
        "The password travels in clear: everybody on the way can read it.";

    // Order.
    TalkedBeforeGreeting "talked-before-greeting" Breach, 5321 "4.3.1", 1939 "4":
        "The client did not wait for the greeting.";
    TalkedAfterQuit "talked-after-quit" Breach, 2920 "3.1", 1939 "6": "The client sent more after QUIT.";
    HelloMissing "hello-missing" Breach, 5321 "4.1.4", 1939 "3":
        "The client has not introduced itself with EHLO or HELO.";
    OutOfSequence "out-of-sequence" Breach, 5321 "4.1.4", 1939 "3":
        "The command is not allowed at this point of the dialogue.";
    PipeliningNotAnnounced "pipelining-not-announced" Breach, 2920 "3.1", 2449 "6.6":
        "The client did not wait for the reply, and the server has not announced PIPELINING.";
    NotLastInGroup "not-last-in-group" Breach, 2920 "3.1", 2449 "6.6":
        "The client did not wait for the reply to a command that must be the last of a group.";
    InjectedBeforeTls "injected-before-tls" Breach, 3207 "4", 2595 "4":
        "Octets came in clear between the command and TLS; somebody may have put them there.";

    // Messages.
    FinalDotMissing "final-dot-missing" Breach, 5321 "4.1.1.4", 1939 "3":
        "The connection ended before the line with the final dot.";
    ChunkUnfinished "chunk-unfinished" Breach, 3030 "2", 1939 "3":
        "The connection ended before the octets that BDAT promised.";
    TextLineTooLong "text-line-too-long" Breach, 5321 "4.5.3.1.6", 5322 "2.1.1":
        "A line of the message is longer than 1000 octets.";
    NulInMessage "nul-in-message" Breach, 5322 "3.5", 5322 "3.5": "The message has an octet of value 0 (NUL).";
    EightBitMessage "eight-bit-message" Breach, 5321 "2.4", 6856 "2":
        "The message has octets over 127 without BODY=8BITMIME or SMTPUTF8.";
    DotNotStuffed "dot-not-stuffed" Breach, 5321 "4.5.2", 1939 "3":
        "A line begins with a single dot, which should be doubled.";
    SmugglingShape "smuggling-shape" Breach, 5321 "4.1.1.4", 1939 "3":
        "A line with a dot has no CR LF on both sides: some servers take it for the end, and the rest for commands.";

    // The server's replies.
    ReplyWithoutCode "reply-without-code" Breach, 5321 "4.2", 1939 "3":
        "The reply does not begin with a code of three digits.";
    ReplyWithoutSpace "reply-without-space" Breach, 5321 "4.2", 1939 "3":
        "There is no space and no hyphen after the code.";
    ReplyCodeUnknown "reply-code-unknown" Breach, 5321 "4.2", 1939 "3":
        "Reply codes are 200 to 559: no other digits are defined.";
    ReplyCodesDiffer "reply-codes-differ" Breach, 5321 "4.2.1", 1939 "3":
        "The lines of one reply have different codes.";
    ReplyUnasked "reply-unasked" Breach, 5321 "4.2", 1939 "3": "The server replied, and there was nothing to reply to.";
    ReplyTooEarly "reply-too-early" Breach, 5321 "4.1.1.4", 1939 "3":
        "The server replied before the message had ended.";
    ReplyOfWrongKind "reply-of-wrong-kind" Breach, 5321 "4.3.2", 1939 "3":
        "This command is not answered with such a code.";
    ReplyUnfinished "reply-unfinished" Breach, 5321 "4.2.1", 1939 "3": "The connection ended in the middle of a reply.";
    StatusMissing "status-missing" Breach, 2034 "4", 1939 "3":
        "The reply has no enhanced status code, though the server announced them.";
    StatusClassDiffers "status-class-differs" Breach, 2034 "4", 1939 "3":
        "The enhanced status code begins with another digit than the reply code.";
    EndedByBareLf "ended-by-bare-lf" Breach, 5321 "4.1.1.4", 1939 "3":
        "The server took a dot for the end of the message, though CR LF did not stand on both sides.";
    RecipientWithoutSender "recipient-without-sender" Breach, 5321 "3.3", 1939 "3":
        "The server accepted a recipient, though it had accepted no sender.";
    DataWithoutRecipients "data-without-recipients" Advice, 5321 "3.3", 1939 "3":
        "The server asks for a message, though it has accepted no recipient.";
    MessageWithoutRecipients "message-without-recipients" Breach, 5321 "3.3", 1939 "3":
        "The server accepted a message, though it had accepted no recipient.";

    // POP3 alone.
    NeitherOkNorErr "neither-ok-nor-err" Breach, 5321 "4.2", 1939 "3":
        "The reply begins neither with +OK nor with -ERR.";
    AcceptedInWrongState "accepted-in-wrong-state" Breach, 5321 "4.1.4", 1939 "3":
        "The server carried a command out that is not allowed in this state.";
    ListingMalformed "listing-malformed" Breach, 5321 "4.2", 1939 "5":
        "The reply does not have the numbers that it should have.";
    UniqueIdMalformed "unique-id-malformed" Breach, 5321 "4.2", 1939 "7":
        "A unique id has 1 to 70 printable characters without spaces.";
    MultiLineUnfinished "multi-line-unfinished" Breach, 5321 "4.2", 1939 "3":
        "The reply of several lines does not end with CR LF, a dot and CR LF.";
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
