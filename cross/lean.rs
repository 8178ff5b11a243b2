//! What a C library and an unwinder bring into a static program for questions that ours never asks, answered in a line each.
//!
//! `goalpost` and `goalctl` include this file in the size profile (`shrink.rs` tells), which discards the tables that unwinding
//! reads and whose panics abort. Their message names its place as ever; a stack that overflows ends the program by SIGSEGV
//! without the standard library's sentence about it. Some 350 KiB in `goalpost`.

use core::ffi::{c_int, c_void};

/// Ends every walk up the stack at its start (`_URC_END_OF_STACK`): the reader of debugging information goes with it.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_trace: *const c_void, _argument: *mut c_void) -> c_int {
    5
}

/// Where a thread's stack lies is only asked for that sentence; glibc finds out by `fopen` and `sscanf`, and those bring
/// every character set and locale.
#[cfg(target_env = "gnu")]
#[unsafe(no_mangle)]
extern "C" fn pthread_getattr_np(_thread: *const c_void, _attributes: *mut c_void) -> c_int {
    // ENOSYS
    38
}

/// Messages are English: no catalogue is looked for.
#[cfg(target_env = "gnu")]
#[unsafe(no_mangle)]
extern "C" fn __dcgettext(_domain: *const c_void, text: *const c_void, _category: c_int) -> *const c_void {
    text
}
