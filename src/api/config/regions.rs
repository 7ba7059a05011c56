//! The regions from the configuration.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::auth::Caller;
use crate::http::error::Error;
use crate::http::input::param_types::{Cursor, PageSize};
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

params! {
    /// Query of a page of regions.
    PageQuery in "query" {
        /// Start of the page: 0, or the `cursor` of the previous page.
        cursor: Cursor,
        /// Largest number of regions on the page.
        page_size: PageSize,
    }
}

/// A page of regions, in display order.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RegionsResponse")]
pub struct RegionsPage {
    /// Regions on the page.
    regions: Vec<RegionView>,
    /// Start of the next page, or 0 on the last page.
    cursor: usize,
}

/// A region.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Region")]
pub struct RegionView {
    /// Id of the region.
    #[schemars(length(min = 1, max = 128))]
    region_id: String,
    /// Position of the region in lists: lower numbers come first.
    sort_order: u32,
    /// Whether the region is for custom games only.
    custom_only: bool,
    /// Description of the region for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    description: Option<String>,
}

/// Reads a page of regions. The cursor is the number of regions on the pages before, which is stable because regions
/// change only with the configuration.
pub async fn page(
    app: Arc<App>,
    _: Caller,
    Input { query, .. }: Input<(), PageQuery>,
) -> Result<Reply<Plain<RegionsPage>>, Error> {
    let catalog = app.catalog();
    let mut regions: Vec<_> = catalog.regions.iter().collect();
    regions.sort_by_key(|(id, region)| (region.sort_order, *id));
    let skipped = usize::try_from(query.cursor.0).unwrap_or(usize::MAX);
    let end = skipped.saturating_add(query.page_size.0);
    let cursor = if end < regions.len() { end } else { 0 };
    let on_page = regions.into_iter().skip(skipped).take(query.page_size.0);
    let regions = on_page.map(|(id, region)| RegionView {
        region_id: id.clone(),
        sort_order: region.sort_order,
        custom_only: region.custom_only,
        description: region.description.clone(),
    });
    Ok(Reply::plain(&RegionsPage { regions: regions.collect(), cursor }))
}
