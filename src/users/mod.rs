//! The operations of the login for development: log in and out, the public key, and look-ups of players. They exist
//! only while the server has no keys of its own. The service itself is in `app/login/`.

pub mod errors;
pub mod login;
pub mod player;
pub mod policies;

use http::{HeaderName, HeaderValue};

use crate::http::surface::{Group, Surface};

/// Prefix of every path of this API.
pub const PREFIX: &str = "/users";

/// A header of every answer to a login. A test of a production system can check that it is absent there.
pub const LOGIN_HEADER: HeaderName = HeaderName::from_static("x-rallypoint-login");
/// The value of that header.
pub const LOGIN_HEADER_VALUE: HeaderValue = HeaderValue::from_static("development");

/// Introduction of the API document, in Markdown.
const INTRODUCTION: &str = "\
The login for development. Game clients and game servers get their tokens here, in a test, on a laptop or on a LAN. The \
server has it only if it has no keys of its own; with keys, the token service of the studio has these paths.

**Log in** at `POST /users/v1/login`. The grant `anon` takes the name of a player as its own proof: anybody can be \
anybody. `basic` takes a name and a password, and `client_credentials` the id and the secret of a client. The ids of \
players follow from their names, so a player is the same on every machine.

**Failures** have a stable `error_code` of the published contract. docs/API.md in the source lists the codes.";

/// The login for development: its groups of operations, in the order of the API document.
pub fn surface() -> Surface {
    let groups = vec![Group::new(login::TAG, login::rows()), Group::new(player::TAG, player::rows())];
    Surface::new(PREFIX, groups).with_introduction(INTRODUCTION).with_errors(errors::format())
}
