use super::*;

const RICH: &str = concat!(
    "From: \"Anna Ärger\" <anna@gmail.com>\r\nTo: Bob <bob@x.test>, carl@x.test\r\nCc: d@x.test\r\n",
    "Reply-To: help@x.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Sat, 28 Nov 2026 10:00:00 +0100\r\n",
    "Message-ID: <1@gmail.com>\r\nX-Folded: one\r\n two\r\nMIME-Version: 1.0\r\n",
    "Content-Type: multipart/mixed; boundary=a\r\n\r\n",
    "--a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n",
    "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nYour code is 123456.\r\nGo to https://x.test/c?t=998877, now.\r\n",
    "--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<a HREF='https://x.test/?a=1&amp;b=2'>Go</a><img src=\"cid:i\">\r\n--b--\r\n",
    "--a\r\nContent-Type: image/png\r\nContent-ID: <i>\r\nContent-Disposition: inline; filename=i.png\r\n",
    "Content-Transfer-Encoding: base64\r\n\r\niVBORw0=\r\n",
    "--a\r\nContent-Type: application/pdf; name=\"b.pdf\"\r\nContent-Disposition: attachment; filename=\"b.pdf\"\r\n",
    "Content-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n--a--\r\n",
);

#[test]
fn a_message_is_taken_apart() {
    let content = Content::of(RICH.as_bytes());
    assert_eq!(content.subject, "Grüße");
    assert_eq!(content.message_id, "1@gmail.com");
    assert_eq!(content.date.unwrap().to_string(), "2026-11-28T09:00:00Z");
    let person = |name: &str, address: &str| Person { name: name.to_owned(), address: address.to_owned() };
    assert_eq!(content.from, Some(person("Anna Ärger", "anna@gmail.com")));
    assert_eq!(content.to, [person("Bob", "bob@x.test"), person("", "carl@x.test")]);
    assert_eq!(content.reply_to, [person("", "help@x.test")]);
    assert!(content.headers.iter().any(|field| (&*field.name, &*field.value) == ("X-Folded", "one two")));
    assert!(content.text.starts_with("Your code is 123456.\nGo to"), "{}", content.text);
    assert!(content.html.contains("cid:i"), "{}", content.html);
    assert_eq!(content.links, ["https://x.test/?a=1&b=2", "https://x.test/c?t=998877"]);
    assert_eq!(content.codes, ["123456"]);
    assert!(content.snippet.starts_with("Your code is 123456. Go to"));
    assert_eq!(content.attached(), (1, 1));
    let pdf = content.parts.iter().find(|part| part.attachment).unwrap();
    assert_eq!((pdf.name.as_str(), pdf.media_type.as_str(), pdf.octets), ("b.pdf", "application/pdf", 4));
    assert_eq!(pdf.sha256, "315d429b7714cedb6ad04ac31240145257692630457f3c88253c5beceac76027");
    assert_eq!(part(RICH.as_bytes(), pdf.number).unwrap().1, b"%PDF");
    assert_eq!(part(RICH.as_bytes(), 99), None);
    let image = content.parts.iter().find(|part| part.inline).unwrap();
    assert_eq!((image.content_id.as_str(), image.name.as_str()), ("i", "i.png"));
}

#[test]
fn html_alone_has_a_text() {
    let content = Content::of(b"Content-Type: text/html\r\n\r\n<p>Code <b>4711</b></p>\r\n");
    assert_eq!((content.codes.as_slice(), content.html.trim()), (&["4711".to_owned()][..], "<p>Code <b>4711</b></p>"));
}

#[test]
fn whatever_octets_come_there_is_a_content() {
    for raw in [&b""[..], b"\r\n", b"x", b"\xff\xfe\r\n\r\n\xff", b"Content-Type: multipart/mixed\r\n\r\n--\r\n"] {
        let content = Content::of(raw);
        assert_eq!(content.from, None, "{raw:?}");
    }
    assert_eq!(Content::of(b"Subject: s\r\n\r\ntext\r\n").text.trim(), "text");
}

#[test]
fn codes_and_links() {
    for (text, codes, links) in [
        ("PIN: 1234", &["1234"][..], &[][..]),
        ("123 12345678 123456789 a1234 12_34 2026-11-28", &["12345678", "2026"], &[]),
        ("code:0042, again 0042", &["0042"], &[]),
        ("see (http://a.test/1234) and http://b.test.", &[], &["http://a.test/1234", "http://b.test"]),
        ("xhttp://a.test http:// https://", &[], &[]),
        (
            "https://click.test/?u=https://shop.test/1234 5678",
            &["5678"],
            &["https://click.test/?u=https://shop.test/1234"],
        ),
        ("http://http://a.test, 1234", &["1234"], &["http://http://a.test"]),
    ] {
        let content = Content::of(format!("Subject: s\r\n\r\n{text}\r\n").as_bytes());
        assert_eq!((content.codes, content.links), (owned(codes), owned(links)), "{text}");
    }
}

#[test]
fn hostile_links_take_a_time_that_grows_with_the_message_and_are_not_kept() {
    const MANY: usize = 8 * 1024 * 1024;
    let filled = |piece: &str| piece.repeat(MANY / piece.len());
    for (kind, body) in [
        ("html", filled("href=")),
        ("html", filled("href=\"")),
        ("html", filled("href='")),
        ("html", filled("<a href= ")),
        ("html", format!("<a href={}>", filled("x"))),
        ("plain", filled("http://-")),
        ("plain", filled("http://- ")),
        ("plain", filled("1234 http://")),
    ] {
        let began = mail_net::Clock::system().io.instant();
        let content = Content::of(format!("Content-Type: text/{kind}\r\n\r\n{body}\r\n").as_bytes());
        let took = mail_net::Clock::system().io.since(began);
        assert!(took.as_secs() < 20, "{took:?} for {}", &body[..20]);
        assert!(content.links.iter().all(|link| link.len() <= 2048), "{}", &body[..20]);
        assert!(content.text.len() <= TEXT_OCTETS && content.html.len() <= TEXT_OCTETS);
    }
    let unclosed = "<a href=\"/1>x</a>".to_owned() + &"y".repeat(3000) + "<a href='/2'><a href=/3";
    assert_eq!(found::links_of_html(&unclosed), ["/2", "/3"]);
}

#[test]
fn what_is_kept_of_a_message_is_limited_and_said_to_be() {
    let many = |piece: &str| piece.repeat(1024 * 1024 / piece.len());
    for raw in [
        format!("Subject: {}\r\n\r\nx\r\n", many("x")),
        format!("{}\r\nx\r\n", many("X: y\r\n")),
        format!("To: {}a@x.test\r\n\r\nx\r\n", many("a@x.test,\r\n ")),
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", many("--b\r\n\r\nx\r\n")),
        format!("\r\n{}", many("text ")),
    ] {
        let content = Content::of(raw.as_bytes());
        assert!(content.truncated, "{}", &raw[..20]);
        let octets = format!("{content:?}").len() - content.text.len();
        assert!(octets < 512 * 1024, "{octets} for {}", &raw[..20]);
    }
    assert!(!Content::of(RICH.as_bytes()).truncated);
    let long = format!("Subject: s\r\n\r\n{}end\r\n", many("text "));
    assert!(texts(long.as_bytes()).0.trim_end().ends_with("end"));
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
