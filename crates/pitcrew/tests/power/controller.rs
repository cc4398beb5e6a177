//! A real machine under libvirt, and a real Redfish service in front of it: sushy-tools, which others wrote.
//!
//! libvirt runs in namespaces of its own, so that nothing of this machine's is touched and everything ends with the test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    machine::{Image, run},
    production::{Process, free_port, has, skipped, wait_for},
};

const SUSHY: &str = "2.2.0";
const NAME: &str = "vm-1";
const UUID: &str = "5d8bbd32-3b8f-4d7d-9a0c-6f0cf1f1a001";

/// Without it no test of this file can run.
pub(crate) struct Tools {
    sushy: PathBuf,
}

impl Tools {
    pub(crate) fn find() -> Option<Self> {
        let is_there = has("/usr/bin/qemu-system-x86_64", "qemu-system-x86")
            && has("/usr/sbin/libvirtd", "libvirt-daemon-system")
            && has("/usr/bin/virsh", "libvirt-clients")
            && has(
                "/usr/lib/python3/dist-packages/libvirt.py",
                "python3-libvirt",
            )
            && has("/bin/busybox", "busybox-static")
            && has("/usr/bin/cpio", "cpio")
            && has("/usr/bin/strip", "binutils");
        if !is_there {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skipped("only root can give libvirt namespaces of its own");
            return None;
        }
        let sushy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sushy-tools-{SUSHY}"));
        if let Err(why) = install(&sushy) {
            skipped(&format!("sushy-tools can't be installed from PyPI: {why}"));
            return None;
        }
        Some(Self { sushy })
    }
}

/// Once for all test runs that share a target directory.
fn install(to: &Path) -> Result<(), String> {
    let lock = fs::File::create(to.with_extension("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    if to.exists() {
        return Ok(());
    }
    let new = to.with_extension("new");
    fs::remove_dir_all(&new).ok();
    let installed = Command::new("/usr/bin/python3")
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--target"])
        .arg(&new)
        .arg(format!("sushy-tools=={SUSHY}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !installed.status.success() {
        return Err(String::from_utf8_lossy(&installed.stderr).into_owned());
    }
    fs::rename(new, to).map_err(|error| error.to_string())
}

pub(crate) struct Machine {
    directory: PathBuf,
    pub(crate) redfish: u16,
    /// Ended in this order.
    _sushy: Process,
    _libvirt: Process,
}

impl Machine {
    /// Defined and off. Its port `web` is this machine's port `web`.
    pub(crate) fn new(at: &Path, tools: &Tools, image: &Image, web: u16) -> Self {
        let directory = at.to_owned();
        let libvirt = libvirt(at);
        fs::write(at.join("vm.xml"), domain(at, image, web)).unwrap();
        wait_for("libvirt", || {
            let listed = virsh(at).arg("list").output().unwrap();
            let said = String::from_utf8_lossy(&listed.stderr).into_owned();
            listed.status.success().then_some(()).ok_or(said)
        });
        run(virsh(at).arg("define").arg(at.join("vm.xml")));
        let redfish = free_port();
        let settings = format!(
            "SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\nSUSHY_EMULATOR_LISTEN_PORT = {redfish}\nSUSHY_EMULATOR_LIBVIRT_URI = '{}'\n",
            uri(at)
        );
        fs::write(at.join("sushy.conf"), settings).unwrap();
        let log = fs::File::create(at.join("sushy.log")).unwrap();
        let sushy = Process::start(
            Command::new("/usr/bin/python3")
                .arg(tools.sushy.join("bin/sushy-emulator"))
                .arg("--config")
                .arg(at.join("sushy.conf"))
                .env("PYTHONPATH", &tools.sushy)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log),
        );
        wait_for("the Redfish service", || {
            std::net::TcpStream::connect(("127.0.0.1", redfish)).map_err(|error| error.to_string())
        });
        Self {
            directory,
            redfish,
            _sushy: sushy,
            _libvirt: libvirt,
        }
    }

    pub(crate) fn start(&self) {
        run(virsh(&self.directory).args(["start", NAME]));
    }

    pub(crate) fn lose_power(&self) {
        run(virsh(&self.directory).args(["destroy", NAME]));
    }

    pub(crate) fn console(&self) -> String {
        let console = fs::read(self.directory.join("console")).unwrap_or_default();
        String::from_utf8_lossy(&console).into_owned()
    }
}

/// It and every machine end with the process that asked for it, however that comes. The shell that waits reaps what
/// libvirt leaves behind, which otherwise waits for its own ended children.
fn libvirt(at: &Path) -> Process {
    let at_text = at.display();
    let settings = format!("unix_sock_dir = \"{at_text}\"\nauth_unix_rw = \"none\"\n");
    fs::write(at.join("libvirtd.conf"), settings).unwrap();
    let settings = "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\ncgroup_controllers = []\nnamespaces = []\nstdio_handler = \"file\"\n";
    fs::write(at.join("qemu.conf"), settings).unwrap();
    let script = r#"set -e
mkdir -p /run/libvirt /var/lib/libvirt /etc/libvirt /var/cache/libvirt /var/log/libvirt
for at in /run/libvirt /var/lib/libvirt /etc/libvirt /var/cache/libvirt /var/log/libvirt; do mount -t tmpfs own $at; done
cp "$0/qemu.conf" /etc/libvirt/
libvirtd -f "$0/libvirtd.conf" -p "$0/libvirtd.pid" &
wait
"#;
    let log = fs::File::create(at.join("libvirtd.log")).unwrap();
    Process::start(
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args([
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["sh", "-c", script])
            .arg(at)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log),
    )
}

fn uri(at: &Path) -> String {
    format!("qemu+unix:///system?socket={}/libvirt-sock", at.display())
}

fn virsh(at: &Path) -> Command {
    let mut command = Command::new("virsh");
    command.args(["--quiet", "--connect", &uri(at)]);
    command
}

fn domain(at: &Path, image: &Image, web: u16) -> String {
    let Image { kernel, initrd } = image;
    let (at, kernel, initrd) = (at.display(), kernel.display(), initrd.display());
    format!(
        r"<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{NAME}</name><uuid>{UUID}</uuid>
  <memory unit='MiB'>640</memory><vcpu>1</vcpu><cpu mode='maximum'/>
  <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd>
    <cmdline>console=ttyS0 quiet panic=0</cmdline></os>
  <features><acpi/></features><on_reboot>restart</on_reboot><on_crash>preserve</on_crash>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
    <serial type='file'><source path='{at}/console'/></serial><memballoon model='none'/></devices>
  <qemu:commandline>
    <qemu:arg value='-netdev'/><qemu:arg value='user,id=n0,hostfwd=tcp:127.0.0.1:{web}-:{web}'/>
    <qemu:arg value='-device'/><qemu:arg value='virtio-net-pci,netdev=n0,addr=0x10'/>
  </qemu:commandline>
</domain>"
    )
}
