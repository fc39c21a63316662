//! The peers: other people's code doing the same work in the same run.
