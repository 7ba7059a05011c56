//! The catalog: session templates, regions, instance templates, key-value pairs, and what the configuration says about
//! matchmaking. It is replaced as a whole when the configuration is read again.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use uuid::Uuid;

use crate::document::Document;
use crate::domain::instance::template::InstanceTemplate;
use crate::domain::matchmaking::Matchmaking;
use crate::domain::region::Region;
use crate::domain::session::Status;
use crate::domain::template::Template;
use crate::domain::{Refused, Session};
use crate::records::Membership;

/// What a reload replaces, of one configuration.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Session templates by session type.
    pub templates: BTreeMap<String, Template>,
    /// Templates that the configuration does not have and that stored sessions use, by session type. Their types take
    /// no new sessions.
    pub retired: BTreeMap<String, Template>,
    /// Regions by id. Empty: every id is accepted as a region.
    pub regions: BTreeMap<String, Region>,
    /// Instance templates by id.
    pub instance_templates: BTreeMap<Uuid, InstanceTemplate>,
    /// Texts that clients and servers read from the config service, by name.
    pub key_values: BTreeMap<String, String>,
    /// Queues, matchmaking profiles and what belongs to them.
    pub matchmaking: Arc<Matchmaking>,
    /// The document with all session templates, the retired ones included.
    document: OnceLock<Document>,
}

impl Catalog {
    /// A catalog with these templates and regions.
    pub fn new(
        templates: BTreeMap<String, Template>,
        regions: BTreeMap<String, Region>,
        instance_templates: BTreeMap<Uuid, InstanceTemplate>,
    ) -> Self {
        Self { templates, regions, instance_templates, ..Self::default() }
    }

    /// The same catalog with these key-value pairs.
    pub fn with_key_values(self, key_values: BTreeMap<String, String>) -> Self {
        Self { key_values, ..self }
    }

    /// The same catalog with this matchmaking.
    pub fn with_matchmaking(self, matchmaking: Matchmaking) -> Self {
        Self { matchmaking: Arc::new(matchmaking), ..self }
    }

    /// The same catalog with other retired templates. A type that the configuration has is not retired.
    fn with_retired(&self, mut retired: BTreeMap<String, Template>) -> Self {
        retired.retain(|session_type, _| !self.templates.contains_key(session_type));
        let retired = retired.into_iter().map(|(name, template)| (name, template.closed())).collect();
        Self {
            templates: self.templates.clone(),
            retired,
            regions: self.regions.clone(),
            instance_templates: self.instance_templates.clone(),
            key_values: self.key_values.clone(),
            matchmaking: Arc::clone(&self.matchmaking),
            document: OnceLock::new(),
        }
    }

    /// The document with all session templates. The first call renders it.
    pub fn document(&self, render: impl FnOnce(BTreeMap<&String, &Template>) -> Document) -> &Document {
        self.document.get_or_init(|| render(self.templates.iter().chain(&self.retired).collect()))
    }

    /// The template of a session type, also a retired one.
    ///
    /// # Errors
    /// [`Refused::TemplateNotFound`].
    pub fn template(&self, session_type: &str) -> Result<&Template, Refused> {
        self.template_of_type(session_type).ok_or(Refused::TemplateNotFound)
    }

    /// Whether the configuration no longer has the template of this type, so that it takes no new sessions.
    pub fn is_retired(&self, session_type: &str) -> bool {
        self.retired.contains_key(session_type)
    }

    fn template_of_type(&self, session_type: &str) -> Option<&Template> {
        self.templates.get(session_type).or_else(|| self.retired.get(session_type))
    }

    /// The instance template with this id.
    ///
    /// # Errors
    /// [`Refused::InstanceTemplateNotFound`].
    pub fn instance_template(&self, id: Uuid) -> Result<&InstanceTemplate, Refused> {
        self.instance_templates.get(&id).ok_or(Refused::InstanceTemplateNotFound)
    }

    /// The template of a session; `None` if no configuration since the session was stored had it. The session goes on
    /// with the values that it copied from its template.
    pub fn template_of(&self, session: &Session) -> Option<&Template> {
        self.template_of_type(&session.session_type)
    }

    /// Whether players of the session may change their own team. Yes if the template is gone.
    pub fn can_change_own_team(&self, session: &Session) -> bool {
        self.template_of(session).is_none_or(|template| template.can_change_own_team)
    }

    /// Whether players see their reservations in sessions of this type. Yes if the template is gone.
    pub fn notifies_on_reservation(&self, session_type: &str) -> bool {
        self.template_of_type(session_type).is_none_or(|template| template.notify_on_reservation)
    }

    /// Whether a player's list shows this entry. Some templates hide reservations from players.
    pub fn shows(&self, membership: &Membership) -> bool {
        membership.status != Status::Reserved || self.notifies_on_reservation(&membership.session_type)
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

/// The current catalog, and the number of times that the configuration was read again.
#[derive(Debug, Default)]
pub struct CurrentCatalog(RwLock<(u64, Arc<Catalog>)>);

impl CurrentCatalog {
    /// The catalog of the first configuration.
    pub fn new(catalog: Catalog) -> Self {
        Self(RwLock::new((0, Arc::new(catalog))))
    }

    /// The catalog.
    pub fn get(&self) -> Arc<Catalog> {
        self.snapshot().1
    }

    /// The number of reloads, and the catalog.
    pub fn snapshot(&self) -> (u64, Arc<Catalog>) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the catalog by that of a new configuration. Templates that it does not have any more are retired.
    pub fn reload(&self, catalog: Catalog) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (reloads, before) = &*current;
        let mut retired = before.templates.clone();
        retired.extend(before.retired.clone());
        let reloaded = catalog.with_retired(retired);
        log_retired(before, &reloaded);
        *current = (reloads + 1, Arc::new(reloaded));
    }

    /// Replaces the retired templates, unless the configuration was reloaded after [`snapshot`](Self::snapshot)
    /// returned this number of reloads.
    pub fn set_retired(&self, reloads_seen: u64, retired: BTreeMap<String, Template>) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (reloads, before) = &*current;
        let changed = before.with_retired(retired);
        if *reloads == reloads_seen && changed.retired != before.retired {
            log_retired(before, &changed);
            *current = (*reloads, Arc::new(changed));
        }
    }
}

/// Logs which templates are retired from now on, and which are gone.
fn log_retired(before: &Catalog, after: &Catalog) {
    for session_type in after.retired.keys().filter(|name| !before.retired.contains_key(*name)) {
        tracing::warn!(
            session_type,
            "the configuration has no template of this session type; sessions may use it, so it is served until the \
             last of them has ended, and takes no new sessions"
        );
    }
    for session_type in before.retired.keys().filter(|name| !after.retired.contains_key(*name)) {
        if after.templates.contains_key(session_type) {
            tracing::info!(session_type, "the configuration has the template of this session type again");
        } else {
            tracing::info!(
                session_type,
                "no session uses the template of this session type; it is no longer served"
            );
        }
    }
}
