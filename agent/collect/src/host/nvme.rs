//! Pages of an NVMe controller, by the kernel's admin command ioctl.
//!
//! Only commands that read are sent: identify (06h) and get log page (02h).

use std::ffi::c_void;
use std::io;
use std::os::fd::OwnedFd;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

/// Time the controller gets for one command.
const TIMEOUT_MS: u32 = 2_000;

/// The namespace that stands for the whole controller.
const ALL_NAMESPACES: u32 = u32::MAX;

const IDENTIFY: u8 = 0x06;
const GET_LOG_PAGE: u8 = 0x02;

/// A page that a controller tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NvmePage {
    /// What it is: 4,096 bytes.
    Identity,
    /// Its health: 512 bytes.
    Health,
    /// Its self-tests: 564 bytes.
    SelfTests,
}

impl NvmePage {
    /// The page's name in a capture.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Health => "health",
            Self::SelfTests => "self-tests",
        }
    }

    /// Opcode, namespace, the command's tenth dword and the bytes that come back.
    fn command(self) -> (u8, u32, u32, u32) {
        // A log page's number, and above it the number of dwords less one.
        let log =
            |page: u32, len: u32| (GET_LOG_PAGE, ALL_NAMESPACES, page | ((len / 4 - 1) << 16), len);
        match self {
            // "1" asks for the controller rather than a namespace.
            Self::Identity => (IDENTIFY, 0, 1, 4096),
            Self::Health => log(0x02, 512),
            Self::SelfTests => log(0x06, 564),
        }
    }
}

/// `struct nvme_admin_cmd` of `linux/nvme_ioctl.h`.
#[repr(C)]
#[derive(Debug, Default)]
struct Command {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    dword_2: u32,
    dword_3: u32,
    metadata: u64,
    address: u64,
    metadata_len: u32,
    data_len: u32,
    dword_10: u32,
    dwords_11_to_15: [u32; 5],
    timeout_ms: u32,
    result: u32,
}

const _: () = assert!(size_of::<Command>() == 72, "BUG: not what the kernel expects");

/// The command and the page it fills, which lives as long as it is under way.
struct Admin<'a> {
    command: Command,
    _page: &'a mut [u8],
}

// SAFETY: the opcode is that of a command of this very layout, which the kernel reads and whose
// result it writes; both outlive the call. The page it names is as long as it says, borrowed
// mutably for as long, and the commands that are made here write nothing else.
#[expect(unsafe_code, reason = "the kernel has no other door to an NVMe controller's pages")]
unsafe impl Ioctl for Admin<'_> {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<Command>(b'N', 0x41)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.command).cast()
    }

    unsafe fn output_from_ptr(
        output: IoctlOutput,
        _: *mut c_void,
    ) -> rustix::io::Result<IoctlOutput> {
        Ok(output)
    }
}

/// Reads a page of the controller that `device` is open on.
pub(super) fn read(device: &OwnedFd, page: NvmePage) -> io::Result<Vec<u8>> {
    let (opcode, namespace, dword_10, data_len) = page.command();
    let len = usize::try_from(data_len).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let address =
        u64::try_from(bytes.as_mut_ptr().expose_provenance()).map_err(io::Error::other)?;
    let command = Command {
        opcode,
        namespace,
        address,
        data_len,
        dword_10,
        timeout_ms: TIMEOUT_MS,
        ..Command::default()
    };
    let admin = Admin { command, _page: &mut bytes };
    // SAFETY: see `Admin`. A device that is not NVMe refuses the number, which no other driver has
    // for a command that writes elsewhere than to the structure it is given.
    #[expect(unsafe_code, reason = "the kernel has no other door to an NVMe controller's pages")]
    let status = unsafe { ioctl(device, admin) }?;
    // The driver gives the controller's own refusal as a positive number.
    if status != 0 {
        return Err(io::Error::other(format!("the controller answered with status {status:#x}")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_the_kernels() {
        let mut page = [0];
        let admin = Admin { command: Command::default(), _page: &mut page };
        assert_eq!(u64::from(admin.opcode()), 0xc048_4e41);
    }

    #[test]
    fn commands_are_those_of_the_specification() {
        assert_eq!(NvmePage::Identity.command(), (6, 0, 1, 4096));
        assert_eq!(NvmePage::Health.command(), (2, u32::MAX, 0x007f_0002, 512));
        assert_eq!(NvmePage::SelfTests.command(), (2, u32::MAX, 0x008c_0006, 564));
    }

    #[test]
    fn what_is_no_controller_refuses() {
        let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(read(&null, NvmePage::Health).is_err());
    }
}
