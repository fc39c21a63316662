//! A device that maps page by page, and stops the run when it is asked for what cannot be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use waterwheel::Zone;
use waterwheel::page_pool::{DmaAddr, DmaError, DmaMap};

/// What is mapped, for the pool that has it and for the target that looks.
#[derive(Debug, Clone, Default)]
pub struct Device {
    mapped: Arc<Mutex<BTreeMap<u64, usize>>>,
    /// Refuses pages whose number is a multiple of it; 0: none.
    refuses: u32,
}

impl Device {
    /// One that refuses pages whose number is a multiple of `refuses`; 0: none.
    pub fn refusing(refuses: u32) -> Self {
        Self { refuses, ..Self::default() }
    }

    /// Pages that are mapped now.
    pub fn mapped(&self) -> usize {
        self.book().len()
    }

    fn book(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.mapped.lock().expect("nobody panics with it")
    }
}

impl DmaMap for Device {
    fn map(&mut self, zone: &Zone, number: u32, bytes: usize) -> Result<DmaAddr, DmaError> {
        if self.refuses > 0 && number.is_multiple_of(self.refuses) {
            return Err(DmaError("on purpose".to_owned()));
        }
        let addr = u64::from(zone.node()) << 40 | u64::from(number) << 12;
        assert_eq!(self.book().insert(addr, bytes), None, "page {number} was mapped already");
        Ok(DmaAddr(addr))
    }

    fn unmap(&mut self, addr: DmaAddr, bytes: usize) {
        assert_eq!(self.book().remove(&addr.0), Some(bytes), "unmapped, though not mapped");
    }
}
