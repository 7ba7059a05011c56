//! The format of `[http] cors_origins`.

/// Checks that a text is `*` or an origin, spelled as browsers spell it in the header `Origin`: lower case, no path,
/// and no port if it is the default of the scheme.
///
/// # Errors
/// If it is not; the message shows the format.
pub(super) fn check_cors_origin(text: &str) -> Result<(), String> {
    if text == "*" || as_browsers_spell(text).is_some_and(|origin| origin == text) {
        return Ok(());
    }
    Err(format!(
        "{text:?} is no origin, as in https://tools.example.com or http://localhost:5173, and not \"*\""
    ))
}

/// The origin of a URL, or `None` if the text is no URL.
fn as_browsers_spell(text: &str) -> Option<String> {
    let uri: http::Uri = text.parse().ok()?;
    let (scheme, host) = (uri.scheme_str()?, uri.host()?);
    let is_default = |port: u16| matches!((scheme, port), ("http", 80) | ("https", 443));
    let port = match uri.port_u16() {
        Some(port) if !is_default(port) => format!(":{port}"),
        _ => String::new(),
    };
    Some(format!("{scheme}://{host}{port}").to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_must_be_spelled_as_browsers_spell_them() {
        for origin in ["*", "https://tools.example.com", "http://localhost:5173", "http://[::1]:81"] {
            assert_eq!(check_cors_origin(origin), Ok(()));
        }
        for text in [
            "",
            "tools.example.com",
            "https://a/",
            "https://a/b",
            "https://A",
            "https://me@a",
            "https://a:443",
            "null",
        ] {
            assert!(check_cors_origin(text).unwrap_err().contains("is no origin, as in https://"), "{text}");
        }
    }
}
