//! What a scheme is.

/// Buffers of the receive ring, of every scheme.
pub(super) const RING: usize = 512;

/// A driver's way to come by receive buffers.
pub(super) trait Scheme {
    /// What the holder of a packet has.
    type Held;

    /// A packet has arrived in the buffer that was posted longest ago: posts another buffer in its place and hands the packet on. `None`: there is none
    /// to be posted, so that the packet is lost.
    fn receive(&mut self) -> Option<Self::Held>;

    /// The kernel's get_page.
    fn get_page(&self, held: &Self::Held) -> Self::Held;

    /// The holder lets go, in the way that is right for the driver it got the packet from.
    fn let_go(&mut self, held: Self::Held);

    /// The same by a holder who knows nothing but pages.
    fn put_page(&mut self, held: Self::Held);

    /// What was asked of the allocator and of the device so far.
    fn tally(&self) -> Tally;
}

/// What a scheme has asked for since it was made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// Pages taken from the allocator.
    pub(super) allocated: u64,
    /// Pages given back to it.
    pub(super) freed: u64,
    /// Pages mapped for the device.
    pub(super) maps: u64,
    /// Pages unmapped.
    pub(super) unmaps: u64,
}

impl Tally {
    /// Pages that the scheme and its holders have.
    pub(super) fn pages(&self) -> u64 {
        self.allocated - self.freed
    }
}
