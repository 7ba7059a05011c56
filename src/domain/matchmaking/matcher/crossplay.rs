//! Platforms and inputs as sets of bits.

use crate::domain::Platform;
use crate::domain::client::{Client, CrossplayInput, CrossplayPlatform, Input};
use serde::{Deserialize, Serialize};

/// The input of a player whose client is not known. No input has this bit.
const UNKNOWN_INPUT: u8 = 1 << 7;

/// The platforms and inputs of some players, and those that all of them accept.
///
/// The players may play together if all accept what is there. So a player who does not accept the own platform fits
/// nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Crossplay {
    platforms: u16,
    platforms_accepted: u16,
    inputs: u8,
    inputs_accepted: u8,
}

impl Crossplay {
    /// No players.
    pub const NOBODY: Self =
        Self { platforms: 0, platforms_accepted: u16::MAX, inputs: 0, inputs_accepted: u8::MAX };

    /// A player whose client is not known: fits players who accept every platform and input.
    pub const UNKNOWN: Self = Self { inputs: UNKNOWN_INPUT, ..Self::NOBODY };

    /// Players with these clients.
    pub fn of<'a>(clients: impl IntoIterator<Item = &'a Client>) -> Self {
        clients.into_iter().fold(Self::NOBODY, |all, client| all.with(Self::one(client)))
    }

    fn one(client: &Client) -> Self {
        let wanted = client.crossplay;
        let unknown = if client.agrees_to_unknown() { 0 } else { UNKNOWN_INPUT };
        Self {
            platforms: 1 << client.platform as u16,
            platforms_accepted: match wanted.map(|wanted| wanted.permitted_platform) {
                None | Some(CrossplayPlatform::Any) => u16::MAX,
                Some(CrossplayPlatform::XboxLike) => 1 << Platform::XboxLive as u16,
                Some(CrossplayPlatform::PlayStationLike) => 1 << Platform::PSN as u16,
            },
            inputs: 1 << client.input as u8,
            inputs_accepted: match wanted.map(|wanted| wanted.permitted_input) {
                None | Some(CrossplayInput::Any) => !unknown,
                Some(CrossplayInput::KeyboardAndMouse) => 1 << Input::KeyboardAndMouse as u8,
                Some(CrossplayInput::Gamepad) => 1 << Input::Gamepad as u8,
                Some(CrossplayInput::Touch) => 1 << Input::Touch as u8,
            },
        }
    }

    /// These players and others.
    pub fn with(self, others: Self) -> Self {
        Self {
            platforms: self.platforms | others.platforms,
            platforms_accepted: self.platforms_accepted & others.platforms_accepted,
            inputs: self.inputs | others.inputs,
            inputs_accepted: self.inputs_accepted & others.inputs_accepted,
        }
    }

    /// Whether the players may play together.
    pub fn agrees(self) -> bool {
        self.platforms & !self.platforms_accepted == 0 && self.inputs & !self.inputs_accepted == 0
    }

    /// These players, if they accept less: no more than what others accept.
    pub(super) fn accepting_at_most(self, others: Self) -> Self {
        Self {
            platforms_accepted: self.platforms_accepted & others.platforms_accepted,
            inputs_accepted: self.inputs_accepted & others.inputs_accepted,
            ..self
        }
    }

    /// Whether these players accept all that others accept, and have nothing beyond it.
    pub(super) fn is_at_home_in(self, others: Self) -> bool {
        others.platforms_accepted & !self.platforms_accepted == 0
            && others.inputs_accepted & !self.inputs_accepted == 0
            && self.platforms & !others.platforms_accepted == 0
            && self.inputs & !others.inputs_accepted == 0
    }
}

impl Default for Crossplay {
    fn default() -> Self {
        Self::NOBODY
    }
}
