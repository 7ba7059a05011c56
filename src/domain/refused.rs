//! Refusals: why a rule does not apply. They know nothing of HTTP; `http/error.rs` maps each to a status and an
//! error code.

use jiff::Timestamp;

use super::session::rights::Right;
use super::{Platform, PlayerUuid};

/// A refusal. The caller sees the text, so it contains nothing that the caller may not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts describe the variants")]
pub enum Refused {
    #[error("the session does not exist")]
    SessionNotFound,
    #[error("the player is not in the session")]
    PlayerNotFound,
    #[error("the session has no such team")]
    TeamNotFound,
    #[error("there is no such region")]
    RegionNotFound,
    #[error("there is no session template of this type")]
    TemplateNotFound,
    #[error("there is no template of instance requests with this id")]
    InstanceTemplateNotFound,
    #[error("the caller cannot create sessions of this type, and there is none to join")]
    SessionTypeNotCreatable,
    #[error("the platform session does not exist")]
    PlatformSessionNotFound,
    #[error("the session's template has no entry for {0}")]
    PlatformNotInTemplate(Platform),
    #[error("only active players of the session may do this")]
    NotActiveInSession,
    #[error("only the leader of the session may do this")]
    NotSessionLeader,
    #[error("this player does not have the right to {} in the session; the leader can give it", .0.name())]
    RightNotHeld(Right),
    #[error("a player cannot join on behalf of another player; send an invite instead")]
    JoinForOthers,
    #[error("the player has too many unanswered invites, in all or from the inviting player")]
    TooManyInvites,
    #[error("the player has reached the maximum number of sessions")]
    TooManySessions,
    #[error("the player has asked for the maximum number of dedicated servers")]
    TooManyServers,
    #[error("the player is active in the session already")]
    AlreadyInSession,
    #[error("the player is in the session but is not active in it")]
    PlayerNotActive,
    #[error("the leader cannot be kicked by another player")]
    LeaderNotKickable,
    #[error("the leader of the session cannot be swapped")]
    LeaderNotSwappable,
    #[error("the players are on the same team")]
    SameTeam,
    #[error("only the host of the session's instance may do this")]
    NotSessionHost,
    #[error("the session has no such instance")]
    InstanceNotFound,
    #[error(
        "the session has an instance already, or a closed one with this id; end it first, or choose another id"
    )]
    InstanceExists,
    #[error("players must name an instance template to request a dedicated server")]
    StartupParamsNotAllowed,
    #[error("the instance is closed and stays so; request another one")]
    InstanceClosed,
    #[error("the instance was allocated to another host")]
    AllocationMismatch,
    #[error("the allocation belongs to another session")]
    AllocationInUse,
    #[error("callers have reported too many events about the session")]
    AuditFull,
    #[error("the session has a short code already")]
    ShortCodeExists,
    #[error("the short code belongs to another session")]
    ShortCodeTaken,
    #[error("too many wrong guesses; wait a minute")]
    TooManyGuesses,
    #[error("sessions of this type cannot be listed in the browser")]
    NotForBrowser,
    #[error("the session is not in the browser")]
    ListingNotFound,
    #[error("the session is not open to this player; ask for an invite")]
    SessionNotJoinable,
    #[error("the player was kicked from the session and needs an invite to return")]
    PlayerKicked,
    #[error("the session has a password, and the given one is missing or wrong")]
    WrongPassword,
    #[error("the version of the client does not match the players in the session")]
    VersionMismatch,
    #[error("the crossplay preferences of this player or of a player in the session do not allow this")]
    CrossplayMismatch,
    #[error("the team has no room")]
    TeamFull,
    #[error("no team of the session has room")]
    SessionFull,
    #[error("the session would exceed the maximum size of its data")]
    SessionTooLarge,
    #[error("a team that would be removed has players on it")]
    TeamNotEmpty,
    #[error("a team that would shrink has more players than the new size")]
    TeamTooFull,
    #[error("the platform session belongs to another session")]
    PlatformSessionInUse,
    #[error("the session has another platform session for this platform; unlink it first")]
    PlatformAlreadyLinked,
    #[error("the notification does not exist")]
    NotificationNotFound,
    #[error("sessions of this type cannot join matchmaking queues")]
    MatchmakingNotAllowed,
    #[error("there is no queue {0:?}")]
    QueueNotFound(String),
    #[error("the queue {0:?} is closed")]
    QueueInactive(String),
    #[error("the queue {0:?} takes at most {1} players")]
    QueueGroupTooLarge(String, usize),
    #[error("nobody is active in the session")]
    QueueGroupEmpty,
    #[error("the session is in a queue, with another request; leave it first")]
    AlreadyInQueue,
    #[error("a player of the session is in a queue with another session")]
    PlayerAlreadyQueued,
    #[error("the session is in no queue; perhaps a match was made")]
    NotInQueue,
    #[error("the session satisfies the rules of no template of the queue {0:?}")]
    NoMatchingTemplate(String),
    #[error("no matchmaking profile takes a party of this size with these parameters")]
    NoMatchingProfile,
    #[error("the region of the session is for custom games only")]
    RegionCustomOnly,
    #[error("there is no group of matchmaking templates with this id")]
    MatchMakingTemplateNotFound,
    #[error("there is no matchmaking profile with this id")]
    MatchMakingProfileNotFound,
    #[error("there is no deserter configuration with this id")]
    DeserterNotFound,
    #[error("the session {0:?} does not have this ticket, or no longer")]
    TicketNotFound(String),
    #[error("a match has at most {0} players")]
    MatchTooLarge(usize),
    #[error("the player {0} has left a match and cannot queue before {1:.3}")]
    PlayerIsDeserter(PlayerUuid, Timestamp),
    #[error("a player has joined the session meanwhile; try again")]
    DesertersUnread,
    #[error("the session has no backfill; perhaps it has ended")]
    BackfillNotFound,
    #[error("the server has no such voice service")]
    VoipNotConfigured,
    #[error("{0}")]
    EpicIdentityUnknown(String),
}

impl Refused {
    /// Whether this refusal is about the caller: the session does not exist for the caller, or the caller does not have
    /// the status or the right that the change needs. Such a refusal comes before the condition of a request
    /// (`If-Match`), because it does not help the caller to read the session again. All others come after the
    /// condition. They are about a session that the caller has not read yet, and who has read it may ask for something
    /// else.
    pub fn is_of_standing(&self) -> bool {
        match self {
            Self::SessionNotFound
            | Self::PlatformSessionNotFound
            | Self::NotActiveInSession
            | Self::NotSessionLeader
            | Self::RightNotHeld(_)
            | Self::JoinForOthers
            | Self::NotSessionHost => true,
            Self::PlayerNotFound
            | Self::TeamNotFound
            | Self::RegionNotFound
            | Self::TemplateNotFound
            | Self::InstanceTemplateNotFound
            | Self::SessionTypeNotCreatable
            | Self::PlatformNotInTemplate(_)
            | Self::TooManyInvites
            | Self::TooManySessions
            | Self::TooManyServers
            | Self::AlreadyInSession
            | Self::PlayerNotActive
            | Self::LeaderNotKickable
            | Self::LeaderNotSwappable
            | Self::SameTeam
            | Self::InstanceNotFound
            | Self::InstanceExists
            | Self::StartupParamsNotAllowed
            | Self::InstanceClosed
            | Self::AllocationMismatch
            | Self::AllocationInUse
            | Self::AuditFull
            | Self::ShortCodeExists
            | Self::ShortCodeTaken
            | Self::TooManyGuesses
            | Self::NotForBrowser
            | Self::ListingNotFound
            | Self::SessionNotJoinable
            | Self::PlayerKicked
            | Self::WrongPassword
            | Self::VersionMismatch
            | Self::CrossplayMismatch
            | Self::TeamFull
            | Self::SessionFull
            | Self::SessionTooLarge
            | Self::TeamNotEmpty
            | Self::TeamTooFull
            | Self::PlatformSessionInUse
            | Self::PlatformAlreadyLinked
            | Self::NotificationNotFound
            | Self::MatchmakingNotAllowed
            | Self::QueueNotFound(_)
            | Self::QueueInactive(_)
            | Self::QueueGroupTooLarge(..)
            | Self::QueueGroupEmpty
            | Self::AlreadyInQueue
            | Self::PlayerAlreadyQueued
            | Self::NotInQueue
            | Self::NoMatchingTemplate(_)
            | Self::NoMatchingProfile
            | Self::RegionCustomOnly
            | Self::MatchMakingTemplateNotFound
            | Self::MatchMakingProfileNotFound
            | Self::DeserterNotFound
            | Self::TicketNotFound(_)
            | Self::MatchTooLarge(_)
            | Self::PlayerIsDeserter(..)
            | Self::DesertersUnread
            | Self::BackfillNotFound
            | Self::VoipNotConfigured
            | Self::EpicIdentityUnknown(_) => false,
        }
    }
}
