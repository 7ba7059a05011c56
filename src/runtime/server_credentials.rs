//! The client that a server with the login for development makes for game servers, and the files from which they read
//! its id and secret.

use std::path::Path;

use crate::app::login::{ClientSecret, SecretHash};
use crate::env::Entropy;
use crate::secret_file;

/// The id of the client.
pub const CLIENT_ID: &str = "game-server";
/// The file with the id in the first line and the secret in the second.
const BOTH_FILE: &str = "server-credentials";
/// The file with the id alone, without a line break.
const ID_FILE: &str = "client-id";
/// The file with the secret alone, without a line break.
const SECRET_FILE: &str = "client-secret";

/// Reads the secret from the files in a data directory, or makes a new one. Servers that start at the same time get the
/// same one. All files have mode 0600.
///
/// # Errors
/// If a file cannot be read or written, or other users may access it, or the first one has another form.
pub fn load_or_create(data_dir: &Path, entropy: &Entropy) -> Result<SecretHash, String> {
    let at = |name: &str| data_dir.join(name);
    let failed = |name: &str, error: &dyn std::fmt::Display| format!("{}: {error}", at(name).display());
    if !at(BOTH_FILE).exists() {
        let both = format!("{CLIENT_ID}\n{}\n", ClientSecret::random(entropy).as_str());
        secret_file::create_own_once(&at(BOTH_FILE), &both, entropy)
            .map_err(|error| failed(BOTH_FILE, &error))?;
    }
    let both = secret_file::read_own(&at(BOTH_FILE)).map_err(|error| failed(BOTH_FILE, &error))?;
    let mut lines = both.lines();
    let (id, secret, rest) = (lines.next(), lines.next(), lines.next());
    let (Some(CLIENT_ID), Some(secret @ [_, ..]), None) = (id, secret.map(str::as_bytes), rest) else {
        let form = format!(
            "the first line must be {CLIENT_ID} and the second the secret; delete it to get a new one"
        );
        return Err(failed(BOTH_FILE, &form));
    };
    let secret = String::from_utf8_lossy(secret);
    for (name, text) in [(ID_FILE, CLIENT_ID), (SECRET_FILE, &secret)] {
        let is_current = match secret_file::read_own(&at(name)) {
            Ok(found) => found == text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(name, &error)),
        };
        if !is_current {
            secret_file::replace_own(&at(name), text, entropy).map_err(|error| failed(name, &error))?;
        }
    }
    Ok(SecretHash::of(&secret))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn load(dir: &Path) -> Result<SecretHash, String> {
        load_or_create(dir, &Entropy::System)
    }

    #[test]
    fn servers_that_start_at_the_same_time_get_one_secret_which_stays() {
        let dir = tempfile::tempdir().unwrap();
        let hashes = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| load(dir.path()).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
        });
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let secret = read(SECRET_FILE);
        assert_eq!((secret.len(), read(ID_FILE)), (43, CLIENT_ID.to_owned()));
        assert_eq!(read(BOTH_FILE), format!("{CLIENT_ID}\n{secret}\n"));
        assert!(hashes.iter().all(|hash| hash.fits(&secret)));
        for name in [BOTH_FILE, ID_FILE, SECRET_FILE] {
            let mode = dir.path().join(name).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
        std::fs::remove_file(dir.path().join(SECRET_FILE)).unwrap();
        assert!(load(dir.path()).unwrap().fits(&secret));
        assert_eq!(read(SECRET_FILE), secret);
    }

    #[test]
    fn unsafe_or_broken_files_are_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        load(dir.path()).unwrap();
        for name in [BOTH_FILE, ID_FILE, SECRET_FILE] {
            let path = dir.path().join(name);
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            let refused = load(dir.path()).unwrap_err();
            assert!(refused.contains(name) && refused.contains("chmod 600"), "{refused}");
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        for broken in
            ["", "game-server\n", "other\nhidden\n", "game-server\n\n", "game-server\nhidden\nhidden\n"]
        {
            std::fs::write(dir.path().join(BOTH_FILE), broken).unwrap();
            let refused = load(dir.path()).unwrap_err();
            assert!(refused.contains("delete it") && !refused.contains("hidden"), "{refused}");
        }
    }
}
