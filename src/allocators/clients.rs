//! How launched servers log in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::secret_file;

/// The clients of launched servers, in the login of this server. Each server has a client of its own, so that it can be
/// shut out alone. The login stores nothing: the allocator keeps the secret, and registers it again after a restart.
pub trait LaunchClients: Send + Sync {
    /// Lets the client of an allocation log in with this secret. Returns the client's id.
    fn register(&self, allocation_id: &str, secret: &str) -> String;

    /// Shuts the client of an allocation out.
    fn remove(&self, allocation_id: &str);
}

/// With which client launched servers log in.
#[derive(Clone)]
pub enum ServerLogin {
    /// Each server has a client of its own at the login of this server.
    PerLaunch(Arc<dyn LaunchClients>),
    /// The operator's client, at a login elsewhere.
    Own {
        /// The id of the client.
        client_id: String,
        /// The file with its secret. It is read for each launch. Others must not read it.
        secret_file: PathBuf,
    },
    /// Servers get no client.
    None,
}

impl ServerLogin {
    /// The operator's client. Reads the file, to find a mistake before the first launch.
    ///
    /// # Errors
    /// If the file cannot be used. The message names it.
    pub fn own(client_id: &str, secret_file: &Path) -> Result<Self, String> {
        read_secret(secret_file)?;
        Ok(Self::Own { client_id: client_id.to_owned(), secret_file: secret_file.to_owned() })
    }
}

/// Reads the secret of the operator's client, without the line break at its end.
///
/// # Errors
/// If the file cannot be used. The message names it.
pub fn read_secret(file: &Path) -> Result<String, String> {
    let not_text = |_| format!("{}: the secret is not UTF-8 text", file.display());
    let secret = String::from_utf8(secret_file::read(file)?).map_err(not_text)?;
    Ok(secret.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_secret_of_the_operators_client_must_be_usable() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        let refused = || ServerLogin::own("studio", &file).err().unwrap();
        assert!(refused().contains("secret: No such file"));
        for (text, mode, expected) in
            [(&b"hidden\n"[..], 0o644, "every user"), (b"hidden\xff", 0o600, "not UTF-8")]
        {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let message = refused();
            assert!(message.contains(expected) && !message.contains("hidden"), "{message}");
        }
        std::fs::write(&file, "hidden\r\n").unwrap();
        assert!(ServerLogin::own("studio", &file).is_ok());
        assert_eq!(read_secret(&file).unwrap(), "hidden");
    }
}
