//! `rallypoint hash-password` and `rallypoint new-client`: what the file of the login for development needs.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use super::print;
use crate::app::login::{ClientSecret, PasswordHash};
use crate::env::Entropy;

/// Text after `rallypoint hash-password --help`.
pub const HASH_HELP: &str = "\
Reads the password from the first line of standard input, so that it appears neither in the history of the shell nor in \
a list of processes. The hash is the only output on standard output.

  rallypoint hash-password < password-file

Next: put the hash into the configuration file, as password_hash of [login.users.NAME].";

/// Text after `rallypoint new-client --help`.
pub const CLIENT_HELP: &str = "\
The first line of the output is the secret: give it to the client, and keep it nowhere else. The second line is the \
setting with its hash.

  rallypoint new-client

Next: put the second line into the configuration file, below [login.clients.ID], and start the game server with \
-rh.clientid=ID -rh.clientsecret=SECRET.";

/// Longest password, in bytes: it has to fit into a request to log in.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Runs `rallypoint hash-password`.
pub fn hash_password() -> Result<(), String> {
    let input = std::io::stdin().lock();
    if input.is_terminal() {
        eprintln!("Type the password. It is shown while you type.");
    }
    let mut line = String::new();
    input
        .take(PASSWORD_BYTES_MAX + 1)
        .read_line(&mut line)
        .map_err(|error| format!("cannot read the password from standard input: {error}"))?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err("standard input has no password in its first line".into());
    }
    if password.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(format!("the password is longer than {PASSWORD_BYTES_MAX} bytes"));
    }
    let hash = PasswordHash::of(password, &Entropy::System)?;
    print(&format!("{}\n", hash.as_str()))
}

/// Runs `rallypoint new-client`.
pub fn new_client() -> Result<(), String> {
    let secret = ClientSecret::random(&Entropy::System);
    print(&format!("{}\nsecret_hash = \"{}\"\n", secret.as_str(), secret.hash()))
}
