//! What the operator has configured, as clients read it.

pub mod connection_info;
pub mod instance_templates;
pub mod regions;
pub mod templates;
