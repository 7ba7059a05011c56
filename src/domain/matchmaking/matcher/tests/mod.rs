//! Tests of the matcher: single cases, and properties of random pools against a naive checker and a naive reference.

mod builder;
mod backfills;
mod checker;
mod conditions;
mod explain;
mod fairness;
mod history;
mod places;
mod pools;
mod properties;
mod quality;
mod reference;
mod sizes;
