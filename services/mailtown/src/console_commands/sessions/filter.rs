//! What `mailtown sessions` is asked for, as the parameters of the console's API.

use anyhow::bail;
use internal_api::SessionId;

/// The words with a value: each is a parameter of the API.
const NAMED: [&str; 7] = ["stack", "service", "protocol", "peer", "user", "message", "refused"];

/// A parameter of the API.
pub(super) type Parameter = (&'static str, String);

/// The session that these words name, if they are the id of one.
pub(super) fn id(words: &[String]) -> Option<SessionId> {
    match words {
        [word] => word.to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}

/// The parameters that these words stand for.
///
/// # Errors
/// Names the word that means nothing.
pub(super) fn filter(words: &[String]) -> anyhow::Result<Vec<Parameter>> {
    words.iter().flat_map(|word| word.split_whitespace()).map(parameter).collect()
}

fn parameter(word: &str) -> anyhow::Result<Parameter> {
    let word = word.strip_prefix("is:").unwrap_or(word);
    Ok(match word {
        "failed" => ("failed", "true".to_owned()),
        "open" => ("open", "true".to_owned()),
        "closed" => ("open", "false".to_owned()),
        _ => {
            let named = word.split_once(':').filter(|(_, value)| !value.is_empty());
            let known = named.and_then(|(name, value)| Some((NAMED.into_iter().find(|known| *known == name)?, value)));
            let Some((name, value)) = known else {
                bail!(
                    "\"{word}\" is neither the ID of a session nor one of failed, open, closed, {}:VALUE",
                    NAMED.join(":VALUE, ")
                )
            };
            (name, value.to_owned())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn words_become_parameters() {
        let parameters = filter(&words("failed stack:gmail.com peer:[::1]:25 is:open")).unwrap();
        let expected = [("failed", "true"), ("stack", "gmail.com"), ("peer", "[::1]:25"), ("open", "true")];
        assert_eq!(parameters, expected.map(|(name, value)| (name, value.to_owned())));
        for word in ["faild", "stack:", "to:x@a.test", ":"] {
            let error = filter(&words(word)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("\"{word}\" is neither the ID of a session")), "{error}");
        }
    }

    #[test]
    fn an_id_is_no_filter() {
        let text = "019AC8F2-7d3a-7c51-8000-1f0e2d3c4b5a";
        assert_eq!(id(&words(text)).unwrap().to_string(), text.to_lowercase());
        assert_eq!(id(&words(&format!("{text} failed"))), None);
        assert_eq!(id(&[]), None);
    }
}
