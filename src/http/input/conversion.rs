//! Conversions of JSON values to the type that a schema asks for. The contract's framework, which is written in Python,
//! converts numbers and booleans to texts, and texts and numbers to booleans and integers. Clients rely on it.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Number, Value};

use super::violation::{parse_bool, parse_integer};

/// Integers with more digits than this may not fit into 64 bits.
const DIGITS_64_BITS: usize = 18;
/// The largest number that counts seconds since the epoch. A larger one counts milliseconds.
const UNIX_SECONDS_MAX: f64 = 2e10;
/// Python prints floats below 10 to the power of this without an exponent.
const FIXED_EXPONENT_MAX: i32 = 15;
/// Python prints floats of at least 10 to the power of this without an exponent.
const FIXED_EXPONENT_MIN: i32 = -4;

/// The text of a value: a text as it is, a number or boolean as Python prints it; `None` for other values.
pub fn as_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(true) => Some(Cow::Borrowed("True")),
        Value::Bool(false) => Some(Cow::Borrowed("False")),
        Value::Number(number) => Some(Cow::Owned(number_text(number))),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number as Python prints it. Floats have the fewest digits that give the same float, as in Rust, but another form.
fn number_text(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse().unwrap_or(0) {
        FIXED_EXPONENT_MIN..=FIXED_EXPONENT_MAX => {
            let fixed = float.to_string();
            if fixed.contains('.') { fixed } else { fixed + ".0" }
        }
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
    }
}

/// An integer, a boolean as 0 or 1, or a text with an integer; `None` for other values and for fractions. A number that
/// does not fit into 64 bits is read as the nearest one that does.
pub fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => {
            let whole = || number.as_f64().filter(|float| float.fract() == 0.0);
            #[allow(clippy::cast_possible_truncation, reason = "it has no fraction, and the cast saturates")]
            number.as_i64().or_else(|| whole().map(|float| float as i64))
        }
        Value::Bool(flag) => Some((*flag).into()),
        Value::String(text) => parse_integer(text),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A finite number, a boolean as 0 or 1, or a text with a finite number; `None` for other values.
pub fn as_number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    number.is_finite().then_some(number)
}

/// A time in whole milliseconds: a text with date, time of day and zone, or the time since the epoch as a number or as
/// digits, in seconds up to 2e10 and in milliseconds beyond; `None` for other values.
pub fn as_time(value: &Value) -> Option<Timestamp> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.trim().parse() {
            Ok(number) => number,
            Err(_) => {
                let time: Timestamp = text.trim().parse().ok()?;
                return Timestamp::from_millisecond(time.as_millisecond()).ok();
            }
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let ms = if number.abs() > UNIX_SECONDS_MAX { number } else { number * 1000.0 };
    #[allow(clippy::cast_possible_truncation, reason = "the cast saturates, and no time is that far away")]
    Timestamp::from_millisecond(ms.is_finite().then_some(ms as i64)?).ok()
}

/// A boolean, 0 or 1 as integer or float, or a text that means one; `None` for other values.
pub fn as_boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => parse_bool(text),
        Value::Number(number) => match number.as_f64()? {
            0.0 => Some(false),
            1.0 => Some(true),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Prepares valid JSON for a parser that reads every integer beyond 64 bits, and -0, as a float: it could not be
/// printed as it was written. Such integers become texts, which convert to the same values, and -0 becomes 0.
pub fn keep_integers(json: &[u8]) -> Cow<'_, [u8]> {
    let mut kept = Vec::new();
    let (mut done, mut at) = (0, 0);
    while let Some(byte) = json.get(at) {
        let start = at;
        match byte {
            b'"' => at += text_length(&json[at..]),
            b'-' | b'0'..=b'9' => {
                let is_of_number =
                    |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                at += json[at..].iter().take_while(is_of_number).count();
                let number = &json[start..at];
                let is_integer = !number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
                if is_integer && (number == b"-0" || number.len() > DIGITS_64_BITS) {
                    kept.extend_from_slice(&json[done..start]);
                    let integer = if number == b"-0" { &b"0"[..] } else { &[b"\"", number, b"\""].concat() };
                    kept.extend_from_slice(integer);
                    done = at;
                }
            }
            _ => at += 1,
        }
    }
    if done == 0 {
        return Cow::Borrowed(json);
    }
    kept.extend_from_slice(&json[done..]);
    Cow::Owned(kept)
}

/// The length of the text in quotes at the start of valid JSON.
fn text_length(json: &[u8]) -> usize {
    let mut escaped = false;
    let end = json.iter().skip(1).position(|byte| {
        let ends = !escaped && *byte == b'"';
        escaped = !escaped && *byte == b'\\';
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_booleans_become_texts_as_python_prints_them() {
        for (json, text) in [
            ("12", "12"),
            ("-7", "-7"),
            ("9223372036854775807", "9223372036854775807"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("1.5", "1.5"),
            ("1.0", "1.0"),
            ("-0.0", "-0.0"),
            ("0.1", "0.1"),
            ("100.25", "100.25"),
            ("1e15", "1000000000000000.0"),
            ("123456789012345678.0", "1.2345678901234568e+17"),
            ("9999999999999998.0", "9999999999999998.0"),
            ("1e16", "1e+16"),
            ("1e22", "1e+22"),
            ("1.5e300", "1.5e+300"),
            ("-2.5e-10", "-2.5e-10"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1e-7", "1e-07"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            // Only an exact parser reads these digits as the right float.
            ("0.30000000000000004", "0.30000000000000004"),
            ("2.2250738585072011e-308", "2.225073858507201e-308"),
            ("65416.94400000001", "65416.94400000001"),
            ("true", "True"),
            ("false", "False"),
            ("\"a\"", "a"),
        ] {
            let value: Value = json.parse().unwrap();
            assert_eq!(as_text(&value).unwrap(), text, "{json}");
        }
        for other in [json!(null), json!([1]), json!({"a": 1})] {
            assert_eq!(as_text(&other), None);
        }
    }

    #[test]
    fn integers_and_booleans_are_read_leniently() {
        for (value, integer, boolean) in [
            (json!(true), Some(1), Some(true)),
            (json!(false), Some(0), Some(false)),
            (json!(1), Some(1), Some(true)),
            (json!(0), Some(0), Some(false)),
            (json!(1.0), Some(1), Some(true)),
            (json!(-0.0), Some(0), Some(false)),
            (json!(1.5), None, None),
            (json!(2), Some(2), None),
            (json!("1"), Some(1), Some(true)),
            (json!(" 12 "), Some(12), None),
            (json!("+3"), Some(3), None),
            (json!("1_000"), Some(1000), None),
            (json!("1__0"), None, None),
            (json!("_1"), None, None),
            (json!("1_"), None, None),
            (json!("-_1"), None, None),
            (json!("1.0"), None, None),
            (json!("On"), None, Some(true)),
            (json!(" true"), None, None),
            (json!(""), None, None),
            (json!(null), None, None),
            (json!([1]), None, None),
            (json!({"a": 1}), None, None),
        ] {
            assert_eq!((as_integer(&value), as_boolean(&value)), (integer, boolean), "{value}");
        }
    }

    #[test]
    fn times_have_a_zone_or_count_from_the_epoch() {
        let ms = |value: Value| as_time(&value).map(Timestamp::as_millisecond);
        for value in [
            json!("2026-11-30T12:00:00Z"),
            json!("2026-11-30T13:00:00.0004+01:00"),
            json!(" 2026-11-30 12:00:00Z "),
            json!(1_796_040_000),
            json!("1796040000"),
            json!(1_796_040_000_000_i64),
            json!("1796040000000.4"),
        ] {
            assert_eq!(ms(value.clone()), Some(1_796_040_000_000), "{value}");
        }
        assert_eq!(ms(json!(0.5)), Some(500));
        assert_eq!(ms(json!(-1)), Some(-1_000));
        for value in [
            json!("2026-11-30T12:00:00"),
            json!("2026-11-30"),
            json!("soon"),
            json!(""),
            json!("inf"),
            json!("nan"),
            json!(1e300),
            json!(true),
            json!(null),
            json!([1]),
        ] {
            assert_eq!(ms(value.clone()), None, "{value}");
        }
    }

    #[test]
    fn integers_beyond_64_bits_are_kept_as_they_are_written() {
        let kept = |json: &str| {
            let kept = keep_integers(json.as_bytes());
            let value: Value = serde_json::from_slice(&kept).unwrap();
            value.to_string()
        };
        let long = "123456789012345678901234567890";
        for (json, expected) in [
            (format!("[{long},-{long}]"), format!("[\"{long}\",\"-{long}\"]")),
            (long.into(), format!("\"{long}\"")),
            ("[-0, -0.0, 0, -1]".into(), "[0,-0.0,0,-1]".into()),
            (
                format!("{{\"{long}\": \"a\\\"{long}\\\\\", \"b\":{long}}}"),
                format!("{{\"{long}\":\"a\\\"{long}\\\\\",\"b\":\"{long}\"}}"),
            ),
            ("[1e300,1234567890123456789.5]".into(), "[1e+300,1.2345678901234568e+18]".into()),
            ("{}".into(), "{}".into()),
        ] {
            assert_eq!(kept(&json), expected, "{json}");
        }
        assert!(matches!(
            keep_integers(b"[1, 2.5, \"123456789012345678901234567890\", true]"),
            Cow::Borrowed(_)
        ));
    }
}
