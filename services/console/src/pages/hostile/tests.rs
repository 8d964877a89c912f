use super::{
    clean::{Ambiguous, Cleaned},
    *,
};
use crate::message::{Content, Part};
use internal_api::MessageId;

const ID: &str = "0123456789abc";

fn summary() -> MailSummary {
    MailSummary {
        id: ID.parse::<MessageId>().unwrap(),
        stack: "a.test".to_owned(),
        cursor: String::new(),
        accepted_at: jiff::Timestamp::UNIX_EPOCH,
        octets: 0,
        mail_from: String::new(),
        recipients: Vec::new(),
        message_id: String::new(),
        subject: String::new(),
        from: None,
        to: Vec::new(),
        cc: Vec::new(),
        bcc: Vec::new(),
        reply_to: Vec::new(),
        snippet: String::new(),
        attachments: 0,
        read: false,
        identity: None,
        bounced_as: None,
        held_by_store: true,
    }
}

fn part(number: usize, content_id: &str) -> Part {
    Part {
        number,
        media_type: "image/png".to_owned(),
        name: String::new(),
        content_id: content_id.to_owned(),
        attachment: false,
        inline: true,
        octets: 0,
        sha256: String::new(),
    }
}

fn cleaned(html: &str) -> Cleaned {
    clean(html, &summary(), &[part(3, "a@b"), part(4, "x y")], RemoteImages::Off).unwrap()
}

#[test]
fn what_loads_runs_or_navigates_is_removed() {
    for (hostile, expected) in [
        ("a<script>alert(1)</script>b", "ab"),
        ("<base href=http://x/>a", "a"),
        ("<meta http-equiv=refresh content='0;url=http://x'>a", "a"),
        ("<link rel=preconnect href=http://x><LINK rel=dns-prefetch href=//x>a", "a"),
        ("<noscript><link rel=preconnect href=http://x></noscript>a", "a"),
        ("<form action=http://x><input name=q></form>", "<input name=q>"),
        ("<iframe src=http://x>a</iframe>b<object data=http://x>c</object>d", "bd"),
        ("<svg><script href=http://x></script><a xlink:href=http://x>c</a></svg>d", "d"),
        ("<template><img src=http://x></template>a", "a"),
        ("<p onclick=alert(1) ONLOAD=x>a</p>", "<p>a</p>"),
        ("<img src=http://x/i.png alt=i>", "<img alt=i>"),
        ("<img src=//x/i.png><img src='&#104;ttp://x'><img src=/v1/mail>", "<img><img><img>"),
        ("<img srcset='http://x 2x' src=data:image/png;base64,AA>", "<img src=data:image/png;base64,AA>"),
        ("<picture><source srcset=http://x><img></picture>", "<img>"),
        ("<td background=http://x>a</td>", "<td>a</td>"),
        ("<a href=javascript:alert(1)>a</a>", "<a>a</a>"),
        ("<a href=' java\nscript:alert(1)'>a</a>", "<a>a</a>"),
        ("<a href='&#106;avascript:alert(1)'>a</a>", "<a>a</a>"),
        ("<a href=data:text/html,x>a</a><a href=/mail>b</a>", "<a>a</a><a>b</a>"),
        ("<a href=#top target=_top ping=http://x>a</a>", "<a href=#top>a</a>"),
        (
            "<a href=https://x target=_self rel=opener>a</a>",
            "<a href=https://x target=\"_blank\" rel=\"noopener noreferrer\">a</a>",
        ),
    ] {
        assert_eq!(cleaned(hostile).html, expected, "{hostile}");
    }
}

#[test]
fn images_on_the_network_are_counted_and_loaded_only_when_asked_for() {
    let html = "<img src=http://x/1><img src=https://x/2><p style='background:url(http://x/3)'><img src=cid:a@b>";
    let off = cleaned(html);
    assert_eq!(off.remote_images, 3);
    assert!(!off.html.contains("http://x/1"), "{}", off.html);
    let on = clean(html, &summary(), &[part(3, "a@b")], RemoteImages::On).unwrap();
    assert_eq!(on.remote_images, 3);
    assert!(on.html.contains("<img src=http://x/1>"), "{}", on.html);
    assert!(policy(RemoteImages::Off).to_str().unwrap().contains("img-src 'self' data:;"));
    assert!(policy(RemoteImages::On).to_str().unwrap().contains("img-src 'self' data: http: https:;"));
}

#[test]
fn cid_leads_to_the_part_and_nowhere_else() {
    let url = format!("/v1/mail/{ID}/parts/3");
    for html in ["<img src=cid:a@b>", "<img src=\"CID:a%40b\">", "<img src=' cid:a@b '>"] {
        assert_eq!(cleaned(html).html, format!("<img src=\"{url}\">"), "{html}");
    }
    assert_eq!(cleaned("<img src=cid:x%20y>").html, format!("<img src=\"/v1/mail/{ID}/parts/4\">"));
    assert_eq!(cleaned("<img src=cid:unknown><img src=cid:><img src=cid:../../x>").html, "<img><img><img>");
    let sheet = cleaned("<style>p{background:url(cid:a@b)}</style><p style=\"background:url('cid:a@b')\">");
    assert_eq!(sheet.html.matches(&url).count(), 2, "{}", sheet.html);
    assert_eq!(sheet.remote_images, 0);
}

#[test]
fn what_can_be_read_in_two_ways_is_not_shown() {
    let html = "<select><xmp><link rel=preconnect href=http://x></xmp></select>";
    assert_eq!(clean(html, &summary(), &[], RemoteImages::Off), Err(Ambiguous));
}

#[test]
fn no_message_of_the_corpus_keeps_what_is_hostile() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile");
    let mut seen = 0;
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "eml") {
            continue;
        }
        seen += 1;
        let content = Content::of(&std::fs::read(&path).unwrap());
        let Ok(cleaned) = clean(&content.html, &summary(), &content.parts, RemoteImages::Off) else { continue };
        let lower = cleaned.html.to_ascii_lowercase();
        for hostile in
            ["<script", "<base", "<link", "http-equiv", "<iframe", "<form", "javascript:alert", "<object", "srcset="]
        {
            let is_text = ["<xmp", "<textarea", "<title", "<!--"].iter().any(|begin| lower.contains(begin));
            // "<scr<script>" is one element without a meaning.
            let mut found = lower.match_indices(hostile).map(|(at, _)| lower[..at].chars().next_back());
            let is_there = found.any(|before| !before.is_some_and(char::is_alphanumeric));
            assert!(is_text || !is_there, "{}: {hostile} in {}", path.display(), cleaned.html);
        }
    }
    assert!(seen >= 40, "{seen}");
}
