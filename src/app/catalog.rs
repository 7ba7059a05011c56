//! The catalog: session templates, regions and instance templates from the configuration. It is replaced as a whole
//! when the configuration is read again.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use uuid::Uuid;

use crate::document::Document;
use crate::domain::instance::template::InstanceTemplate;
use crate::domain::region::Region;
use crate::domain::template::Template;
use crate::domain::{Refused, Session};

/// Session templates, regions and instance templates of one configuration.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Session templates by session type.
    pub templates: BTreeMap<String, Template>,
    /// Regions by id. Empty: every id is accepted as a region.
    pub regions: BTreeMap<String, Region>,
    /// Instance templates by id.
    pub instance_templates: BTreeMap<Uuid, InstanceTemplate>,
    /// The document with all session templates.
    document: OnceLock<Document>,
}

impl Catalog {
    /// A catalog with these templates and regions.
    pub fn new(
        templates: BTreeMap<String, Template>,
        regions: BTreeMap<String, Region>,
        instance_templates: BTreeMap<Uuid, InstanceTemplate>,
    ) -> Self {
        Self { templates, regions, instance_templates, document: OnceLock::new() }
    }

    /// The document with all session templates. The first call renders it.
    pub fn document(&self, render: impl FnOnce(&BTreeMap<String, Template>) -> Document) -> &Document {
        self.document.get_or_init(|| render(&self.templates))
    }

    /// The template of a session type.
    ///
    /// # Errors
    /// [`Refused::TemplateNotFound`].
    pub fn template(&self, session_type: &str) -> Result<&Template, Refused> {
        self.templates.get(session_type).ok_or(Refused::TemplateNotFound)
    }

    /// The instance template with this id.
    ///
    /// # Errors
    /// [`Refused::InstanceTemplateNotFound`].
    pub fn instance_template(&self, id: Uuid) -> Result<&InstanceTemplate, Refused> {
        self.instance_templates.get(&id).ok_or(Refused::InstanceTemplateNotFound)
    }

    /// The template of a session; `None` if a later configuration does not have it any more. The session goes on with
    /// the values that it copied from its template.
    pub fn template_of(&self, session: &Session) -> Option<&Template> {
        self.templates.get(&session.session_type)
    }

    /// Whether players of the session may change their own team. Yes if the template is gone.
    pub fn can_change_own_team(&self, session: &Session) -> bool {
        self.template_of(session).is_none_or(|template| template.can_change_own_team)
    }

    /// Whether players see their reservations in sessions of this type. Yes if the template is gone.
    pub fn notifies_on_reservation(&self, session_type: &str) -> bool {
        self.templates.get(session_type).is_none_or(|template| template.notify_on_reservation)
    }

    /// Refuses an unknown region.
    ///
    /// # Errors
    /// [`Refused::RegionNotFound`].
    pub fn check_region(&self, region_id: Option<&str>) -> Result<(), Refused> {
        let Some(region_id) = region_id else { return Ok(()) };
        if self.regions.is_empty() || self.regions.contains_key(region_id) {
            return Ok(());
        }
        Err(Refused::RegionNotFound)
    }
}
