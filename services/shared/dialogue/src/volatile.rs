//! What of a server's line is different the next time.

/// The pattern of a gap.
const GAP: &str = "{…}";

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Challenges of LOGIN, which are always the same: `Username:` and `Password:`.
const PROMPTS: [&str; 2] = ["VXNlcm5hbWU6", "UGFzc3dvcmQ6"];

/// The line with a gap for each id, date, port and challenge.
pub(crate) fn with_gaps(line: &str) -> String {
    let challenge = ["334 ", "+ "].into_iter().find_map(|tag| Some((tag, line.strip_prefix(tag)?)));
    if let Some((tag, text)) = challenge {
        let is_same = text.is_empty() || PROMPTS.contains(&text);
        return if is_same { line.to_owned() } else { format!("{tag}{GAP}") };
    }
    let names_message = ["message-id:", "in-reply-to:", "references:"]
        .iter()
        .any(|name| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
    let words: Vec<&str> = line.split(' ').collect();
    let mut written: Vec<String> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let date = date(&words[at..]);
        if date > 0 {
            written.push(GAP.to_owned());
            at += date;
            continue;
        }
        let is_queued = at >= 2 && words[at - 2..at] == ["queued", "as"];
        written.push(if is_queued && !words[at].is_empty() { GAP.to_owned() } else { word(words[at], names_message) });
        at += 1;
    }
    written.join(" ")
}

/// How many words at the front are a date and time of RFC 5322 §3.3; 0 where there is none.
fn date(words: &[&str]) -> usize {
    let is_number = |word: &str, digits: std::ops::RangeInclusive<usize>| {
        digits.contains(&word.len()) && word.bytes().all(|octet| octet.is_ascii_digit())
    };
    let weekday = usize::from(words[0].len() == 4 && words[0].ends_with(','));
    let [day, month, year, time, rest @ ..] = &words[weekday..] else { return 0 };
    let is_time = time.len() >= 5 && time.split(':').all(|number| is_number(number, 2..=2));
    if !is_number(day, 1..=2) || !MONTHS.contains(month) || !is_number(year, 4..=4) || !is_time {
        return 0;
    }
    let zone = rest.first().is_some_and(|zone| {
        zone.strip_prefix(['+', '-']).is_some_and(|offset| is_number(offset, 4..=4)) || *zone == "GMT"
    });
    weekday + 4 + usize::from(zone)
}

/// A word of the line, each of its ids and ports a gap.
fn word(word: &str, names_message: bool) -> String {
    let mut written = String::new();
    for run in word.split_inclusive(['<', '>', '(', ')', '[', ']', '"', ',', ';', '=']) {
        let end = run.trim_end_matches(['<', '>', '(', ')', '[', ']', '"', ',', ';', '=']);
        let (run, sign) = run.split_at(end.len());
        written.push_str(&token(run, names_message));
        written.push_str(sign);
    }
    written
}

fn token(run: &str, names_message: bool) -> String {
    if let Some((local, domain)) = run.split_once('@') {
        let is_stamp = local.contains('.') && local.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
        return if names_message || is_stamp { format!("{GAP}@{domain}") } else { run.to_owned() };
    }
    if let Some((host, port)) = run.rsplit_once(':')
        && (host.is_empty() || host == "localhost" || host.contains('.'))
        && (2..=5).contains(&port.len())
        && port.bytes().all(|octet| octet.is_ascii_digit())
    {
        return format!("{host}:{GAP}");
    }
    if is_id(run) || is_timestamp(run) { GAP.to_owned() } else { run.to_owned() }
}

/// A long word of letters and digits, as ids are; `SCRAM-SHA-256` is none.
fn is_id(run: &str) -> bool {
    let parts = || run.split('-');
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_alphanumeric());
    let digits = run.bytes().filter(u8::is_ascii_digit).count();
    let is_mixed = |part: &str| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        digits > 0 && digits < part.len() || digits >= 10
    };
    run.len() >= 10 && digits >= 2 && parts().all(is_word) && parts().any(is_mixed)
}

/// RFC 3339 §5.6: `2026-11-28T09:36:43Z`.
fn is_timestamp(run: &str) -> bool {
    let shape = run.bytes().take(16).map(|octet| if octet.is_ascii_digit() { b'9' } else { octet });
    shape.eq(*b"9999-99-99T99:99")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_a_gap() {
        let table = [
            ("250 2.0.0 OK queued as 1", "250 2.0.0 OK queued as {…}"),
            ("250 2.0.0 Ok: queued as 4B2kY12345z (a)", "250 2.0.0 Ok: queued as {…} (a)"),
            ("250 OK id=1tGxyz-00000000abc-2xYz", "250 OK id={…}"),
            ("250 0192f0c4-7d1a-7c3d-9a51-0242ac120002 taken", "250 {…} taken"),
            ("1 0000000000001", "1 {…}"),
            ("+OK <1896.697170952@dbc.mtview.ca.us>", "+OK <{…}@dbc.mtview.ca.us>"),
            ("Date: Sat, 28 Nov 2026 09:36:43 +0000", "Date: {…}"),
            ("by a.test; 8 Nov 2026 09:36 GMT (x)", "by a.test; {…} (x)"),
            ("220 ready at 2026-11-28T09:36:43.5Z", "220 ready at {…}"),
            ("451 connecting to 127.0.0.1:50312 failed", "451 connecting to 127.0.0.1:{…} failed"),
            ("451 connecting to [::1]:50312, failed", "451 connecting to [::1]:{…}, failed"),
            ("Message-ID: <06gkx@gmail.com>", "Message-ID: <{…}@gmail.com>"),
            ("334 cj1meWtvLWQ=", "334 {…}"),
            ("+ cj1meWtvLWQ=", "+ {…}"),
        ];
        for (line, expected) in table {
            assert_eq!(with_gaps(line), expected);
        }
    }

    #[test]
    fn what_does_not_change_stays() {
        for line in [
            "250 AUTH PLAIN SCRAM-SHA-256-PLUS XOAUTH2",
            "250-ENHANCEDSTATUSCODES",
            "250-LIMITS RCPTMAX=100",
            "250-SIZE 70000",
            "550 5.1.1 <usr1@mail.sustech.edu.cn>: no such mailbox here",
            "250 2.1.5 <12345678@mail.sustech.edu.cn>",
            "334 VXNlcm5hbWU6",
            "334 ",
            "+OK 6 316",
            "250 queued as",
            "MAIL FROM:<address> and parameters (RFC 5321 section 4.1.1.2)",
            "",
        ] {
            assert_eq!(with_gaps(line), line);
        }
    }
}
