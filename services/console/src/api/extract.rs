//! What calls are asked for, with problem details for what is refused.

use super::invalid;
use crate::{index::Cursor, query};
use internal_api::{MessageId, Problem, ProblemKind, SessionId};

pub(crate) use service_kit::http::extract::{Json, Path, Query};

/// The session of a path or a query. What is no id is no session's.
pub(crate) fn session(id: &str) -> Result<SessionId, Problem> {
    id.parse().map_err(|error| Problem::new(ProblemKind::NotFound, format!("{error}")))
}

/// The message of a path. What is no id is no message's.
pub(crate) fn message(id: &str) -> Result<MessageId, Problem> {
    id.parse().map_err(|error| Problem::new(ProblemKind::MessageUnknown, format!("{error}")))
}

/// The query for mail.
pub(crate) fn mail_query(text: Option<&str>) -> Result<query::Query, Problem> {
    query::Query::parse(text.unwrap_or_default()).map_err(|error| invalid(format!("query: {error}")))
}

/// The place after which mail is wanted.
pub(crate) fn since(text: Option<&str>) -> Result<Option<Cursor>, Problem> {
    text.filter(|text| !text.is_empty()).map(str::parse).transpose().map_err(|error| invalid(format!("since: {error}")))
}

/// A number that has to be in a range.
pub(crate) fn within(name: &str, value: Option<u32>, default: u32, most: u32) -> Result<u32, Problem> {
    match value {
        None => Ok(default),
        Some(value) if value <= most => Ok(value),
        Some(value) => Err(invalid(format!("{name} is {value}; give at most {most}"))),
    }
}

/// A number that has to be in a range from 1.
pub(crate) fn from_one(name: &str, value: Option<u32>, default: u32, most: u32) -> Result<u32, Problem> {
    match within(name, value, default, most)? {
        0 => Err(invalid(format!("{name} is 0; give at least 1"))),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_their_range() {
        for (value, expected) in
            [(None, Some(5)), (Some(0), None), (Some(1), Some(1)), (Some(9), Some(9)), (Some(10), None)]
        {
            assert_eq!(from_one("limit", value, 5, 9).ok(), expected, "{value:?}");
        }
        assert_eq!(within("timeout", Some(0), 5, 9).ok(), Some(0));
    }
}
