//! Regions, as the configuration has them.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::auth::Caller;
use crate::http::error::Error;
use crate::http::input::params::{Cursor, PageSize, params};
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

params! {
    /// The query of a page.
    PageQuery in "query" {
        /// Where the page begins: 0, or the cursor of the page before.
        cursor: Cursor,
        /// Most entries on the page.
        page_size: PageSize,
    }
}

/// A page of regions, in their order.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RegionsResponse")]
pub struct RegionsPage {
    /// The regions.
    regions: Vec<RegionView>,
    /// Where the next page begins; 0 after the last.
    cursor: usize,
}

/// A region.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Region")]
pub struct RegionView {
    /// Its id.
    #[schemars(length(min = 1, max = 128))]
    region_id: String,
    /// Its place in lists.
    sort_order: u32,
    /// Whether it is for custom games only.
    custom_only: bool,
    /// What it is, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    description: Option<String>,
}

/// A page of regions. The cursor counts those before it: they change with the configuration only.
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
