//! Names of labels and annotations in Kubernetes.

/// The default prefix of labels and annotations.
pub const LABEL_PREFIX: &str = "rallypoint.dev";
/// Longest prefix of a label, in characters: that of a name in DNS.
const PREFIX_CHARS_MAX: usize = 253;
/// Longest name of an object that is also the value of a label, in characters.
const NAME_CHARS_MAX: usize = 63;

/// The labels and annotations that connect a game server with its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelNames {
    /// Label: the id of the allocation.
    pub allocation: String,
    /// Annotation: the id of the session.
    pub session: String,
    /// Annotation: the id of the instance.
    pub instance: String,
    /// Annotation: the URL of the server that keeps the session.
    pub base_url: String,
}

impl LabelNames {
    /// The names with this prefix, as in `rallypoint.dev/allocation`.
    ///
    /// # Errors
    /// If the prefix is not a name in DNS.
    pub fn new(prefix: &str) -> Result<Self, String> {
        let is_prefix = prefix.len() <= PREFIX_CHARS_MAX && prefix.split('.').all(is_dns_label);
        if !is_prefix {
            return Err(format!("label_prefix {prefix:?} is not a name in DNS such as {LABEL_PREFIX}"));
        }
        let name = |name: &str| format!("{prefix}/{name}");
        Ok(Self {
            allocation: name("allocation"),
            session: name("session"),
            instance: name("instance"),
            base_url: name("base-url"),
        })
    }
}

/// Checks the name of a namespace or fleet.
///
/// # Errors
/// If Kubernetes allows no such name. The message names the setting.
pub fn check_name(setting: &str, name: &str) -> Result<(), String> {
    if name.split('.').all(is_dns_label) && name.len() <= NAME_CHARS_MAX {
        return Ok(());
    }
    Err(format!("{setting} {name:?} is not a name in Kubernetes: lower-case letters, digits, - and ."))
}

/// Whether a text has lower-case letters, digits and hyphens, begins and ends with a letter or digit, and has at most
/// 63 characters.
fn is_dns_label(text: &str) -> bool {
    let is_letter_or_digit = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= NAME_CHARS_MAX
        && bytes.first().is_some_and(is_letter_or_digit)
        && bytes.last().is_some_and(is_letter_or_digit)
        && bytes.iter().all(|byte| is_letter_or_digit(byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kubernetes_allows() {
        for name in ["default", "fleet-1", "0", "eu.fleet", &"a".repeat(63)] {
            check_name("fleet", name).unwrap();
            LabelNames::new(name).unwrap();
        }
        for name in ["", "Fleet", "-a", "a-", "a..b", ".a", "a_b", "a/b", "a b", "ä", &"a".repeat(64)] {
            assert!(check_name("fleet", name).unwrap_err().starts_with("fleet "), "{name}");
            assert!(LabelNames::new(name).unwrap_err().starts_with("label_prefix "), "{name}");
        }
        assert_eq!(LabelNames::new(LABEL_PREFIX).unwrap().allocation, "rallypoint.dev/allocation");
    }
}
