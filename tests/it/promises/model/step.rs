//! The steps: operations of callers, and the values that they name.

use super::setup::Kind;
use super::state::Data;

/// A player's status in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Leader,
    Member,
    Invited,
    Reserved,
}

impl Status {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Member => "member",
            Self::Invited => "invited",
            Self::Reserved => "reserved",
        }
    }
}

/// A right of the leader that can be given to members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    Invite,
    Kick,
    Move,
}

impl Right {
    pub const ALL: [Self; 3] = [Self::Invite, Self::Kick, Self::Move];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Kick => "kick",
            Self::Move => "move",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    Fail,
    Allow,
    PartialWith,
    PartialWithout,
    Overfill,
}

impl Overflow {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Allow => "allow_overflow",
            Self::PartialWith => "partial_with_overflow",
            Self::PartialWithout => "partial_without_overflow",
            Self::Overfill => "overfill",
        }
    }
}

/// The client data of a player. A platform in the player's token overrides `platform`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GameClient {
    pub version: &'static str,
    pub input: &'static str,
    /// Permitted platform and input.
    pub crossplay: Option<(&'static str, &'static str)>,
    pub platform: &'static str,
}

/// The body of a join.
#[derive(Clone, Debug)]
pub struct JoinBody {
    pub client: GameClient,
    pub team: usize,
    pub data: Data,
    pub password: Option<&'static str>,
    pub friend: Option<usize>,
}

/// The body of an invite.
#[derive(Clone, Debug)]
pub struct InviteOptions {
    pub team: Option<usize>,
    pub overflow: Overflow,
    pub data: Data,
}

/// The form of a path to a player of a session. `ByUuid` and `ById` are deprecated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathForm {
    Plain,
    ByUuid,
    ById,
}

/// A change of a team.
#[derive(Clone, Debug)]
pub struct TeamChange {
    pub size: Option<usize>,
    pub data: Option<Data>,
}

/// A change of a session.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub region: Option<&'static str>,
    pub data: Option<Data>,
    pub joinable: Option<bool>,
    /// The fields `open`, `friends` and `platform`, each optional.
    pub joinability: Option<[Option<bool>; 3]>,
    pub teams: Option<Vec<TeamChange>>,
    pub password: Option<&'static str>,
}

/// A request for an instance.
#[derive(Clone, Debug)]
pub struct InstanceRequest {
    pub id: Option<&'static str>,
    pub host_type: &'static str,
    pub host: Option<usize>,
    /// `Some` if the request names a template: whether that template exists.
    pub template: Option<bool>,
    pub startup: bool,
    pub data: Data,
}

/// A change of an instance.
#[derive(Clone, Debug)]
pub struct InstanceChange {
    pub allocation: Option<usize>,
    pub join_status: Option<&'static str>,
    pub address: Option<&'static str>,
    pub version: Option<&'static str>,
    pub match_id: Option<&'static str>,
    pub data: Option<Data>,
}

/// A party of a match: a session, its ticket if it has one, and those of its players who are in the match.
#[derive(Clone, Debug)]
pub struct MatchParty {
    pub id: String,
    pub ticket: Option<String>,
    pub players: Vec<usize>,
}

#[derive(Clone, Debug)]
pub enum Step {
    Create {
        kind: Kind,
        client: GameClient,
        join_body: Option<JoinBody>,
        password: bool,
        region: Option<&'static str>,
    },
    Read {
        session: usize,
        refresh: bool,
    },
    /// The first page, or the page after the last one of this session.
    ReadPlayers {
        session: usize,
        page_size: usize,
        next_page: bool,
    },
    ReadPlayer {
        session: usize,
        player: usize,
    },
    ReadRights {
        session: usize,
        player: usize,
    },
    /// The list of this player, by default the caller's own.
    ReadList {
        player: Option<usize>,
    },
    ReadPlatform {
        platform: usize,
        id: usize,
    },
    ReadAllocation {
        allocation: usize,
    },
    /// The first page, or the page after the last one of this type.
    Browse {
        kind: Kind,
        region: Option<&'static str>,
        page_size: usize,
        next_page: bool,
    },
    Join {
        session: usize,
        join_body: JoinBody,
    },
    JoinThrough {
        platform: usize,
        id: usize,
        player: Option<usize>,
        join_body: JoinBody,
    },
    Leave {
        session: usize,
    },
    LeaveThrough {
        platform: usize,
        id: usize,
        player: Option<usize>,
    },
    Kick {
        session: usize,
        player: usize,
        path_form: PathForm,
    },
    Invite {
        session: usize,
        player: usize,
        options: InviteOptions,
    },
    /// The deprecated update, which invites, joins, promotes, moves or changes data depending on its body.
    Update {
        session: usize,
        player: usize,
        path_form: PathForm,
        status: Option<Status>,
        options: InviteOptions,
    },
    SetData {
        session: usize,
        player: usize,
        data: Data,
    },
    Promote {
        session: usize,
        player: usize,
    },
    Move {
        session: usize,
        player: usize,
        team: Option<usize>,
    },
    Swap {
        session: usize,
        players: [usize; 2],
    },
    GiveRight {
        session: usize,
        player: usize,
        right: Right,
    },
    RemoveRight {
        session: usize,
        player: usize,
        right: Right,
    },
    InviteSession {
        session: usize,
        invited: usize,
        options: InviteOptions,
    },
    KickSession {
        session: usize,
        kicked: usize,
    },
    Change {
        session: usize,
        change: Change,
    },
    ChangeTeam {
        session: usize,
        team: usize,
        change: TeamChange,
    },
    Link {
        session: usize,
        platform: usize,
        id: usize,
    },
    Unlink {
        session: usize,
        platform: usize,
        id: usize,
    },
    MakeShortCode {
        session: usize,
    },
    List {
        session: usize,
        data: Data,
    },
    Relist {
        session: usize,
        data: Data,
    },
    Unlist {
        session: usize,
    },
    JoinQueue {
        session: usize,
        queue: usize,
    },
    LeaveQueue {
        session: usize,
    },
    /// A match of two sessions. Their parties are found out when the step runs.
    MakeMatch {
        session: usize,
        other: usize,
        match_id: &'static str,
        by_tickets: bool,
        parties: Vec<MatchParty>,
    },
    RequestInstance {
        session: usize,
        instance_request: InstanceRequest,
    },
    UpdateInstance {
        session: usize,
        change: InstanceChange,
    },
    EndInstance {
        session: usize,
    },
    /// A report about this instance; an empty id stands for the instance of the session.
    ReportHealth {
        session: usize,
        instance: String,
        health: &'static str,
    },
    End {
        session: usize,
    },
    Wait {
        seconds: i64,
    },
}

/// A choice of a player: by number, or by status in the session that the step is about.
#[derive(Clone, Copy, Debug)]
pub enum PlayerChoice {
    Number(usize),
    Active(usize),
    Waiting(usize),
    Outside(usize),
}

/// A step, and the choices that are made when it runs.
#[derive(Clone, Debug)]
pub struct RandomStep {
    pub step: Step,
    pub caller: PlayerChoice,
    /// The players that the step names.
    pub players: [PlayerChoice; 2],
    /// The index of the linked platform session that the step names; `None` keeps the one in the step.
    pub link: Option<usize>,
    /// Whether the step names its session by the short code, if there is one.
    pub by_code: bool,
}

impl Step {
    /// The session that the step is about, and another that it names, by their numbers.
    pub fn sessions(&self) -> (Option<usize>, Option<usize>) {
        match self {
            Self::Create { .. }
            | Self::ReadList { .. }
            | Self::ReadPlatform { .. }
            | Self::ReadAllocation { .. }
            | Self::Browse { .. }
            | Self::JoinThrough { .. }
            | Self::LeaveThrough { .. }
            | Self::Wait { .. } => (None, None),
            Self::InviteSession { session, invited, .. } => (Some(*session), Some(*invited)),
            Self::KickSession { session, kicked } => (Some(*session), Some(*kicked)),
            Self::MakeMatch { session, other, .. } => (Some(*session), Some(*other)),
            Self::Read { session, .. }
            | Self::ReadPlayers { session, .. }
            | Self::ReadPlayer { session, .. }
            | Self::ReadRights { session, .. }
            | Self::Join { session, .. }
            | Self::Leave { session }
            | Self::Kick { session, .. }
            | Self::Invite { session, .. }
            | Self::Update { session, .. }
            | Self::SetData { session, .. }
            | Self::Promote { session, .. }
            | Self::Move { session, .. }
            | Self::Swap { session, .. }
            | Self::GiveRight { session, .. }
            | Self::RemoveRight { session, .. }
            | Self::Change { session, .. }
            | Self::ChangeTeam { session, .. }
            | Self::Link { session, .. }
            | Self::Unlink { session, .. }
            | Self::MakeShortCode { session }
            | Self::List { session, .. }
            | Self::Relist { session, .. }
            | Self::Unlist { session }
            | Self::JoinQueue { session, .. }
            | Self::LeaveQueue { session }
            | Self::RequestInstance { session, .. }
            | Self::UpdateInstance { session, .. }
            | Self::EndInstance { session }
            | Self::ReportHealth { session, .. }
            | Self::End { session } => (Some(*session), None),
        }
    }

    /// Fills in the players that the step names.
    pub fn name_players(&mut self, chosen: [usize; 2]) {
        match self {
            Self::ReadPlayer { player, .. }
            | Self::ReadRights { player, .. }
            | Self::Kick { player, .. }
            | Self::Invite { player, .. }
            | Self::Update { player, .. }
            | Self::SetData { player, .. }
            | Self::Promote { player, .. }
            | Self::Move { player, .. }
            | Self::GiveRight { player, .. }
            | Self::RemoveRight { player, .. }
            | Self::ReadList { player: Some(player) }
            | Self::LeaveThrough { player: Some(player), .. }
            | Self::RequestInstance {
                instance_request: InstanceRequest { host: Some(player), .. }, ..
            }
            | Self::Join { join_body: JoinBody { friend: Some(player), .. }, .. } => *player = chosen[0],
            Self::JoinThrough { player, join_body, .. } => {
                *player = player.map(|_| chosen[0]);
                join_body.friend = join_body.friend.map(|_| chosen[1]);
            }
            Self::Swap { players, .. } => *players = chosen,
            _ => {}
        }
    }

    /// Fills in the instance that the step is about.
    pub fn name_instance(&mut self, present: Option<&str>) {
        if let Self::ReportHealth { instance, .. } = self
            && instance.is_empty()
        {
            present.unwrap_or("none").clone_into(instance);
        }
    }

    /// Fills in the platform session that the step names.
    pub fn name_link(&mut self, linked: (usize, usize)) {
        match self {
            Self::ReadPlatform { platform, id }
            | Self::JoinThrough { platform, id, .. }
            | Self::LeaveThrough { platform, id, .. }
            | Self::Unlink { platform, id, .. } => (*platform, *id) = linked,
            _ => {}
        }
    }
}
