//! The address of the client that sent a request, behind trusted proxies.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

/// The header in which proxies append the address from which they received a request.
pub const FORWARDED_FOR: &str = "x-forwarded-for";

/// Finds the client's address. It is that of the peer, unless the peer is a trusted proxy. Then it is the last address
/// in the header that is not a trusted proxy. Addresses before that one can be forged, and are ignored; so are
/// addresses before an entry that is not an address. Empty entries do not count.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    let lines = headers.get_all(FORWARDED_FOR).iter().rev().map(HeaderValue::as_bytes);
    let entries = lines.flat_map(|line| line.rsplit(|byte| *byte == b','));
    for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
        if !trusted_proxies.iter().any(|network| network.contains(&client)) {
            break;
        }
        let Some(address) = parse(entry) else { break };
        client = address.to_canonical();
    }
    client
}

/// The address in an entry. Some proxies add the port, brackets or quotes.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let entry = str::from_utf8(entry).ok()?;
    let entry = entry.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(entry);
    let in_brackets = || entry.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let with_port = || entry.parse::<SocketAddr>().ok();
    let plain = entry.parse().ok();
    plain.or_else(|| Some(with_port()?.ip())).or_else(|| Some(in_brackets()?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded_for: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for line in forwarded_for {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted = ["10.0.0.1/32", "10.0.0.2/32", "172.16.0.0/12", "2001:db8:f::/48"];
        let found =
            client_address(peer.parse().unwrap(), &headers, &trusted.map(|proxy| proxy.parse().unwrap()));
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded_for:?}");
    }

    #[test]
    fn only_headers_of_trusted_proxies_count() {
        check("192.0.2.7", &[], "192.0.2.7");
        check("192.0.2.7", &["198.51.100.1"], "192.0.2.7");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &["1.1.1.1", "198.51.100.1,10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("::ffff:10.0.0.1", &["2001:db8::1"], "2001:db8::1");
    }

    #[test]
    fn every_address_of_a_trusted_network_is_trusted() {
        check("172.31.255.255", &["198.51.100.1, 172.16.0.1"], "198.51.100.1");
        check("::ffff:172.20.0.1", &["198.51.100.1"], "198.51.100.1");
        check("2001:db8:f::1", &["198.51.100.1, 2001:db8:f:ffff::2"], "198.51.100.1");
        check("172.32.0.0", &["198.51.100.1"], "172.32.0.0");
        check("2001:db8:10::1", &["198.51.100.1"], "2001:db8:10::1");
    }

    #[test]
    fn addresses_may_have_a_port_brackets_and_quotes() {
        for entry in ["198.51.100.7", "198.51.100.7:51234", "\"198.51.100.7\"", "\"198.51.100.7:51234\""] {
            check("10.0.0.1", &[entry], "198.51.100.7");
        }
        for entry in ["2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:4433", "\"[2001:db8::7]:4433\""] {
            check("10.0.0.1", &[entry], "2001:db8::7");
        }
        check("10.0.0.1", &["198.51.100.7:1, 10.0.0.2:2, \"[::ffff:10.0.0.1]:3\""], "198.51.100.7");
    }

    #[test]
    fn empty_entries_do_not_count() {
        for line in ["198.51.100.1,", "198.51.100.1, ,", ",198.51.100.1,,10.0.0.2"] {
            check("10.0.0.1", &[line], "198.51.100.1");
        }
        check("10.0.0.1", &["198.51.100.1", "", " "], "198.51.100.1");
        check("10.0.0.1", &[" , "], "10.0.0.1");
    }

    #[test]
    fn nothing_before_an_entry_that_is_no_address_counts() {
        for entry in
            ["nonsense", "unknown", "é", "\"\"", "198.51.100.1:70000", "[198.51.100.1]", "[::1", "\"::1"]
        {
            check("10.0.0.1", &[entry], "10.0.0.1");
            check("10.0.0.1", &[&format!("198.51.100.1, {entry}, 10.0.0.2")], "10.0.0.2");
        }
        check("10.0.0.1", &["é, 198.51.100.1"], "198.51.100.1");
    }
}
