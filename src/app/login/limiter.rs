//! Rate limits of logins. Requests from this machine have no limit by address: hundreds of clients of a test log in at
//! once.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use quick_cache::unsync::Cache;
use sha2::{Digest as _, Sha256};

use crate::app::rate_limit::{self, WINDOW};

/// Logins of one address in a second, in the long run.
const LOGINS_PER_S: i64 = 20;
/// Logins of one address at once.
const LOGINS_BURST: i64 = 100;
/// Most wrong passwords and secrets of one address within a minute.
pub const WRONG_PER_ADDRESS_MAX: u32 = 10;
/// Most wrong passwords for one user within a minute, and most wrong secrets of one address for one client.
pub const WRONG_PER_NAME_MAX: u32 = 5;
/// Most addresses, and most names, with a count. Beyond that, the least used are forgotten first.
const KEYS_MAX: usize = 65_536;
/// Part of a login in the count of a bucket: thousandths, so that a bucket fills by whole numbers.
const MILLI: i64 = 1_000;

/// Who tries a password or a secret.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The address, unless it is on this machine or not known.
    address: Option<IpAddr>,
    /// What is counted beside the address: the hash of a name.
    name: [u8; 32],
}

impl Attempt {
    /// An attempt at the password of a user. Counts for the user, whatever the address: people choose passwords that
    /// can be guessed.
    pub fn at_user(name: &str, address: Option<IpAddr>) -> Self {
        Self { address: limited(address), name: Sha256::digest(["user:", name].concat()).into() }
    }

    /// An attempt at the secret of a client that was wrong. Counts for the client at this address.
    pub fn at_client(id: &str, address: Option<IpAddr>) -> Self {
        let key = format!("client:{address:?}:{id}");
        Self { address: limited(address), name: Sha256::digest(key).into() }
    }
}

/// The address that limits apply to; `None` for this machine and for requests that did not come over a connection. An
/// IPv6 network of 64 bits counts as one address, because one machine has all of it.
fn limited(address: Option<IpAddr>) -> Option<IpAddr> {
    let address = address?.to_canonical();
    if address.is_loopback() {
        return None;
    }
    Some(match address {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    })
}

/// The logins that an address may still make.
#[derive(Clone, Copy)]
struct Bucket {
    milli_logins: i64,
    at_ms: i64,
}

/// Counts logins, wrong passwords and wrong secrets. Times are those of the monotonic clock.
pub struct LoginLimiter(Mutex<Counts>);

struct Counts {
    buckets: Cache<IpAddr, Bucket>,
    wrong_by_address: rate_limit::Counts<IpAddr>,
    wrong_by_name: rate_limit::Counts<[u8; 32]>,
}

impl Default for LoginLimiter {
    fn default() -> Self {
        Self(Mutex::new(Counts {
            buckets: Cache::new(KEYS_MAX),
            wrong_by_address: rate_limit::Counts::new(KEYS_MAX, WINDOW),
            wrong_by_name: rate_limit::Counts::new(KEYS_MAX, WINDOW),
        }))
    }
}

impl LoginLimiter {
    /// Whether this address may log in now. Counts the login.
    pub fn admits(&self, address: Option<IpAddr>, up_ms: i64) -> bool {
        let Some(address) = limited(address) else { return true };
        let mut counts = self.lock();
        let full = Bucket { milli_logins: LOGINS_BURST * MILLI, at_ms: up_ms };
        let bucket = counts.buckets.get(&address).copied().unwrap_or(full);
        let filled = up_ms.saturating_sub(bucket.at_ms).saturating_mul(LOGINS_PER_S);
        let milli_logins = bucket.milli_logins.saturating_add(filled).min(full.milli_logins);
        let is_admitted = milli_logins >= MILLI;
        let milli_logins = if is_admitted { milli_logins - MILLI } else { milli_logins };
        counts.buckets.insert(address, Bucket { milli_logins, at_ms: up_ms });
        is_admitted
    }

    /// Whether another password may be compared, or another wrong secret is answered as one.
    pub fn may_try(&self, attempt: &Attempt, up_ms: i64) -> bool {
        let counts = self.lock();
        let of_address = |address| counts.wrong_by_address.count(&address, up_ms) < WRONG_PER_ADDRESS_MAX;
        attempt.address.is_none_or(of_address)
            && counts.wrong_by_name.count(&attempt.name, up_ms) < WRONG_PER_NAME_MAX
    }

    /// Counts a wrong password or secret.
    pub fn count_wrong(&self, attempt: &Attempt, up_ms: i64) {
        let mut counts = self.lock();
        if let Some(address) = attempt.address {
            counts.wrong_by_address.add(&address, up_ms);
        }
        counts.wrong_by_name.add(&attempt.name, up_ms);
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_has_a_burst_and_then_a_rate() {
        let limiter = LoginLimiter::default();
        let admitted = |from: &str, up_ms| (0..200).filter(|_| limiter.admits(address(from), up_ms)).count();
        assert_eq!(admitted("10.0.0.1", 0), 100);
        assert_eq!(admitted("10.0.0.1", 49), 0);
        assert_eq!(admitted("10.0.0.1", 1_000), 20);
        assert_eq!(admitted("10.0.0.1", 3_600_000), 100);
        assert_eq!(admitted("10.0.0.2", 3_600_000), 100);
        assert_eq!(admitted("2001:db8::1", 0), 100);
        assert_eq!(admitted("2001:db8::2", 0), 0, "a machine has a whole network of 64 bits");
        for from in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(admitted(from, 0), 200);
        }
        assert!((0..200).all(|_| limiter.admits(None, 0)));
    }

    #[test]
    fn wrong_passwords_count_for_the_user_and_for_the_address() {
        let limiter = LoginLimiter::default();
        let wrong = |attempt: &Attempt| {
            let tried =
                (0..50).take_while(|_| limiter.may_try(attempt, 0)).map(|_| limiter.count_wrong(attempt, 0));
            tried.count()
        };
        assert_eq!(wrong(&Attempt::at_user("a", address("10.0.0.1"))), 5);
        assert_eq!(wrong(&Attempt::at_user("a", address("10.0.0.2"))), 0, "the user has a count of its own");
        assert_eq!(wrong(&Attempt::at_user("b", address("10.0.0.1"))), 5);
        assert_eq!(wrong(&Attempt::at_user("c", address("10.0.0.1"))), 0, "so has the address");
        assert_eq!(wrong(&Attempt::at_user("c", address("127.0.0.1"))), 5);
        assert_eq!(wrong(&Attempt::at_user("d", address("127.0.0.1"))), 5);
        assert!(limiter.may_try(&Attempt::at_user("a", address("10.0.0.1")), 60_000));
    }

    #[test]
    fn wrong_secrets_of_one_address_do_not_shut_out_another() {
        let limiter = LoginLimiter::default();
        let [attacker, server] =
            ["10.0.0.1", "10.0.0.2"].map(|from| Attempt::at_client("game", address(from)));
        for _ in 0..WRONG_PER_NAME_MAX {
            limiter.count_wrong(&attacker, 0);
        }
        assert!(!limiter.may_try(&attacker, 0) && limiter.may_try(&server, 0));
    }
}
