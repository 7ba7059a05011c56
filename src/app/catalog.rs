//! What the operator configured for clients to read and for rules to go by. Replaced whole when the file changes.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use uuid::Uuid;

use crate::document::Document;
use crate::domain::instance::template::InstanceTemplate;
use crate::domain::region::Region;
use crate::domain::template::Template;
use crate::domain::{Refused, Session};

/// Session templates, regions and instance templates, as one configuration file has them.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Session templates by type.
    pub templates: BTreeMap<String, Template>,
    /// Regions by id; empty: any id is a region.
    pub regions: BTreeMap<String, Region>,
    /// Templates of instance requests by id.
    pub instance_templates: BTreeMap<Uuid, InstanceTemplate>,
    /// The document of all session templates.
    document: OnceLock<Document>,
}

impl Catalog {
    /// A catalog of these.
    pub fn new(
        templates: BTreeMap<String, Template>,
        regions: BTreeMap<String, Region>,
        instance_templates: BTreeMap<Uuid, InstanceTemplate>,
    ) -> Self {
        Self { templates, regions, instance_templates, document: OnceLock::new() }
    }

    /// The document of all session templates, rendered the first time it is asked for.
    pub fn document(&self, render: impl FnOnce(&BTreeMap<String, Template>) -> Document) -> &Document {
        self.document.get_or_init(|| render(&self.templates))
    }

    /// The template of a type of session.
    ///
    /// # Errors
    /// [`Refused::TemplateNotFound`].
    pub fn template(&self, session_type: &str) -> Result<&Template, Refused> {
        self.templates.get(session_type).ok_or(Refused::TemplateNotFound)
    }

    /// An instance template.
    ///
    /// # Errors
    /// [`Refused::InstanceTemplateNotFound`].
    pub fn instance_template(&self, id: Uuid) -> Result<&InstanceTemplate, Refused> {
        self.instance_templates.get(&id).ok_or(Refused::InstanceTemplateNotFound)
    }

    /// The template of a session. A session outlives its template: what it holds it keeps.
    pub fn template_of(&self, session: &Session) -> Option<&Template> {
        self.templates.get(&session.session_type)
    }

    /// Whether players of this session may change their team by themselves.
    pub fn can_change_own_team(&self, session: &Session) -> bool {
        self.template_of(session).is_none_or(|template| template.can_change_own_team)
    }

    /// Whether players hear of places kept for them in sessions of a type.
    pub fn tells_of_reservations(&self, session_type: &str) -> bool {
        self.templates.get(session_type).is_none_or(|template| template.notify_on_reservation)
    }

    /// Refuses a region that there is not.
    pub fn check_region(&self, region_id: Option<&str>) -> Result<(), Refused> {
        let known = |region_id: &str| self.regions.is_empty() || self.regions.contains_key(region_id);
        if region_id.is_none_or(known) { Ok(()) } else { Err(Refused::RegionNotFound) }
    }
}
