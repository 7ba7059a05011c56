//! The server against a model of the rules.

mod found;
