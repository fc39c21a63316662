//! The region: memory that is mapped once, with the metadata of its pages in front of it.
//!
//! Every region reserves one *span* of address space, [`SPAN`] bytes at a multiple of [`SPAN`]. The metadata of the page at `address` is then found without
//! any table, as in the kernel's vmemmap: it is entry `(address % SPAN) / 4096` of an array that begins where the span begins.
//!
//! ```text
//! span                                                                               span + 32 GiB
//! +--------+-----------------------------+.........+---------------------------+.............+
//! | header | PageMeta of page 0, 1, 2 …  | nothing |  page 0, 1, 2 …  (memfd)  |  nothing    |
//! +--------+-----------------------------+.........+---------------------------+.............+
//! ```
//!
//! The pages are a memfd of their own, so they can be shared with another process without sharing the metadata.
#![expect(unsafe_code, reason = "maps memory")]

use crate::meta::PageMeta;
use crate::word::PageWord;
use crate::{PAGE_SHIFT, PAGE_SIZE};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed}; // of std: no model checker looks at names
use std::{fmt, fs};

const SPAN_SHIFT: u32 = 35;
/// Address space that a region reserves: the most that a region can hold, metadata included. Nothing of it is memory until it is mapped.
pub(crate) const SPAN: usize = 1 << SPAN_SHIFT;
/// Pages begin at a multiple of this: the largest buddy block is aligned, as is a huge page.
const DATA_ALIGN: usize = PAGE_SIZE << crate::MAX_ORDER;
const HUGE: usize = 2 << 20;
/// 30 GiB: what fits into a span beside the metadata.
pub(crate) const MAX_PAGES: usize = (30 << 30) / PAGE_SIZE;

/// What memory a region got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// 2 MiB pages of the hugetlb pool (`vm.nr_hugepages`).
    HugeTlb,
    /// Transparent huge pages, for at least a part of it (`/sys/kernel/mm/transparent_hugepage/shmem_enabled`).
    Thp,
    /// 4 KiB pages.
    Small,
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backing::HugeTlb => "2 MiB huge pages",
            Backing::Thp => "transparent huge pages",
            Backing::Small => "4 KiB pages",
        })
    }
}

/// Which memory to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Huge pages, else transparent huge pages, else 4 KiB pages.
    #[default]
    Try,
    /// Huge pages of the hugetlb pool, or an error.
    Require,
    /// 4 KiB pages.
    Never,
}

/// Why there is no region.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// A region has at least one page and at most [`MAX_PAGES`](crate::MAX_PAGES).
    #[error("a region has between 1 and {MAX_PAGES} pages of 4 KiB, not {0}")]
    Size(usize),
    /// The hugetlb pool has too few free pages.
    #[error(
        "{wanted} free huge pages of 2 MiB are needed and {free} are free; reserve more with `sysctl vm.nr_hugepages=N`, or do without them"
    )]
    NoHugePages {
        /// How many the region needs.
        wanted: usize,
        /// How many there are.
        free: usize,
    },
    /// The node does not exist, or has too little memory.
    #[error("memory of NUMA node {node} could not be had: {source}")]
    Node {
        /// The node that was asked for.
        node: u32,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The kernel refused.
    #[error("{what} of {bytes} bytes failed: {source}")]
    Map {
        /// Which step failed.
        what: &'static str,
        /// How much was asked for.
        bytes: usize,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// Names a region, for as long as the process lives: one that is mapped later has another name, also where it lies at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RegionId(u64);

impl RegionId {
    /// A name that no region has had.
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Relaxed) + 1)
    }
}

/// Memory for pages, mapped once. It is unmapped when it is dropped; its zone drops it when the last page is back.
pub struct Region {
    span: NonNull<u8>,
    /// Offset of page 0 from `span`.
    data: usize,
    pages: usize,
    memfd: OwnedFd,
    backing: Backing,
    id: RegionId,
}

// SAFETY: it is an owner of mappings and of a file; what is in them is guarded by the zone and by the page handles.
unsafe impl Send for Region {}
// SAFETY: as above; `&Region` gives addresses only.
unsafe impl Sync for Region {}

impl Region {
    /// Maps a region of `pages` pages; rounded up to whole huge pages when it is at least one huge page large.
    pub(crate) fn new(pages: usize, huge: HugePages, node: Option<u32>) -> Result<Self, RegionError> {
        if pages == 0 || pages > MAX_PAGES {
            return Err(RegionError::Size(pages));
        }
        let per_huge = HUGE / PAGE_SIZE;
        let pages =
            if pages >= per_huge || huge == HugePages::Require { pages.next_multiple_of(per_huge) } else { pages };
        let bytes = pages * PAGE_SIZE;
        let meta_ratio = PAGE_SIZE / size_of::<PageMeta>();
        let data = (bytes / (meta_ratio - 1) + PAGE_SIZE).next_multiple_of(DATA_ALIGN);
        let span = reserve()?;
        // From here on `Drop` unmaps.
        let (memfd, backing) = match map_pages(span, data, bytes, huge) {
            Ok(mapped) => mapped,
            Err(e) => {
                unreserve(span);
                return Err(e);
            }
        };
        let mut region = Self { span, data, pages, memfd, backing, id: RegionId::new() };
        let metas = (data + bytes) / meta_ratio;
        region.allow_metadata(metas)?;
        if let Some(node) = node {
            region.bind_node(node).map_err(|source| RegionError::Node { node, source })?;
        }
        region.populate()?;
        if backing != Backing::HugeTlb {
            region.backing = if region.has_huge() { Backing::Thp } else { Backing::Small };
        }
        Ok(region)
    }

    /// The first byte of page 0: an address, to be given to a device that registers `len()` bytes from here.
    pub fn base(&self) -> *const u8 {
        self.span.as_ptr().wrapping_add(self.data)
    }

    /// Bytes of all pages.
    #[expect(clippy::len_without_is_empty, reason = "a region has at least one page")]
    pub fn len(&self) -> usize {
        self.pages * PAGE_SIZE
    }

    /// Number of 4 KiB pages.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// What memory it got.
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// The file behind the pages: page `n` lies at offset `n * 4096`. For another process that is to have them.
    ///
    /// # Safety
    /// The file is a second way to every page. Whoever has it, in this process or another, writes to no page but those that are [`Posted`](crate::Posted) for him, and believes nothing that he reads in
    /// the others.
    pub unsafe fn memfd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }

    /// Its name.
    #[inline]
    pub fn id(&self) -> RegionId {
        self.id
    }

    pub(crate) fn page(&self, number: u32) -> NonNull<u8> {
        debug_assert!((number as usize) < self.pages);
        // SAFETY: inside of the span.
        unsafe { self.span.add(self.data + number as usize * PAGE_SIZE) }
    }

    pub(crate) fn meta(&self, number: u32) -> &PageMeta {
        // SAFETY: the page lies in the region, whose metadata is mapped.
        unsafe { &*meta_of(self.page(number).as_ptr()) }
    }

    /// Puts into the header what [`header_of`] finds from any page: an address, how many bytes lie in front of page 0, and the region's name.
    pub(crate) fn set_header(&self, owner: *const c_void) {
        let header = Header { owner, data: self.data, id: self.id };
        // SAFETY: the header is the first entry of the metadata array, which belongs to no page; mapped and writable. It is written before any page is handed out.
        unsafe { self.span.cast::<Header>().write(header) }
    }

    fn allow_metadata(&self, bytes: usize) -> Result<(), RegionError> {
        let bytes = bytes.next_multiple_of(PAGE_SIZE);
        // SAFETY: the beginning of our own reservation, not used yet.
        unsafe { rustix::mm::mprotect(self.span.as_ptr().cast(), bytes, MprotectFlags::READ | MprotectFlags::WRITE) }
            .map_err(|e| RegionError::Map { what: "mapping of page metadata", bytes, source: e.into() })
    }

    /// Memory of `node` and no other (mbind(2), MPOL_BIND).
    fn bind_node(&self, node: u32) -> std::io::Result<()> {
        const MPOL_BIND: i32 = 2;
        let mask = 1u64.checked_shl(node).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        let start = self.base();
        // SAFETY: our own mapping; the mask outlives the call. The kernel reads `maxnode - 1` bits.
        let done = unsafe {
            libc::syscall(libc::SYS_mbind, start, self.len(), MPOL_BIND, &raw const mask, u64::from(u64::BITS) + 1, 0)
        };
        if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }

    /// Takes all memory now: no page fault later, and an error in place of a SIGBUS.
    fn populate(&self) -> Result<(), RegionError> {
        let (start, bytes) = (self.base().cast_mut().cast::<c_void>(), self.len());
        // SAFETY: our own mapping; what is in it does not change.
        match unsafe { rustix::mm::madvise(start, bytes, Advice::LinuxPopulateWrite) } {
            Ok(()) | Err(Errno::INVAL) => Ok(()), // before Linux 5.14: pages come with the first touch
            Err(e) => Err(RegionError::Map { what: "taking memory for a region", bytes, source: e.into() }),
        }
    }

    /// Whether the kernel put huge pages under (a part of) the region.
    fn has_huge(&self) -> bool {
        let start = format!("{:x}-", self.base().addr());
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        smaps
            .lines()
            .skip_while(|line| !line.starts_with(&start))
            .find_map(|line| line.strip_prefix("ShmemPmdMapped:"))
            .is_some_and(|kib| kib.trim() != "0 kB")
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        unreserve(self.span);
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("pages", &self.pages).field("backing", &self.backing).finish_non_exhaustive()
    }
}

/// The first entry of a span's metadata array, which no page uses as the array itself lies there.
struct Header {
    owner: *const c_void,
    data: usize,
    id: RegionId,
}
const _: () = assert!(cfg!(loom) || size_of::<Header>() <= size_of::<PageMeta>());

#[inline]
fn span_of(page: *mut u8) -> *mut u8 {
    page.map_addr(|a| a & !(SPAN - 1))
}

/// The metadata of the page at `page`, an address in a region.
#[inline]
pub(crate) fn meta_of(page: *mut u8) -> *const PageMeta {
    let index = (page.addr() & (SPAN - 1)) >> PAGE_SHIFT;
    span_of(page).cast::<PageMeta>().wrapping_add(index)
}

/// What [`Region::set_header`] left, and the index of the page in its region.
///
/// # Safety
/// `page` lies in a region that is mapped and whose header is set.
#[inline]
pub(crate) unsafe fn header_of(page: *mut u8) -> (*const c_void, u32) {
    // SAFETY: by contract.
    let header = unsafe { &*span_of(page).cast::<Header>() };
    (header.owner, (((page.addr() & (SPAN - 1)) - header.data) >> PAGE_SHIFT) as u32)
}

/// The name of the region of a page that is out.
#[inline]
pub(crate) fn id_of(page: PageWord) -> RegionId {
    // SAFETY: a page that is out keeps its region, whose header was set before the page was handed out.
    unsafe { &*span_of(page.address()).cast::<Header>() }.id
}

/// Address space for one span, at a multiple of its size; no access, no memory.
fn reserve() -> Result<NonNull<u8>, RegionError> {
    let fail = |source: std::io::Error| RegionError::Map { what: "reserving address space", bytes: SPAN, source };
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), 2 * SPAN, ProtFlags::empty(), flags) }
        .map_err(|e| fail(e.into()))?
        .cast::<u8>();
    let before = start.align_offset(SPAN);
    let span = start.wrapping_add(before);
    // SAFETY: the two ends of the mapping that was just made, around the aligned span.
    unsafe {
        if before > 0 {
            rustix::mm::munmap(start.cast(), before).map_err(|e| fail(e.into()))?;
        }
        if before < SPAN {
            rustix::mm::munmap(span.wrapping_add(SPAN).cast(), SPAN - before).map_err(|e| fail(e.into()))?;
        }
    }
    if span.addr() >= 1 << 47 {
        // A handle keeps the owner in the upper bits. Without a hint no kernel gives such an address.
        unreserve(NonNull::new(span).expect("mmap gives an address"));
        return Err(fail(std::io::Error::from(std::io::ErrorKind::Unsupported)));
    }
    Ok(NonNull::new(span).expect("mmap gives an address"))
}

fn unreserve(span: NonNull<u8>) {
    // SAFETY: the whole span is ours, and nobody has a page of it.
    let _ = unsafe { rustix::mm::munmap(span.as_ptr().cast(), SPAN) };
}

/// Maps a new memfd over `span + data`, with the largest pages that `huge` allows and the machine has.
fn map_pages(span: NonNull<u8>, data: usize, bytes: usize, huge: HugePages) -> Result<(OwnedFd, Backing), RegionError> {
    if huge != HugePages::Never && bytes.is_multiple_of(HUGE) {
        match map_memfd(span, data, bytes, MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB) {
            Ok(memfd) => return Ok((memfd, Backing::HugeTlb)),
            Err(_) if huge == HugePages::Require => {
                return Err(RegionError::NoHugePages { wanted: bytes / HUGE, free: free_huge_pages() });
            }
            Err(_) => {}
        }
    }
    let memfd = map_memfd(span, data, bytes, MemfdFlags::empty()).map_err(|e| RegionError::Map {
        what: "mapping a region",
        bytes,
        source: e.into(),
    })?;
    if huge != HugePages::Never {
        // SAFETY: the mapping that was just made. Where shmem_enabled is `never` this has no effect.
        let _ = unsafe { rustix::mm::madvise(span.as_ptr().wrapping_add(data).cast(), bytes, Advice::LinuxHugepage) };
    }
    Ok((memfd, Backing::Small))
}

fn map_memfd(span: NonNull<u8>, data: usize, bytes: usize, flags: MemfdFlags) -> Result<OwnedFd, Errno> {
    let memfd = rustix::fs::memfd_create("waterwheel-pages", flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&memfd, bytes as u64)?;
    // Whoever is given the file could shrink it otherwise, and every holder of a page would die of SIGBUS.
    rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    let at = span.as_ptr().wrapping_add(data).cast();
    let (access, map) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED);
    // SAFETY: replaces a part of our own reservation.
    unsafe { rustix::mm::mmap(at, bytes, access, map, &memfd, 0)? };
    Ok(memfd)
}

fn free_huge_pages() -> usize {
    let path = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    fs::read_to_string(path).ok().and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}
