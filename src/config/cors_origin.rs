//! The format of `[http] cors_origins`.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Checks that a text is `*` or an origin, spelled as browsers spell it in the header `Origin`: lower case, no path,
/// no port if it is the default of the scheme, and the host as it is sent. Another text would never match.
///
/// # Errors
/// If it is not; the message shows the format.
pub(super) fn check_cors_origin(text: &str) -> Result<(), String> {
    if text == "*" || as_browsers_spell(text).is_some_and(|origin| origin == text) {
        return Ok(());
    }
    let hint = match text.contains('*') {
        true => "; wildcards for a part of an origin are not supported: list each origin",
        false => "",
    };
    Err(format!(
        "{text:?} is no origin, as in https://tools.example.com or http://localhost:5173, and not \"*\"{hint}"
    ))
}

/// The origin of a URL, or `None` if the text is no URL.
fn as_browsers_spell(text: &str) -> Option<String> {
    let uri: http::Uri = text.parse().ok()?;
    let (scheme, host) = (uri.scheme_str()?, host_as_browsers_spell(uri.host()?)?);
    let is_default = |port: u16| matches!((scheme, port), ("http", 80) | ("https", 443));
    let port = match uri.port_u16() {
        Some(port) if !is_default(port) => format!(":{port}"),
        _ => String::new(),
    };
    Some(format!("{scheme}://{host}{port}").to_lowercase())
}

/// A host as browsers spell it: an address in its shortest form, or a name of letters, digits, `-`, `_` and `.`; `None`
/// if it is neither. Browsers read a name whose last part is a number as an address.
fn host_as_browsers_spell(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Some(format!("[{}]", address.parse::<Ipv6Addr>().ok()?));
    }
    if host.rsplit('.').next()?.starts_with(|first: char| first.is_ascii_digit()) {
        return Some(host.parse::<Ipv4Addr>().ok()?.to_string());
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    host.bytes().all(is_name).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_must_be_spelled_as_browsers_spell_them() {
        for origin in [
            "*",
            "https://tools.example.com",
            "http://localhost:5173",
            "http://[::1]:81",
            "http://127.0.0.1:5173",
            "https://my_tools.example.com",
            "https://1.example.com",
            "capacitor://localhost",
        ] {
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
            "https://a:08443",
            "https://[0:0::1]",
            "http://127.1",
            "https://a%62",
            "https://é",
            "null",
        ] {
            let message = check_cors_origin(text).unwrap_err();
            assert!(
                message.contains("is no origin, as in https://") && !message.contains("wildcards"),
                "{text}"
            );
        }
        for text in
            ["https://*.example.com", "https://*", "*.example.com", "https://tools.example.com:*", "**"]
        {
            let message = check_cors_origin(text).unwrap_err();
            assert!(
                message.ends_with("wildcards for a part of an origin are not supported: list each origin")
            );
        }
    }
}
