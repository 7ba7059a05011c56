//! The listing of a session on the wire.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::wire::CustomDataBody;
use crate::domain::session::listing::Listing;

/// The listing of a session in the browser.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BrowserInfo")]
pub struct BrowserView {
    /// Custom data of the listing.
    custom_data: CustomDataBody,
    /// Time at which the session was listed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_timestamp: Timestamp,
}

impl BrowserView {
    /// The wire form of a listing.
    pub fn of(listing: &Listing) -> Self {
        let custom_data = CustomDataBody(listing.custom_data.clone());
        Self { custom_data, created_timestamp: listing.created }
    }
}
