//! SCRAM's messages (RFC 5802 §7).

use super::{KEY_OCTETS, Key, LONGEST_SALT_OCTETS};
use crate::sasl::{base64, channel::Binding};

/// What a client says of channel bindings (RFC 5802 §7 `gs2-cbind-flag`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BindingFlag {
    /// `n`: it cannot bind.
    Unsupported,
    /// `y`: it could, but the server does not offer it.
    NotOffered,
    /// `p=`: it binds, with a binding that is known here or not.
    Used(Option<Binding>),
}

/// The client's first message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientFirst<'m> {
    pub(crate) flag: BindingFlag,
    /// Up to and including the comma before `bare`.
    pub(crate) gs2_header: &'m str,
    pub(crate) bare: &'m str,
    pub(crate) authorization: String,
    pub(crate) user: String,
    pub(crate) nonce: &'m str,
}

impl<'m> ClientFirst<'m> {
    pub(crate) fn parse(message: &'m [u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let (flag, rest) = text.split_once(',')?;
        let (authorization, bare) = rest.split_once(',')?;
        let flag = match flag.split_once('=') {
            None if flag == "n" => BindingFlag::Unsupported,
            None if flag == "y" => BindingFlag::NotOffered,
            Some(("p", name)) if is_binding_name(name) => BindingFlag::Used(Binding::named(name)),
            _ => return None,
        };
        let authorization = match authorization {
            "" => String::new(),
            named => decode_name(named.strip_prefix("a=")?).filter(|name| !name.is_empty())?,
        };
        // An extension that must be understood would come first (`m=`), and there is none.
        let mut attributes = bare.split(',');
        let user = decode_name(attributes.next()?.strip_prefix("n=")?).filter(|name| !name.is_empty())?;
        let nonce = attributes.next()?.strip_prefix("r=").filter(|nonce| is_nonce(nonce))?;
        let gs2_header = &text[..text.len() - bare.len()];
        attributes.all(is_attribute).then_some(Self { flag, gs2_header, bare, authorization, user, nonce })
    }
}

/// The client's last message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientFinal<'m> {
    pub(crate) without_proof: &'m str,
    /// The GS2 header and the octets of the channel binding.
    pub(crate) binding: Vec<u8>,
    pub(crate) nonce: &'m str,
    pub(crate) proof: Key,
}

impl<'m> ClientFinal<'m> {
    pub(crate) fn parse(message: &'m [u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let proof = base64::decode(proof.as_bytes())?.try_into().ok()?;
        let mut attributes = without_proof.split(',');
        let binding = base64::decode(attributes.next()?.strip_prefix("c=")?.as_bytes())?;
        let nonce = attributes.next()?.strip_prefix("r=").filter(|nonce| is_nonce(nonce))?;
        attributes.all(is_attribute).then_some(Self { without_proof, binding, nonce, proof })
    }
}

/// The server's first message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ServerFirst<'m> {
    pub(crate) nonce: &'m str,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
}

impl<'m> ServerFirst<'m> {
    pub(crate) fn parse(text: &'m str) -> Option<Self> {
        let mut attributes = text.split(',');
        let nonce = attributes.next()?.strip_prefix("r=").filter(|nonce| is_nonce(nonce))?;
        let salt = base64::decode(attributes.next()?.strip_prefix("s=")?.as_bytes())?;
        let iterations = attributes.next()?.strip_prefix("i=")?.parse().ok()?;
        let is_good = (1..=LONGEST_SALT_OCTETS).contains(&salt.len()) && attributes.all(is_attribute);
        is_good.then_some(Self { nonce, salt, iterations })
    }
}

/// The server's last message: its signature. `None` when it is an error, or none of its messages.
pub(crate) fn server_signature(text: &str) -> Option<[u8; KEY_OCTETS]> {
    let mut attributes = text.split(',');
    let signature = base64::decode(attributes.next()?.strip_prefix("v=")?.as_bytes())?;
    signature.try_into().ok().filter(|_| attributes.all(is_attribute))
}

/// RFC 5802 §5.1: `=2C` is a comma and `=3D` an equals sign, and neither stands for itself.
pub(crate) fn decode_name(encoded: &str) -> Option<String> {
    let mut name = String::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((before, after)) = rest.split_once('=') {
        name.push_str(before);
        let (code, after) = after.split_at_checked(2)?;
        name.push(match code {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        rest = after;
    }
    name.push_str(rest);
    (!name.contains('\0') && !encoded.contains(',')).then_some(name)
}

/// The other way round.
pub(crate) fn encode_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// Printable ASCII without commas.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b',')
}

fn is_binding_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-'))
}

/// An extension that need not be understood.
fn is_attribute(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, b'=', _, ..] if letter.is_ascii_alphabetic() && *letter != b'm')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_messages() {
        let parsed = |text: &str| {
            let first = ClientFirst::parse(text.as_bytes())?;
            assert_eq!([first.gs2_header, first.bare].concat(), text);
            Some((first.flag, first.authorization.clone(), first.user.clone(), first.nonce.to_owned()))
        };
        let table = [
            ("n,,n=user,r=abc", Some((BindingFlag::Unsupported, "", "user", "abc"))),
            ("y,a=x=2Cy,n=u=3Dv,r=abc,z=1", Some((BindingFlag::NotOffered, "x,y", "u=v", "abc"))),
            ("p=tls-exporter,,n=u,r=a", Some((BindingFlag::Used(Some(Binding::Exporter)), "", "u", "a"))),
            ("p=tls-unique,,n=u,r=a", Some((BindingFlag::Used(None), "", "u", "a"))),
            ("n,,n=ü,r=a", Some((BindingFlag::Unsupported, "", "ü", "a"))),
            ("n,,m=1,n=u,r=a", None),
            ("n,,n=u,r=a,m=1", None),
            ("n,,n=u,r=", None),
            ("n,,n=,r=a", None),
            ("n,a=,n=u,r=a", None),
            ("n,x,n=u,r=a", None),
            ("n,,n=u=2c,r=a", None),
            ("n,,n=u=,r=a", None),
            ("n,,n=u\0,r=a", None),
            ("n,,n=u,r=a\u{7f}", None),
            ("n,,r=a,n=u", None),
            ("n,,n=u,r=a,", None),
            ("p,,n=u,r=a", None),
            ("p=,,n=u,r=a", None),
            ("x,,n=u,r=a", None),
            ("n,,", None),
            ("", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|(flag, authorization, user, nonce)| {
                (flag, authorization.to_owned(), user.to_owned(), nonce.to_owned())
            });
            assert_eq!(parsed(text), expected, "{text:?}");
        }
        assert_eq!(ClientFirst::parse(b"n,,n=\xff,r=a"), None);
    }

    #[test]
    fn last_messages() {
        let proof = base64::encode([7; KEY_OCTETS]);
        let good = format!("c=biws,r=ab,x=1,p={proof}");
        let parsed = ClientFinal::parse(good.as_bytes()).unwrap();
        assert_eq!((parsed.without_proof, &parsed.binding[..], parsed.nonce), ("c=biws,r=ab,x=1", &b"n,,"[..], "ab"));
        assert_eq!(parsed.proof, [7; KEY_OCTETS]);
        for bad in [
            "",
            "c=biws,r=ab",
            "c=biws,r=ab,p=",
            "c=biws,r=ab,p=AAAA",
            &format!("c=biw,r=ab,p={proof}"),
            &format!("r=ab,c=biws,p={proof}"),
            &format!("c=biws,p={proof},r=ab"),
            &format!("c=biws,r=ab,m=1,p={proof}"),
            &format!("c=biws,r=ab,p={proof},x=1"),
        ] {
            assert_eq!(ClientFinal::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn messages_of_servers() {
        assert_eq!(
            ServerFirst::parse("r=ab,s=AAAA,i=4096,x=1"),
            Some(ServerFirst { nonce: "ab", salt: vec![0; 3], iterations: 4096 })
        );
        for bad in ["", "r=ab,s=AAAA", "r=ab,s=,i=1", "m=1,r=ab,s=AAAA,i=1", "r=ab,s=AAAA,i=-1", "r=ab,s=AAAA,i=1,"] {
            assert_eq!(ServerFirst::parse(bad), None, "{bad:?}");
        }
        let signature = base64::encode([7; KEY_OCTETS]);
        assert_eq!(server_signature(&format!("v={signature}")), Some([7; KEY_OCTETS]));
        for bad in ["e=invalid-proof", "v=AAAA", ""] {
            assert_eq!(server_signature(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_come_back() {
        for name in ["user", "a,b", "a=b", "=2C", ",=,="] {
            assert_eq!(decode_name(&encode_name(name)).as_deref(), Some(name));
        }
    }
}
