//! The router of the pipeline: which operations are on a path.

use std::borrow::Cow;

use http::request::Parts;
use matchit::{Match, MatchError};

use super::input::params::EMPTY_SEGMENT;

/// The indexes of the operations on each path, from which the router is built.
#[derive(Default)]
pub struct Routes(Vec<(String, Vec<usize>)>);

impl Routes {
    /// Adds an operation on a path.
    pub fn add(&mut self, path: String, index: usize) {
        match self.0.iter_mut().find(|(other, _)| *other == path) {
            Some((_, on_path)) => on_path.push(index),
            None => self.0.push((path, vec![index])),
        }
    }

    /// Builds the router. Panics if two paths conflict.
    pub fn into_router(self) -> matchit::Router<Vec<usize>> {
        let mut router = matchit::Router::new();
        for (path, on_path) in self.0 {
            router.insert(path, on_path).expect("the paths of the surfaces do not conflict");
        }
        router
    }
}

/// The path of a request, as the router takes it.
pub struct RoutedPath<'a> {
    decoded: Cow<'a, str>,
    /// With its empty segments filled, if it has any.
    filled: Option<String>,
}

impl<'a> RoutedPath<'a> {
    /// The path of a request.
    pub fn of(parts: &'a Parts) -> Self {
        let decoded = decode_colons(parts.uri.path());
        let has_empty_segment = decoded.contains("//") || decoded.ends_with('/');
        let filled = has_empty_segment.then(|| fill_empty_segments(&decoded));
        Self { decoded, filled }
    }

    /// The operations on the path. The router matches no empty segments, but an empty path parameter must give 422 and
    /// not 404.
    pub fn find<'r>(
        &'r self,
        router: &'r matchit::Router<Vec<usize>>,
    ) -> Result<Match<'r, 'r, &'r Vec<usize>>, MatchError> {
        match (router.at(&self.decoded), &self.filled) {
            (Err(_), Some(filled)) => router.at(filled),
            (found, _) => found,
        }
    }
}

/// Decodes the colons of a path: some clients encode the one before a verb.
fn decode_colons(path: &str) -> Cow<'_, str> {
    if path.contains("%3A") || path.contains("%3a") {
        Cow::Owned(path.replace("%3A", ":").replace("%3a", ":"))
    } else {
        Cow::Borrowed(path)
    }
}

/// Replaces empty segments by [`EMPTY_SEGMENT`].
fn fill_empty_segments(path: &str) -> String {
    let segments = path.split('/').enumerate();
    let filled = segments
        .map(|(index, segment)| if index > 0 && segment.is_empty() { EMPTY_SEGMENT } else { segment });
    filled.collect::<Vec<_>>().join("/")
}
