//! Between columns and values.

use crate::store::Result;
use jiff::Timestamp;
use mail_api::MessageId;
use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use std::{fmt::Display, str::FromStr};

/// The id as a key. Ids of this store fit; one that a caller made up and that does not names no message.
pub(super) fn key(id: MessageId) -> i64 {
    i64::try_from(id.number()).unwrap_or(i64::MAX)
}

/// The id behind a key.
pub(super) fn id(key: i64) -> MessageId {
    MessageId::from_number(key.unsigned_abs())
}

/// Octets as a column holds them.
pub(super) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

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

/// A record, or the key of one that cannot be decoded.
pub(super) type Decoded<T> = std::result::Result<T, Undecodable>;

/// A record that cannot be decoded.
#[derive(Debug)]
pub(super) struct Undecodable {
    pub(super) message: i64,
    pub(super) reason: String,
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
            | rusqlite::Error::InvalidColumnType(..)),
        ) => Ok(Err(Undecodable { message: row.get(0)?, reason: error.to_string() })),
        Err(error) => Err(error),
    }
}

/// Parts what could be decoded from what could not.
pub(super) fn partition<T>(records: impl IntoIterator<Item = Decoded<T>>) -> (Vec<T>, Vec<Undecodable>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for record in records {
        match record {
            Ok(record) => good.push(record),
            Err(undecodable) => bad.push(undecodable),
        }
    }
    (good, bad)
}

/// Collects what a query gives.
pub(super) fn collect<T>(rows: impl Iterator<Item = rusqlite::Result<T>>) -> Result<Vec<T>> {
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
