use super::*;

const SHIPPED: &str = include_str!("../../../../data/config.toml");

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("data/config.toml")).map_err(|error| error.to_string())
}

#[test]
fn the_shipped_file() {
    let config = parse(SHIPPED).unwrap();
    let stack = config.stack("exmail.qq.com").unwrap();
    assert_eq!(stack.profile, Profile::Tutorial);
    assert_eq!(stack.domains.iter().map(Domain::as_str).collect::<Vec<_>>(), ["mail.sustech.edu.cn"]);
    assert_eq!(
        stack.accounts.keys().map(Mailbox::to_string).collect::<Vec<_>>(),
        ["usr1@mail.sustech.edu.cn", "usr2@mail.sustech.edu.cn"]
    );
    let ports = PortKey::ALL.map(|key| stack.port(key).unwrap());
    assert_eq!(ports, [1025, 3110, 1080, 1053, 1054, 1026, 1111, 1587, 1465, 3995]);
    assert_eq!(config.agent[&"gmail.com".parse().unwrap()].pop, "pop.gmail.com");
}

#[test]
fn the_defaults_are_those_of_the_rfcs() {
    let config = parse("[server.a]\nsmtp = 1\npop = 2\n").unwrap();
    let stack = config.stack("A").unwrap();
    assert_eq!(stack.profile, Profile::Rfc);
    assert_eq!(stack.limits.message_octets, 26_214_400);
    let networks: Vec<_> = stack.trusted_networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["127.0.0.0/8", "::1/128"]);
    assert_eq!(stack.greeting, "a");
    assert_eq!(
        stack.require_port(PortKey::Store).unwrap_err().to_string(),
        "data/config.toml: server.\"a\".store is missing; add a port from 0 to 65535"
    );
}

#[test]
fn every_error_is_one_line_with_file_key_and_remedy() {
    let server = "[server.a]\nsmtp = 1\npop = 2\n";
    let table = [
        (
            "[server.a]\nsmtpp = 1\n".to_owned(),
            "data/config.toml:2: server.a.smtpp: unknown field `smtpp`, expected one of `smtp`, `pop`, `store`, `dns`, \
             `dns_http`, `smtp_http`, `pop_http`, `submission`, `submissions`, `pops`, `domains`, `require_auth`, `greeting`, `tls`",
        ),
        (
            "[server.a]\nsmtp = 70000\n".to_owned(),
            "data/config.toml:2: server.a.smtp: 70000 is no port; give a number from 0 to 65535",
        ),
        (
            "[server.\"a.b\"]\nsmtp = \"x\"\n".to_owned(),
            "data/config.toml:2: server.\"a.b\".smtp: \"x\" is no port; give a number from 0 to 65535",
        ),
        (
            "[server.a]\nsmtp = 1\n".to_owned(),
            "data/config.toml:1: server.\"a\".pop is missing; add a port from 0 to 65535",
        ),
        (
            "profile = tutorial\n".to_owned() + server,
            "data/config.toml:1: invalid boolean, expected `true`; put text in quotes",
        ),
        (
            server.to_owned() + "[http]\nhosts = \"a\"\n",
            "data/config.toml:5: http.hosts: give a list, not text in quotes",
        ),
        (
            server.to_owned() + "[accounts.a]\n\"u@x\" = 12345\n",
            "data/config.toml:5: accounts.a.\"u@x\": give text in quotes, not a whole number",
        ),
        (server.to_owned() + "[agent.x]\nsmtp = \"s\"\n", "data/config.toml:4: agent.x: missing field `pop`; add it"),
        ("profile = \"rfc\"\n".to_owned(), "data/config.toml: no server; add a [server.\"<name>\"] table"),
        (
            "profile = \"x\"\n".to_owned() + server,
            "data/config.toml:1: profile: unknown variant `x`, expected `tutorial` or `rfc`",
        ),
        (
            server.to_owned() + "[relay]\nretry = [\"soon\"]\n",
            "data/config.toml:5: relay.retry: \"soon\" is no duration; give one such as \"15s\", \"5m\" or \"1h 30m\"",
        ),
        (
            server.to_owned() + "[relay]\nlookup = \"dig\"\n",
            "data/config.toml:5: relay.lookup: unknown variant `dig`, expected `http` or `dns`",
        ),
        (
            server.to_owned() + "[relay]\nlease = \"2h\"\n",
            "data/config.toml:5: relay.lease: \"2h\" is no lease; give one from \"1s\" to \"3600s\"",
        ),
        (
            server.to_owned() + "[limits]\npop3_lease = \"900ms\"\n",
            "data/config.toml:5: limits.pop3_lease: \"900ms\" is no lease; give one from \"1s\" to \"3600s\"",
        ),
        (
            server.to_owned() + "[limits]\nrecipients = 2001\n",
            "data/config.toml:5: limits.recipients is 2001; give at most 2000",
        ),
        (
            server.to_owned() + "[accounts.b]\n",
            "data/config.toml:4: accounts.\"b\": no such server; the servers are: a",
        ),
        (
            server.to_owned() + "[accounts.a]\n\"x\" = \"p\"\n",
            "data/config.toml:5: accounts.a.x: an address has the form local-part@domain: \"x\"",
        ),
        (
            "[server.a]\nsmtp = 1\npop = 1\n".to_owned(),
            "data/config.toml:2: server.\"a\".smtp and server.\"a\".pop are both 1; give each its own port",
        ),
        (
            server.to_owned() + "greeting = \"a\\r\\nb\"\n",
            "data/config.toml:4: server.a.greeting: \"a\\r\\nb\" is no greeting; give 1 to 255 printable ASCII characters",
        ),
        (
            server.to_owned() + "[http]\nhosts = [\"town.example:1080\"]\n",
            "data/config.toml:5: http.hosts[0]: invalid domain: \"town.example:1080\"; write letters, digits and inner hyphens, with dots between",
        ),
        (
            server.to_owned() + "[accounts.a]\n\"a\\n\\u001bb\" = \"p\"\n",
            "data/config.toml:5: accounts.a.\"a\\n\\u{1b}b\": invalid local part: \"a\\n\\u{1b}b\"; before the @ write letters, \
             digits and signs such as . _ + -, or put what is there in quotes of its own",
        ),
        (
            "trusted_networks = [\"127.0.0.0/8\", \"10.0.0.300/8\"]\n".to_owned() + server,
            "data/config.toml:1: trusted_networks[1]: \"10.0.0.300/8\" is no network; give an address and the number of its \
             leading bits, such as \"192.0.2.0/24\" or \"2001:db8::/32\"",
        ),
        (
            "proxy_networks = [\"192.0.2.7\"]\n".to_owned() + server,
            "data/config.toml:1: proxy_networks[0]: \"192.0.2.7\" is no network; for this address alone write \
             \"192.0.2.7/32\"",
        ),
        ("auth = 5\n".to_owned() + server, "data/config.toml:1: auth: give text in quotes: `accounts` or `any`"),
        (
            server.to_owned() + "[relay]\ntls = true\n",
            "data/config.toml:5: relay.tls: give text in quotes: one of `opportunistic`, `verify`, `off`",
        ),
        ("[server.a\n".to_owned(), "data/config.toml:1: unclosed table, expected `]`"),
    ];
    for (text, expected) in table {
        assert_eq!(parse(&text).err().as_deref(), Some(expected), "{text}");
    }
    let two = "[server.a]\nsmtp = 1\npop = 2\n[server.b]\nsmtp = 3\npop = 4\n\
               [accounts.a]\n\"u@x\" = \"p\"\n[accounts.b]\n\"v@x\" = \"p\"\n";
    assert_eq!(
        parse(two).unwrap_err(),
        "data/config.toml:4: server.\"b\" and server.\"a\" both have the domain x; give its accounts to one"
    );
    assert_eq!(
        Config::load(Path::new("/nowhere/config.toml")).unwrap_err().to_string(),
        "/nowhere/config.toml: No such file or directory (os error 2); check the path, or name another file with --config"
    );
}

/// Everything that is wrong with a text, without the file's name.
fn faults(text: &str) -> Vec<String> {
    let faults = Config::check(text, Path::new("f")).unwrap_err();
    faults.iter().map(|fault| fault.to_string().trim_start_matches("f:").trim_start().to_owned()).collect()
}

#[test]
fn everything_that_is_wrong_is_found_at_once() {
    let keys = "profil = 1\n[server.a]\nsmtp = 70000\npop = 2\nstore = 2\nsmtpp = 3\n[server.b]\nsmtp = 5\npop = 5\n\
                [accounts.c]\n\"x\" = \"p\"\n\"u@x\" = 1\n[agent.x]\nsmtp = \"s\"\nport = 1\n[relay]\nretry = 1\n";
    let found = faults(keys);
    let expected = [
        "1: profil: unknown field `profil`",
        "3: server.a.smtp: 70000 is no port",
        "6: server.a.smtpp: unknown field `smtpp`",
        "11: accounts.c.x: an address has the form",
        "12: accounts.c.\"u@x\": give text in quotes, not a whole number",
        "15: agent.x.port: unknown field `port`",
        "17: relay.retry: give a list, not a whole number",
        "4: server.\"a\".pop and server.\"a\".store are both 2",
        "8: server.\"b\".smtp and server.\"b\".pop are both 5",
    ];
    let is_expected = |(found, expected): (&String, &str)| found.starts_with(expected);
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(is_expected), "{found:#?}");

    let meanings = "[server.a]\nsmtp = 1\npop = 1\nstore = 1\ndomains = [\"y\"]\n[server.b]\nsmtp = 4\n\
                    [limits]\nrecipients = 1\nconnections = 0\n[quotas]\n\"v@x\" = {}\n\"w@x\" = {}\n\
                    [accounts.a]\n\"u@x\" = \"p\"\n[accounts.b]\n\"u@y\" = \"p\"\n[accounts.gmial]\n";
    assert_eq!(
        faults(meanings),
        [
            "9: limits.recipients is 1; give at least 100",
            "10: limits.connections is 0; give at least 1",
            "2: server.\"a\".smtp and server.\"a\".pop are both 1; give each its own port",
            "2: server.\"a\".smtp and server.\"a\".store are both 1; give each its own port",
            "6: server.\"b\".pop is missing; add a port from 0 to 65535",
            "15: accounts.\"a\".\"u@x\": x is no domain of this server; add it to server.\"a\".domains",
            "18: accounts.\"gmial\": no such server; the servers are: a, b",
            "12: quotas.\"v@x\": no such account; add it to an [accounts] table",
            "13: quotas.\"w@x\": no such account; add it to an [accounts] table",
            "6: server.\"b\" and server.\"a\" both have the domain y; give its accounts to one",
        ]
    );
}

#[test]
fn many_faults_are_found_in_a_bounded_time() {
    let text: String = (0..10_000).map(|number| format!("key{number} = 1\n")).collect();
    assert_eq!(faults(&text).len(), 100);
}

#[test]
fn port_0_lets_the_system_choose_and_may_stand_many_times() {
    let free: String = PortKey::ALL.iter().map(|key| format!("{} = 0\n", key.as_str())).collect();
    let config = parse(&format!("[server.a]\n{free}[server.b]\n{free}")).unwrap();
    for stack in config.stacks() {
        assert_eq!(PortKey::ALL.map(|key| stack.require_port(key).unwrap()), [0; PortKey::ALL.len()]);
    }
    let number = "data/config.toml:2: server.a.smtp: -1 is no port; give a number from 0 to 65535";
    assert_eq!(parse("[server.a]\nsmtp = -1\npop = 0\n").unwrap_err(), number);
}

#[test]
fn quotas_are_the_defaults_unless_an_account_has_its_own() {
    let accounts = "[server.a]\nsmtp = 1\npop = 2\n[accounts.a]\n\"u@x\" = \"p\"\n\"v@x\" = \"p\"\n";
    let quotas = "[quota]\nmessages = 10\noctets = 1000\n[quotas]\n\"v@x\" = { octets = 5 }\n";
    let config = parse(&format!("{accounts}{quotas}[retention]\nmessages = \"30d\"\n")).unwrap();
    let stack = config.stack("a").unwrap();
    let quota = |address: &str| stack.quota(&address.parse().unwrap());
    assert_eq!(quota("u@x"), Quota { messages: Some(10), octets: Some(1000) });
    assert_eq!(quota("v@x"), Quota { messages: None, octets: Some(5) });
    assert_eq!(quota("postmaster@x"), Quota::default());
    assert!(stack.has_quotas());
    assert_eq!(stack.retention.messages, Some(std::time::Duration::from_secs(30 * 24 * 3600)));

    let config = parse(accounts).unwrap();
    let stack = config.stack("a").unwrap();
    assert_eq!((stack.has_quotas(), stack.retention.messages), (false, None));

    let table = [
        ("[quotas]\n\"w@x\" = { octets = 5 }\n", ":8: quotas.\"w@x\": no such account; add it to an [accounts] table"),
        ("[quota]\nbytes = 5\n", ":8: quota.bytes: unknown field `bytes`, expected `messages` or `octets`"),
        (
            "[retention]\nmessages = \"0s\"\n",
            ":8: retention.messages: \"0s\" is no time at all; give more, such as \"15s\" or \"5m\"",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(parse(&format!("{accounts}{text}")).unwrap_err(), format!("data/config.toml{expected}"));
    }
}

#[test]
fn a_server_may_require_logins_where_others_do_not() {
    let servers = "[server.a]\nsmtp = 1\npop = 2\n[server.b]\nsmtp = 3\npop = 4\nrequire_auth = ";
    for (all, one) in [(true, false), (false, true)] {
        let config = parse(&format!("auth_without_tls = true\nrequire_auth = {all}\n{servers}{one}\n")).unwrap();
        let required = ["a", "b"].map(|name| config.stack(name).unwrap().require_auth);
        assert_eq!(required, [all, one]);
        assert!(config.stacks().all(|stack| stack.auth_without_tls));
    }
}

#[test]
fn a_user_may_leave_out_the_only_domain() {
    let stack = |domains: &str| {
        parse(&format!("[server.a]\nsmtp = 1\npop = 2\ndomains = [{domains}]\n")).unwrap().stack("a").unwrap().clone()
    };
    let mailbox = |stack: &Stack, name: &str| stack.mailbox_of_user(name).map(|mailbox| mailbox.to_string());
    let (one, two) = (stack("\"x\""), stack("\"x\", \"y\""));
    assert_eq!(mailbox(&one, "u").as_deref(), Some("u@x"));
    assert_eq!(mailbox(&one, "u@y").as_deref(), Some("u@y"));
    assert_eq!([mailbox(&two, "u"), mailbox(&one, "u@"), mailbox(&one, ""), mailbox(&one, "a b")], [const { None }; 4]);
    assert_eq!(mailbox(&two, "u@X").as_deref(), Some("u@x"));
}

#[test]
fn addresses_are_compared_as_the_profile_says_unless_a_key_does() {
    let rules = |top: &str| {
        let config = parse(&format!("{top}[server.a]\nsmtp = 1\npop = 2\n")).unwrap();
        let rules = config.stack("a").unwrap().address_rules;
        (rules.ignores_case, rules.delimiter)
    };
    assert_eq!(rules(""), (true, Some('+')));
    assert_eq!(rules("profile = \"tutorial\"\n"), (false, None));
    assert_eq!(rules("recipient_delimiter = \"\"\n"), (true, None));
    assert_eq!(rules("profile = \"tutorial\"\nrecipient_delimiter = \"-\"\n"), (false, Some('-')));
    for odd in ["++", "a", ".", "@", "\\u00fc"] {
        let error = parse(&format!("recipient_delimiter = \"{odd}\"\n")).unwrap_err();
        assert!(error.contains("is no delimiter; give one sign such as \"+\" or \"-\", or \"\" for none"), "{error}");
    }
}

#[test]
fn tolerance_is_as_the_profile_has_it_unless_a_key_says_otherwise() {
    let tolerance = |top: &str, table: &str| {
        let config = parse(&format!("{top}[server.a]\nsmtp = 1\npop = 2\n[tolerance]\n{table}")).unwrap();
        config.stack("a").unwrap().tolerance()
    };
    let tutorial = Tolerance { bare_lf_in_data: false, ..Tolerance::ALL };
    assert_eq!(tolerance("", ""), Tolerance::default());
    assert_eq!(tolerance("profile = \"tutorial\"\n", ""), tutorial);
    assert_eq!(tolerance("", "bare_lf_in_data = true\n"), Tolerance { bare_lf_in_data: true, ..Tolerance::default() });
    let without_dots = tolerance("profile = \"tutorial\"\n", "odd_dots = false\n");
    assert_eq!(without_dots, Tolerance { odd_dots: false, ..tutorial });
}

#[test]
fn one_address_has_one_account_however_it_is_spelled() {
    let text = "[server.a]\nsmtp = 1\npop = 2\n[server.b]\nsmtp = 3\npop = 4\n[accounts.a]\n\"Usr@x\" = \"p\"\n\"usr@x\" = \"q\"\n\
         [accounts.b]\n\"usr@y\" = \"p\"\n[aliases.a]\n\"USR@x\" = \"usr@y\"\n\"One@x\" = \"usr@y\"\n\"one@x\" = \"usr@y\"\n\
         [quotas]\n\"usr@x\" = { messages = 1 }\n\"UsR@x\" = { messages = 2 }\n";
    let faults = Config::check(text, Path::new("c.toml")).unwrap_err();
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "c.toml:9: accounts.\"a\".\"Usr@x\" and accounts.\"a\".\"usr@x\" are one address, because case is ignored; remove one",
            "c.toml:15: aliases.\"a\".\"One@x\" and aliases.\"a\".\"one@x\" are one address, because case is ignored; remove one",
            "c.toml:17: quotas.\"UsR@x\" and quotas.\"usr@x\" are one address, because case is ignored; remove one",
        ]
    );
    // In the tutorial they are two, and a quota is for one of them.
    let tutorial = format!("profile = \"tutorial\"\n{}", text.replace("\"UsR@x\" =", "\"Usr@x\" ="));
    let config = parse(&tutorial).unwrap();
    let quota = |config: &Config, address: &str| config.stack("a").unwrap().quota(&address.parse().unwrap()).messages;
    assert_eq!((quota(&config, "usr@x"), quota(&config, "Usr@x")), (Some(1), Some(2)));
    let single =
        "[server.a]\nsmtp = 1\npop = 2\n[accounts.a]\n\"Usr@x\" = \"p\"\n[quotas]\n\"usr@X\" = { messages = 1 }\n";
    assert_eq!(quota(&parse(single).unwrap(), "Usr@x"), Some(1));
}

#[test]
fn an_account_has_a_password() {
    let servers = "[server.a]\nsmtp = 1\npop = 2\n[accounts.a]\n\"u@x\" = \"p\"\n\"v@x\" = \"\"\n";
    let expected = "data/config.toml:6: accounts.\"a\".\"v@x\": the password is empty; give one, or a hash from `mailtown \
                    accounts hash`";
    assert_eq!(parse(servers).unwrap_err(), expected);
    let every = servers.replace("pop = 2", "pop = 2\ndomains = [\"*\"]");
    assert!(parse(&every).unwrap_err().contains("the password is empty"));
}

#[test]
fn a_password_is_never_displayed() {
    let config = parse(SHIPPED).unwrap();
    assert!(!format!("{config:?}").contains("pass1"));
}

#[test]
fn a_star_stands_for_every_domain_that_no_other_server_has() {
    let servers = "[server.a]\nsmtp = 1\npop = 2\ndomains = [\"*\", \"c\"]\n[server.b]\nsmtp = 3\npop = 4\n\
        [accounts.a]\n\"u@mine\" = \"x\"\n[accounts.b]\n\"u@y\" = \"x\"\n";
    let local = |text: &str| {
        let config = parse(text).unwrap();
        let stack = config.stack("a").unwrap();
        let names = ["c", "mine", "anything.test", "y", "a", "b", "[192.0.2.1]"];
        names.into_iter().filter(|name| stack.is_local(&name.parse().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(local(&format!("accept = \"any\"\n{servers}")), ["c", "mine", "anything.test", "b"]);
    assert_eq!(local(servers), ["c", "mine"], "only where every address has a mailbox");
    for (accept, expected) in [("", "c, mine"), ("accept = \"any\"\n", "c, mine, every one that no other server has")] {
        let config = parse(&format!("{accept}{servers}")).unwrap();
        assert_eq!(config.stack("a").unwrap().local_domains(), expected);
    }
    for (accept, in_vain) in [("", true), ("accept = \"any\"\n", false)] {
        let config = parse(&format!("{accept}{servers}")).unwrap();
        let [a, b] = ["a", "b"].map(|name| config.stack(name).unwrap().has_a_star_in_vain());
        assert_eq!((a, b), (in_vain, false));
    }
    let twice = servers.replace("pop = 4\n", "pop = 4\ndomains = [\"*\"]\n");
    let expected =
        "data/config.toml:8: server.\"b\".domains and server.\"a\".domains both have \"*\"; leave it to one of them";
    assert_eq!(parse(&twice).unwrap_err(), expected);
    for password in ["", "$argon2id$x"] {
        let error = parse(&format!("accept_password = \"{password}\"\n{servers}")).unwrap_err();
        assert_eq!(error, "data/config.toml:1: accept_password is empty or a hash; give plain text");
    }
}

#[test]
fn a_file_in_another_encoding_is_named_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    std::fs::write(&path, b"# A town\n# f\xfcr uns\n").unwrap();
    let expected = format!("{}:2: not UTF-8; save the file as UTF-8", path.display());
    assert_eq!(Config::load(&path).unwrap_err().to_string(), expected);
    assert_eq!(Config::check_file(&path).unwrap_err()[0].to_string(), expected);
    assert_eq!(crate::zone::Zone::check_file(&path).unwrap_err()[0].to_string(), expected);
}
