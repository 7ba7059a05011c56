//! The policies of the operations: the permissions that the contract states for each. An operation on `me` has the same
//! policy with [`Policy::as_player`].
#![allow(missing_docs, reason = "each name says which operations the policy is for")]

use crate::auth::Permission::{
    NotificationPlayerAll, NotificationPlayerRead, NotificationPlayerWrite, NotificationSelfAll,
    NotificationSelfRead, NotificationSelfWrite,
};
use crate::auth::Policy;

pub const READ: Policy = Policy::any(&[NotificationPlayerAll, NotificationPlayerRead])
    .or_own(&[NotificationSelfAll, NotificationSelfRead]);
pub const WRITE: Policy = Policy::any(&[NotificationPlayerAll, NotificationPlayerWrite])
    .or_own(&[NotificationSelfAll, NotificationSelfWrite]);
