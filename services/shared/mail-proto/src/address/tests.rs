use super::*;
use proptest::prelude::*;

#[test]
fn mailboxes() {
    let table: &[(&str, Result<&str, AddressError>)] = &[
        ("usr1@mail.sustech.edu.cn", Ok("usr1@mail.sustech.edu.cn")),
        ("Usr1@Mail.SUSTech.edu.cn", Ok("Usr1@mail.sustech.edu.cn")),
        ("PostMaster@gmail.com", Ok("postmaster@gmail.com")),
        ("\"usr1\"@gmail.com", Ok("usr1@gmail.com")),
        ("\"a b\"@c", Ok("\"a b\"@c")),
        ("\"a\\\"b\\\\\"@c", Ok("\"a\\\"b\\\\\"@c")),
        ("\"a@b\"@c", Ok("\"a@b\"@c")),
        ("\"\"@c", Ok("\"\"@c")),
        ("a@[127.0.0.1]", Ok("a@[127.0.0.1]")),
        ("a@[IPv6:::1]", Ok("a@[ipv6:::1]")),
        ("a@[x-tag:!Z~]", Ok("a@[x-tag:!z~]")),
        ("a@localhost", Ok("a@localhost")),
        ("a+b/c@x.y", Ok("a+b/c@x.y")),
        ("a", Err(AddressError::MissingDomain)),
        ("", Err(AddressError::LocalPart)),
        ("@c", Err(AddressError::LocalPart)),
        ("a@", Err(AddressError::Domain)),
        ("a@b@c", Err(AddressError::Domain)),
        ("a@c.", Err(AddressError::Domain)),
        ("a@.c", Err(AddressError::Domain)),
        ("a@-c", Err(AddressError::Domain)),
        ("a@c_d", Err(AddressError::Domain)),
        ("a@[300.0.0.1]", Err(AddressError::Domain)),
        ("a@[127.0.0.1", Err(AddressError::Domain)),
        ("a@[]", Err(AddressError::Domain)),
        ("a@[ipv6:127.0.0.1]", Err(AddressError::Domain)),
        ("a@[IPv6:]", Err(AddressError::Domain)),
        ("a@[-tag:x]", Err(AddressError::Domain)),
        ("a@[:x]", Err(AddressError::Domain)),
        ("a@[tag:]", Err(AddressError::Domain)),
        ("a@[tag:x y]", Err(AddressError::Domain)),
        ("a@[tag:x[y]", Err(AddressError::Domain)),
        ("a@[tag:x\\y]", Err(AddressError::Domain)),
        ("a@[tag:x]y]", Err(AddressError::Domain)),
        ("a@[tag:\u{7f}]", Err(AddressError::Domain)),
        (".a@c", Err(AddressError::Dots)),
        ("a.@c", Err(AddressError::Dots)),
        ("a..b@c", Err(AddressError::Dots)),
        (".@c", Err(AddressError::LocalPart)),
        ("..", Err(AddressError::LocalPart)),
        ("a b@c", Err(AddressError::LocalPart)),
        ("\"a\r\nb\"@c", Err(AddressError::LocalPart)),
        ("\"a@c", Err(AddressError::LocalPart)),
        ("\"a\\\n\"@c", Err(AddressError::LocalPart)),
        ("a\r\n@c", Err(AddressError::LocalPart)),
        ("ü@c", Ok("ü@c")),
        ("\"ü ü\"@c", Ok("\"ü ü\"@c")),
        ("\"ü\"@c", Ok("ü@c")),
        ("用户@例子.cn", Ok("用户@xn--fsqu00a.cn")),
        ("a@BÜCHER.Example", Ok("a@xn--bcher-kva.example")),
        ("a@xn--bcher-kva.example", Ok("a@xn--bcher-kva.example")),
        ("a@例子。cn", Ok("a@xn--fsqu00a.cn")),
        ("a@ü_b.cn", Err(AddressError::Domain)),
        ("a@ü..cn", Err(AddressError::Domain)),
        ("a@-ü.cn", Err(AddressError::Domain)),
        ("a@[ü]", Err(AddressError::Domain)),
        ("a@ü\u{0}.cn", Err(AddressError::Domain)),
        ("\u{85}@c", Err(AddressError::LocalPart)),
        ("a\u{200b}@c", Err(AddressError::LocalPart)),
        ("a\u{202e}b@c", Err(AddressError::LocalPart)),
        ("a\u{2066}b@c", Err(AddressError::LocalPart)),
        ("\u{feff}a@c", Err(AddressError::LocalPart)),
        ("a\u{ad}@c", Err(AddressError::LocalPart)),
        ("a\u{3164}@c", Err(AddressError::LocalPart)),
        ("a\u{fe0f}@c", Err(AddressError::LocalPart)),
        ("e\u{301}@c", Ok("\u{e9}@c")),
        ("a\u{fffd}b@c", Err(AddressError::LocalPart)),
        ("a\u{3000}b@c", Err(AddressError::LocalPart)),
        ("\"a\u{2028}b\"@c", Err(AddressError::LocalPart)),
        ("\"a\\\u{85}\"@c", Err(AddressError::LocalPart)),
        ("a@c\r\n", Err(AddressError::Domain)),
    ];
    for (text, expected) in table {
        let parsed = text.parse::<Mailbox>().map(|mailbox| mailbox.to_string());
        assert_eq!(parsed, expected.map(str::to_owned), "{text:?}");
    }
}

/// RFC 5321 §4.1.3: an address literal stands for one host, so it has no MX.
#[test]
fn address_literals_are_told_from_names() {
    for (text, is_literal) in
        [("[127.0.0.1]", true), ("[IPv6:::1]", true), ("[tag:x]", true), ("127.0.0.1", false), ("a", false)]
    {
        assert_eq!(text.parse::<Domain>().map(|domain| domain.is_literal()), Ok(is_literal), "{text}");
    }
}

/// RFC 5321 §4.5.1: the reserved mailbox, in any spelling, of every domain.
#[test]
fn the_postmaster_is_known_in_any_spelling() {
    let table = [
        ("postmaster@a", true),
        ("POSTmaster@a", true),
        ("\"PostMaster\"@a", true),
        ("postmaster@[127.0.0.1]", true),
        ("postmasters@a", false),
        ("a@postmaster", false),
        ("\"postmaster \"@a", false),
    ];
    for (text, is_postmaster) in table {
        assert_eq!(text.parse::<Mailbox>().map(|mailbox| mailbox.is_postmaster()), Ok(is_postmaster), "{text}");
    }
    assert!(Mailbox::postmaster("a".parse().unwrap()).is_postmaster());
}

/// RFC 5321 §4.5.3.1.2, §4.5.3.1.3, and RFC 1035 §2.3.4 for labels: the longest is taken, one octet more is not. Local
/// parts may be as long as a path lets them.
#[test]
fn lengths() {
    use AddressError::{Domain, TooLong};
    let octets = |octets: usize| "a".repeat(octets);
    let name = |labels: &[usize]| labels.iter().map(|label| octets(*label)).collect::<Vec<_>>().join(".");
    let mailboxes = [
        (octets(252), octets(1), Ok(())),
        (octets(253), octets(1), Err(TooLong)),
        (format!("\"{}\"", "\\a".repeat(252)), octets(1), Ok(())),
        (format!("\"{}\"", octets(253)), octets(1), Err(TooLong)),
        (octets(1), octets(63), Ok(())),
        (octets(1), octets(64), Err(Domain)),
        (octets(1), name(&[63, 63, 63, 63]), Ok(())),
        (octets(1), name(&[63, 63, 63, 61, 2]), Err(TooLong)),
    ];
    for (local_part, domain, expected) in mailboxes {
        let text = format!("{local_part}@{domain}");
        assert_eq!(text.parse::<Mailbox>().map(|_| ()), expected, "{text}");
    }
    let paths = [
        (64, name(&[63, 63, 61]), Ok(())),
        (64, name(&[63, 63, 62]), Err(TooLong)),
        (252, octets(1), Ok(())),
        (252, octets(2), Err(TooLong)),
        (253, octets(1), Err(TooLong)),
    ];
    for (local_part, domain, expected) in paths {
        let path = format!("<{}@{domain}>", octets(local_part));
        assert_eq!(path.parse::<ReversePath>().map(|_| ()), expected, "{path}");
        assert_eq!(path.parse::<ForwardPath>().map(|_| ()), expected, "{path}");
    }
}

#[test]
fn paths() {
    assert_eq!("<>".parse(), Ok(ReversePath::Null));
    let mailbox: Mailbox = "a@c".parse().unwrap();
    for path in ["<a@c>", "<@x:a@c>", "<@x,@y.z:a@c>", "<@[IPv6:::1]:a@c>"] {
        assert_eq!(path.parse(), Ok(ReversePath::Mailbox(mailbox.clone())), "{path}");
        assert_eq!(path.parse(), Ok(ForwardPath::Mailbox(mailbox.clone())), "{path}");
    }
    assert_eq!("<PostMaster>".parse(), Ok(ForwardPath::Postmaster));
    for path in ["a@c", "<a@c", "<<a@c>>", "<@x,y:a@c>", "<@x>", "<>"] {
        assert!(path.parse::<ForwardPath>().is_err(), "{path}");
    }
    assert_eq!("<postmaster>".parse::<ReversePath>(), Err(AddressError::MissingDomain));
}

#[test]
fn a_path_ends_at_the_first_bracket_outside_quotes() {
    assert_eq!(split_path("<a@b> SIZE=1"), Some(("<a@b>", " SIZE=1")));
    assert_eq!(split_path("<\"a>b\\\">\"@c>X"), Some(("<\"a>b\\\">\"@c>", "X")));
    assert_eq!(split_path("<a\\>X"), Some(("<a\\>", "X")));
    assert_eq!(split_path("<a@b"), None);
}

/// They travel in quotes from here on.
#[test]
fn odd_dots_are_taken_where_they_are_wanted() {
    for (text, expected) in [
        ("<a..b@c>", Ok("<\"a..b\"@c>")),
        ("<.a@c>", Ok("<\".a\"@c>")),
        ("<@x:a.@c>", Ok("<\"a.\"@c>")),
        ("<a.b@c>", Ok("<a.b@c>")),
        ("<.@c>", Err(AddressError::LocalPart)),
        ("<@c>", Err(AddressError::Domain)),
        ("<a@c..d>", Err(AddressError::Domain)),
    ] {
        assert_eq!(ReversePath::parse(text, true).map(|path| path.to_string()), expected.map(str::to_owned), "{text}");
        assert_eq!(ForwardPath::parse(text, true).map(|path| path.to_string()), expected.map(str::to_owned), "{text}");
    }
}

/// Their quotes count: whoever reads the path next must find it short enough (RFC 5321 §4.5.3.1.3).
#[test]
fn odd_dots_leave_room_for_their_quotes() {
    for (octets, expected) in [(254, true), (255, false), (256, false)] {
        let text = format!("<a..{}@b.test>", "x".repeat(octets - "<a..@b.test>".len()));
        assert_eq!(text.len(), octets);
        for path in [
            ReversePath::parse(&text, true).map(|path| path.to_string()),
            ForwardPath::parse(&text, true).map(|path| path.to_string()),
        ] {
            match path {
                Ok(path) => assert!(expected && path.parse::<ReversePath>().is_ok(), "{octets}"),
                Err(error) => assert!(!expected && error == AddressError::TooLong, "{octets}: {error}"),
            }
        }
    }
}

/// A domain is longer in ASCII.
#[test]
fn a_path_beyond_ascii_leaves_room_for_its_domain_in_ascii() {
    for (octets, expected) in [(225, true), (254, false)] {
        let text = format!("<{}@\u{e9}.test>", "x".repeat(octets - "<@\u{e9}.test>".len()));
        assert_eq!(text.len(), octets);
        let paths = [text.parse::<ReversePath>().err(), text.parse::<ForwardPath>().err()];
        assert_eq!(paths, [(!expected).then_some(AddressError::TooLong); 2], "{octets}");
    }
}

#[test]
fn a_path_without_brackets_ends_at_a_space_outside_quotes() {
    assert_eq!(split_bare_path("a@b SIZE=1"), ("a@b", " SIZE=1"));
    assert_eq!(split_bare_path("\"a b\\\" c\"@d SIZE=1"), ("\"a b\\\" c\"@d", " SIZE=1"));
    assert_eq!(split_bare_path("a@b"), ("a@b", ""));
}

proptest! {
    #[test]
    fn display_parses_back(local in "[ -~]{0,64}", domain in "[a-z0-9]{1,8}(\\.[a-z0-9]{1,8}){0,3}") {
        let quoted: String = local.chars().flat_map(|c| ['\\', c]).collect();
        let mailbox: Mailbox = format!("\"{quoted}\"@{domain}").parse().unwrap();
        prop_assert_eq!(mailbox.to_string().parse::<Mailbox>(), Ok(mailbox));
    }

    #[test]
    fn parsing_never_panics_and_never_lets_control_characters_through(text in ".{0,80}") {
        if let Ok(path) = text.parse::<ForwardPath>() {
            prop_assert!(!path.to_string().contains(|c: char| c.is_control()));
        }
    }
}

#[test]
fn a_literal_has_an_address() {
    let table = [
        ("[127.0.0.1]", Some("127.0.0.1")),
        ("[IPv6:::1]", Some("::1")),
        ("[ipv6:2001:DB8::1]", Some("2001:db8::1")),
        ("[x400:a]", None),
        ("127.0.0.1", None),
        ("a.test", None),
    ];
    for (domain, expected) in table {
        let address = domain.parse::<Domain>().unwrap().address().map(|address| address.to_string());
        assert_eq!(address.as_deref(), expected, "{domain}");
    }
    let moved = "a@[127.0.0.1]".parse::<Mailbox>().unwrap().in_domain("b.test".parse().unwrap());
    assert_eq!(moved.to_string(), "a@b.test");
}
