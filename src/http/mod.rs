//! HTTP machinery: connections, the request pipeline, input, replies and the API document. It knows no operation.

pub mod connection;
pub mod cors;
pub mod error;
pub mod error_format;
pub mod input;
pub mod listener;
pub mod memory;
pub mod openapi;
pub mod operation;
pub mod pipeline;
mod read_body;
pub mod reply;
pub mod request_limits;
mod routes;
pub mod surface;
pub mod utc_time;

pub use cors::Cors;
pub use error::Error;
pub use pipeline::{Pipeline, PipelineSettings};
pub use request_limits::RequestLimits;
