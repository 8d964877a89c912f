//! The options that the help of each command shows: those that it uses, with texts that fit to it.
//!
//! The options of the town may stand after any command, because scripts set them for all. What a command does not use is
//! taken and not shown.

use clap::{Arg, Command};

/// An option of the town, and what it means to a command.
type Shown = (&'static str, &'static str);

/// For the commands that call the running town.
const CALLS: [Shown; 6] = [
    (
        "config",
        "The configuration of the town, which says where it listens [default: data/config.toml; built-in when neither \
         that nor the zone file exists]",
    ),
    ("names", "Ask only this server; can be repeated [default: all]"),
    ("port_base", "The --port-base that the town was started with"),
    (
        "ports_file",
        "The --ports-file that the town was started with: this says where it listens, and not the configuration",
    ),
    ("http_bind", "The --http-bind that the town was started with"),
    ("token", "The bearer token of the town, if it has one (better set in the environment)"),
];

/// For the commands that ask the console of the running town.
const CONSOLE: [Shown; 4] = [
    (
        "config",
        "The configuration of the town, which has the port of its console [default: data/config.toml; built-in when neither \
         that nor the zone file exists]",
    ),
    ("port_base", "The --port-base that the town was started with"),
    (
        "ports_file",
        "The --ports-file that the town was started with: this says where its console is, and not the configuration",
    ),
    ("console_password", "The password of the console, if it has one (better set in the environment)"),
];

/// For snapshots of the running town, and for one that is opened.
const SNAPSHOT: [Shown; 5] =
    [CONSOLE[0], CONSOLE[1], CONSOLE[2], CONSOLE[3], ("state", "With open: the directory of the new town")];

const CHECK: [Shown; 3] = [
    (
        "config",
        "The configuration file to check [default: data/config.toml; built-in when neither that nor the zone file exists]",
    ),
    (
        "zone",
        "The zone file to check [default: data/fdns.toml; built-in when neither that nor the configuration file exists]",
    ),
    ("port_base", "Check whether all ports can be moved so that the lowest becomes N"),
];

const LESSON: [Shown; 1] = [(
    "config",
    "With --against: the configuration that the servers read, for their names and ports [default: data/config.toml; \
     built-in when neither that nor the zone file exists]",
)];

const ADD_DOMAIN: [Shown; 2] = [
    ("config", "The configuration file to change [default: data/config.toml]"),
    ("zone", "The zone file to change [default: data/fdns.toml]"),
];

const CA: [Shown; 1] = [("state", "The directory of the town, where its authority is")];

const CERTIFICATES: [Shown; 4] = [
    ("state", "The directory of the town, where its authority is"),
    (
        "config",
        "The configuration, which names the servers [default: data/config.toml; built-in when neither that nor the zone \
         file exists]",
    ),
    (
        "zone",
        "The zone, which has the names of their exchanges [default: data/fdns.toml; built-in when neither that nor the \
         configuration file exists]",
    ),
    ("names", "Issue only the certificate of this server; can be repeated [default: all]"),
];

/// The command line of the town, with the options that each command shows.
pub(crate) fn fitted(command: Command) -> Command {
    let options: Vec<Arg> = command.get_arguments().filter(|option| option.is_global_set()).cloned().collect();
    // Health needs no token.
    let health: Vec<Shown> = CALLS.into_iter().filter(|(id, _)| *id != "token").collect();
    let commands: [(&str, &[Shown]); 15] = [
        ("check", &CHECK),
        ("add-domain", &ADD_DOMAIN),
        ("accounts", &CALLS),
        ("queue", &CALLS),
        ("sessions", &CONSOLE),
        ("trace", &CONSOLE),
        ("wait", &CONSOLE),
        ("capture", &CONSOLE),
        ("faults", &CONSOLE),
        ("clock", &CONSOLE),
        ("snapshot", &SNAPSHOT),
        ("lesson", &LESSON),
        ("ca", &CA),
        ("certificates", &CERTIFICATES),
        ("healthcheck", &health),
    ];
    // It calls nobody.
    let command = command.mut_subcommand("accounts", |accounts| {
        accounts.mut_subcommand("hash", |hash| hash.args(options.iter().map(|option| option.clone().hide(true))))
    });
    commands.into_iter().fold(command, |command, (name, shown)| {
        command.mut_subcommand(name, |subcommand| subcommand.args(options.iter().map(|option| fit(option, shown))))
    })
}

/// The option as a command has it: below its own options, or hidden.
fn fit(option: &Arg, shown: &[Shown]) -> Arg {
    const BELOW: usize = 100;
    match shown.iter().position(|(id, _)| option.get_id() == *id) {
        Some(place) => option.clone().help(shown[place].1).display_order(BELOW + place),
        None => option.clone().hide(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Args;
    use clap::{CommandFactory, FromArgMatches};

    /// The options that a command shows, in the order of its help.
    fn shown(path: &[&str]) -> Vec<String> {
        let mut command = fitted(Args::command());
        command.build();
        let command = path.iter().fold(&mut command, |command, name| command.find_subcommand_mut(name).unwrap());
        let help = command.render_long_help().to_string();
        let options =
            help.lines().filter_map(|line| line.trim().split_once("--").filter(|_| line.trim().starts_with('-')));
        let names = options.map(|(_, option)| option.split([' ', '.']).next().unwrap_or_default().to_owned());
        names.filter(|name| name != "help").collect()
    }

    #[test]
    fn a_command_shows_the_options_that_it_uses() {
        let calls = ["config", "name", "port-base", "ports-file", "http-bind", "token"];
        let console = ["console", "config", "port-base", "ports-file", "console-password"];
        for (path, expected) in [
            (&["queue"][..], [&["json"][..], &calls].concat()),
            (&["queue", "hold"], [&["all"][..], &calls].concat()),
            (&["accounts", "list"], [&["json"][..], &calls].concat()),
            (&["accounts", "passwd"], [&["password"][..], &calls].concat()),
            (&["accounts", "hash"], vec!["password"]),
            (&["sessions"], [&["limit", "json"][..], &console].concat()),
            (&["trace"], [&["follow", "message", "limit", "json"][..], &console].concat()),
            (&["wait"], [&["count", "since", "timeout", "json"][..], &console].concat()),
            (&["capture"], [&["session", "message", "live"][..], &console].concat()),
            (&["healthcheck"], calls[..5].to_vec()),
            (&["check"], vec!["config", "zone", "port-base"]),
            (&["add-domain"], vec!["user", "password", "compose", "dry-run", "config", "zone"]),
            (&["lesson", "run"], vec!["against", "answers", "report", "out", "config"]),
            (&["ca"], vec!["state"]),
            (&["certificates"], vec!["to", "state", "config", "zone", "name"]),
        ] {
            assert_eq!(shown(path), expected, "{path:?}");
        }
        let of_town = shown(&[]);
        for option in ["bind", "state", "auth", "proxy-networks", "internal-calls", "log"] {
            assert!(of_town.iter().any(|shown| shown == option), "{option}: {of_town:?}");
        }
    }

    #[test]
    fn each_option_of_a_table_is_one_of_the_town() {
        let command = Args::command();
        for (id, _) in CALLS.iter().chain(&CONSOLE).chain(&CHECK).chain(&ADD_DOMAIN).chain(&CA).chain(&CERTIFICATES) {
            let option = command.get_arguments().find(|option| option.get_id() == *id);
            assert!(option.is_some_and(Arg::is_global_set), "{id}");
        }
    }

    #[test]
    fn options_stand_before_or_after_the_command() {
        for line in [
            "mailtown --config a.toml --state b queue list",
            "mailtown queue --config a.toml --state b list",
            "mailtown queue list --config a.toml --state b",
            "mailtown --state b accounts hash --config a.toml",
        ] {
            let matches = fitted(Args::command()).try_get_matches_from(line.split(' ')).unwrap();
            let said = format!("{:?}", Args::from_arg_matches(&matches).unwrap());
            assert!(said.contains("config: Some(\"a.toml\")") && said.contains("state: \"b\""), "{line}: {said}");
        }
    }
}
