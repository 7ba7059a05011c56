//! HTTP machinery: connections, the request pipeline, input, replies and the API document. It knows no operation.

pub mod connection;
pub mod cors;
pub mod error;
pub mod input;
pub mod listener;
pub mod openapi;
pub mod operation;
pub mod pipeline;
pub mod reply;
pub mod surface;

pub use cors::Cors;
pub use error::Error;
pub use pipeline::{Pipeline, PipelineSettings, RequestLimits};
