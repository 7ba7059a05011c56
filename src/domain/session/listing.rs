//! The session browser: the list of sessions that every player can find.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::template::Template;
use crate::domain::{Actor, CustomData, Refused, Session};

/// A session's listing in the browser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// Orders the listings of a session type. A new listing has the highest number.
    pub sequence: u64,
    /// When the session was listed.
    pub created: Timestamp,
    /// Data that the browser shows with the session.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
}

impl Session {
    /// Refuses an actor who may not list the session, and a session whose template does not allow a listing
    /// (`can_be_added_to_server_browser`).
    pub fn require_listable(&self, actor: Actor, template: Option<&Template>) -> Result<(), Refused> {
        self.require_leader(actor)?;
        let is_listable = template.is_some_and(|template| template.can_be_added_to_server_browser);
        if is_listable { Ok(()) } else { Err(Refused::NotForBrowser) }
    }

    /// Lists the session. If it is listed already, only the data of the listing changes.
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

    /// Replaces the data of the listing.
    pub fn update_listing(&mut self, actor: Actor, custom_data: CustomData) -> Result<(), Refused> {
        self.require_leader(actor)?;
        self.listing.as_mut().ok_or(Refused::ListingNotFound)?.custom_data = custom_data;
        Ok(())
    }

    /// Removes the listing.
    pub fn unlist(&mut self, actor: Actor) -> Result<(), Refused> {
        self.require_leader(actor)?;
        self.listing.take().map(drop).ok_or(Refused::ListingNotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{at_s, by, check, check_in, session, template};

    use Actor::Anyone;

    fn listing(sequence: u64, value: &str) -> Listing {
        Listing { sequence, created: at_s(0), custom_data: data(value) }
    }

    fn data(value: &str) -> CustomData {
        CustomData::from([("a".into(), value.into())])
    }

    /// Lists a session whose template allows it.
    fn list(actor: Actor, listing: Listing) -> impl FnOnce(&mut Session) -> Result<(), Refused> {
        let template = Template { can_be_added_to_server_browser: true, ..template() };
        move |session| session.list(actor, listing, Some(&template))
    }

    #[test]
    fn the_leader_lists_a_session_whose_template_allows_it() {
        check("L1 M2", list(by(1), listing(1, "b")), Ok("L1 M2"));
        check("L1 M2", list(Anyone, listing(1, "b")), Ok("L1 M2"));
        check("L1 M2", list(by(2), listing(1, "b")), Err(Refused::NotSessionLeader));
        check("L1 I2", list(by(2), listing(1, "b")), Err(Refused::NotActiveInSession));
        for template in [None, Some(template())] {
            let list = |actor| {
                let template = template.clone();
                move |session: &mut Session| session.list(actor, listing(1, "b"), template.as_ref())
            };
            check("L1 M2", list(by(1)), Err(Refused::NotForBrowser));
            check("L1 M2", list(by(2)), Err(Refused::NotSessionLeader));
        }
    }

    #[test]
    fn a_listing_keeps_its_number_when_its_data_changes() {
        let mut session = session("L1 M2");
        list(by(1), listing(1, "b"))(&mut session).unwrap();
        list(by(1), listing(2, "c"))(&mut session).unwrap();
        assert_eq!(session.listing, Some(listing(1, "c")));
        session.update_listing(by(1), data("d")).unwrap();
        assert_eq!(session.listing, Some(listing(1, "d")));
        check_in(&session, |s| s.update_listing(by(2), data("e")), Err(Refused::NotSessionLeader));
        check_in(&session, |s| s.unlist(by(2)), Err(Refused::NotSessionLeader));
        session.unlist(by(1)).unwrap();
        assert_eq!(session.listing, None);
        check_in(&session, |s| s.unlist(by(1)), Err(Refused::ListingNotFound));
        check_in(&session, |s| s.update_listing(by(1), data("e")), Err(Refused::ListingNotFound));
    }
}
