//! A virtual machine with disks of all kinds and network cables: qemu without hardware help, since that is there
//! everywhere, a small Debian made of packages, a folder shared by both sides for commands and
//! their output, and QMP to pull disks and cables and to make them fail.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long the machine may take to come up: 10 s on one that has nothing else to do, minutes
/// where every core has ten others.
const BOOT_TIMEOUT: Duration = Duration::from_secs(400);

/// How long one command in it may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(310);

/// Time between two looks at the shared folder.
const POLL: Duration = Duration::from_millis(50);

/// What the kernel is told.
const KERNEL: &str = "console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off nowatchdog";

/// Bytes of a disk: there is nothing on it but the halves of a small mirror.
const DISK_LEN: u64 = 64 << 20;

/// Kernel, first stage and disk of the guest.
pub(crate) struct Image(PathBuf);

impl Image {
    /// The one below `target/`, built when there is none of this script; or why there can be none.
    pub(crate) fn get() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let tools = ["qemu-system-x86_64", "mmdebstrap", "busybox", "cpio", "depmod", "mke2fs"];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
        dirs.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
        let has = |tool: &&str| dirs.iter().any(|dir| dir.join(tool).is_file());
        if let Some(missing) = tools.iter().find(|tool| !has(tool)) {
            return Err(format!("{missing} is not installed"));
        }
        let script = root.join("tests/lab/build");
        let parts = [&script, &root.join("tests/lab/guest-init")];
        let texts = parts.map(|part| std::fs::read(part).expect("a part of the project"));
        let mut sum = 0_u64;
        for byte in texts.iter().flatten() {
            sum = sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte);
        }
        let out = root.join(format!("target/lab/bookworm-{sum:016x}"));
        if !out.join("root.img").is_file() {
            eprintln!("building the guest in {}", out.display());
            let built = Command::new(&script).arg(&out).arg("bookworm").output();
            match built {
                Ok(output) if output.status.success() => {}
                Ok(output) => {
                    let text = String::from_utf8_lossy(&output.stderr).into_owned();
                    let last = text.lines().rev().take(3).collect::<Vec<_>>().join("; ");
                    return Err(format!("the guest could not be built: {last}"));
                }
                Err(error) => return Err(format!("the guest could not be built: {error}")),
            }
        }
        Ok(Self(out))
    }
}

/// The guest's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// What runs the scripts of the tests, and nothing else.
    Scripts,
    /// systemd, of which the same is a service.
    Systemd,
}

/// A running machine; it ends with this value.
pub(crate) struct Machine {
    qemu: Child,
    qmp: Option<BufReader<UnixStream>>,
    dir: TempDir,
    commands: usize,
    started: Instant,
}

impl Machine {
    /// Starts one with these disks and cables, each of which goes from one of its ports to another, and
    /// waits until it takes commands. What it sends to `10.0.2.100:8080` goes to `port` of this
    /// machine.
    pub(crate) fn boot(
        first: First,
        image: &Image,
        disks: &[Disk],
        cables: usize,
        port: u16,
    ) -> Self {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lab");
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(base).expect("a folder");
        std::fs::create_dir(dir.path().join("host")).expect("a folder");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let file = |name: &str| image.0.join(name).display().to_string();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi,tb-size=128", "-machine", "q35", "-cpu", "max"])
            .args(["-m", "512", "-smp", "1", "-nodefaults", "-no-reboot", "-display", "none"])
            .args(["-serial", &format!("file:{}", at("serial.log"))])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", at("qmp"))])
            .args(["-kernel", &file("vmlinuz"), "-initrd", &file("initrd.gz"), "-append"])
            .arg(match first {
                First::Scripts => KERNEL.to_owned(),
                First::Systemd => format!("{KERNEL} lab=systemd"),
            })
            .arg("-drive")
            .arg(format!("if=none,id=root,file={},format=raw,snapshot=on", file("root.img")))
            .args(["-device", "virtio-blk-pci,drive=root"])
            .args(["-fsdev", &format!("local,id=h,path={},security_model=none", at("host"))])
            .args(["-device", "virtio-9p-pci,fsdev=h,mount_tag=host", "-netdev"])
            // It reaches nothing but that port.
            .arg(format!(
                "user,id=n0,restrict=on,guestfwd=tcp:10.0.2.100:8080-cmd:busybox nc 127.0.0.1 {port}"
            ))
            .args(["-device", "virtio-net-pci,netdev=n0", "-device", "virtio-scsi-pci,id=vs"])
            .args(["-device", "qemu-xhci,id=xhci"]);
        for cable in 0..cables {
            for end in ['a', 'b'] {
                let mac = cable_address(cable, end);
                qemu.arg("-netdev")
                    .arg(format!("hubport,id=cable{cable}{end},hubid={cable}"))
                    .arg("-device")
                    // A bond that speaks LACP wants to know how fast its legs are.
                    .arg(format!(
                        "virtio-net-pci,netdev=cable{cable}{end},mac={mac},speed=10000,duplex=full"
                    ));
            }
        }
        if disks.iter().any(|disk| disk.kind == Kind::MegaRaid) {
            qemu.args(["-device", "megasas-gen2,id=mr"]);
        }
        for (n, disk) in disks.iter().enumerate() {
            let path = dir.path().join(format!("{}.raw", disk.serial));
            empty_disk(&path);
            let node = format!("driver=raw,node-name={}", disk.node());
            let file = format!("file.driver=file,file.filename={}", path.display());
            qemu.args(["-blockdev", &format!("{node},{file}")]);
            if disk.kind == Kind::Nvme {
                qemu.args([
                    "-device",
                    &format!("pcie-root-port,id=rp{n},chassis={0},slot={0}", n + 1),
                ]);
            }
            qemu.args(["-device", &disk.device(n)]);
        }
        let log = std::fs::File::create(dir.path().join("qemu.log")).expect("a file");
        let qemu = qemu
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("qemu starts");
        let mut machine = Self { qemu, qmp: None, dir, commands: 0, started: Instant::now() };
        machine.wait("host/ready", BOOT_TIMEOUT);
        machine
    }

    /// How long it has been running.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Puts a file into the shared folder, `/host` of the guest.
    pub(crate) fn share(&self, from: &Path, name: &str) {
        std::fs::copy(from, self.dir.path().join("host").join(name)).expect("room for it");
    }

    /// Runs a script of bash in the guest: its exit status, and all it printed.
    pub(crate) fn run(&mut self, script: &str) -> (i32, String) {
        self.commands += 1;
        let n = self.commands;
        let host = self.dir.path().join("host");
        std::fs::write(host.join(format!("cmd.{n}")), format!("{script}\n")).expect("room");
        std::fs::write(host.join(format!("cmd.{n}.go")), "").expect("room");
        self.wait(&format!("host/rc.{n}"), COMMAND_TIMEOUT);
        let read = |name: String| std::fs::read(host.join(name)).unwrap_or_default();
        let status = String::from_utf8_lossy(&read(format!("rc.{n}"))).trim().parse();
        let output = String::from_utf8_lossy(&read(format!("out.{n}"))).into_owned();
        (status.expect("a number"), output)
    }

    /// Runs a script that must succeed.
    pub(crate) fn must(&mut self, script: &str) -> String {
        let (status, output) = self.run(script);
        assert_eq!(status, 0, "{script}\n{output}");
        output
    }

    /// Tells qemu to do something.
    pub(crate) fn qmp(&mut self, command: &str, arguments: &Value) -> Value {
        let path = self.dir.path().join("qmp");
        let mut ask = |text: &Value| {
            let qmp = self.qmp.get_or_insert_with(|| {
                let stream = UnixStream::connect(&path).expect("qemu listens");
                BufReader::new(stream)
            });
            qmp.get_mut().write_all(format!("{text}\n").as_bytes()).expect("it takes it");
            loop {
                let mut line = String::new();
                qmp.read_line(&mut line).expect("it answers");
                let answer: Value = serde_json::from_str(&line).expect("JSON");
                // Events and the greeting come in between.
                if answer.get("return").is_some() || answer.get("error").is_some() {
                    return answer;
                }
            }
        };
        // Once is enough; a second time is an error that hurts nobody.
        ask(&json!({"execute": "qmp_capabilities"}));
        let answer = ask(&json!({"execute": command, "arguments": arguments}));
        assert!(answer.get("error").is_none(), "{command} {arguments}: {answer}");
        answer
    }

    /// Plugs in another disk, of a kind that can be.
    pub(crate) fn plug(&mut self, disk: &Disk) {
        let path = self.dir.path().join(format!("{}.raw", disk.serial));
        empty_disk(&path);
        let file = json!({"driver": "file", "filename": path});
        let node = json!({"driver": "raw", "node-name": disk.node(), "file": file});
        self.qmp("blockdev-add", &node);
        let device = json!({"driver": "scsi-hd", "bus": "vs.0", "drive": disk.node(),
            "id": disk.serial, "serial": disk.serial, "vendor": "LABSTAT", "product": "SCSI DISK"});
        self.qmp("device_add", &device);
    }

    /// Plugs the first end of a cable in, or pulls it out.
    pub(crate) fn plug_cable(&mut self, cable: usize, is_in: bool) {
        self.qmp("set_link", &json!({"name": format!("cable{cable}a"), "up": is_in}));
    }

    fn wait(&mut self, name: &str, timeout: Duration) {
        let path = self.dir.path().join(name);
        let until = Instant::now() + timeout;
        while !path.exists() {
            let text = |name: &str| {
                let bytes = std::fs::read(self.dir.path().join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            };
            let ended = self.qemu.try_wait().expect("a child");
            let all = || format!("{}\n{}", text("qemu.log"), text("serial.log"));
            assert!(ended.is_none(), "the machine ended before {name}:\n{}", all());
            assert!(Instant::now() < until, "no {name} in time:\n{}", all());
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The address of the port at an end, `a` or `b`, of a cable.
pub(crate) fn cable_address(cable: usize, end: char) -> String {
    format!("52:54:00:00:{cable:02x}:0{end}")
}

fn empty_disk(path: &Path) {
    let file = std::fs::File::create(path).expect("a file");
    file.set_len(DISK_LEN).expect("room, which is not used");
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nvme,
    /// SATA; whether it turns.
    Sata {
        turns: bool,
    },
    Scsi,
    /// SCSI that does not turn, and so is never at rest.
    Flash,
    Usb,
    MegaRaid,
}

/// A disk, by its serial number, which is also its name in qemu.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk {
    pub(crate) kind: Kind,
    pub(crate) serial: &'static str,
}

impl Disk {
    fn node(&self) -> String {
        format!("n-{}", self.serial)
    }

    fn device(&self, n: usize) -> String {
        let Self { kind, serial } = self;
        let drive = format!("drive={},id={serial},serial={serial}", self.node());
        match kind {
            Kind::Nvme => format!("nvme,bus=rp{n},{drive}"),
            Kind::Sata { turns } => {
                let rate = if *turns { 7200 } else { 1 };
                format!("ide-hd,bus=ide.{n},model=LAB {serial},rotation_rate={rate},{drive}")
            }
            Kind::Scsi | Kind::Flash => {
                let rate = if *kind == Kind::Flash { 1 } else { 7200 };
                format!(
                    "scsi-hd,bus=vs.0,vendor=LABSTAT,product=SCSI DISK,rotation_rate={rate},{drive}"
                )
            }
            Kind::Usb => format!("usb-storage,bus=xhci.0,{drive}"),
            Kind::MegaRaid => format!("scsi-hd,bus=mr.0,{drive}"),
        }
    }
}
