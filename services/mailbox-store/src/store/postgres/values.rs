//! Between columns and values.

use crate::store::records::{Decoded, Undecodable};
use jiff::Timestamp;
use mail_proto::{Mailbox, smtp::MailParameters};
use std::{error::Error, fmt::Display, str::FromStr};
use tokio_postgres::{
    Row,
    types::{FromSql, Type},
};

type Undecoded = Box<dyn Error + Sync + Send>;

/// A column whose text is parsed.
pub(super) struct Parsed<T>(pub(super) T);

impl<'a, T: FromStr<Err: Display>> FromSql<'a> for Parsed<T> {
    fn from_sql(column: &Type, raw: &'a [u8]) -> Result<Self, Undecoded> {
        let text = <&str>::from_sql(column, raw)?;
        text.parse().map(Self).map_err(|error: T::Err| error.to_string().into())
    }

    fn accepts(column: &Type) -> bool {
        <&str as FromSql>::accepts(column)
    }
}

/// The columns `identity, body_type, smtputf8, ret, envid, requiretls, submitter` of a message, from this one on: who was
/// logged in, and the parameters.
pub(super) fn parameters(row: &Row, first: usize) -> Result<(Option<Mailbox>, MailParameters), tokio_postgres::Error> {
    let parameters = MailParameters {
        size_octets: None,
        body: parsed(row, first + 1)?,
        smtputf8: row.try_get::<_, Option<bool>>(first + 2)?.unwrap_or_default(),
        ret: parsed(row, first + 3)?,
        envid: parsed(row, first + 4)?,
        requiretls: row.try_get::<_, Option<bool>>(first + 5)?.unwrap_or_default(),
        submitter: parsed(row, first + 6)?,
    };
    Ok((parsed(row, first)?, parameters))
}

/// A column whose text is parsed, or NULL.
pub(super) fn parsed<T: FromStr<Err: Display>>(row: &Row, column: usize) -> Result<Option<T>, tokio_postgres::Error> {
    Ok(row.try_get::<_, Option<Parsed<T>>>(column)?.map(|Parsed(value)| value))
}

/// A column that holds a moment in milliseconds.
pub(super) struct Moment(pub(super) Timestamp);

impl<'a> FromSql<'a> for Moment {
    fn from_sql(column: &Type, raw: &'a [u8]) -> Result<Self, Undecoded> {
        Ok(Self(Timestamp::from_millisecond(i64::from_sql(column, raw)?)?))
    }

    fn accepts(column: &Type) -> bool {
        <i64 as FromSql>::accepts(column)
    }
}

/// A column that holds a number that is never negative.
pub(super) struct Natural<T>(pub(super) T);

impl<'a, T: TryFrom<i64>> FromSql<'a> for Natural<T> {
    fn from_sql(column: &Type, raw: &'a [u8]) -> Result<Self, Undecoded> {
        let number = i64::from_sql(column, raw)?;
        T::try_from(number).map(Self).map_err(|_| format!("{number} is out of range").into())
    }

    fn accepts(column: &Type) -> bool {
        <i64 as FromSql>::accepts(column)
    }
}

/// A column that holds a checksum.
pub(super) struct Digest(pub(super) [u8; 16]);

impl<'a> FromSql<'a> for Digest {
    fn from_sql(column: &Type, raw: &'a [u8]) -> Result<Self, Undecoded> {
        Ok(Self(<&[u8]>::from_sql(column, raw)?.try_into()?))
    }

    fn accepts(column: &Type) -> bool {
        <&[u8] as FromSql>::accepts(column)
    }
}

/// Decodes a row about this message. A column that makes no sense is the record's own fault.
pub(super) fn decode<T>(
    row: &Row,
    message: i64,
    columns: impl FnOnce(&Row) -> Result<T, tokio_postgres::Error>,
) -> Decoded<T> {
    columns(row).map_err(|error| {
        let reason = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        Undecodable { message, reason }
    })
}
