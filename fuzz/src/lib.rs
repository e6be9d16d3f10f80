//! What all fuzz targets share: an allocator that does not believe lengths.
//!
//! Inputs are at most some kilobytes. A decoder that asks for much more memory than that at once has believed a length that
//! the input claimed, which is a bug even where the machine has the memory.

use std::alloc::{GlobalAlloc, Layout, System};

/// The largest single allocation that any input may cause, in bytes.
pub const ALLOCATION_MAX: usize = 16 << 20;

/// The system's allocator, with a limit.
pub struct Bounded;

fn check(bytes: usize) {
    if bytes > ALLOCATION_MAX {
        // A panic would allocate. libFuzzer catches the abort and keeps the input.
        std::process::abort();
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        check(bytes);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;
