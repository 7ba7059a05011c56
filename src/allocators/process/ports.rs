//! The UDP ports of servers.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::ops::RangeInclusive;

/// How long a port rests after its server has ended. Packets of the old match may still arrive.
pub const REST_MS: i64 = 5_000;

/// The ports of a range, and which of them are in use.
#[derive(Debug)]
pub struct Ports {
    range: RangeInclusive<u16>,
    used: BTreeSet<u16>,
    /// Ports that rest, with the end of their rest on the monotonic clock.
    resting: Vec<(u16, i64)>,
}

impl Ports {
    /// All ports of a range.
    pub fn new(range: RangeInclusive<u16>) -> Self {
        Self { range, used: BTreeSet::new(), resting: Vec::new() }
    }

    /// Takes the smallest free ports; `None` if there are too few. `up_ms` is the monotonic clock.
    pub fn take(&mut self, count: usize, up_ms: i64) -> Option<Vec<u16>> {
        self.resting.retain(|(_, until)| *until > up_ms);
        let is_resting = |port: u16| self.resting.iter().any(|(resting, _)| *resting == port);
        let unused = self.range.clone().filter(|port| !self.used.contains(port) && !is_resting(*port));
        let taken: Vec<_> = unused.filter(|port| can_be_bound(*port)).take(count).collect();
        if taken.len() < count {
            return None;
        }
        self.used.extend(&taken);
        Some(taken)
    }

    /// Marks ports as used by a server that was adopted.
    pub fn mark_used(&mut self, ports: &[u16]) {
        self.used.extend(ports);
    }

    /// Lets ports rest, after their server has ended.
    pub fn rest(&mut self, ports: &[u16], up_ms: i64) {
        for port in ports {
            self.used.remove(port);
            self.resting.push((*port, up_ms.saturating_add(REST_MS)));
        }
    }

    /// Gives back ports that no server has used.
    pub fn give_back(&mut self, ports: &[u16]) {
        for port in ports {
            self.used.remove(port);
        }
    }
}

/// Whether a server can bind a UDP port on all addresses. Another program may have it.
fn can_be_bound(port: u16) -> bool {
    // One after the other: a socket for all addresses of one family may exclude one for both.
    let is_used =
        |bound: std::io::Result<UdpSocket>| bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
    !is_used(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
        && !is_used(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ports in a row that no program uses now.
    fn two_free() -> u16 {
        (20_000..30_000).step_by(7).find(|port| can_be_bound(*port) && can_be_bound(port + 1)).unwrap()
    }

    #[test]
    fn the_smallest_free_port_is_taken_and_rests_after_use() {
        let first = two_free();
        let mut ports = Ports::new(first..=first + 1);
        assert_eq!(ports.take(1, 0), Some(vec![first]));
        assert_eq!(ports.take(2, 0), None);
        assert_eq!(ports.take(1, 0), Some(vec![first + 1]));
        assert_eq!(ports.take(1, 0), None);
        ports.rest(&[first], 0);
        ports.give_back(&[first + 1]);
        assert_eq!(ports.take(1, REST_MS - 1), Some(vec![first + 1]));
        assert_eq!(ports.take(1, REST_MS - 1), None);
        assert_eq!(ports.take(1, REST_MS), Some(vec![first]));
    }

    #[test]
    fn a_port_of_another_program_is_skipped() {
        for address in ["0.0.0.0:0", "127.0.0.1:0", "[::]:0", "[::1]:0"] {
            // A machine may have no IPv6.
            let Ok(foreign) = UdpSocket::bind(address) else { continue };
            let port = foreign.local_addr().unwrap().port();
            assert_eq!(Ports::new(port..=port).take(1, 0), None, "{address}");
            drop(foreign);
            assert_eq!(Ports::new(port..=port).take(1, 0), Some(vec![port]), "{address}");
        }
    }
}
