//! A name that one process of a machine holds at a time.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::geteuid;

/// Connections taken from the queue at a time: as many as wait there at most.
const QUEUE_LEN_MAX: usize = 128;

/// A name that is held. Whoever drops it, or ends in whatever way, gives it back.
///
/// Any user of a machine may take any name, and keep it from those it is meant for. So a name that somebody
/// has is only held where that is somebody whom we would believe: root, or our own user.
#[derive(Debug, Default)]
pub struct Claim {
    socket: Option<UnixListener>,
}

impl Claim {
    /// Takes a name, or says [`io::ErrorKind::AddrInUse`] when another process of ours or of root's has it,
    /// and another error when a process has it that nobody need believe.
    pub(super) fn take(name: &str) -> io::Result<Self> {
        Self::take_unless(name, |holder| holder == 0 || holder == geteuid().as_raw())
    }

    fn take_unless(name: &str, is_believed: impl Fn(u32) -> bool) -> io::Result<Self> {
        let address = SocketAddr::from_abstract_name(name)?;
        match UnixListener::bind_addr(&address) {
            Ok(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Self { socket: Some(socket) })
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match holder(name) {
                Ok(user) if is_believed(user) => Err(error),
                Ok(user) => Err(io::Error::other(format!(
                    "the name @{name} is held by a process of the user {user}"
                ))),
                Err(cause) => Err(io::Error::other(format!(
                    "the name @{name} is held by a process that does not say whose it is: {cause}"
                ))),
            },
            Err(error) => Err(error),
        }
    }

    /// Lets those go who asked who holds the name, so that there is room for others. To be called now and then.
    pub(crate) fn attend(&self) {
        for _ in 0..QUEUE_LEN_MAX {
            if self.socket.as_ref().is_none_or(|socket| socket.accept().is_err()) {
                return;
            }
        }
    }
}

/// The user whose process holds a name. The kernel says so to whoever connects.
fn holder(name: &str) -> io::Result<u32> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
    Ok(socket_peercred(&socket)?.uid.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(of: &str) -> String {
        format!("labstat-test-{of}-{}", std::process::id())
    }

    #[test]
    fn one_has_it_until_it_is_given_back() {
        let name = name("one");
        let first = Claim::take(&name).unwrap();
        assert_eq!(Claim::take(&name).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(Claim::take(&name).is_ok());
    }

    /// A user who may do nothing else could keep a machine from telling of its cluster.
    #[test]
    fn a_name_that_a_stranger_holds_is_not_held() {
        let name = name("stranger");
        let _strange = Claim::take(&name).unwrap();
        let error = Claim::take_unless(&name, |_| false).unwrap_err();
        assert_ne!(error.kind(), io::ErrorKind::AddrInUse);
        let user = geteuid().as_raw();
        assert!(error.to_string().ends_with(&format!("of the user {user}")), "{error}");
    }

    /// One that was taken and is not listened on, so that nobody can ask who has it.
    #[test]
    fn nor_one_whose_holder_does_not_say_who_it_is() {
        let name = name("silent");
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        rustix::net::bind(&socket, &address).unwrap();
        let error = Claim::take(&name).unwrap_err();
        assert!(error.to_string().contains("does not say"), "{error}");
    }

    /// Who asks stays in the queue until the holder looks.
    #[test]
    fn any_number_may_ask_who_has_it() {
        let name = name("queue");
        let claim = Claim::take(&name).unwrap();
        for _ in 0..3 * QUEUE_LEN_MAX {
            assert_eq!(Claim::take(&name).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            claim.attend();
        }
    }
}
