//! The conditions of a change: what the headers of a request ask of it beyond its parameters and its body.

use std::sync::Arc;

use http::header;

use super::if_match::IfMatch;
use super::params::RawParams;
use super::prefer;
use super::violation::Violation;
use crate::app::idempotency::Recorder;

/// The conditions of a change. A read has none.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// The versions of the resource that the caller knows, one of which it must have; `None`: any.
    pub if_match: Option<IfMatch>,
    /// Whether the answer to a failed condition shall leave out the resource.
    pub is_minimal: bool,
    /// Stores the answer for repeats of the request; `None` if the request has no idempotency key.
    pub recorder: Option<Arc<Recorder>>,
}

impl Conditions {
    /// Reads the headers of a request that changes something. If there are violations, adds them and returns `None`.
    pub fn read(raw: &RawParams<'_>, violations: &mut Vec<Violation>) -> Option<Self> {
        let (headers, recorder) = (raw.headers, raw.recorder.clone());
        if !headers.contains_key(header::IF_MATCH) {
            return Some(Self { recorder, ..Self::default() });
        }
        match IfMatch::parse(headers) {
            Ok(if_match) => {
                let is_minimal = prefer::wants_minimal(headers);
                Some(Self { if_match: Some(if_match), is_minimal, recorder })
            }
            Err(kind) => {
                violations.push(kind.at(["header".into(), "if-match".into()]));
                None
            }
        }
    }
}
