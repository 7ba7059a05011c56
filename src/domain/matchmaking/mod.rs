//! Matchmaking: queues that parties join, and the profiles by which their tickets become matches.

pub mod backfill;
pub mod deserter;
pub mod entry;
pub mod matcher;
pub mod profile;
pub mod queue;
pub mod rank;
pub mod ruleset;
pub mod template;
pub mod ticket;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

pub use self::backfill::BackfillRules;
pub use self::deserter::DeserterKind;
pub use self::profile::Profile;
pub use self::queue::Queue;
pub use self::rank::{Claims, Rank, RankSource};
pub use self::template::{MatchTemplate, MmrGrouping, TemplateGroup};
use crate::domain::Refused;

/// Everything that the configuration says about matchmaking. Ids in it name things that exist: the configuration is
/// checked when it is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matchmaking {
    /// Ranks by id.
    pub ranks: BTreeMap<Uuid, Rank>,
    /// Queues by id.
    pub queues: BTreeMap<String, Queue>,
    /// Template groups by id.
    pub template_groups: BTreeMap<Uuid, TemplateGroup>,
    /// Profiles by id.
    pub profiles: BTreeMap<String, Profile>,
    /// Kinds of desertion by id.
    pub deserters: BTreeMap<Uuid, DeserterKind>,
    /// How often hosts confirm that they want players.
    pub backfill: BackfillRules,
}

impl Matchmaking {
    /// The queue with this id.
    ///
    /// # Errors
    /// [`Refused::QueueNotFound`].
    pub fn queue(&self, id: &str) -> Result<&Queue, Refused> {
        self.queues.get(id).ok_or_else(|| Refused::QueueNotFound(id.to_owned()))
    }

    /// The template group with this id.
    ///
    /// # Errors
    /// [`Refused::MatchMakingTemplateNotFound`].
    pub fn template_group(&self, id: Uuid) -> Result<&TemplateGroup, Refused> {
        self.template_groups.get(&id).ok_or(Refused::MatchMakingTemplateNotFound)
    }

    /// The profile with this id.
    ///
    /// # Errors
    /// [`Refused::MatchMakingProfileNotFound`].
    pub fn profile(&self, id: &str) -> Result<&Profile, Refused> {
        self.profiles.get(id).ok_or(Refused::MatchMakingProfileNotFound)
    }

    /// The profile that stands for a queue in the first version of the contract: the first of the queue's default
    /// template.
    pub fn default_profile(&self, queue: &Queue) -> Option<&Profile> {
        let group = self.template_groups.get(&queue.match_making_template_group_id)?;
        self.profiles.get(group.default_template()?.profiles.first()?)
    }

    /// The kinds of desertion that keep players out of these queues, whatever template their party satisfies.
    pub fn deserters_of(&self, queue_ids: &[String]) -> BTreeSet<Uuid> {
        let queues = queue_ids.iter().filter_map(|id| self.queues.get(id));
        let groups =
            queues.filter_map(|queue| self.template_groups.get(&queue.match_making_template_group_id));
        let profiles = groups.flat_map(|group| &group.templates).flat_map(|template| &template.profiles);
        profiles.filter_map(|id| self.profiles.get(id)?.deserter_id).collect()
    }

    /// The id of the kind of desertion that a text names, in any case.
    ///
    /// # Errors
    /// [`Refused::DeserterNotFound`], also if the text is no UUID.
    pub fn deserter(&self, id: &str) -> Result<Uuid, Refused> {
        let id = Uuid::try_parse(id).ok().filter(|id| self.deserters.contains_key(id));
        id.ok_or(Refused::DeserterNotFound)
    }
}
