//! The permissions that a token can grant, with the names of the published contract.

use std::fmt;
use std::str::FromStr;

/// Declares the enum of permissions and their names, so that a permission is one line.
macro_rules! permissions {
    ($($variant:ident = $name:literal,)*) => {
        /// A permission.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the names describe the variants")]
        pub enum Permission { $($variant,)* }

        impl Permission {
            /// Every permission.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in tokens.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

permissions! {
    SessionAll = "session:*",
    SessionAuditReadAll = "session-audit:read:all",
    SessionAuditReadSelf = "session-audit:read:self",
    SessionAuditUpdateAll = "session-audit:update:all",
    SessionAuditUpdateSelf = "session-audit:update:self",
    SessionPlayerAuditReadAll = "session-player-audit:read:all",
    SessionPlayerAuditReadSelf = "session-player-audit:read:self",
    SessionPlayerAuditUpdateAll = "session-player-audit:update:all",
    SessionPlayerAuditUpdateSelf = "session-player-audit:update:self",
    Create = "session:create",
    CreateMatchmade = "session:create:matchmade",
    DeleteActive = "session:delete:active",
    DeleteAny = "session:delete:any",
    GivePermissionActive = "session:give:permission:active",
    GivePermissionAny = "session:give:permission:any",
    InstanceHealth = "session:instance:health",
    PromoteAny = "session:promote:any",
    PromoteSelf = "session:promote:self",
    ReadPlayerAny = "session:read-player:any",
    ReadPlayerSelf = "session:read-player:self",
    ReadAllocation = "session:read:allocation",
    ReadAny = "session:read:any",
    ReadBrowser = "session:read:browser",
    ReadConfig = "session:read:config",
    ReadPermissionActive = "session:read:permission:active",
    ReadPermissionAny = "session:read:permission:any",
    ReadPlatform = "session:read:platform",
    ReadSelf = "session:read:self",
    RemovePermissionActive = "session:remove:permission:active",
    RemovePermissionAny = "session:remove:permission:any",
    ShortcodeActive = "session:shortcode:active",
    ShortcodeAny = "session:shortcode:any",
    UpdatePlayerAny = "session:update-player:any",
    UpdatePlayerAsLeader = "session:update-player:as-leader",
    UpdatePlayerSelf = "session:update-player:self",
    UpdateAny = "session:update:any",
    UpdateBrowser = "session:update:browser",
    UpdatePlatform = "session:update:platform",
    UpdateSelf = "session:update:self",
    VivoxJoin = "session:vivox:join",
    VivoxJoinMuted = "session:vivox:join_muted",
    VivoxKickAll = "session:vivox:kick:all",
    VivoxKickAsLeader = "session:vivox:kick:as-leader",
    VivoxKickSelf = "session:vivox:kick:self",
    VivoxLogin = "session:vivox:login",
    VivoxMuteAll = "session:vivox:mute:all",
    VivoxMuteAsLeader = "session:vivox:mute:as-leader",
    VivoxMuteSelf = "session:vivox:mute:self",
    VivoxTranscribeAny = "session:vivox:transcribe:any",
    VivoxTranscribeAsMember = "session:vivox:transcribe:as-member",
    VoipEpicJoin = "session:voip:epic:join",
    NotificationPlayerAll = "notification:player:*",
    NotificationPlayerRead = "notification:player:read",
    NotificationPlayerWrite = "notification:player:write",
    NotificationSelfAll = "notification:player:self:*",
    NotificationSelfRead = "notification:player:self:read",
    NotificationSelfWrite = "notification:player:self:write",
}

const _: () = assert!(Permission::ALL.len() <= 64, "`Permissions` has a bit of a u64 for each permission");

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Permission {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|permission| permission.name() == name).ok_or(())
    }
}

/// A set of permissions, with a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u64);

impl Permissions {
    /// The permissions that these names grant. A name that ends in `:*` grants every permission that starts with the
    /// text before the `*`; any other name grants the permission of this name. Unknown names grant nothing, and
    /// neither does `*` alone.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut granted = Self::default();
        for name in names {
            let prefix = name.strip_suffix('*').filter(|prefix| prefix.ends_with(':'));
            for permission in Permission::ALL {
                let is_named = permission.name() == name;
                let is_below = prefix.is_some_and(|prefix| permission.name().starts_with(prefix));
                if is_named || is_below {
                    granted.0 |= 1 << (*permission as u8);
                }
            }
        }
        granted
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the set contains a permission.
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << (permission as u8)) != 0
    }

    /// Whether the set contains at least one of these permissions.
    pub fn contains_any(self, permissions: &[Permission]) -> bool {
        permissions.iter().any(|permission| self.contains(*permission))
    }
}

/// The permissions that the game client of a player needs: the default of `rallypoint token` and of logins.
pub const DEFAULT_PLAYER_PERMISSIONS: &[Permission] = &[
    Permission::Create,
    Permission::ReadSelf,
    Permission::UpdateSelf,
    Permission::DeleteActive,
    Permission::UpdatePlayerSelf,
    Permission::UpdatePlayerAsLeader,
    Permission::ReadPlayerSelf,
    Permission::ReadPlatform,
    Permission::UpdatePlatform,
    Permission::ReadConfig,
    Permission::PromoteSelf,
    Permission::ReadBrowser,
    Permission::UpdateBrowser,
    Permission::ShortcodeActive,
    Permission::ReadPermissionActive,
    Permission::GivePermissionActive,
    Permission::RemovePermissionActive,
    Permission::InstanceHealth,
    Permission::SessionAuditUpdateSelf,
    Permission::SessionAuditReadSelf,
    Permission::SessionPlayerAuditReadSelf,
    Permission::VivoxLogin,
    Permission::VivoxJoin,
    Permission::VivoxJoinMuted,
    Permission::VivoxMuteSelf,
    Permission::VoipEpicJoin,
    Permission::NotificationSelfRead,
    Permission::NotificationSelfWrite,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn granted(name: &str) -> Vec<&'static str> {
        let granted = Permissions::from_names([name]);
        Permission::ALL.iter().filter(|one| granted.contains(**one)).map(|one| one.name()).collect()
    }

    #[test]
    fn a_star_grants_the_permissions_below_its_prefix() {
        assert_eq!(
            granted("session:read:*"),
            [
                "session:read:allocation",
                "session:read:any",
                "session:read:browser",
                "session:read:config",
                "session:read:permission:active",
                "session:read:permission:any",
                "session:read:platform",
                "session:read:self",
            ]
        );
        assert!(granted("session:*").contains(&"session:*"));
        assert!(granted("session:*").contains(&"session:vivox:kick:all"));
        assert!(!granted("session:*").contains(&"session-audit:read:all"));
        assert!(!granted("session:*").iter().any(|name| name.starts_with("notification:")));
        let own =
            ["notification:player:self:*", "notification:player:self:read", "notification:player:self:write"];
        assert_eq!(granted("notification:player:self:*"), own);
        assert_eq!(granted("notification:player:*").len(), 6);
        for name in
            ["*", ":*", "session*", "session:", "session:read", "sess*", "", "SESSION:*", "session:read:any "]
        {
            assert_eq!(granted(name), [""; 0], "{name}");
        }
        assert_eq!(granted("session:read:any"), ["session:read:any"]);
    }

    proptest! {
        #[test]
        fn a_name_grants_exactly_what_it_says(name in "[a-z:*_-]{0,24}") {
            for permission in Permission::ALL {
                let below = name.strip_suffix('*').is_some_and(|prefix| prefix.ends_with(':') && permission.name().starts_with(prefix));
                let expected = permission.name() == name || below;
                prop_assert_eq!(Permissions::from_names([name.as_str()]).contains(*permission), expected);
            }
        }
    }

    #[test]
    fn permissions_are_parsed_from_their_names() {
        for permission in Permission::ALL {
            assert_eq!(permission.name().parse(), Ok(*permission));
        }
    }
}
