//! The fast paths of the surfaces: requests that are answered without the rest of the pipeline.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::Pipeline;
use crate::http::surface::FastPath;
use crate::telemetry::ResponsePath;

impl Pipeline {
    /// The fast path under hyper; see [`Handler::fast_path`](crate::http::connection::Handler::fast_path).
    pub fn fast_path(&self, request: &httparse::Request<'_, '_>, response: &mut Vec<u8>) -> bool {
        let before = response.len();
        let answered = self.try_fast_paths(ResponsePath::FastConnection, |fast_path| {
            response.truncate(before);
            let (operation, status) = fast_path.answer(&self.app, &self.settings, request, response)?;
            Some((operation, status, ()))
        });
        if answered.is_none() {
            response.truncate(before);
        }
        answered.is_some()
    }

    /// The fast path in hyper's service; see
    /// [`Handler::fast_path_in_service`](crate::http::connection::Handler::fast_path_in_service).
    pub fn fast_path_in_service(&self, head: &Parts) -> Option<Response<Full<Bytes>>> {
        self.try_fast_paths(ResponsePath::FastService, |fast_path| {
            let (operation, response) = fast_path.respond(&self.app, &self.settings, head)?;
            let response = self.charge(response, true).ok()?;
            Some((operation, response.status(), response))
        })
    }

    /// Tries the fast path of each surface that has one, and counts the response. A panic in it declines the request.
    fn try_fast_paths<T>(
        &self,
        path: ResponsePath,
        mut run: impl FnMut(&dyn FastPath) -> Option<(usize, StatusCode, T)>,
    ) -> Option<T> {
        if self.fast_paths.is_empty() {
            return None;
        }
        let started = self.app.clock.instant();
        for (first, fast_path) in &self.fast_paths {
            let caught = std::panic::catch_unwind(AssertUnwindSafe(|| run(&**fast_path)));
            let answered = caught.unwrap_or_else(|_| {
                self.metrics.panicked();
                None
            });
            if let Some((operation, status, response)) = answered {
                let operation = self.operation_metrics.get(first + operation);
                self.metrics.answered(path, operation, status, started.elapsed());
                return Some(response);
            }
        }
        None
    }
}
