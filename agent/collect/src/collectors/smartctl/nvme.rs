//! NVMe disks, asked without smartctl: their pages by ioctl, as the report smartctl would give.

use std::io;
use std::time::{Duration, Instant};

use labstat_parse::nvme::{self, Namespace, Pages};
use serde_json::json;

use crate::host::{Ended, Host, NvmePage, Output, RunError};

use super::discover::{Found, Kernel, controller};

/// How long one page may take. A controller that rests is back within a tenth of a second.
const DEADLINE: Duration = Duration::from_secs(3);

/// The bit of smartctl's exit status for a disk that says it fails.
const STATUS_FAILING: i32 = 1 << 3;

/// The kind of disks that can be asked so.
pub(super) const KIND: &str = "nvme";

/// What smartctl would have printed about `found`.
pub(super) fn ask(host: &dyn Host, found: &Found) -> io::Result<Ended> {
    let start = Instant::now();
    let page = |page| host.nvme_page(&found.path, page, DEADLINE);
    let read = || -> io::Result<Output> {
        let identity = page(NvmePage::Identity)?;
        let health = page(NvmePage::Health)?;
        // One that has self-tests and does not tell of them is as good as one without.
        let self_tests = nvme::has_self_tests(&identity).then(|| page(NvmePage::SelfTests).ok());
        let self_tests = self_tests.flatten();
        let pages =
            Pages { identity: &identity, health: &health, self_tests: self_tests.as_deref() };
        let namespace = found.kernel.as_ref().and_then(|kernel| namespace(host, kernel));
        let report = nvme::report(&found.path, pages, namespace).map_err(io::Error::other)?;
        let passed = report.smart_status.as_ref().and_then(|status| status.passed);
        let status = if passed == Some(false) { STATUS_FAILING } else { 0 };
        let stdout = serde_json::to_vec(&report).map_err(io::Error::other)?;
        Ok(Output { status: Some(status), stdout, stderr: Vec::new() })
    };
    match read() {
        Ok(output) => Ok(Ended { result: Ok(output), took: Some(start.elapsed()) }),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Ok(Ended { result: Err(RunError::TimedOut(DEADLINE)), took: Some(start.elapsed()) })
        }
        Err(error) => Err(error),
    }
}

/// An error where there is no smartctl to ask instead, in words like its own.
pub(super) fn refused(found: &Found, error: &io::Error) -> Ended {
    let words = format!("labstat open device: {} failed: {error}", found.path);
    let report = json!({"smartctl": {"messages": [{"string": words, "severity": "error"}]}});
    let stdout = report.to_string().into_bytes();
    let result = Ok(Output { status: Some(2), stdout, stderr: Vec::new() });
    Ended { result, took: None }
}

/// The controller's namespace, if it has just one here.
fn namespace(host: &dyn Host, kernel: &Kernel) -> Option<Namespace> {
    let names = host.list(&kernel.dir).ok()?;
    let mut namespaces = names.iter().filter(|name| controller(name).is_some());
    let (name, None) = (namespaces.next()?, namespaces.next()) else { return None };
    let number = |file: &str| {
        let text = host.text(&format!("{}/{name}/{file}", kernel.dir)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // The kernel counts in sectors of 512 bytes, whatever the disk's own are.
    let size_bytes = number("size")?.checked_mul(512)?;
    Some(Namespace { size_bytes, block_bytes: number("queue/logical_block_size")? })
}
