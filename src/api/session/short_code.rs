//! Creating a short code.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::change::{After, Change};
use crate::app::App;
use crate::auth::Caller;
use crate::domain::{Refused, Session, ShortCode};
use crate::http::error::Error;
use crate::http::input::param_types::{RefreshQuery, SessionPath};
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

/// Number of random codes that the server tries. The probability that a code is taken is far below one in a thousand.
const ATTEMPTS_MAX: usize = 8;

/// The short code of a session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionShortCodeResponse")]
pub struct ShortCodeCreated {
    /// Short code.
    #[schemars(length(min = 5, max = 12))]
    short_code: String,
}

/// Creates a short code for a session.
pub async fn generate(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, conditions, .. }: Input<SessionPath, RefreshQuery>,
) -> Result<Reply<Plain<ShortCodeCreated>>, Error> {
    let actor = caller.actor();
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    let mut attempts = ATTEMPTS_MAX;
    loop {
        let code = ShortCode::from_random(change.app.entropy.bytes());
        let short_code = code.as_str().to_owned();
        let rule = move |session: &mut Session| session.give_short_code(actor, code.clone());
        let answer = move |(): &(), _: &After<'_>| {
            Ok(Reply::plain(&ShortCodeCreated { short_code: short_code.clone() }))
        };
        match change.clone().run(&path.session_id, rule, answer).await {
            Err(Error::Refused(Refused::ShortCodeTaken)) if attempts > 1 => attempts -= 1,
            answered => return answered,
        }
    }
}
