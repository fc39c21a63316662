#![expect(unsafe_code, reason = "a promise about another program, and pages that it may write to")]
//! Peers that are trusted: packets stay where they are.

/// The promise that the peer is trusted. It cannot be made by accident: see [`Trust::peer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust(());

impl Trust {
    /// The peer is trusted with the memory.
    ///
    /// A client then gives the peer the *whole region* of its zone, and packets are sent from, and received into, the pool's own pages without a copy. A server then takes memory
    /// that its client can take away (files without seals, huge pages).
    ///
    /// # Safety
    /// For as long as it is connected, and until it has closed its end of the socket, the peer
    /// - writes only into the buffers that it was given for packets, and gives each back once (else it changes bytes that safe code reads as `&[u8]`, in pages of any device of the zone: a
    ///   data race, and undefined behaviour);
    /// - takes nothing away of memory that it gave (else this process dies of SIGBUS).
    ///
    /// Nothing here can check that: it is a promise about another program. Two processes of this library keep it, as does DPDK's `net_memif`.
    #[must_use]
    pub unsafe fn peer() -> Self {
        Self(())
    }

    /// The same promise, made by whoever typed `trust=peer`.
    pub(crate) fn by_operator() -> Self {
        Self(())
    }
}

