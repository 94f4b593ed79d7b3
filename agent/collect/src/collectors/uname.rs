//! Names of the kernel and the machine.
//!
//! - Asks: the kernel, as `uname` does. Absent when a captured machine does not know.
//! - Emits: `node_uname_info`.
//! - Not here: the distribution ([`super::os`]).

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;

static UNAME: Family = Family::gauge("node_uname_info", "Names of the kernel and the machine.");

/// Names of kernel and machine.
#[derive(Debug, Default)]
pub struct Uname;

impl Collector for Uname {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let uname = match host.uname() {
            Ok(uname) => uname,
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            Err(cause) => return Err(CollectError::Read { from: "uname".to_owned(), cause }),
        };
        let labels = [
            ("domainname", uname.domainname.as_str()),
            ("machine", &uname.machine),
            ("nodename", &uname.nodename),
            ("release", &uname.release),
            ("sysname", &uname.sysname),
            ("version", &uname.version),
        ];
        out.push(&UNAME, &labels, 1.0);
        Ok(Status::Collected)
    }
}
