//! `tap`
mod sys;
