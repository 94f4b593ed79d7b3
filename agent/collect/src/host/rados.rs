//! Ceph's own client library, `librados.so.2`, where the machine has it.
//!
//! It is loaded at run time: a machine without Ceph has no need of it. It starts threads, keeps some
//! 30 MB and may hang with its cluster, so it is only used in a process that lives for one reading
//! (see [`super::cluster`]). The C interface has been the same since 2013; `rados_mgr_command` came with
//! Luminous.
//!
//! This file has all the unsafe code that takes.
#![expect(unsafe_code, reason = "a C library is called")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

/// The file of the library; the number is that of its interface.
const LIBRARY: &CStr = c"librados.so.2";

/// The name of the cluster to the library, which only means where configuration is looked for.
const CLUSTER: &CStr = c"ceph";

type Handle = *mut c_void;
type Create = unsafe extern "C" fn(*mut Handle, *const c_char, *const c_char, u64) -> c_int;
type ReadFile = unsafe extern "C" fn(Handle, *const c_char) -> c_int;
type Set = unsafe extern "C" fn(Handle, *const c_char, *const c_char) -> c_int;
type Connect = unsafe extern "C" fn(Handle) -> c_int;
type Shutdown = unsafe extern "C" fn(Handle);
type Free = unsafe extern "C" fn(*mut c_char);
type Ask = unsafe extern "C" fn(
    Handle,
    *const *const c_char,
    usize,
    *const c_char,
    usize,
    *mut *mut c_char,
    *mut usize,
    *mut *mut c_char,
    *mut usize,
) -> c_int;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NoRados {
    /// The machine has no such library.
    Missing,
    /// The library said this, a negative error number, when it was asked to do that.
    Refused { code: i32, what: &'static str },
}

/// Whom a command is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum To {
    Mon,
    Mgr,
}

/// A connection to a cluster.
pub(super) struct Rados {
    calls: Calls,
    handle: Handle,
}

/// The functions of the library that are called.
struct Calls {
    create: Create,
    read_file: ReadFile,
    set: Set,
    connect: Connect,
    shutdown: Shutdown,
    free: Free,
    mon: Ask,
    mgr: Ask,
}

impl Calls {
    fn load() -> Option<Self> {
        // A program without a dynamic linker of its own cannot load what needs one.
        if cfg!(target_feature = "crt-static") {
            return None;
        }
        // SAFETY: the name ends with a zero byte. The library runs its initialisers, which is what
        // loading any program that is linked to it does.
        let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            return None;
        }
        // SAFETY: each type is that of the function of this name in rados/librados.h, and the library
        // is never unloaded.
        unsafe {
            Some(Self {
                create: symbol(library, c"rados_create2")?,
                read_file: symbol(library, c"rados_conf_read_file")?,
                set: symbol(library, c"rados_conf_set")?,
                connect: symbol(library, c"rados_connect")?,
                shutdown: symbol(library, c"rados_shutdown")?,
                free: symbol(library, c"rados_buffer_free")?,
                mon: symbol(library, c"rados_mon_command")?,
                mgr: symbol(library, c"rados_mgr_command")?,
            })
        }
    }
}

/// The function of that name.
///
/// # Safety
/// `F` must be a function pointer of the type that the function has.
unsafe fn symbol<F: Copy>(library: *mut c_void, name: &CStr) -> Option<F> {
    assert!(size_of::<F>() == size_of::<*mut c_void>(), "BUG: not a function pointer");
    // SAFETY: the library is loaded and the name ends with a zero byte.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    if address.is_null() {
        return None;
    }
    // SAFETY: both have the size of a pointer, and the caller knows that this is an `F`.
    Some(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
}

impl Rados {
    /// Connects as `user` (`client.labstat`), with the settings of the file `conf` and then `settings`.
    pub(super) fn connect(
        conf: &str,
        user: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self, NoRados> {
        let calls = Calls::load().ok_or(NoRados::Missing)?;
        let mut handle = ptr::null_mut();
        let name = text(user)?;
        // SAFETY: `handle` is written to, and both names end with a zero byte.
        let code = unsafe { (calls.create)(&raw mut handle, CLUSTER.as_ptr(), name.as_ptr(), 0) };
        if code < 0 || handle.is_null() {
            return Err(NoRados::Refused { code, what: "to make a client" });
        }
        let rados = Self { calls, handle };
        let path = text(conf)?;
        // SAFETY: the handle is a client that was made, and the path ends with a zero byte.
        let code = unsafe { (rados.calls.read_file)(rados.handle, path.as_ptr()) };
        refused(code, "to read the configuration file")?;
        for (key, value) in settings {
            let (key, value) = (text(key)?, text(value)?);
            // SAFETY: as above. A version that does not know the setting says so and goes on.
            let _ = unsafe { (rados.calls.set)(rados.handle, key.as_ptr(), value.as_ptr()) };
        }
        // SAFETY: the handle is a client that is not connected yet.
        let code = unsafe { (rados.calls.connect)(rados.handle) };
        refused(code, "to connect")?;
        Ok(rados)
    }

    /// Sends a command, in JSON, and takes its reply: or a negative error number and words.
    pub(super) fn command(&self, to: To, json: &str) -> Result<Vec<u8>, (i32, String)> {
        let ask = match to {
            To::Mon => self.calls.mon,
            To::Mgr => self.calls.mgr,
        };
        let Ok(json) = CString::new(json) else { return Err((-libc::EINVAL, String::new())) };
        let commands = [json.as_ptr()];
        let (mut out, mut out_len) = (ptr::null_mut(), 0);
        let (mut words, mut words_len) = (ptr::null_mut(), 0);
        // SAFETY: the client is connected; there is one command, which ends with a zero byte, no
        // input, and four places that are written to.
        let code = unsafe {
            ask(
                self.handle,
                commands.as_ptr(),
                commands.len(),
                ptr::null(),
                0,
                &raw mut out,
                &raw mut out_len,
                &raw mut words,
                &raw mut words_len,
            )
        };
        let reply = self.take(out, out_len);
        let words = self.take(words, words_len);
        if code < 0 {
            return Err((code, String::from_utf8_lossy(&words).into_owned()));
        }
        Ok(reply)
    }

    /// Takes over a buffer of the library.
    fn take(&self, buffer: *mut c_char, len: usize) -> Vec<u8> {
        if buffer.is_null() {
            return Vec::new();
        }
        // SAFETY: the library gave this buffer, with so many bytes in it.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), len) }.to_vec();
        // SAFETY: it is freed once, by the function that is made for it.
        unsafe { (self.calls.free)(buffer) };
        bytes
    }
}

impl Drop for Rados {
    fn drop(&mut self) {
        // SAFETY: the handle is a client, connected or not, and is not used any more.
        unsafe { (self.calls.shutdown)(self.handle) };
    }
}

/// An error number of the library as an error.
fn refused(code: c_int, what: &'static str) -> Result<(), NoRados> {
    if code < 0 { Err(NoRados::Refused { code, what }) } else { Ok(()) }
}

fn text(text: &str) -> Result<CString, NoRados> {
    CString::new(text).map_err(|_| NoRados::Refused {
        code: -libc::EINVAL,
        what: "to take a name with a zero byte",
    })
}
