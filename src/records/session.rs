//! The format of stored sessions.

use bytes::Bytes;

use super::UnknownFields;
use crate::domain::{Refused, Session};
use crate::store::StoreError;

/// The format of stored sessions: MessagePack with named fields, after this byte.
const FORMAT: u8 = 2;
/// The format before: JSON.
const FORMAT_JSON: u8 = 1;
/// Bytes of a stored session that are written without growing the buffer.
const SESSION_BYTES_TYPICAL: usize = 2048;

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSession {
    /// The session, as far as this build knows its fields.
    pub session: Session,
    /// The fields that a newer build stored and this one does not know.
    pub unknown: UnknownFields,
}

impl StoredSession {
    /// Reads a stored session.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the format is unknown or the bytes do not hold a session.
    pub fn decode(value: &[u8]) -> Result<Self, StoreError> {
        match value.split_first() {
            Some((&FORMAT, packed)) => Self::unpack(packed),
            Some((&FORMAT_JSON, json)) => {
                let session = serde_json::from_slice(json).map_err(|error| corrupt(&error))?;
                Ok(Self { session, unknown: UnknownFields::default() })
            }
            Some((format, _)) => Err(unknown_format(&format.to_string())),
            None => Err(unknown_format("none")),
        }
    }

    fn unpack(packed: &[u8]) -> Result<Self, StoreError> {
        let session: Session = rmp_serde::from_slice(packed).map_err(|error| corrupt(&error))?;
        // Usually the bytes are equal, and nothing else has to be looked at.
        let known = pack(&session);
        let unknown = if known == packed {
            UnknownFields::default()
        } else {
            UnknownFields::between(packed, &known).map_err(|error| corrupt(&error))?
        };
        Ok(Self { session, unknown })
    }

    /// The bytes to store for a session, with those of the unknown fields for which there still is a place in it. Answers
    /// the unknown fields that were kept, too.
    ///
    /// # Panics
    /// On sessions that have no stored form. Every test that stores a session would show such a fault in our types.
    pub fn encode(session: &Session, unknown: &UnknownFields) -> (Bytes, UnknownFields) {
        if unknown.is_empty() {
            let mut encoded = Vec::with_capacity(SESSION_BYTES_TYPICAL);
            encoded.push(FORMAT);
            write_packed(&mut encoded, session);
            return (encoded.into(), UnknownFields::default());
        }
        let (packed, kept) = unknown.added_to(&pack(session));
        ([&[FORMAT], &*packed].concat().into(), kept)
    }

    /// Like [`encode`](Self::encode), unless the bytes are more than `bytes_max`. A session that took more already may
    /// shrink: the operator may have lowered the limit.
    ///
    /// # Errors
    /// [`Refused::SessionTooLarge`].
    pub fn encode_within(
        bytes_max: usize,
        before: Option<&Session>,
        after: &Session,
        unknown: &UnknownFields,
    ) -> Result<(Bytes, UnknownFields), Refused> {
        let (encoded, kept) = Self::encode(after, unknown);
        let shrinks = || before.is_some_and(|before| encoded.len() < Self::encode(before, unknown).0.len());
        if encoded.len() <= bytes_max || shrinks() {
            Ok((encoded, kept))
        } else {
            Err(Refused::SessionTooLarge)
        }
    }
}

fn pack(session: &Session) -> Vec<u8> {
    let mut packed = Vec::with_capacity(SESSION_BYTES_TYPICAL);
    write_packed(&mut packed, session);
    packed
}

fn write_packed(to: &mut Vec<u8>, session: &Session) {
    rmp_serde::encode::write_named(to, session).expect("sessions have a stored form");
}

fn corrupt(error: &dyn std::error::Error) -> StoreError {
    StoreError::Corrupt(format!("a stored session: {error}"))
}

fn unknown_format(found: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "a stored session has format {found} and this version reads {FORMAT_JSON} and {FORMAT}; run the version that \
         wrote it"
    ))
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
