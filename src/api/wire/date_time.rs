//! Date-times in bodies.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

use crate::http::error::Error;
use crate::http::input::violation::ViolationKind;

/// Unix times from this number on are milliseconds, and seconds below.
const MILLISECONDS_FROM: f64 = 2e10;

/// A date-time of a request: RFC 3339 with a time zone, or unix seconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct DateTimeBody(Value);

impl JsonSchema for DateTimeBody {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DateTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}

impl DateTimeBody {
    /// The time. `field` is where it stands in the body.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no such date-time.
    pub fn read(&self, field: &'static str) -> Result<Timestamp, Error> {
        let time = match &self.0 {
            Value::Number(number) => number.as_f64().and_then(from_unix),
            Value::String(text) => {
                text.parse::<f64>().map_or_else(|_| text.parse::<Timestamp>().ok(), from_unix)
            }
            _ => None,
        };
        time.ok_or_else(|| {
            Error::Invalid(vec![ViolationKind::NOT_DATETIME.at(["body".into(), field.into()])])
        })
    }
}

/// The time so many seconds, or milliseconds, after the beginning of 1970.
pub fn from_unix(number: f64) -> Option<Timestamp> {
    let ms = if number.abs() > MILLISECONDS_FROM { number } else { number * 1_000.0 };
    let is_in_range = ms.is_finite() && ms.abs() < 1e15;
    is_in_range.then(|| Timestamp::from_millisecond(ms as i64).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_date_time_has_a_zone_or_is_a_unix_time() {
        let read = |value: Value| DateTimeBody(value).read("at").ok().map(|time| time.as_millisecond());
        let at = Some(1_795_521_600_125);
        for same in [
            json!("2026-11-24T12:00:00.125Z"),
            json!("2026-11-24T14:00:00.125+02:00"),
            json!(1_795_521_600.125),
            json!("1795521600.125"),
            json!(1_795_521_600_125_i64),
        ] {
            assert_eq!(read(same.clone()), at, "{same}");
        }
        for wrong in [
            json!("2026-11-24T12:00:00"),
            json!("soon"),
            json!(""),
            json!("NaN"),
            json!(1e300),
            json!(null),
            json!(true),
            json!([1]),
        ] {
            assert_eq!(read(wrong.clone()), None, "{wrong}");
        }
    }
}
