//! The policies of the operations: the permissions that the contract states for each.
#![allow(missing_docs, reason = "each name says which operations the policy is for")]

use crate::auth::Permission::{
    Create, CreateMatchmade, DeleteActive, DeleteAny, GivePermissionActive, GivePermissionAny,
    InstanceHealth, PromoteAny, PromoteSelf, ReadAllocation, ReadAny, ReadBrowser, ReadConfig,
    ReadPermissionActive, ReadPermissionAny, ReadPlatform, ReadPlayerAny, ReadPlayerSelf, ReadSelf,
    RemovePermissionActive, RemovePermissionAny, SessionAll, SessionAuditReadAll, SessionAuditReadSelf,
    SessionAuditUpdateAll, SessionAuditUpdateSelf, SessionPlayerAuditReadAll, SessionPlayerAuditReadSelf,
    SessionPlayerAuditUpdateAll, SessionPlayerAuditUpdateSelf, ShortcodeActive, ShortcodeAny, UpdateAny,
    UpdateBrowser, UpdatePlatform, UpdatePlayerAny, UpdatePlayerAsLeader, UpdatePlayerSelf, UpdateSelf,
    VivoxJoin, VivoxJoinMuted, VivoxKickAll, VivoxKickAsLeader, VivoxKickSelf, VivoxLogin, VivoxMuteAll,
    VivoxMuteAsLeader, VivoxMuteSelf, VivoxTranscribeAny, VivoxTranscribeAsMember, VoipEpicJoin,
};
use crate::auth::Policy;

pub const READ_CONFIG: Policy = Policy::any(&[SessionAll, ReadConfig]);
pub const CREATE: Policy = Policy::any(&[SessionAll, Create]);
pub const CREATE_MATCHMADE: Policy = Policy::any(&[SessionAll, CreateMatchmade]);
pub const READ_SESSION: Policy = Policy::any(&[SessionAll, ReadAny, ReadSelf]);
pub const UPDATE_SESSION: Policy = Policy::any(&[SessionAll, UpdateAny]).or_own(&[UpdateSelf]);
pub const DELETE_SESSION: Policy = Policy::any(&[SessionAll, DeleteAny]).or_own(&[DeleteActive]);
pub const READ_PLATFORM: Policy = Policy::any(&[SessionAll, ReadPlatform]);
pub const UPDATE_PLATFORM: Policy = Policy::any(&[SessionAll, UpdatePlatform]);
pub const UPDATE_PLAYER: Policy = Policy::any(&[SessionAll, UpdatePlayerAny]).or_own(&[UpdatePlayerSelf]);
pub const UPDATE_ME: Policy = UPDATE_PLAYER.as_player();
pub const LEAVE: Policy = Policy::any(&[SessionAll]).or_own(&[UpdateSelf]).as_player();
pub const READ_PLAYER: Policy = Policy::any(&[SessionAll, ReadPlayerAny]).or_own(&[ReadPlayerSelf]);
pub const READ_ME: Policy = Policy::any(&[]).or_own(&[ReadPlayerSelf]).as_player();
pub const WRITE_DESERTER: Policy = Policy::any(&[SessionAll, UpdatePlayerAny]);
pub const CLEAR_DESERTERS: Policy = Policy::any(&[SessionAll]);
pub const PROMOTE: Policy = Policy::any(&[SessionAll, PromoteAny]).or_own(&[PromoteSelf]);
/// For the deprecated operation that promotes or updates. Its handler then checks the permissions of what the request
/// does.
pub const UPDATE_PLAYER_ANY_WAY: Policy =
    Policy::any(&[SessionAll, UpdatePlayerAny, PromoteAny]).or_own(&[UpdatePlayerSelf, PromoteSelf]);
pub const KICK_SESSION: Policy = Policy::any(&[SessionAll, UpdatePlayerAny]).or_own(&[UpdatePlayerAsLeader]);
pub const READ_RIGHTS: Policy = Policy::any(&[SessionAll, ReadPermissionAny]).or_own(&[ReadPermissionActive]);
pub const GIVE_RIGHT: Policy = Policy::any(&[SessionAll, GivePermissionAny]).or_own(&[GivePermissionActive]);
pub const REMOVE_RIGHT: Policy =
    Policy::any(&[SessionAll, RemovePermissionAny]).or_own(&[RemovePermissionActive]);
pub const SHORT_CODE: Policy = Policy::any(&[SessionAll, ShortcodeAny]).or_own(&[ShortcodeActive]);
pub const READ_ALLOCATION: Policy = Policy::any(&[SessionAll, ReadAllocation]);
pub const READ_BROWSER: Policy = Policy::any(&[SessionAll, ReadBrowser]);
pub const UPDATE_BROWSER: Policy = Policy::any(&[SessionAll]).or_own(&[UpdateBrowser]);
pub const READ_AUDIT: Policy = Policy::any(&[SessionAll, SessionAuditReadAll, SessionPlayerAuditReadAll])
    .or_own(&[SessionAuditReadSelf, SessionPlayerAuditReadSelf]);
/// For the events of a session.
pub const READ_SESSION_AUDIT: Policy =
    Policy::any(&[SessionAll, SessionAuditReadAll]).or_own(&[SessionAuditReadSelf]);
/// For the events of a player.
pub const READ_PLAYER_AUDIT: Policy =
    Policy::any(&[SessionAll, SessionPlayerAuditReadAll]).or_own(&[SessionPlayerAuditReadSelf]);
pub const CREATE_AUDIT: Policy =
    Policy::any(&[SessionAll, SessionAuditUpdateAll, SessionPlayerAuditUpdateAll])
        .or_own(&[SessionAuditUpdateSelf, SessionPlayerAuditUpdateSelf]);
/// For events about a session.
pub const CREATE_SESSION_AUDIT: Policy =
    Policy::any(&[SessionAll, SessionAuditUpdateAll]).or_own(&[SessionAuditUpdateSelf]);
/// For events about players alone.
pub const CREATE_PLAYER_AUDIT: Policy =
    Policy::any(&[SessionAll, SessionPlayerAuditUpdateAll]).or_own(&[SessionPlayerAuditUpdateSelf]);
pub const INSTANCE_HEALTH: Policy = Policy::any(&[SessionAll, InstanceHealth]);
pub const VIVOX_LOGIN: Policy = Policy::any(&[SessionAll, VivoxLogin]).as_player();
pub const VIVOX_JOIN: Policy = Policy::any(&[]).or_own(&[VivoxJoin]).as_player();
pub const VIVOX_JOIN_MUTED: Policy = Policy::any(&[]).or_own(&[VivoxJoinMuted]).as_player();
pub const VIVOX_KICK: Policy =
    Policy::any(&[SessionAll, VivoxKickAll]).or_own(&[VivoxKickSelf, VivoxKickAsLeader]);
pub const VIVOX_MUTE: Policy =
    Policy::any(&[SessionAll, VivoxMuteAll]).or_own(&[VivoxMuteSelf, VivoxMuteAsLeader]);
pub const VIVOX_OWN_MUTE: Policy =
    Policy::any(&[SessionAll, VivoxMuteAll]).or_own(&[VivoxMuteSelf, VivoxMuteAsLeader, VivoxKickAsLeader]);
pub const VIVOX_TRANSCRIBE: Policy =
    Policy::any(&[SessionAll, VivoxTranscribeAny]).or_own(&[VivoxTranscribeAsMember]);
/// For every action. The handler then checks the permissions of the one that the request names.
pub const VIVOX_ACTION: Policy = Policy::any(&[SessionAll, VivoxKickAll, VivoxMuteAll, VivoxTranscribeAny])
    .or_own(&[
        VivoxJoin,
        VivoxJoinMuted,
        VivoxKickSelf,
        VivoxKickAsLeader,
        VivoxMuteSelf,
        VivoxMuteAsLeader,
        VivoxTranscribeAsMember,
    ]);
pub const VIVOX_OWN_ACTION: Policy = VIVOX_ACTION.as_player();
pub const EPIC_JOIN: Policy = Policy::any(&[]).or_own(&[VoipEpicJoin]).as_player();
