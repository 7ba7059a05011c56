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

    /// The ports that no server has and that do not rest, the smallest first. `up_ms` is the monotonic clock.
    pub fn free(&mut self, up_ms: i64) -> Vec<u16> {
        self.resting.retain(|(_, until)| *until > up_ms);
        let is_resting = |port: u16| self.resting.iter().any(|(resting, _)| *resting == port);
        self.range.clone().filter(|port| !self.used.contains(port) && !is_resting(*port)).collect()
    }

    /// Takes ports, if all of them are still free.
    pub fn take(&mut self, ports: &[u16]) -> bool {
        let are_free = !ports.iter().any(|port| self.used.contains(port));
        if are_free {
            self.used.extend(ports);
        }
        are_free
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

/// The first ports that a server can bind; `None` if there are too few. Tries them, so it may take long.
pub fn bindable(free: Vec<u16>, count: usize) -> Option<Vec<u16>> {
    let ports: Vec<_> = free.into_iter().filter(|port| can_be_bound(*port)).take(count).collect();
    (ports.len() == count).then_some(ports)
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

    /// The next ports that a server gets.
    fn next(ports: &mut Ports, count: usize, up_ms: i64) -> Option<Vec<u16>> {
        bindable(ports.free(up_ms), count).filter(|next| ports.take(next))
    }

    #[test]
    fn the_smallest_free_port_is_taken_and_rests_after_use() {
        let first = two_free();
        let mut ports = Ports::new(first..=first + 1);
        assert_eq!(next(&mut ports, 1, 0), Some(vec![first]));
        assert_eq!(next(&mut ports, 2, 0), None);
        assert!(!ports.take(&[first, first + 1]), "another start was faster");
        assert_eq!(next(&mut ports, 1, 0), Some(vec![first + 1]));
        assert_eq!(next(&mut ports, 1, 0), None);
        ports.rest(&[first], 0);
        ports.give_back(&[first + 1]);
        assert_eq!(next(&mut ports, 1, REST_MS - 1), Some(vec![first + 1]));
        assert_eq!(next(&mut ports, 1, REST_MS - 1), None);
        assert_eq!(next(&mut ports, 1, REST_MS), Some(vec![first]));
    }

    #[test]
    fn a_port_of_another_program_is_skipped() {
        for address in ["0.0.0.0:0", "127.0.0.1:0", "[::]:0", "[::1]:0"] {
            // A machine may have no IPv6.
            let Ok(foreign) = UdpSocket::bind(address) else { continue };
            let port = foreign.local_addr().unwrap().port();
            assert_eq!(bindable(vec![port], 1), None, "{address}");
            drop(foreign);
            assert_eq!(bindable(vec![port], 1), Some(vec![port]), "{address}");
        }
    }
}
