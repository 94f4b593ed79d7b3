//! A name that one process of a machine holds at a time.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// A name that is held. Whoever drops it, or ends in whatever way, gives it back.
#[derive(Debug, Default)]
pub struct Claim {
    /// Nobody ever connects: the kernel keeps its name from others, and frees it with us.
    _socket: Option<UnixListener>,
}

impl Claim {
    /// Takes a name, or says [`io::ErrorKind::AddrInUse`] when another process has it.
    pub(super) fn take(name: &str) -> io::Result<Self> {
        let address = SocketAddr::from_abstract_name(name)?;
        Ok(Self { _socket: Some(UnixListener::bind_addr(&address)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_until_it_is_given_back() {
        let name = format!("labstat-test-{}", std::process::id());
        let first = Claim::take(&name).unwrap();
        assert_eq!(Claim::take(&name).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(Claim::take(&name).is_ok());
    }
}
