//! Why a rule says no. Small and without HTTP: `api/error.rs` alone turns a refusal into a status and a code.

use super::Platform;
use super::session::rights::Right;

/// A refusal. The text is shown to the caller, so it names nothing that the caller may not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
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
    #[error("players cannot create sessions of this type, and there is none to join")]
    SessionTypeNotCreatable,
    #[error("the platform session does not exist")]
    PlatformSessionNotFound,
    #[error("the session's template has no entry for {0}")]
    PlatformNotInTemplate(Platform),
    #[error("only active players of the session may do this")]
    NotActiveInSession,
    #[error("only the leader of the session may do this")]
    NotSessionLeader,
    #[error("the session gives this player no right to {}; its leader can lend it", .0.name())]
    RightNotHeld(Right),
    #[error("players join for themselves; an invite asks another player to")]
    JoinForOthers,
    #[error("the player has more unanswered invites than a player may have")]
    TooManyInvites,
    #[error("the player is in more sessions than a player may be")]
    TooManySessions,
    #[error("the player takes part in the session already")]
    AlreadyInSession,
    #[error("the player is in the session but does not take part in it")]
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
    #[error("the session has an instance already; end that first")]
    InstanceExists,
    #[error("the instance was allocated to another host")]
    AllocationMismatch,
    #[error("the allocation belongs to another session")]
    AllocationInUse,
    #[error("the session has a short code already")]
    ShortCodeExists,
    #[error("the short code is another session's")]
    ShortCodeTaken,
    #[error("too many unknown short codes; wait a minute")]
    TooManyGuesses,
    #[error("sessions of this type are not for the browser")]
    NotForBrowser,
    #[error("the session is not in the browser")]
    ListingNotFound,
    #[error("the session is not open to this player; ask for an invite")]
    SessionNotJoinable,
    #[error("the session has a password, and this is not it")]
    WrongPassword,
    #[error("the client's version does not fit the players in the session")]
    VersionMismatch,
    #[error("crossplay preferences of this player or of one in the session rule this out")]
    CrossplayMismatch,
    #[error("the team has no room")]
    TeamFull,
    #[error("no team of the session has room")]
    SessionFull,
    #[error("the session would hold more data than a session may")]
    SessionTooLarge,
    #[error("a team that would go has players on it")]
    TeamNotEmpty,
    #[error("a team that would shrink has more players than that")]
    TeamTooFull,
    #[error("the platform session belongs to another session")]
    PlatformSessionInUse,
    #[error("the session has another platform session for this platform; unlink that first")]
    PlatformAlreadyLinked,
}
