//! The shipped files, and domains added to them.

use super::*;
use crate::check::findings;
use tempfile::TempDir;

/// The shipped files in a directory of their own.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        fs::write(files.path("config.toml"), include_str!("../../../../data/config.toml")).unwrap();
        fs::write(files.path("fdns.toml"), include_str!("../../../../data/fdns.toml")).unwrap();
        fs::write(files.path("docker-compose.yml"), include_str!("../../../../docker-compose.yml")).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn new_domain(&self, domain: &str, user: Option<&str>) -> NewDomain {
        let account = user.map(|user| (user.parse().unwrap(), "secret".to_owned()));
        let (config, zone, compose) =
            (self.path("config.toml"), self.path("fdns.toml"), self.path("docker-compose.yml"));
        NewDomain { domain: domain.parse().unwrap(), account, config, zone, compose }
    }

    fn add(&self, domain: &str, user: Option<&str>) -> anyhow::Result<()> {
        self.new_domain(domain, user).changes()?.write()
    }

    fn load(&self) -> (Config, Zone) {
        (Config::load(&self.path("config.toml")).unwrap(), Zone::load(&self.path("fdns.toml")).unwrap())
    }
}

/// The lines of `new` that `old` does not have; all lines of `old` are in `new`, in their order.
fn added<'a>(old: &str, new: &'a str) -> Vec<&'a str> {
    let mut rest = old.lines().peekable();
    let added = new.lines().filter(|line| rest.next_if_eq(line).is_none()).collect();
    assert_eq!(rest.next(), None, "a line was changed or lost");
    added
}

#[test]
fn a_domain_is_added_and_everything_else_stays() {
    let files = Files::new();
    let before = ["config.toml", "fdns.toml", "docker-compose.yml"].map(|name| (name, files.text(name)));
    files.add("example.org", Some("ann@example.org")).unwrap();
    let [config, zone, _] = before.each_ref().map(|(name, old)| {
        let new = files.text(name);
        added(old, &new).into_iter().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(
        config,
        [
            "[server.\"example.org\"]",
            "smtp = 4025",
            "pop = 4110",
            "store = 4080",
            "dns = 4053",
            "dns_http = 4054",
            "smtp_http = 4026",
            "pop_http = 4111",
            "submission = 4587",
            "submissions = 4465",
            "pops = 4995",
            "[accounts.\"example.org\"]",
            "\"ann@example.org\" = \"secret\"",
            "[agent.\"example.org\"]",
            "smtp = \"smtp.example.org\"",
            "pop = \"pop.example.org\"",
        ]
    );
    assert_eq!(
        zone,
        [
            "\"example.org.\" = \"mx.example.org.\"",
            "\"smtp.example.org.\" = \"4025\"",
            "\"pop.example.org.\" = \"4110\"",
            "\"mx.example.org.\" = \"4025\"",
        ]
    );
    let (config, zone) = files.load();
    assert_eq!(findings(&config, &zone), []);
}

#[test]
fn a_hundred_domains_can_be_added() {
    let files = Files::new();
    for number in 0..100 {
        files.add(&format!("d{number}.example"), None).unwrap();
    }
    let (config, zone) = files.load();
    assert_eq!(config.stacks().count(), 102);
    assert_eq!(findings(&config, &zone), []);
    let compose = files.text("docker-compose.yml");
    assert_eq!(compose.matches("<<: *dns").count(), 102);
}

#[test]
fn what_the_town_has_is_refused_and_nothing_is_written() {
    let files = Files::new();
    let before = files.text("config.toml");
    let table = [
        ("gmail.com", None, "has a server \"gmail.com\" already"),
        ("mail.sustech.edu.cn", None, "mail.sustech.edu.cn is a mail domain of server \"exmail.qq.com\" already"),
        ("[127.0.0.1]", None, "[127.0.0.1] is an address"),
        ("example.org", Some("ann@example.com"), "ann@example.com is not in example.org"),
        ("google.com", None, ""),
    ];
    for (domain, user, expected) in table {
        let added = files.add(domain, user);
        if expected.is_empty() {
            added.unwrap();
        } else {
            let said = format!("{:#}", added.unwrap_err());
            assert!(said.contains(expected), "{said}");
            assert_eq!(files.text("config.toml"), before);
        }
    }
    fs::write(files.path("docker-compose.yml"), "services: {}\n").unwrap();
    let before = files.text("config.toml");
    let said = format!("{:#}", files.add("example.org", None).unwrap_err());
    assert!(said.contains("docker-compose.yml: has 0 lines with \"mailtown add-domain: environments\""), "{said}");
    assert_eq!(files.text("config.toml"), before);
}

#[test]
fn the_diff_shows_what_would_be_written() {
    let files = Files::new();
    let diff = files.new_domain("example.org", None).changes().unwrap().diff();
    assert!(
        diff.contains("\n+[server.\"example.org\"]\n") && diff.contains("\n+domains = [\"example.org\"]\n"),
        "{diff}"
    );
    assert!(diff.contains("\n+\"mx.example.org.\" = \"4025\"\n"), "{diff}");
    assert!(
        diff.contains("\n+  example-org-smtp:\n") && diff.contains("\n+      CREATE DATABASE example_org;\n"),
        "{diff}"
    );
    assert!(!diff.lines().any(|line| line.starts_with('-') && !line.starts_with("---")), "{diff}");
    assert!(!files.text("config.toml").contains("example.org"));
}

#[test]
fn a_file_that_changed_meanwhile_is_not_overwritten() {
    let files = Files::new();
    let changes = files.new_domain("example.org", None).changes().unwrap();
    fs::write(files.path("fdns.toml"), files.text("fdns.toml") + "# edited\n").unwrap();
    let said = changes.write().unwrap_err().to_string();
    assert!(said.contains("fdns.toml has changed meanwhile"), "{said}");
    assert!(!files.text("config.toml").contains("example.org"));
}
