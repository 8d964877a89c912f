//! What is found in changed files.

use super::*;
use std::path::Path;

const CONFIG: &str = include_str!("../../../../data/config.toml");
const ZONE: &str = include_str!("../../../../data/fdns.toml");

/// What is found after changes of the shipped files, as pairs of old and new text.
fn found(config: &[(&str, &str)], zone: &[(&str, &str)]) -> Vec<String> {
    let change = |text: &str, changes: &[(&str, &str)]| {
        changes.iter().fold(text.to_owned(), |text, (old, new)| {
            assert!(text.contains(old), "{old}");
            text.replace(old, new)
        })
    };
    let config = Config::parse(&change(CONFIG, config), Path::new("config.toml")).unwrap();
    let zone = Zone::parse(&change(ZONE, zone), Path::new("fdns.toml")).unwrap();
    findings(&config, &zone).iter().map(|finding| format!("{}: {}", severity(finding), finding.text)).collect()
}

fn severity(finding: &Finding) -> &'static str {
    match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Every finding is where somebody has to change something.
#[test]
fn a_finding_has_its_file_and_line() {
    let config = "# A town.\nprofile = \"rfc\"\n[server.\"a.test\"]\nsmtp = 25\npop = 110\ndomains = [\"a.test\", \"b.test\", \
                  \"c.test\", \"*\"]\n[accounts.\"a.test\"]\n\"u@a.test\" = \"$argon2x\"\n[agent.\"b.test\"]\nsmtp = \
                  \"lost\"\npop = \"MX.a.test\"\n[agent.\"far.test\"]\nsmtp = \"a\"\npop = \"b\"\n";
    let zone = "[MX]\n\"A.test.\" = \"mx.a.test.\"\n\"c.test.\" = \".\"\n\"x.test.\" = \"none.\"\n[P]\n\"mx.a.test.\" = \"26\"\n";
    let sources = Sources {
        config: ("config.toml".into(), KeyLines::of(config)),
        zone: ("fdns.toml".into(), KeyLines::of(zone)),
    };
    let config = Config::parse(config, Path::new("config.toml")).unwrap();
    let zone = Zone::parse(zone, Path::new("fdns.toml")).unwrap();
    let located = findings(&config, &zone).iter().map(|finding| sources.located(finding)).collect::<Vec<_>>();
    let expected = [
        "config.toml:8: accounts.\"a.test\".\"u@a.test\": ",
        "fdns.toml:1: b.test cannot get mail: it has no MX and no P record",
        "config.toml:10: agent.\"b.test\".smtp, which is \"lost\", has no P record",
        "config.toml:6: server.\"a.test\".domains has \"*\"",
        "fdns.toml:6: the exchange mx.a.test. of a.test leads to port 26",
        "config.toml:7: agent.\"a.test\" is missing",
        "fdns.toml:3: c.test takes no mail",
        "fdns.toml:6: agent.\"b.test\".pop, which is \"MX.a.test\", leads to port 26",
        "config.toml:12: agent.\"far.test\" is for a mail domain that no server has",
        "fdns.toml:4: nobody can send mail to x.test.",
    ];
    assert_eq!(located.len(), expected.len(), "{located:#?}");
    for (found, expected) in located.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nexpected: {expected}");
        // What to do.
        assert!(found.contains("; "), "{found}");
    }
}

#[test]
fn the_shipped_files_fit_together() {
    assert_eq!(found(&[], &[]), Vec::<String>::new());
}

#[test]
fn a_password_that_nobody_could_log_in_with_is_named() {
    let found = found(&[("pass2", "$argon2id$nonsense")], &[]);
    let [finding] = &found[..] else { panic!("{found:?}") };
    let expected = "error: accounts.\"exmail.qq.com\".\"usr2@mail.sustech.edu.cn\": the password of usr2@mail.sustech.edu.cn is no valid \
                    argon2 PHC string (";
    assert!(finding.starts_with(expected), "{finding}");
}

#[test]
fn a_record_that_leads_elsewhere_is_named() {
    let exchange = ("\"gmail-smtp-in.l.google.com.\" = \"2025\"", "\"gmail-smtp-in.l.google.com.\" = ");
    let table = [
        ("\"2110\"", "to port 2110 (server.\"gmail.com\".pop), and not to server.\"gmail.com\".smtp"),
        ("\"1025\"", "to port 1025 (server.\"exmail.qq.com\".smtp), and not to server.\"gmail.com\".smtp"),
        ("\"127.0.0.1:2026\"", "to port 2026 (server.\"gmail.com\".smtp_http), and not to server.\"gmail.com\".smtp"),
        (
            "\"mx.other.example:25\"",
            "to mx.other.example:25 on another host, and not to server.\"gmail.com\".smtp on this one",
        ),
    ];
    for (port, expected) in table {
        let found = found(&[], &[(exchange.0, &format!("{}{port}", exchange.1))]);
        let what = "warning: the exchange gmail-smtp-in.l.google.com. of gmail.com leads";
        assert_eq!(found, [format!("{what} {expected}; make its P record \"2025\"")], "{port}");
    }
    let nobody = found(&[], &[("\"pop.gmail.com.\" = \"2110\"", "\"pop.gmail.com.\" = \"9999\"")]);
    assert_eq!(
        nobody,
        [
            "warning: agent.\"gmail.com\".pop, which is \"pop.gmail.com\", leads to port 9999 (where no server listens), \
             and not to server.\"gmail.com\".pop; make its P record \"2110\"",
        ]
    );
}

#[test]
fn an_agent_may_send_to_the_port_for_submissions() {
    let submission = |record: &str| found(&[], &[(record, &record.replace("\"2025\"", "\"2587\""))]);
    assert_eq!(submission("\"smtp.gmail.com.\" = \"2025\""), Vec::<String>::new());
    let exchange = "warning: the exchange gmail-smtp-in.l.google.com. of gmail.com leads to port 2587 \
                    (server.\"gmail.com\".submission), and not to server.\"gmail.com\".smtp; make its P record \"2025\"";
    assert_eq!(submission("\"gmail-smtp-in.l.google.com.\" = \"2025\""), [exchange]);
}

#[test]
fn a_lookup_over_dns_needs_its_port() {
    let lookup = ("[server.\"gmail.com\"]", "[relay]\nlookup = \"dns\"\n[server.\"gmail.com\"]");
    assert_eq!(found(&[lookup], &[]), Vec::<String>::new());
    assert_eq!(
        found(&[lookup, ("dns = 2053\n", "")], &[]),
        [
            "warning: server.\"gmail.com\".dns is missing; add it, because relay.lookup is \"dns\": an smtp-gateway that runs \
          by itself needs it"
        ]
    );
}

#[test]
fn what_keeps_mail_away_is_told_apart() {
    let mx = "\"gmail.com.\" = \"gmail-smtp-in.l.google.com.\"\n";
    let p = "\"gmail-smtp-in.l.google.com.\" = \"2025\"\n";
    assert_eq!(
        found(&[], &[(mx, "")]),
        ["error: gmail.com cannot get mail: it has no MX and no P record; add an MX to the zone"]
    );
    assert_eq!(
        found(&[], &[(mx, "\"gmail.com.\" = \".\"\n")]),
        ["warning: gmail.com takes no mail: it has a null MX, though it is a domain of server.\"gmail.com\"; \
          name an exchange"]
    );
    assert_eq!(
        found(&[], &[(p, "")]),
        ["error: gmail.com cannot get mail: none of its exchanges (gmail-smtp-in.l.google.com.) has a P record; \
          add one to the zone"]
    );
    // Its own exchange.
    assert_eq!(found(&[], &[(mx, ""), (p, "\"gmail.com.\" = \"2025\"\n")]), Vec::<String>::new());
    let elsewhere = found(&[], &[(mx, &format!("{mx}\"x.example.\" = \"mx.x.example.\"\n"))]);
    assert_eq!(
        elsewhere,
        ["warning: nobody can send mail to x.example.: none of its exchanges (mx.x.example.) has a P record; add \
          one, or remove the MX"]
    );
}

#[test]
fn port_0_needs_no_records_but_is_not_where_others_listen() {
    let free = [("smtp = 2025", "smtp = 0"), ("pop = 2110", "pop = 0")];
    assert_eq!(found(&free, &[]), Vec::<String>::new());
    let (exchange, agent) = ("\"gmail-smtp-in.l.google.com.\" = \"2025\"\n", "\"pop.gmail.com.\" = \"2110\"\n");
    assert_eq!(found(&free, &[(exchange, ""), (agent, "")]), Vec::<String>::new());
    let another = exchange.replace("2025", "1025");
    let elsewhere = exchange.replace("2025", "127.0.0.1:9999");
    let what = "warning: the exchange gmail-smtp-in.l.google.com. of gmail.com leads to port";
    for (record, port) in
        [(another, "1025 (server.\"exmail.qq.com\".smtp)"), (elsewhere, "9999 (where no server listens)")]
    {
        let expected = format!("{what} {port}, and not to server.\"gmail.com\".smtp; remove its P record");
        assert_eq!(found(&free, &[(exchange, &record)]), [expected]);
    }
    // A domain that the zone does not have stays unknown.
    let mx = "\"gmail.com.\" = \"gmail-smtp-in.l.google.com.\"\n";
    let expected = "error: gmail.com cannot get mail: it has no MX and no P record; add an MX to the zone";
    assert_eq!(found(&free, &[(mx, "")]), [expected]);
}

#[test]
fn all_findings_are_told_at_once_and_errors_first() {
    let agent = "[agent.\"gmail.com\"]\nsmtp = \"smtp.gmail.com\"\npop = \"pop.gmail.com\"\n";
    let found = found(
        &[(agent, "[agent.\"x.example\"]\nsmtp = \"a\"\npop = \"b\"\n")],
        &[("\"smtp.exmail.qq.com.\" = \"1025\"\n", "")],
    );
    assert_eq!(
        found,
        [
            "error: agent.\"mail.sustech.edu.cn\".smtp, which is \"smtp.exmail.qq.com\", has no P record; \
             add one to the zone",
            "warning: agent.\"gmail.com\" is missing, but gmail.com has accounts: their agents find no server; add it with \
             smtp and pop",
            "warning: agent.\"x.example\" is for a mail domain that no server has; remove it, or give the domain to a \
             server",
        ]
    );
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let tls = "pops = 2995\n[server.\"gmail.com\".tls]\ncert = \"no.pem\"\nkey = \"no.key\"\n";
    let missing = "No such file or directory (os error 2); name a file with the";
    assert_eq!(
        found(&[("pops = 2995\n", tls)], &[]),
        [
            format!(
                "error: server.\"gmail.com\".tls.cert: no.pem: {missing} certificate in PEM, or remove \
                 server.\"gmail.com\".tls"
            ),
            format!(
                "error: server.\"gmail.com\".tls.key: no.key: {missing} private key of the certificate in PEM, or remove \
                 server.\"gmail.com\".tls"
            ),
        ]
    );
}

#[test]
fn files_of_the_relay_that_cannot_be_read_are_named() {
    let relay = "[relay]\nca = \"no.pem\"\n[relay.smarthost]\nhost = \"smtp.example\"\nport = 587\nuser = \"u\"\n\
                 password_file = \"no.secret\"\n[server.\"gmail.com\"]";
    let missing = "No such file or directory (os error 2); name a file";
    assert_eq!(
        found(&[("[server.\"gmail.com\"]", relay)], &[]),
        [
            format!(
                "warning: relay.ca: no.pem: {missing} with the certificates of authorities in PEM, because mail that needs a \
                 verified certificate waits until then"
            ),
            format!(
                "warning: relay.smarthost.password_file: no.secret: {missing} that mailtown can read, because no mail leaves \
                 until then"
            ),
        ]
    );
}

#[test]
fn an_alias_that_leads_to_nobody_here_is_named() {
    let text = |lines: &str| {
        let rfc = CONFIG.replace("profile = \"tutorial\"", "profile = \"rfc\"");
        format!("{rfc}\n[aliases.\"exmail.qq.com\"]\n{lines}")
    };
    let found = |lines: &str| {
        let config = Config::parse(&text(lines), Path::new("config.toml")).unwrap();
        let zone = Zone::parse(ZONE, Path::new("fdns.toml")).unwrap();
        findings(&config, &zone).into_iter().map(|finding| finding.text).collect::<Vec<_>>()
    };
    let nobody = "nobody has the address lost@gmail.com; add it to accounts.\"gmail.com\", or name another target";
    let list = "\"all@mail.sustech.edu.cn\" = [\"usr1@mail.sustech.edu.cn\", \"lost@gmail.com\", \"a@far.example\"]\n";
    assert_eq!(found(list), [format!("aliases.\"exmail.qq.com\".\"all@mail.sustech.edu.cn\": {nobody}")]);
    let catch_all = "[catch_all]\n\"mail.sustech.edu.cn\" = \"lost@gmail.com\"\n";
    assert_eq!(found(catch_all), [format!("catch_all.\"mail.sustech.edu.cn\": {nobody}")]);
    let well = "\"one@mail.sustech.edu.cn\" = [\"USR1@mail.sustech.edu.cn\", \"usr1+tag@mail.sustech.edu.cn\", \
                \"postmaster@gmail.com\", \"two@mail.sustech.edu.cn\"]\n\"two@mail.sustech.edu.cn\" = \"usr@gmail.com\"\n";
    assert_eq!(found(well), Vec::<String>::new());
}
