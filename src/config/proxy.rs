//! The format of `[http] trusted_proxies`.

use std::net::IpAddr;

use ipnet::IpNet;

/// Bits before the IPv4 address in an IPv6 address to which it is mapped, as in `::ffff:10.0.0.1`.
const MAPPED_PREFIX_BITS: u8 = 96;

/// Parses an address or a network. An address stands for a network of one. Networks of mapped IPv4 addresses become
/// plain ones, because the addresses of clients do.
///
/// # Errors
/// If it is neither; the message shows the format.
pub(super) fn parse_proxy(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        format!("{text:?} is not an IP address or network, as in 10.0.0.1, 10.0.0.0/8 or fd00::/8")
    })?;
    let whole = network.trunc();
    if network != whole {
        return Err(format!("{text:?} is an address in a network: use {whole} or {}", network.addr()));
    }
    let mapped_bits = network.prefix_len().checked_sub(MAPPED_PREFIX_BITS);
    Ok(match (network.addr().to_canonical(), mapped_bits) {
        (address @ IpAddr::V4(_), Some(bits)) if network.addr().is_ipv6() => IpNet::new_assert(address, bits),
        _ => network,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_addresses_and_networks() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::1", "::1/128"),
            ("fd00::/8", "fd00::/8"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ] {
            let network = parse_proxy(text).unwrap();
            assert_eq!(network.to_string(), expected);
            assert_eq!(parse_proxy(expected), Ok(network));
        }
        for text in ["", "proxy", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "10.0.0.0/255.0.0.0", "10.0.0.1:80"]
        {
            assert!(parse_proxy(text).unwrap_err().contains("is not an IP address or network"), "{text}");
        }
        let message = "\"10.0.0.1/8\" is an address in a network: use 10.0.0.0/8 or 10.0.0.1";
        assert_eq!(parse_proxy("10.0.0.1/8"), Err(message.to_owned()));
    }
}
