//! The policies of the operations.
#![allow(missing_docs, reason = "each name says which operations the policy is for")]

use crate::auth::Policy;

pub const LOGIN: Policy = Policy::PUBLIC_WITH_BASIC.for_this_machine();
pub const LOGOUT: Policy = Policy::PUBLIC.for_this_machine();
pub const READ_KEYS: Policy = Policy::PUBLIC.for_this_machine();
pub const VERIFY: Policy = Policy::ANY_TOKEN;
pub const READ_PLAYER: Policy = Policy::ANY_TOKEN;
