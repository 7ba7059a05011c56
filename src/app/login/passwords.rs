//! Passwords of users: hashes (Argon2id), and a bounded number of comparisons at once. Each takes some 20 milliseconds
//! of a processor and 19 MiB.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use argon2::password_hash::phc::PasswordHash as Parsed;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::{Mutex, Semaphore};

use crate::app::locks::LockStripes;
use crate::env::Entropy;

/// Comparisons at the same time.
const RUNNING_MAX: usize = 2;
/// Comparisons that wait.
const WAITING_MAX: usize = 32;
/// Locks of names. Comparisons for one name come one after the other, so that the limit of wrong ones is exact.
const NAME_LOCKS: usize = 64;
/// Most memory and most passes that a configured hash may take: a mistake there could stop the server.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 100;
/// Length of a salt, in bytes.
const SALT_BYTES: usize = 16;

/// The hash of a password, as `rallypoint hash-password` prints it. `Debug` masks it: people choose short passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Hashes a password with a random salt.
    ///
    /// # Errors
    /// If the password is longer than 4 GiB.
    pub fn of(password: &str, entropy: &Entropy) -> Result<Self, String> {
        let salt = entropy.bytes::<SALT_BYTES>();
        let hashed = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
        hashed.map(|hash| Self(hash.to_string())).map_err(|error| error.to_string())
    }

    /// Reads a hash.
    ///
    /// # Errors
    /// If the text is no Argon2 hash, or takes too much memory or time to compare with. The error contains nothing of
    /// it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let not_a_hash = || "is not an Argon2 hash; `rallypoint hash-password` makes one".to_owned();
        let parsed = Parsed::new(text).map_err(|_| not_a_hash())?;
        let is_argon2 = parsed.algorithm.as_str().starts_with("argon2");
        if !is_argon2 || parsed.salt.is_none() || parsed.hash.is_none() {
            return Err(not_a_hash());
        }
        let params = argon2::Params::try_from(&parsed).map_err(|_| not_a_hash())?;
        if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
            return Err(format!("takes more than {MEMORY_KIB_MAX} KiB (m) or {PASSES_MAX} passes (t)"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn fits(&self, password: &str) -> bool {
        Parsed::new(&self.0)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Too many comparisons wait, or too many were wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

/// Compares passwords on threads of their own, a few at a time.
pub struct PasswordChecks {
    admitted: Semaphore,
    running: Arc<Semaphore>,
    by_name: LockStripes<Mutex<()>>,
    compared: AtomicU64,
}

impl Default for PasswordChecks {
    fn default() -> Self {
        Self {
            admitted: Semaphore::new(RUNNING_MAX + WAITING_MAX),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            by_name: LockStripes::new(NAME_LOCKS),
            compared: AtomicU64::new(0),
        }
    }
}

impl PasswordChecks {
    /// Compares the password of a user with a hash. `may_try` says just before the comparison whether it may be made,
    /// and `count_wrong` is called if the password is wrong.
    ///
    /// # Errors
    /// [`Busy`] if too many comparisons wait, or `may_try` says no.
    pub async fn check(
        &self,
        name: &str,
        hash: &PasswordHash,
        password: &str,
        may_try: impl Fn() -> bool,
        count_wrong: impl FnOnce(),
    ) -> Result<bool, Busy> {
        if !may_try() {
            return Err(Busy);
        }
        let _admitted = self.admitted.try_acquire().map_err(|_| Busy)?;
        let _turn = self.by_name.of(name).lock().await;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Busy)?;
        if !may_try() {
            return Err(Busy);
        }
        self.compared.fetch_add(1, Ordering::Relaxed);
        let (hash, password) = (hash.clone(), password.to_owned());
        let compare = move || {
            // Here until the end, also if the caller is gone meanwhile.
            let _running = running;
            hash.fits(&password)
        };
        let is_right = tokio::task::spawn_blocking(compare).await.unwrap_or(false);
        if !is_right {
            count_wrong();
        }
        Ok(is_right)
    }

    /// How many passwords were compared, right and wrong ones.
    pub fn compared(&self) -> u64 {
        self.compared.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    /// Of "secret", with the least memory, so that a test is quick.
    const QUICK: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$QQCd8VPOryZiCF3MtwQnPTK7odKCaPcXJGplgNEuj1A";

    #[test]
    fn a_hash_fits_its_password_only() {
        let hash = PasswordHash::of("secret", &Entropy::seeded(1)).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_str());
        assert_eq!(PasswordHash::parse(hash.as_str()).as_ref(), Ok(&hash));
        assert!(hash.fits("secret") && !hash.fits("Secret") && !hash.fits(""));
        assert_ne!(PasswordHash::of("secret", &Entropy::seeded(2)).unwrap(), hash);
        assert_eq!(format!("{hash:?}"), "***");
        assert!(PasswordHash::parse(QUICK).unwrap().fits("secret"));
    }

    #[test]
    fn other_texts_are_no_hashes() {
        let rest = "c29tZXNhbHQ$QQCd8VPOryZiCF3MtwQnPTK7odKCaPcXJGplgNEuj1A";
        for text in [
            "",
            "secret",
            "$2b$12$abcdefghijklmnopqrstuv",
            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ",
            "sha256:00",
        ] {
            assert!(PasswordHash::parse(text).unwrap_err().contains("hash-password"), "{text}");
        }
        for params in ["m=1048577,t=1,p=1", "m=8,t=101,p=1"] {
            let refused = PasswordHash::parse(&format!("$argon2id$v=19${params}${rest}")).unwrap_err();
            assert!(refused.contains("1048576 KiB"), "{refused}");
        }
    }

    #[tokio::test]
    async fn guesses_at_the_same_time_do_not_exceed_the_limit() {
        let (checks, hash) = (PasswordChecks::default(), PasswordHash::parse(QUICK).unwrap());
        let wrong = AtomicU64::new(0);
        let guess = |_| {
            let may_try = || wrong.load(Ordering::SeqCst) < 5;
            checks.check("ann", &hash, "guess", may_try, || {
                wrong.fetch_add(1, Ordering::SeqCst);
            })
        };
        let answers = join_all((0..30).map(guess)).await;
        assert_eq!(answers.iter().filter(|answer| **answer == Ok(false)).count(), 5);
        assert_eq!(checks.compared(), 5);
    }

    #[tokio::test]
    async fn a_bounded_number_of_comparisons_waits() {
        let (checks, hash) = (PasswordChecks::default(), PasswordHash::parse(QUICK).unwrap());
        let check = |number: usize| {
            let (checks, hash) = (&checks, &hash);
            async move { checks.check(&number.to_string(), hash, "secret", || true, || {}).await }
        };
        let answers = join_all((0..100).map(check)).await;
        let admitted = answers.iter().filter(|answer| **answer == Ok(true)).count();
        assert_eq!(admitted, RUNNING_MAX + WAITING_MAX);
        assert_eq!(answers.iter().filter(|answer| **answer == Err(Busy)).count(), 100 - admitted);
        assert_eq!(check(0).await, Ok(true));
    }
}
