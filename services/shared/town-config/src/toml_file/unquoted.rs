//! Names with dots that were not put in quotes, and addresses and domains that are none.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The tables whose keys are names with dots.
const NAMED: [&str; 5] = ["server", "accounts", "aliases", "agent", "catch_all"];

/// What to do about a name that is wrong at this path. `what` is wrong with it.
pub(super) fn cure(document: &DeTable<'_>, path: &[String], what: &str) -> Option<String> {
    if what.starts_with("invalid local part") {
        return Some(format!(
            "{what}; before the @ write letters, digits and signs such as . _ + -, or put what is there in quotes of its own"
        ));
    }
    if what.starts_with("invalid domain") {
        return Some(format!("{what}; write letters, digits and inner hyphens, with dots between"));
    }
    let is_about_a_name =
        ["unknown field", "an address has the form", "give an address"].iter().any(|begin| what.starts_with(begin));
    let (table, names @ [_, ..]) = path.split_first()? else { return None };
    if !is_about_a_name || !NAMED.contains(&table.as_str()) {
        return None;
    }
    let mut value = document.get(table.as_str())?.get_ref();
    for name in names {
        value = inner(value)?.get(name.as_str()).map(Spanned::get_ref)?;
    }
    let mut name = names.join(".");
    // TOML has made a table of each dot. The last one has the keys of the server.
    let mut entries = inner(value)?;
    let is_value = table == "catch_all";
    while let Some((part, below)) = only(entries).filter(|(_, below)| is_value || inner(below).is_some()) {
        name = format!("{name}.{part}");
        match inner(below) {
            Some(below) => entries = below,
            None => break,
        }
    }
    let written = if is_value { format!("\"{name}\" = …") } else { format!("[{table}.\"{name}\"]") };
    Some(format!("a name with dots stands in quotes; write {written}"))
}

fn inner<'d, 'i>(value: &'d DeValue<'i>) -> Option<&'d DeTable<'i>> {
    if let DeValue::Table(table) = value { Some(table) } else { None }
}

/// The only entry of a table.
fn only<'d, 'i>(table: &'d DeTable<'i>) -> Option<(&'d str, &'d DeValue<'i>)> {
    let mut entries = table.iter();
    let (key, value) = entries.next()?;
    entries.next().is_none().then_some((key.get_ref().as_ref(), value.get_ref()))
}

#[cfg(test)]
mod tests {
    use crate::Config;
    use std::path::Path;

    #[test]
    fn a_name_without_quotes_is_told_as_it_should_be_written() {
        let table = [
            (
                "[server.gmail.com]\nsmtp = 1\npop = 2\n",
                "2: server.gmail.com: a name with dots stands in quotes; write [server.\"gmail.com\"]",
            ),
            (
                "[server.mail.x.org]\nsmtp = 1\npop = 2\n",
                "2: server.mail.x: a name with dots stands in quotes; write [server.\"mail.x.org\"]",
            ),
            (
                "[server.x.org]\nsmtp = 1\n",
                "2: server.x.org: a name with dots stands in quotes; write [server.\"x.org\"]",
            ),
            (
                "[accounts.gmail.com]\n\"u@x\" = \"p\"\n",
                "2: accounts.gmail.com: a name with dots stands in quotes; write [accounts.\"gmail.com\"]",
            ),
            (
                "[agent.x.org]\nsmtp = \"a\"\npop = \"b\"\n",
                "2: agent.x.org: a name with dots stands in quotes; write [agent.\"x.org\"]",
            ),
            (
                "[catch_all]\nx.org = \"u@x\"\n",
                "3: catch_all.x: a name with dots stands in quotes; write \"x.org\" = …",
            ),
        ];
        for (text, expected) in table {
            let faults = Config::check(&format!("# A town.\n{text}"), Path::new("f")).unwrap_err();
            let found = faults.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert!(found.contains(&format!("f:{expected}")), "{found:#?}\nexpected: {expected}");
        }
    }
}
