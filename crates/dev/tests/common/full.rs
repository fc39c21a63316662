//! A disk that is nearly full.

/// A file that takes no more than so many bytes, as on a disk that is nearly full.
pub(crate) fn nearly_full(bytes: u64) -> std::os::fd::OwnedFd {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
    let file = memfd_create("nearly-full", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, bytes).unwrap();
    fcntl_add_seals(&file, SealFlags::GROW).unwrap();
    file
}
