//! Reading path and query parameters. The macro `params!` declares the parameters of an operation; `param_types` has
//! their types.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use schemars::{Schema, SchemaGenerator};

use super::violation::{Violation, ViolationKind};
use crate::app::idempotency::Recorder;
use crate::domain::SessionId;

/// Replaces an empty path segment while the router matches, since the router matches no empty segments. It cannot occur
/// in a request, because paths contain no control characters.
pub const EMPTY_SEGMENT: &str = "\u{1}";

/// The parameters of a request before they are parsed.
pub struct RawParams<'a> {
    /// Path parameters, still percent-encoded.
    pub path: matchit::Params<'a, 'a>,
    /// Query, still encoded; `None` if there is none.
    pub query: Option<&'a str>,
    /// Ids of the sessions that the path names by a short code, with the name of the parameter.
    pub by_short_code: Vec<(&'static str, SessionId)>,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Stores the answer for repeats of the request; `None` if the request has no idempotency key.
    pub recorder: Option<Arc<Recorder>>,
    /// Address of the client, if it is known.
    pub client: Option<IpAddr>,
}

/// The path parameters that accept a short code in place of a session id.
pub const SESSION_PARAMS: [&str; 3] = ["session_id", "invited_session_id", "kicked_session_id"];

/// The decoded text of a parameter: `None` if it is absent, an error if it is not UTF-8.
pub type RawValue<'a> = Option<Result<Cow<'a, str>, ViolationKind>>;

impl RawParams<'_> {
    /// The value of a path parameter, or the session id that replaces its short code.
    pub(super) fn path(&self, name: &str) -> RawValue<'_> {
        if let Some((_, id)) = self.by_short_code.iter().find(|(param, _)| *param == name) {
            return Some(Ok(Cow::Borrowed(id.as_str())));
        }
        let raw = self.path.get(name)?;
        if raw == EMPTY_SEGMENT {
            return Some(Ok(Cow::Borrowed("")));
        }
        // Few parameters are encoded. The others need no copy.
        if !raw.contains('%') {
            return Some(Ok(Cow::Borrowed(raw)));
        }
        Some(percent_decode_str(raw).decode_utf8().map_err(|_| ViolationKind::NOT_UTF8))
    }

    /// Every value of a query parameter that may be repeated, in order.
    pub fn query_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
        let pairs = form_urlencoded::parse(self.query.unwrap_or_default().as_bytes());
        pairs.filter(move |(key, _)| key == name).map(|(_, value)| value)
    }

    /// The last value of a query parameter, like the contract's framework.
    fn query(&self, name: &str) -> RawValue<'_> {
        let pairs = form_urlencoded::parse(self.query?.as_bytes());
        pairs.filter(|(key, _)| key == name).last().map(|(_, value)| Ok(value))
    }
}

/// A type of parameter.
pub trait Param: Sized {
    /// Parses a decoded text.
    ///
    /// # Errors
    /// The violation, if the text is not valid.
    fn parse(text: &str) -> Result<Self, ViolationKind>;

    /// The value of an absent parameter; `None` if the parameter is required.
    fn absent() -> Option<Self> {
        None
    }

    /// Schema of the parameter for the API document.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// A parameter that may be absent.
impl<T: Param> Param for Option<T> {
    fn parse(text: &str) -> Result<Self, ViolationKind> {
        T::parse(text).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        T::schema(generator)
    }
}

/// A parameter in the API document.
pub struct ParamDoc {
    /// Name.
    pub name: &'static str,
    /// Part of the request: `path`, `query` or `header`.
    pub place: &'static str,
    /// Description.
    pub description: &'static str,
    /// Whether the parameter is required.
    pub required: bool,
    /// Type and limits.
    pub schema: Schema,
}

/// The path parameters, or the query parameters, of an operation.
pub trait Params: Sized + Send + 'static {
    /// Reads the parameters. If there are violations, adds all of them and returns `None`.
    fn read(raw: &RawParams<'_>, violations: &mut Vec<Violation>) -> Option<Self>;

    /// Describes the parameters for the API document.
    fn describe(generator: &mut SchemaGenerator) -> Vec<ParamDoc>;
}

impl Params for () {
    fn read(_: &RawParams<'_>, _: &mut Vec<Violation>) -> Option<Self> {
        Some(())
    }

    fn describe(_: &mut SchemaGenerator) -> Vec<ParamDoc> {
        Vec::new()
    }
}

/// Parses one parameter. If it is not valid, adds the violation and returns `None`.
pub fn read_param<T: Param>(
    text: RawValue<'_>,
    place: &'static str,
    name: &'static str,
    violations: &mut Vec<Violation>,
) -> Option<T> {
    let value = match text {
        Some(text) => text.and_then(|text| T::parse(&text)),
        None => T::absent().ok_or(ViolationKind::MISSING),
    };
    match value {
        Ok(value) => Some(value),
        Err(kind) => {
            violations.push(kind.at([place.into(), name.into()]));
            None
        }
    }
}

/// The text of a parameter in the `path` or the `query`. The macro `params!` uses it.
pub fn raw_param<'a>(raw: &'a RawParams<'_>, place: &str, name: &str) -> RawValue<'a> {
    if place == "path" { raw.path(name) } else { raw.query(name) }
}

/// Declares the parameters in the `path` or the `query` of an operation, as a struct that implements [`Params`]. The
/// doc comments of the fields are the descriptions in the API document.
macro_rules! params {
    ($(#[doc = $about:literal])* $name:ident in $place:literal { $(#[doc = $doc:literal] $field:ident: $type:ty,)* }) => {
        $(#[doc = $about])*
        pub struct $name { $(#[doc = $doc] pub $field: $type,)* }

        impl $crate::http::input::params::Params for $name {
            fn read(
                raw: &$crate::http::input::params::RawParams<'_>,
                violations: &mut Vec<$crate::http::input::violation::Violation>,
            ) -> Option<Self> {
                use $crate::http::input::params::{raw_param, read_param};
                $(let $field = read_param(
                    raw_param(raw, $place, stringify!($field)), $place, stringify!($field), violations,
                );)*
                Some(Self { $($field: $field?,)* })
            }

            fn describe(generator: &mut schemars::SchemaGenerator) -> Vec<$crate::http::input::params::ParamDoc> {
                use $crate::http::input::params::{Param, ParamDoc};
                vec![$(ParamDoc {
                    name: stringify!($field),
                    place: $place,
                    description: $doc.trim_ascii(),
                    required: <$type as Param>::absent().is_none(),
                    schema: <$type as Param>::schema(generator),
                },)*]
            }
        }
    };
}
pub(crate) use params;
