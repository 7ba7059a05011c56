//! The input of a request: credentials, headers, parameters and body. It is checked once, before the handler runs.

pub mod body;
mod bounded;
pub mod client_address;
pub mod conditions;
pub mod conversion;
pub mod credentials;
pub mod cross_site;
pub mod headers;
pub mod idempotency_key;
pub mod if_match;
pub mod param_types;
pub mod params;
pub mod prefer;
pub mod schema;
pub mod short_code;
pub mod this_machine;
pub mod violation;
