//! `/api/v1/chaos`: three kinds of faults, as Mailpit has them.

use super::{App, Failure};
use axum::{Json, extract::State, extract::rejection::JsonRejection};
use faults::{Fault, Place, Settings, What, When};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The names of the faults, their commands, and the codes that they have unless told otherwise.
const KINDS: [(&str, &str, u16); 3] =
    [("mailpit-sender", "MAIL", 451), ("mailpit-recipient", "RCPT", 451), ("mailpit-authentication", "AUTH", 535)];

/// How often each command is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Chaos {
    sender: Trigger,
    recipient: Trigger,
    authentication: Trigger,
}

/// How often a command is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Trigger {
    /// The code of the reply, 400 to 599.
    error_code: u16,
    /// In percent.
    probability: u8,
}

impl Default for Chaos {
    fn default() -> Self {
        Self::of(&Settings::default())
    }
}

impl Chaos {
    fn of(settings: &Settings) -> Self {
        let trigger = |(name, _, code): (&str, &str, u16)| {
            let fault = settings.faults.get(name);
            let code_of = |fault: &Fault| match &fault.what {
                What::Reply(text) => text.get(..3).and_then(|code| code.parse().ok()),
                _ => None,
            };
            let percent = |fault: &Fault| (fault.when.probability.unwrap_or(1.0) * 100.0).round() as u8;
            Trigger { error_code: fault.and_then(code_of).unwrap_or(code), probability: fault.map_or(0, percent) }
        };
        let [sender, recipient, authentication] = KINDS.map(trigger);
        Self { sender, recipient, authentication }
    }

    /// Puts its faults in the place of those that were there.
    fn apply(&self, faults: &mut BTreeMap<String, Fault>) -> Result<(), String> {
        for ((name, verb, code), trigger) in KINDS.into_iter().zip([self.sender, self.recipient, self.authentication]) {
            let code = if trigger.error_code == 0 { code } else { trigger.error_code };
            if !(400..=599).contains(&code) || trigger.probability > 100 {
                return Err("error code must be between 400 and 599, and probability between 0 and 100".to_owned());
            }
            faults.remove(name);
            if trigger.probability > 0 {
                faults.insert(name.to_owned(), refusal(verb, code, trigger.probability));
            }
        }
        Ok(())
    }
}

fn refusal(verb: &str, code: u16, percent: u8) -> Fault {
    let service = Some("smtp-gateway".to_owned());
    Fault {
        place: Place { service, verb: Some(verb.to_owned()), ..Place::default() },
        what: What::Reply(format!("{code} Chaos error")),
        when: When { probability: Some(f64::from(percent) / 100.0), ..When::default() },
    }
}

pub(super) async fn read(State(app): State<Arc<App>>) -> Json<Chaos> {
    Json(Chaos::of(&app.faults.report().await.settings))
}

pub(super) async fn set(
    State(app): State<Arc<App>>,
    chaos: Result<Json<Chaos>, JsonRejection>,
) -> Result<Json<Chaos>, Failure> {
    let Json(chaos) = chaos.map_err(|rejection| Failure::Bad(rejection.body_text()))?;
    chaos.apply(&mut BTreeMap::new()).map_err(Failure::Bad)?;
    let report = app.faults.change(|settings| drop(chaos.apply(&mut settings.faults))).await?;
    Ok(Json(Chaos::of(&report.settings)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chaos_is_faults_and_faults_are_chaos() {
        let chaos: Chaos =
            serde_json::from_str(r#"{"Sender":{"ErrorCode":550,"Probability":25},"Recipient":{"Probability":100}}"#)
                .unwrap();
        let mut settings = Settings::default();
        chaos.apply(&mut settings.faults).unwrap();
        assert_eq!(settings.check(), Ok(()));
        assert_eq!(settings.faults.keys().collect::<Vec<_>>(), ["mailpit-recipient", "mailpit-sender"]);
        let read = serde_json::to_value(Chaos::of(&settings)).unwrap();
        let expected = serde_json::json!({
            "Sender": {"ErrorCode": 550, "Probability": 25},
            "Recipient": {"ErrorCode": 451, "Probability": 100},
            "Authentication": {"ErrorCode": 535, "Probability": 0},
        });
        assert_eq!(read, expected);
        Chaos::default().apply(&mut settings.faults).unwrap();
        assert!(settings.faults.is_empty());
        let wrong: Chaos = serde_json::from_str(r#"{"Sender":{"ErrorCode":200,"Probability":1}}"#).unwrap();
        assert!(wrong.apply(&mut settings.faults).is_err());
    }
}
