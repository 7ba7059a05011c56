//! The interactive API reference at `/docs`. Its assets are in the binary, so it works without access to the internet.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use utoipa_swagger_ui::Config;

use crate::http::reply::Answer;

/// Allows scripts and styles only from this server. The library of the page uses inline styles.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

/// The title of the page in the library, and its replacement.
const TITLES: [&str; 2] = ["<title>Swagger UI</title>", "<title>Rallypoint API</title>"];

/// The page and its assets.
pub struct Pages {
    config: Arc<Config<'static>>,
}

impl Pages {
    /// The page of the API documents at these paths. It shows the first document, and a list of all if there are
    /// several.
    pub fn of(documents: impl Iterator<Item = String>) -> Self {
        Self { config: Arc::new(Config::new(documents)) }
    }

    /// Answers a request for the page or one of its assets; `None` for other paths.
    pub fn page(&self, path: &str) -> Option<Answer> {
        match path {
            // The reference is the start page for browsers.
            "/" => return Some(redirect(StatusCode::TEMPORARY_REDIRECT, "/docs")),
            // The page addresses its assets relative to this folder.
            "/docs" => return Some(redirect(StatusCode::PERMANENT_REDIRECT, "/docs/")),
            _ => {}
        }
        let file =
            utoipa_swagger_ui::serve(path.strip_prefix("/docs/")?, Arc::clone(&self.config)).ok()??;
        let bytes = match str::from_utf8(&file.bytes) {
            Ok(html) if file.content_type == "text/html" => html.replace(TITLES[0], TITLES[1]).into(),
            _ => Bytes::from(file.bytes.into_owned()),
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::try_from(file.content_type).ok()?);
        headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
        Some(Answer { status: StatusCode::OK, body: bytes, etag: None, headers, wait_on: None })
    }
}

fn redirect(status: StatusCode, location: &'static str) -> Answer {
    let mut answer = Answer::empty(status);
    answer.headers.insert(header::LOCATION, HeaderValue::from_static(location));
    answer
}
