//! Who may call an operation. A policy is a column of the operation's row; a [`Caller`] is the proof that it was
//! checked, since only [`Policy::admit`] makes one.

use std::fmt;
use std::sync::Arc;

use super::permission::{Permission, Permissions};
use super::token::Token;
use crate::domain::{Actor, PlayerUuid};

/// The permissions that open an operation.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    any: &'static [Permission],
    own: &'static [Permission],
    needs_player: bool,
}

/// Why a known caller may not call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The token grants too little; what would have been enough.
    Permission(Enough),
    /// The operation acts as a player and the token names none.
    PlayerRequired,
}

/// Permissions of which any would have been enough.
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

/// How far a caller reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every player and every session.
    Any,
    /// Themselves and the sessions they are in, with the rights they have there.
    Own,
}

impl Policy {
    /// Any of these permissions opens the operation, for whomever it acts on.
    pub const fn any(any: &'static [Permission]) -> Self {
        Self { any, own: &[], needs_player: false }
    }

    /// Any of these permissions opens it for what is the caller's own.
    pub const fn or_own(self, own: &'static [Permission]) -> Self {
        Self { own, ..self }
    }

    /// It acts as the caller's player, so the token must name one.
    pub const fn as_player(self) -> Self {
        Self { needs_player: true, ..self }
    }

    /// Lets a caller pass, or says why not.
    pub fn admit(&self, token: Arc<Token>) -> Result<Caller, Denied> {
        let reach = self.reach(token.permissions)?;
        if token.player.is_none() && (self.needs_player || reach == Reach::Own) {
            return Err(Denied::PlayerRequired);
        }
        Ok(Caller { token, reach, any: self.any })
    }

    fn reach(&self, granted: Permissions) -> Result<Reach, Denied> {
        if granted.contains_any(self.any) {
            Ok(Reach::Any)
        } else if granted.contains_any(self.own) {
            Ok(Reach::Own)
        } else {
            Err(Denied::Permission(self.enough()))
        }
    }

    /// The permissions of which any is enough.
    pub fn enough(&self) -> Enough {
        Enough { any: self.any, own: self.own }
    }

    /// Permissions that open it for everyone and everything.
    pub fn any_of(&self) -> &'static [Permission] {
        self.any
    }

    /// Permissions that open it for what is the caller's own.
    pub fn own_of(&self) -> &'static [Permission] {
        self.own
    }

    /// Whether it acts as the caller's player.
    pub fn needs_player(&self) -> bool {
        self.needs_player
    }

    /// The policy in words, for the API document.
    pub fn describe(&self) -> String {
        let list = |permissions: &[Permission]| {
            let quoted: Vec<_> = permissions.iter().map(|permission| format!("`{permission}`")).collect();
            quoted.join(" or ")
        };
        let mut words = match (self.any, self.own) {
            (any, []) => format!("Permission: {}.", list(any)),
            ([], own) => format!("Permission: {}.", list(own)),
            (any, own) => format!("Permission: {}; for what is one's own also {}.", list(any), list(own)),
        };
        if self.needs_player {
            words += " The token must name a player.";
        }
        words
    }
}

/// A caller who passed an operation's policy.
#[derive(Clone, Debug)]
pub struct Caller {
    token: Arc<Token>,
    reach: Reach,
    /// What would let them reach everyone.
    any: &'static [Permission],
}

impl Caller {
    /// The player, where the token names one.
    pub fn player(&self) -> Option<PlayerUuid> {
        self.token.player
    }

    /// The player, where this is their own older, numeric id.
    pub fn player_of_own_id(&self, player_id: i64) -> Option<PlayerUuid> {
        self.token.player.filter(|_| self.token.player_id == Some(player_id))
    }

    /// The token.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Whether the token grants a permission beside those that opened the operation.
    pub fn may(&self, permission: Permission) -> bool {
        self.token.permissions.contains(permission)
    }

    /// The player, for operations that act as one.
    ///
    /// # Errors
    /// Where the token names none.
    pub fn require_player(&self) -> Result<PlayerUuid, Denied> {
        self.token.player.ok_or(Denied::PlayerRequired)
    }

    /// The caller as a narrower policy sees them: for an operation that does what others do, each with permissions
    /// of its own.
    ///
    /// # Errors
    /// Where the narrower policy does not admit them.
    pub fn narrowed(&self, policy: Policy) -> Result<Self, Denied> {
        policy.admit(Arc::clone(&self.token))
    }

    /// Whether the caller reaches every player and session.
    pub fn reaches_all(&self) -> bool {
        self.reach == Reach::Any
    }

    /// Refuses a caller who acts on somebody else without reaching that far.
    ///
    /// # Errors
    /// As said.
    pub fn require_reach(&self, player: PlayerUuid) -> Result<(), Denied> {
        let reaches = self.reach == Reach::Any || self.token.player == Some(player);
        if reaches { Ok(()) } else { Err(self.out_of_reach()) }
    }

    /// The refusal of a caller who does not reach as far as they would.
    pub fn out_of_reach(&self) -> Denied {
        Denied::Permission(Enough { any: self.any, own: &[] })
    }

    /// In whose right the caller acts on a session: by their reach.
    pub fn actor(&self) -> Actor {
        self.actor_if(self.reach == Reach::Any)
    }

    /// In whose right the caller acts on a session: in everyone's with this permission, else in their own.
    pub fn actor_unless(&self, permission: Permission) -> Actor {
        self.actor_if(self.may(permission))
    }

    fn actor_if(&self, anyone: bool) -> Actor {
        if anyone { Actor::Anyone } else { self.token.player.map_or(Actor::Nobody, Actor::Player) }
    }
}
