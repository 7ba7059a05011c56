//! The format of stored sessions.

use bytes::Bytes;
use serde::Deserialize;

use super::UnknownFields;
use crate::domain::{Refused, Session};
use crate::store::StoreError;

/// The format of stored sessions: MessagePack with named fields, after this byte.
const FORMAT: u8 = 2;
/// The older format: JSON after this byte. Still read, no longer written.
const FORMAT_JSON: u8 = 1;
/// Initial capacity of the buffer for a stored session, in bytes. Most sessions fit into it.
const SESSION_BYTES_TYPICAL: usize = 2048;

/// A stored session.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSession {
    /// The fields that this build knows.
    pub session: Session,
    /// The fields that a newer build stored and this build does not know.
    pub unknown: UnknownFields,
}

impl StoredSession {
    /// Decodes a stored session.
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
        // Unknown fields are found by packing the session again. Usually the bytes are equal, so there are none.
        let known = pack(&session);
        let unknown = if known == packed {
            UnknownFields::default()
        } else {
            UnknownFields::between(packed, &known).map_err(|error| corrupt(&error))?
        };
        Ok(Self { session, unknown })
    }

    /// Encodes a session together with its unknown fields. Unknown fields whose place is gone, such as the entry of a
    /// player who left, are dropped. Returns the bytes to store and the unknown fields that were kept.
    ///
    /// # Panics
    /// If a type of the session cannot be packed as MessagePack. That is a bug that every test with a stored session
    /// finds.
    pub fn encode(session: &Session, unknown: &UnknownFields) -> (Bytes, UnknownFields) {
        if unknown.is_empty() {
            let mut encoded = Vec::with_capacity(SESSION_BYTES_TYPICAL);
            encoded.push(FORMAT);
            write_packed(&mut encoded, session);
            return (encoded.into(), UnknownFields::default());
        }
        let (packed, kept) = unknown.insert_into(&pack(session));
        ([&[FORMAT], &*packed].concat().into(), kept)
    }

    /// Like [`encode`](Self::encode), with a limit on the size. A session that is already above the limit may still
    /// become smaller: the limit in the configuration may have been lowered.
    ///
    /// # Errors
    /// [`Refused::SessionTooLarge`] if the result has more than `bytes_max` bytes and is not smaller than `before`.
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

/// The type of a stored session. The rest of the session is not decoded.
///
/// # Errors
/// [`StoreError::Corrupt`] if the format is unknown or the bytes do not hold a session.
pub fn type_of(value: &[u8]) -> Result<String, StoreError> {
    #[derive(Deserialize)]
    struct TypeOnly {
        session_type: String,
    }
    let TypeOnly { session_type } = match value.split_first() {
        Some((&FORMAT, packed)) => rmp_serde::from_slice(packed).map_err(|error| corrupt(&error))?,
        Some((&FORMAT_JSON, json)) => serde_json::from_slice(json).map_err(|error| corrupt(&error))?,
        Some((format, _)) => return Err(unknown_format(&format.to_string())),
        None => return Err(unknown_format("none")),
    };
    Ok(session_type)
}

/// The MessagePack form, without the byte for the format.
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
