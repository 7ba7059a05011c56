//! Settings of the request pipeline.

use ipnet::IpNet;

use crate::http::request_limits::RequestLimits;

/// Settings of the request pipeline.
#[derive(Clone, Debug)]
pub struct PipelineSettings {
    /// Limits of one request.
    pub limits: RequestLimits,
    /// Most memory of bodies being read and answers not yet taken, in bytes.
    pub memory_in_flight_bytes: u64,
    /// Name of the cookie that may contain the token.
    pub cookie: String,
    /// Networks of the proxies whose `X-Forwarded-For` header is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may change something with the token in the cookie, as browsers spell them. `*` does not
    /// count.
    pub cors_origins: Vec<String>,
    /// Whether operations that are for this machine answer others, too: the operator has allowed it.
    pub is_exposed: bool,
}
