//! Why a login is refused, with the codes of the published contract. Answers, metrics and the log show the codes.

use std::fmt;

use crate::store::{CommitError, StoreError};

/// Declares the refusals with their codes and texts, so that a refusal is one line.
macro_rules! refusals {
    ($($variant:ident = $code:literal, $text:literal;)*) => {
        /// Why a login is refused. The texts are shown to callers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the texts describe the variants")]
        pub enum LoginRefusal { $($variant,)* }

        impl LoginRefusal {
            /// Every refusal.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code, which clients compare.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }

        impl fmt::Display for LoginRefusal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)* })
            }
        }
    };
}

refusals! {
    AnonDisabled = "anon_disabled", "this server does not let players log in with a name alone";
    AnonTokenEmpty = "anon_token_empty", "portal_access_token is empty; it is the name of the player";
    BasicDisabled = "basic_disabled", "this server has no users, and no client has this id";
    BasicTokenEmpty = "basic_token_empty", "portal_access_token is empty; it has the form USERNAME:PASSWORD";
    BasicFormat = "basic_auth_incorrect_format", "portal_access_token has no colon; it has the form USERNAME:PASSWORD";
    BasicNotFound = "basic_auth_credentials_not_found", "there is no such user, or the password is wrong";
    ClientInvalid = "client_credentials_invalid", "there is no such client, or its secret is wrong";
    ClientsDisabled = "client_auth_disabled", "this server has no clients";
    RefreshTokenEmpty = "refresh_token_empty", "portal_access_token is empty; it is the refresh token";
    RefreshTokenNotFound = "refresh_token_not_found", "there is no such refresh token, or it has ended";
    RefreshTokenClient = "refresh_token_client_id_mismatch", "the refresh token belongs to another client";
    RefreshTokenUser = "refresh_token_invalid_user", "the user of the refresh token may no longer log in";
    SteamDisabled = "steam_disabled", "this server does not let players of Steam log in";
    SteamTokenEmpty = "steam_token_empty", "portal_display_name is empty; here it stands for the account";
    EpicDisabled = "epic_disabled", "this server does not let players of Epic log in";
    EpicTokenEmpty = "epic_token_empty", "portal_display_name is empty; here it stands for the account";
    XboxDisabled = "xbox_disabled", "this server does not let players of Xbox log in";
    XboxTokenEmpty = "xbox_xsts_token_empty", "portal_display_name is empty; here it stands for the account";
    Ps4V1Disabled = "ps4_v1_disabled", "this server does not let players of PSN log in";
    Ps4V1TokenEmpty = "ps4_v1_token_empty", "portal_display_name is empty; here it stands for the account";
    Ps4V3Disabled = "ps4_v3_disabled", "this server does not let players of PSN log in";
    Ps4V3TokenEmpty = "ps4_v3_token_empty", "portal_display_name is empty; here it stands for the account";
    Ps5V3Disabled = "ps5_v3_disabled", "this server does not let players of PSN log in";
    Ps5V3TokenEmpty = "ps5_v3_token_empty", "portal_display_name is empty; here it stands for the account";
    NintendoDisabled = "nintendo_disabled", "this server does not let players of Nintendo Switch log in";
    NintendoTokenEmpty = "nintendo_token_empty", "portal_display_name is empty; here it stands for the account";
    GoogleDisabled = "google_disabled", "this server does not let players of Google log in";
    GoogleTokenEmpty = "google_token_empty", "portal_display_name is empty; here it stands for the account";
    AppleDisabled = "apple_disabled", "this server does not let players of Apple log in";
    AppleTokenEmpty = "apple_token_empty", "portal_display_name is empty; here it stands for the account";
    AndroidDeviceDisabled = "android_device_disabled", "this server does not let Android devices log in";
    IosDeviceDisabled = "ios_device_disabled", "this server does not let iOS devices log in";
    DeveloperApiDisabled = "developer_api_disabled", "this server does not let developers of RallyHere log in";
}

/// A failed login.
#[derive(Debug)]
pub enum LoginFailure {
    /// The login is refused.
    Refused(LoginRefusal),
    /// The name of the player is too long or has control characters.
    NameInvalid(NameField),
    /// Too many logins, or too many wrong passwords, in a short time. It may work later.
    Limited,
    /// The store failed.
    Store(StoreError),
}

/// The field of a request that names the player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameField {
    /// `portal_access_token`.
    Token,
    /// `portal_display_name`.
    DisplayName,
}

impl LoginFailure {
    /// The outcome in metrics and the log.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::NameInvalid(_) => "validation_error",
            Self::Limited => "authentication_limited",
            Self::Store(_) => "store_unavailable",
        }
    }
}

impl From<LoginRefusal> for LoginFailure {
    fn from(refusal: LoginRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for LoginFailure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CommitError> for LoginFailure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Store(error) => Self::Store(error),
            // Repeated logins of one player came first in every attempt.
            CommitError::Conflict { .. } => Self::Limited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_a_code_of_its_own() {
        let mut codes: Vec<_> = LoginRefusal::ALL.iter().map(|refusal| refusal.code()).collect();
        codes.sort_unstable();
        assert!(codes.is_sorted_by(|one, next| one < next), "{codes:?}");
    }
}
