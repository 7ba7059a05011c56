//! Asks a running server over its control socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::runtime::control::{ControlRequest, socket_path};

/// Longest wait for an answer. A kill takes some seconds if the server's processes do not end at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// An answer on the control socket.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ControlAnswer<T> {
    Ok(T),
    Error(String),
}

/// Sends a request to the server with this data directory, and reads its answer.
pub fn ask<T: DeserializeOwned>(data_dir: &Path, request: &ControlRequest) -> Result<T, String> {
    let path = socket_path(data_dir);
    let failed = |error: std::io::Error| {
        format!(
            "{}: {error}; is the server running on this machine, with this data directory and as this user?",
            path.display()
        )
    };
    let mut stream = UnixStream::connect(&path).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
    let request = serde_json::to_string(request).map_err(|error| error.to_string())?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line).map_err(failed)?;
    match serde_json::from_str(&line) {
        Ok(ControlAnswer::Ok(value)) => Ok(value),
        Ok(ControlAnswer::Error(message)) => Err(message),
        Err(error) => Err(format!("the answer of the server cannot be read: {error}")),
    }
}
