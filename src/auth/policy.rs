//! Policies: which permissions an operation needs. Each row of the operation table has a policy. A [`Caller`] proves
//! that the policy was checked, since only [`Policy::admit`] creates one.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::basic::BasicCredentials;
use super::permission::Permission;
use super::token::Token;
use crate::domain::{Actor, PlayerUuid};

/// The permissions that an operation needs.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Permissions for all players and sessions.
    any: &'static [Permission],
    /// Permissions for the caller's own player.
    own: &'static [Permission],
    /// Whether every token of a player covers the caller's own player.
    is_own_for_all: bool,
    needs_player: bool,
    is_for_this_machine: bool,
    access: Access,
}

/// How a caller has to prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// With a token that grants one of the permissions.
    Permission,
    /// With a token, whatever it grants.
    Token,
    /// Not at all. A token is ignored.
    Public,
    /// Not at all, and the handler may read the id and the secret of a client.
    PublicWithBasic,
}

/// Why a caller with a valid token may not use an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The token grants none of these permissions.
    Permission(Enough),
    /// The operation acts as a player, and the token names none.
    PlayerRequired,
}

/// Permissions, each of which is enough for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enough {
    any: &'static [Permission],
    own: &'static [Permission],
}

impl fmt::Display for Enough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.any.iter().chain(self.own).map(|permission| permission.name()).collect();
        f.write_str(&names.join(", "))
    }
}

/// The scope of a caller's permissions in an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All players and all sessions.
    Any,
    /// The caller's own player, with the rights that the player has in each session.
    Own,
}

impl Policy {
    /// Needs a valid token, and no permission. The caller acts on their own player only.
    pub const ANY_TOKEN: Self = Self { access: Access::Token, ..Self::any(&[]) };
    /// Needs no token, and ignores one.
    pub const PUBLIC: Self = Self { access: Access::Public, ..Self::any(&[]) };
    /// Needs no token. The request may have the id and the secret of a client in `Authorization: Basic`, which the
    /// handler has to check.
    pub const PUBLIC_WITH_BASIC: Self = Self { access: Access::PublicWithBasic, ..Self::any(&[]) };

    /// Needs one of these permissions, which cover all players and sessions.
    pub const fn any(any: &'static [Permission]) -> Self {
        Self {
            any,
            own: &[],
            is_own_for_all: false,
            needs_player: false,
            is_for_this_machine: false,
            access: Access::Permission,
        }
    }

    /// Accepts these permissions too, for the caller's own player.
    pub const fn or_own(self, own: &'static [Permission]) -> Self {
        Self { own, ..self }
    }

    /// Accepts every token of a player, for the caller's own player, if the operator wants that.
    pub const fn or_own_for_all(self, is_own_for_all: bool) -> Self {
        Self { is_own_for_all, ..self }
    }

    /// Requires that the token names a player, as whom the operation acts.
    pub const fn as_player(self) -> Self {
        Self { needs_player: true, ..self }
    }

    /// Admits only requests of this machine, unless the operator has allowed others.
    pub const fn for_this_machine(self) -> Self {
        Self { is_for_this_machine: true, ..self }
    }

    /// Whether the operation is for this machine.
    pub fn is_for_this_machine(&self) -> bool {
        self.is_for_this_machine
    }

    /// Checks the token against the policy and returns the caller.
    ///
    /// # Errors
    /// If the token does not grant enough, or names no player where the policy needs one.
    pub fn admit(&self, token: Arc<Token>) -> Result<Caller, Denied> {
        let reach = self.reach(&token)?;
        let acts_as_player = self.needs_player || (reach == Reach::Own && self.needs_permission());
        if token.player.is_none() && acts_as_player {
            return Err(Denied::PlayerRequired);
        }
        Ok(Caller { token, reach, any: self.any, address: None, basic: None })
    }

    /// Admits a caller without a token, if the policy needs none. `basic` finds the credentials of a client; it is
    /// called only if the policy lets the handler read them.
    pub fn admit_anyone(&self, basic: impl FnOnce() -> Option<BasicCredentials>) -> Option<Caller> {
        let basic = match self.access {
            Access::Permission | Access::Token => return None,
            Access::Public => None,
            Access::PublicWithBasic => basic(),
        };
        let token = Arc::new(Token::nobody());
        Some(Caller { token, reach: Reach::Own, any: self.any, address: None, basic })
    }

    /// Whether the operation needs no token.
    pub fn is_public(&self) -> bool {
        matches!(self.access, Access::Public | Access::PublicWithBasic)
    }

    /// Whether the token must grant a permission.
    pub fn needs_permission(&self) -> bool {
        self.access == Access::Permission
    }

    /// Whether the request may have the id and the secret of a client.
    pub fn takes_basic(&self) -> bool {
        self.access == Access::PublicWithBasic
    }

    fn reach(&self, token: &Token) -> Result<Reach, Denied> {
        let granted = token.permissions;
        if granted.contains_any(self.any) {
            return Ok(Reach::Any);
        }
        let own_needs_none = !self.needs_permission() || (self.is_own_for_all && token.player.is_some());
        if granted.contains_any(self.own) || own_needs_none {
            return Ok(Reach::Own);
        }
        Err(Denied::Permission(self.enough()))
    }

    /// The permissions, each of which is enough.
    pub fn enough(&self) -> Enough {
        Enough { any: self.any, own: self.own }
    }

    /// The permissions for all players and sessions.
    pub fn any_of(&self) -> &'static [Permission] {
        self.any
    }

    /// The permissions for the caller's own player.
    pub fn own_of(&self) -> &'static [Permission] {
        self.own
    }

    /// Whether the operation acts as the caller's player.
    pub fn needs_player(&self) -> bool {
        self.needs_player
    }

    /// The policy in words, for the OpenAPI document.
    pub fn describe(&self) -> String {
        let list = |permissions: &[Permission]| {
            let quoted: Vec<_> = permissions.iter().map(|permission| format!("`{permission}`")).collect();
            quoted.join(" or ")
        };
        let mut words = match (self.any, self.own) {
            _ if self.takes_basic() => {
                "No token is needed. `Authorization: Basic` may have the id and the secret of a client."
                    .into()
            }
            _ if self.is_public() => "No token is needed.".into(),
            _ if !self.needs_permission() => "Any valid token.".into(),
            (any, []) => format!("Permission: {}.", list(any)),
            ([], own) => format!("Permission: {}.", list(own)),
            (any, _) if self.is_own_for_all => {
                format!(
                    "Permission: {}, for all players; or any token of a player, for that player.",
                    list(any)
                )
            }
            (any, own) => {
                let (any, own) = (list(any), list(own));
                format!("Permission: {any}, for all players; or {own}, for the caller's own player.")
            }
        };
        if self.needs_player {
            words += " The token must name a player.";
        }
        words
    }
}

/// A caller who passed the policy of an operation.
#[derive(Clone, Debug)]
pub struct Caller {
    token: Arc<Token>,
    reach: Reach,
    /// The permissions of the policy for all players and sessions.
    any: &'static [Permission],
    address: Option<IpAddr>,
    basic: Option<BasicCredentials>,
}

impl Caller {
    /// The same caller, at the address from which the request came, if it is known.
    #[must_use]
    pub fn at(self, address: Option<IpAddr>) -> Self {
        Self { address, ..self }
    }

    /// The address from which the request came, if it is known.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The credentials of a client in the request, not yet checked. `None` unless the policy is
    /// [`Policy::PUBLIC_WITH_BASIC`].
    pub fn basic(&self) -> Option<&BasicCredentials> {
        self.basic.as_ref()
    }

    /// The player, if the token names one.
    pub fn player(&self) -> Option<PlayerUuid> {
        self.token.player
    }

    /// The player, if this is the player's own older, numeric id.
    pub fn player_of_own_id(&self, player_id: i64) -> Option<PlayerUuid> {
        self.token.player.filter(|_| self.token.player_id == Some(player_id))
    }

    /// The token.
    pub fn token(&self) -> &Arc<Token> {
        &self.token
    }

    /// The same caller under the same policy, if the token is still good.
    ///
    /// # Errors
    /// As [`Policy::admit`].
    pub fn with_token(&self, policy: Policy, token: Arc<Token>) -> Result<Self, Denied> {
        Ok(policy.admit(token)?.at(self.address))
    }

    /// Whether the token grants a permission, which need not be one of the policy.
    pub fn may(&self, permission: Permission) -> bool {
        self.token.permissions.contains(permission)
    }

    /// The player, for operations that act as the caller's player.
    ///
    /// # Errors
    /// If the token names no player.
    pub fn require_player(&self) -> Result<PlayerUuid, Denied> {
        self.token.player.ok_or(Denied::PlayerRequired)
    }

    /// The same caller under another policy. For an operation that combines several others, each of which has its own
    /// permissions.
    ///
    /// # Errors
    /// If the other policy does not admit the caller.
    pub fn narrowed(&self, policy: Policy) -> Result<Self, Denied> {
        self.with_token(policy, Arc::clone(&self.token))
    }

    /// Whether the caller's permissions cover all players and sessions.
    pub fn reaches_all(&self) -> bool {
        self.reach == Reach::Any
    }

    /// Checks that the caller may act on this player.
    ///
    /// # Errors
    /// If it is another player and the caller's permissions do not cover all players.
    pub fn require_reach(&self, player: PlayerUuid) -> Result<(), Denied> {
        let reaches = self.reach == Reach::Any || self.token.player == Some(player);
        if reaches { Ok(()) } else { Err(self.out_of_reach()) }
    }

    /// The refusal if the caller needs permissions for all players and sessions and does not have them.
    pub fn out_of_reach(&self) -> Denied {
        Denied::Permission(Enough { any: self.any, own: &[] })
    }

    /// On whose authority the caller acts on a session: without restriction if the permissions cover all sessions,
    /// else as the caller's player.
    pub fn actor(&self) -> Actor {
        self.actor_if(self.reach == Reach::Any)
    }

    /// On whose authority the caller acts on a session: without restriction if the token grants this permission, else
    /// as the caller's player.
    pub fn actor_unless(&self, permission: Permission) -> Actor {
        self.actor_if(self.may(permission))
    }

    fn actor_if(&self, unrestricted: bool) -> Actor {
        if unrestricted { Actor::Anyone } else { self.token.player.map_or(Actor::Nobody, Actor::Player) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Permissions;

    #[test]
    fn any_token_is_enough_where_no_permission_is_needed() {
        let admit =
            |policy: Policy| policy.admit(Arc::new(Token::nobody())).map(|caller| caller.reaches_all());
        assert_eq!(admit(Policy::ANY_TOKEN), Ok(false));
        assert_eq!(admit(Policy::ANY_TOKEN.as_player()), Err(Denied::PlayerRequired));
        let needed = Policy::any(&[Permission::SessionAll]);
        assert_eq!(admit(needed), Err(Denied::Permission(needed.enough())));
    }

    #[test]
    fn the_operator_may_let_every_player_act_on_their_own_player() {
        const POLICY: Policy =
            Policy::any(&[Permission::NotificationPlayerRead]).or_own(&[Permission::NotificationSelfRead]);
        let player = PlayerUuid(uuid::Uuid::from_u128(1));
        let token = |player: Option<PlayerUuid>, granted: &[&str]| {
            let permissions = Permissions::from_names(granted.iter().copied());
            let mut token = Token::nobody();
            (token.player, token.permissions) = (player, permissions);
            Arc::new(token)
        };
        let reaches = |policy: Policy, player: Option<PlayerUuid>, granted: &[&str]| {
            policy.admit(token(player, granted)).map(|caller| caller.reaches_all())
        };
        let (denied, for_all) = (Err(Denied::Permission(POLICY.enough())), POLICY.or_own_for_all(true));
        assert_eq!(reaches(POLICY.or_own_for_all(false), Some(player), &[]), denied);
        assert_eq!(reaches(for_all, Some(player), &[]), Ok(false));
        assert_eq!(reaches(for_all, Some(player), &["notification:player:*"]), Ok(true));
        assert_eq!(reaches(for_all, None, &[]), denied, "a service");
        let caller = for_all.admit(token(Some(player), &[])).unwrap();
        assert!(caller.require_reach(player).is_ok());
        assert!(caller.require_reach(PlayerUuid(uuid::Uuid::from_u128(2))).is_err());
    }

    #[test]
    fn only_a_public_operation_admits_a_caller_without_a_token() {
        let basic = || BasicCredentials::parse(b"YTpi");
        let id = |policy: Policy| {
            policy.admit_anyone(basic).map(|caller| caller.basic().map(|basic| basic.id.clone()))
        };
        assert_eq!(id(Policy::ANY_TOKEN), None);
        assert_eq!(id(Policy::any(&[Permission::SessionAll])), None);
        assert_eq!(id(Policy::PUBLIC), Some(None));
        assert_eq!(id(Policy::PUBLIC_WITH_BASIC), Some(Some("a".into())));
    }
}
