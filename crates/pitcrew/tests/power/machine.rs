//! A machine with a kernel of its own, whose first process starts the real agent: everything it needs is packed into
//! the image that it boots from, so that each boot begins the same.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::production::{binary, skipped};

/// Modules of the kernel, without which there is no network.
const MODULES: [&str; 2] = ["virtio_pci.ko", "virtio_net.ko"];

pub(crate) struct Image {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
}

/// `None`, visibly, when this machine lacks what it takes.
pub(crate) fn kernel() -> Option<(PathBuf, PathBuf)> {
    let images = fs::read_dir("/boot").into_iter().flatten().flatten();
    let found = images.map(|entry| entry.path()).find_map(|path| {
        let release = path.file_name()?.to_str()?.strip_prefix("vmlinuz-")?;
        let modules = Path::new("/lib/modules").join(release);
        modules
            .join("modules.dep")
            .exists()
            .then_some((path, modules))
    });
    if found.is_none() {
        skipped("no kernel with modules in /boot: apt-get install linux-image-cloud-amd64");
    }
    found
}

impl Image {
    /// `data` and `configuration` are the agent's, as they are at every boot.
    pub(crate) fn build(
        at: &Path,
        (kernel, modules): (PathBuf, PathBuf),
        data: &Path,
        configuration: &str,
        server: u16,
    ) -> Self {
        let root = at.join("root");
        for folder in ["bin", "proc", "sys", "dev", "modules", "www", "tmp"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        symlink("busybox", root.join("bin/sh")).unwrap();
        let agent = root.join("bin/pitcrew");
        run(Command::new("strip").arg("-o").arg(&agent).arg(binary()));
        for library in libraries(binary()) {
            let to = root.join(library.strip_prefix("/").unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&library, to).unwrap();
        }
        run(Command::new("cp")
            .arg("-r")
            .arg(data)
            .arg(root.join("data")));
        fs::write(root.join("host.yaml"), configuration).unwrap();
        fs::write(root.join("www/index.html"), "here").unwrap();
        executable(&root.join("www/cgi-bin/panic"), PANIC);
        let names = copy_modules(&modules, &root.join("modules"));
        executable(&root.join("init"), &first_process(&names, server));
        let initrd = at.join("initrd");
        let script = r#"cd "$0" && find . | cpio --quiet -o -H newc > "$1""#;
        run(Command::new("sh")
            .arg("-c")
            .arg(script)
            .arg(&root)
            .arg(&initrd));
        Self { kernel, initrd }
    }
}

/// Whoever asks the web server for this gets no answer.
const PANIC: &str = "#!/bin/sh\necho c > /proc/sysrq-trigger\n";

fn executable(file: &Path, script: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, script).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

fn first_process(modules: &[String], server: u16) -> String {
    let modules = modules.join(" ");
    format!(
        r"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in {modules}; do insmod /modules/$module; done
ifconfig lo up
ifconfig eth0 10.0.2.15 up; route add default gw 10.0.2.2
while true; do
  /bin/pitcrew agent --server 10.0.2.2:{server} --data /data --config /host.yaml
  sleep 1
done
"
    )
}

/// In the order in which they can be loaded.
fn copy_modules(from: &Path, to: &Path) -> Vec<String> {
    let known = fs::read_to_string(from.join("modules.dep")).unwrap();
    let mut names: Vec<String> = Vec::new();
    for wanted in MODULES {
        let line = known.lines().find(|line| {
            let (path, _) = line.split_once(':').unwrap_or_default();
            path.rsplit('/').next() == Some(wanted)
        });
        // Built in where there is none.
        let (path, needs) = line.unwrap_or(":").split_once(':').unwrap();
        let needs = needs.split_whitespace().rev();
        for path in needs.chain([path]).filter(|path| !path.is_empty()) {
            let name = path.rsplit('/').next().unwrap().to_owned();
            if !names.contains(&name) {
                fs::copy(from.join(path), to.join(&name)).unwrap();
                names.push(name);
            }
        }
    }
    names
}

fn libraries(program: &str) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let words = listed.split_whitespace();
    words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

pub(crate) fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
