//! What `/metrics` says.

use http::Request;
use http_body_util::BodyExt as _;
use rallypoint::runtime::admin;

use super::Server;

/// The metrics of a server at one moment.
pub struct Metrics(pub String);

impl Metrics {
    pub async fn of(server: &Server) -> Self {
        let request = Request::get("/metrics").body(()).unwrap();
        let body = admin::handle(&server.readiness(), request).await.into_body().collect().await.unwrap();
        Self(String::from_utf8(body.to_bytes().to_vec()).unwrap())
    }

    /// The sum of one sample over all nodes.
    pub async fn total(server: &Server, sample: &str) -> u64 {
        let mut total = 0;
        for node in server.nodes() {
            total += Self::of(node).await.get(sample);
        }
        total
    }

    /// The value of one sample, which is a whole number. Its name is without the prefix of all names.
    #[track_caller]
    pub fn get(&self, sample: &str) -> u64 {
        self.text(sample).parse().unwrap()
    }

    /// The value of one sample as it stands there.
    #[track_caller]
    pub fn text(&self, sample: &str) -> &str {
        let start = format!("rallypoint_{sample} ");
        let value = self.0.lines().find_map(|line| line.strip_prefix(&start));
        value.unwrap_or_else(|| panic!("{sample} is not in:\n{}", self.0))
    }
}
