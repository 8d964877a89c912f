//! Between columns and values.

pub(super) use crate::store::records::{Decoded, Undecodable, column, id, key, partition};

use crate::store::Result;
use jiff::Timestamp;
use mail_proto::{Mailbox, smtp::MailParameters};
use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use std::{
    fmt::{self, Display},
    str::FromStr,
};

/// A column whose text is parsed, or whose number must be in range; what else stands there is undecodable.
pub(super) struct Parsed<T>(pub(super) T);

impl<T: FromStr<Err: Display>> FromSql for Parsed<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let parsed = value.as_str()?.parse::<T>();
        parsed.map(Self).map_err(|error| FromSqlError::Other(error.to_string().into()))
    }
}

impl<T: Display> ToSql for Parsed<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.to_string().into())
    }
}

/// The columns `identity, body_type, smtputf8, ret, envid, requiretls, submitter` of a message, from this one on: who was
/// logged in, and the parameters.
pub(super) fn parameters(row: &Row<'_>, first: usize) -> rusqlite::Result<(Option<Mailbox>, MailParameters)> {
    let parameters = MailParameters {
        size_octets: None,
        body: parsed(row, first + 1)?,
        smtputf8: row.get::<_, Option<bool>>(first + 2)?.unwrap_or_default(),
        ret: parsed(row, first + 3)?,
        envid: parsed(row, first + 4)?,
        requiretls: row.get::<_, Option<bool>>(first + 5)?.unwrap_or_default(),
        submitter: parsed(row, first + 6)?,
    };
    Ok((parsed(row, first)?, parameters))
}

/// A column whose text is parsed, or NULL.
pub(super) fn parsed<T: FromStr<Err: Display>>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    Ok(row.get::<_, Option<Parsed<T>>>(column)?.map(|Parsed(value)| value))
}

/// A column that holds a moment in milliseconds.
pub(super) struct Moment(pub(super) Timestamp);

impl FromSql for Moment {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let milliseconds = value.as_i64()?;
        Timestamp::from_millisecond(milliseconds).map(Self).map_err(|_| FromSqlError::OutOfRange(milliseconds))
    }
}

/// A column that holds a number that is never negative.
pub(super) struct Natural<T>(pub(super) T);

impl<T: TryFrom<i64>> FromSql for Natural<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        T::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// A column's text as it stands there, UTF-8 or not, or not even text: a key that one flipped bit has spoilt still names
/// its record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RawText {
    octets: Vec<u8>,
    is_text: bool,
}

impl RawText {
    /// The value that it stands for, if it does.
    pub(super) fn parse<T: FromStr>(&self) -> Option<T> {
        std::str::from_utf8(&self.octets).ok().filter(|_| self.is_text)?.parse().ok()
    }
}

impl From<&str> for RawText {
    fn from(text: &str) -> Self {
        Self { octets: text.as_bytes().to_owned(), is_text: true }
    }
}

impl Display for RawText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.octets))
    }
}

impl FromSql for RawText {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let is_text = matches!(value, ValueRef::Text(_));
        value.as_bytes().map(|octets| Self { octets: octets.to_owned(), is_text })
    }
}

impl ToSql for RawText {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let octets = &self.octets;
        Ok(ToSqlOutput::Borrowed(if self.is_text { ValueRef::Text(octets) } else { ValueRef::Blob(octets) }))
    }
}

/// Decodes a row of which the first column is a message's key: a column that makes no sense is the record's
/// own fault, anything else is the database's.
pub(super) fn decode<T>(
    row: &Row<'_>,
    columns: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Decoded<T>> {
    match columns(row) {
        Ok(record) => Ok(Ok(record)),
        Err(
            error @ (rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..)),
        ) => Ok(Err(Undecodable { message: row.get(0)?, reason: error.to_string() })),
        Err(error) => Err(error),
    }
}

/// Collects what a query gives.
pub(super) fn collect<T>(rows: impl Iterator<Item = rusqlite::Result<T>>) -> Result<Vec<T>> {
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
