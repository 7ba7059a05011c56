//! What a request brings: credentials, headers, parameters and body, checked once at the edge.

pub mod body;
pub mod client_address;
pub mod credentials;
pub mod headers;
pub mod params;
pub mod schema;
pub mod short_code;
pub mod violation;
