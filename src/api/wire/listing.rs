//! A session's own listing on the wire.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::wire::CustomDataBody;
use crate::domain::session::listing::Listing;

/// A session's listing.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BrowserInfo")]
pub struct BrowserView {
    /// Data shown with it.
    custom_data: CustomDataBody,
    /// When it was listed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_timestamp: Timestamp,
}

impl BrowserView {
    /// A listing on the wire.
    pub fn of(listing: &Listing) -> Self {
        let custom_data = CustomDataBody(listing.custom_data.clone());
        Self { custom_data, created_timestamp: listing.created }
    }
}
