//! Asking for a cache line ahead of time.
#![expect(unsafe_code, reason = "an instruction that the standard library does not give on every x86-64")]

/// Asks for the line of `*place`, to write (the kernel's `prefetchw`). It is a hint: a CPU that does not know the instruction skips it, an address that is not mapped is no fault.
#[inline(always)]
pub(crate) fn prefetchw<T>(place: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: changes neither memory nor registers nor flags, and cannot fault.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) place, options(readonly, nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}
