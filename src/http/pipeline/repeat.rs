//! Requests with an `Idempotency-Key`: the first runs, and its repeats get its answer.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, StatusCode};

use super::Pipeline;
use crate::app::idempotency::{Begun, KeyRefused, StoredAnswer};
use crate::auth::Caller;
use crate::http::error::Error;
use crate::http::input::idempotency_key::{self, IDEMPOTENCY_REPLAYED};
use crate::http::input::params::RawParams;
use crate::http::operation::Operation;
use crate::http::reply::Answer;
use crate::http::routes::RoutedPath;

impl Pipeline {
    /// Runs a request that has a key, or answers it like the equal request before it. The key is read again before a
    /// refusal: the equal request, on another node, may be its reason.
    pub(super) async fn run_once(
        &self,
        operation: &Operation,
        caller: Caller,
        mut raw_params: RawParams<'_>,
        parts: &Parts,
        body: Bytes,
    ) -> Result<Answer, Error> {
        let value = if operation.has_body { operation.parse_body(&body) } else { None };
        let key = idempotency_key::read(&caller, parts, &body, value.as_ref())?;
        drop(value);
        let run = match self.in_time(self.app.idempotency.begin(&key)).await?? {
            Begun::Repeated(answer) => return Ok(self.replay(&caller, answer).await),
            Begun::First(run) => run,
        };
        raw_params.recorder = Some(run.recorder.clone());
        let repeated = match self.run_admitted(operation, caller.clone(), raw_params, body).await {
            Ok(answer) => {
                match self.in_time(self.app.idempotency.answered(&run, answer.to_store(), || None)).await?? {
                    None => return Ok(answer),
                    Some(repeated) => repeated,
                }
            }
            Err(error) => match self.in_time(self.app.idempotency.refused(&run)).await {
                Ok(Ok(Some(repeated))) => repeated,
                Ok(Ok(None) | Err(KeyRefused::Store(_))) | Err(_) => return Err(error),
                Ok(Err(refused)) => return Err(refused.into()),
            },
        };
        Ok(self.replay(&caller, repeated).await)
    }

    /// Waits for a step beside the handler, for as long as a handler may take.
    async fn in_time<T>(&self, step: impl Future<Output = T>) -> Result<T, Error> {
        let limit = self.settings.limits.request_timeout;
        tokio::time::timeout(limit, step).await.map_err(|_| Error::TimedOut)
    }

    /// The answer to a repeat. A body that was too large to be stored is read as it is now.
    async fn replay(&self, caller: &Caller, stored: StoredAnswer) -> Answer {
        let etag = stored.etag.and_then(|etag| HeaderValue::try_from(etag).ok());
        let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
        let mut answer =
            Answer { status, body: Bytes::new(), etag, headers: HeaderMap::new(), wait_on: None };
        let how = match (stored.body, stored.read_at) {
            (Some(body), _) => {
                answer.body = body.into();
                "true"
            }
            (None, read_at) => {
                let current = match read_at {
                    Some(path) => Box::pin(self.read(caller, &path)).await.ok(),
                    None => None,
                };
                answer.body = Bytes::from_static(b"{}");
                if let Some(current) = current {
                    (answer.body, answer.etag) = (current.body, current.etag);
                }
                "refreshed"
            }
        };
        answer.headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static(how));
        answer
    }

    /// Answers a GET of the caller.
    async fn read(&self, caller: &Caller, path: &str) -> Result<Answer, Error> {
        let head = Request::get(path).body(()).map_err(|error| Error::Internal(error.to_string()))?;
        let (parts, ()) = head.into_parts();
        let path = RoutedPath::of(&parts);
        let (index, mut raw_params) = self.route(&path, &parts, None)?;
        let operation = &self.operations[index];
        let caller = caller.narrowed(operation.policy)?;
        raw_params.client = caller.address();
        self.finish(operation.start(&self.app, caller, &raw_params, &Bytes::new())?).await
    }
}
