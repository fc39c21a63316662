//! The files behind the memory.
//!
//! A file can be made shorter by whoever has it, and touching what is not there any more ends a process by SIGBUS. So what is exported is *sealed* against that (`F_SEAL_SHRINK` of
//! memfd_create(2)), and what is imported must be: a seal cannot be taken off. Files that have no seals (a disk, a file system in user space, which might also answer never) are
//! refused, as are huge pages: those can be punched out of a sealed file, and be out of stock when they are touched again. Both are taken from a client that is trusted.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, fstatfs, ftruncate, memfd_create};
use rustix::io::Errno;

use super::closer::Foreign;
use super::memory::Mapping;

/// Descriptors tell places by 32 bits: nobody can use more of a region.
pub(super) const MAX_REGION: u64 = 1 << 32;
/// `HUGETLBFS_MAGIC` of linux/magic.h.
const HUGETLBFS: i64 = 0x9584_58f6;

/// What a client hears whose memory is of huge pages. Its user can read it, so it says what to change.
const HUGE_PAGES: &str = "region of huge pages: start the client with --huge-pages never, or me with trust=peer";

/// A file of `len` bytes that stays so long.
pub(super) fn export(len: u64) -> Result<OwnedFd, Errno> {
    let file = memfd_create("waterwheel-memif", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, len)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// Maps what a client has sent as `size` bytes. The error is what the client is told.
pub(super) fn import(file: &Foreign, size: u64, trusted: bool) -> Result<Mapping, String> {
    if !trusted {
        check_seals(file.as_fd())?;
    }
    // After the look at the seals: from there on it cannot become shorter.
    let real = fstat(file).map_err(|errno| format!("region: {errno}"))?.st_size.cast_unsigned();
    if real < size {
        return Err(format!("region file of {real} bytes, not {size}"));
    }
    Mapping::new(file.as_fd(), size as usize, false).map_err(|errno| format!("region cannot be mapped: {errno}"))
}

fn check_seals(file: BorrowedFd<'_>) -> Result<(), String> {
    match fcntl_get_seals(file) {
        Ok(seals) if seals.contains(SealFlags::SHRINK) => {}
        Ok(_) => return Err("region is not sealed (F_SEAL_SHRINK)".to_owned()),
        Err(_) => return Err("region is no memfd".to_owned()),
    }
    match fstatfs(file) {
        Ok(system) if system.f_type == HUGETLBFS => Err(HUGE_PAGES.to_owned()),
        Ok(_) => Ok(()),
        Err(errno) => Err(format!("region: {errno}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memif::message::{REASON_SIZE, Text};

    #[test]
    fn only_what_cannot_become_shorter_is_taken() {
        let exported = export(8192).expect("a memfd");
        assert!(ftruncate(&exported, 4096).is_err(), "sealed");
        let same = || exported.try_clone().expect("a copy");
        assert!(import(&same().into(), 8192, false).is_ok());
        let refused =
            |file: OwnedFd, size, trusted| import(&file.into(), size, trusted).map(|_| ()).expect_err("refused");
        assert_eq!(refused(same(), 8193, true), "region file of 8192 bytes, not 8193");
        let loose = || {
            let file = memfd_create("loose", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memfd");
            ftruncate(&file, 8192).expect("longer");
            file
        };
        assert!(refused(loose(), 4096, false).contains("not sealed"));
        assert!(import(&loose().into(), 4096, true).is_ok(), "who is trusted may");
        // Sealed, and yet it can be punched out. No such page need be in stock for that.
        let huge = || {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
            let file = memfd_create("huge", flags).expect("a memfd of huge pages");
            ftruncate(&file, 2 << 20).expect("longer");
            fcntl_add_seals(&file, SealFlags::SHRINK).expect("sealed");
            file
        };
        assert_eq!(refused(huge(), 2 << 20, false), HUGE_PAGES);
        assert_eq!(Text::<REASON_SIZE>::new(HUGE_PAGES).to_string(), HUGE_PAGES, "a message has room for all of it");
        assert_eq!(refused(huge(), 4 << 20, true), "region file of 2097152 bytes, not 4194304", "who is trusted may");
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").expect("a device"));
        assert_eq!(refused(null(), 4096, false), "region is no memfd");
        assert!(refused(null(), 4096, true).contains("0 bytes"));
    }
}
