//! The session browser: sessions that anyone may find.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::template::Template;
use crate::domain::{Actor, CustomData, Refused, Session};

/// A session's listing in the browser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// Its place among the listings of its type; a new listing comes last.
    pub sequence: u64,
    /// When it was listed.
    pub created: Timestamp,
    /// Data shown with it.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
}

impl Session {
    /// Refuses an actor who may not list the session, and a session that is not for the browser.
    pub fn require_listable(&self, actor: Actor, template: Option<&Template>) -> Result<(), Refused> {
        self.require_leader(actor)?;
        let for_browser = template.is_some_and(|template| template.can_be_added_to_server_browser);
        if for_browser { Ok(()) } else { Err(Refused::NotForBrowser) }
    }

    /// Lists the session; a listed one gets the new data and keeps its place.
    pub fn list(
        &mut self,
        actor: Actor,
        listing: Listing,
        template: Option<&Template>,
    ) -> Result<(), Refused> {
        self.require_listable(actor, template)?;
        match &mut self.listing {
            Some(listed) => listed.custom_data = listing.custom_data,
            None => self.listing = Some(listing),
        }
        Ok(())
    }

    /// Changes what is shown of a listed session.
    pub fn update_listing(&mut self, actor: Actor, custom_data: CustomData) -> Result<(), Refused> {
        self.require_leader(actor)?;
        self.listing.as_mut().ok_or(Refused::ListingNotFound)?.custom_data = custom_data;
        Ok(())
    }

    /// Takes the session out of the browser.
    pub fn unlist(&mut self, actor: Actor) -> Result<(), Refused> {
        self.require_leader(actor)?;
        self.listing.take().map(drop).ok_or(Refused::ListingNotFound)
    }
}
