//! The router of the pipeline: which operations are on a path.

use std::borrow::Cow;

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

/// Decodes the colons of a path: some clients encode the one before a verb.
pub fn decode_colons(path: &str) -> Cow<'_, str> {
    if path.contains("%3A") || path.contains("%3a") {
        Cow::Owned(path.replace("%3A", ":").replace("%3a", ":"))
    } else {
        Cow::Borrowed(path)
    }
}

/// Replaces empty segments by [`EMPTY_SEGMENT`].
pub fn fill_empty_segments(path: &str) -> String {
    let segments = path.split('/').enumerate();
    let filled = segments
        .map(|(index, segment)| if index > 0 && segment.is_empty() { EMPTY_SEGMENT } else { segment });
    filled.collect::<Vec<_>>().join("/")
}
