//! The format of `[http] leave_delay_s`.

use serde::{Deserialize, Serialize};

/// Largest value, in seconds.
const SECONDS_MAX: u64 = 3_600;

/// How long a server goes on after a signal to stop, while `/ready` answers 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum LeaveDelay {
    /// The server chooses: it waits if something asks `/ready`.
    Auto,
    /// This number of seconds, up to an hour.
    Seconds(u64),
}

/// The delay as it is written in the file.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"auto\" or a whole number, 0 or more")]
enum Written {
    Seconds(u64),
    Word(String),
}

impl TryFrom<Written> for LeaveDelay {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Seconds(seconds @ 0..=SECONDS_MAX) => Ok(Self::Seconds(seconds)),
            Written::Seconds(seconds) => Err(format!("{seconds} is not from 0 to {SECONDS_MAX}")),
            Written::Word(word) if word == "auto" => Ok(Self::Auto),
            Written::Word(word) => Err(format!("{word:?} is neither \"auto\" nor a number of seconds")),
        }
    }
}

impl From<LeaveDelay> for Written {
    fn from(delay: LeaveDelay) -> Self {
        match delay {
            LeaveDelay::Auto => Self::Word("auto".into()),
            LeaveDelay::Seconds(seconds) => Self::Seconds(seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LeaveDelay::{self, Auto, Seconds};
    use crate::config::tests::parse;

    #[test]
    fn a_delay_is_a_number_of_seconds_or_auto() {
        let read = |text: &str| parse(&format!("[http]\nleave_delay_s = {text}"), &[]);
        for (text, expected) in [("\"auto\"", Auto), ("0", Seconds(0)), ("3600", Seconds(3600))] {
            let http = read(text).unwrap().http;
            assert_eq!(http.leave_delay_s, expected);
            let printed = toml::to_string(&http).unwrap();
            assert!(printed.contains(&format!("leave_delay_s = {text}\n")), "{printed}");
        }
        for (text, expected) in [
            ("3601", "3601 is not from 0 to 3600"),
            ("-1", "expected \"auto\" or a whole number, 0 or more"),
            ("1.5", "expected \"auto\" or a whole number, 0 or more"),
            ("\"soon\"", "\"soon\" is neither \"auto\" nor a number of seconds"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains("line 2") && message.contains(expected), "{message}");
        }
        for (value, expected) in [("auto", Auto), ("7", Seconds(7))] {
            let http = parse("", &[("RALLYPOINT_HTTP__LEAVE_DELAY_S", value)]).unwrap().http;
            assert_eq!(http.leave_delay_s, expected);
        }
        let default: LeaveDelay = parse("", &[]).unwrap().http.leave_delay_s;
        assert_eq!(default, Auto);
    }
}
