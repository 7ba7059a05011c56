//! The file that tells a server for which session it was allocated.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::Serialize;

/// The session of a game server, and where players reach the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The allocation.
    pub allocation_id: String,
    /// The session.
    pub session_id: String,
    /// The address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The file, in the form that the published plugin reads: all values are texts. An empty session means that there is
/// none yet.
#[derive(Serialize)]
struct Content<'a> {
    #[serde(rename = "AllocationUUID")]
    allocation_id: &'a str,
    #[serde(rename = "SessionId")]
    session_id: &'a str,
    #[serde(rename = "ConnectionIP", skip_serializing_if = "str::is_empty")]
    host: &'a str,
    #[serde(rename = "ConnectionPort", skip_serializing_if = "Option::is_none")]
    port: Option<String>,
}

/// Writes the file.
#[derive(Clone, Debug)]
pub struct AllocationFile(PathBuf);

impl AllocationFile {
    /// A file at this path. Its directory exists.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Says that there is no session yet.
    ///
    /// # Errors
    /// If the file cannot be written. The message names it.
    pub fn write_none(&self) -> Result<(), String> {
        self.write(&Content { allocation_id: "", session_id: "", host: "", port: None })
    }

    /// Says which session there is.
    ///
    /// # Errors
    /// As [`Self::write_none`].
    pub fn write_session(&self, assignment: &Assignment) -> Result<(), String> {
        self.write(&Content {
            allocation_id: &assignment.allocation_id,
            session_id: &assignment.session_id,
            host: &assignment.host,
            port: Some(assignment.port.to_string()),
        })
    }

    /// The server may read at any moment, and a part of the file would be fatal for it. So the file appears whole.
    fn write(&self, content: &Content<'_>) -> Result<(), String> {
        let failed = |error: io::Error| format!("{}: {error}", self.0.display());
        let mut beside = self.0.clone().into_os_string();
        beside.push(".new");
        let text = serde_json::to_vec(content).map_err(|error| failed(error.into()))?;
        fs::write(&beside, text).map_err(failed)?;
        fs::rename(&beside, &self.0).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_texts_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allocation.json");
        let file = AllocationFile::new(path.clone());
        file.write_none().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"AllocationUUID":"","SessionId":""}"#);
        let (allocation_id, session_id) = ("a1".to_owned(), "s1".to_owned());
        file.write_session(&Assignment {
            allocation_id,
            session_id,
            host: "198.51.100.7".into(),
            port: 7000,
        })
        .unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            r#"{"AllocationUUID":"a1","SessionId":"s1","ConnectionIP":"198.51.100.7","ConnectionPort":"7000"}"#
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let refused = AllocationFile::new(dir.path().join("absent/file")).write_none().unwrap_err();
        assert!(refused.contains("absent/file: "), "{refused}");
    }
}
