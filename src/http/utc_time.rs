//! Times in answers, as published clients read them.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// A time in UTC, with `Z` and milliseconds. Published clients read no other form.
#[derive(Clone, Copy, Debug)]
pub struct UtcTime(pub Timestamp);

impl UtcTime {
    /// A time in milliseconds since the epoch. One that no clock shows becomes the nearest that can be written.
    pub fn of_ms(ms: i64) -> Self {
        let nearest = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Self(Timestamp::from_millisecond(ms).unwrap_or(nearest))
    }
}

impl Serialize for UtcTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.0))
    }
}

impl JsonSchema for UtcTime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UtcTime".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_below_the_second() {
        let shown = |ms| serde_json::to_value(UtcTime::of_ms(ms)).unwrap();
        assert_eq!(shown(1_796_040_000_000), "2026-11-30T12:00:00.000Z");
        assert_eq!(shown(1_796_040_000_042), "2026-11-30T12:00:00.042Z");
        assert_eq!(shown(i64::MAX), shown(i64::MAX - 1));
    }
}
