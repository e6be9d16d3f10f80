//! A container's root directory: the host's, entry by entry, on a tmpfs of the container's own, with its own `/proc`,
//! `/dev` and `/tmp`, a read-only `/sys`, and its volumes. Nothing here touches the host: mount points that the host
//! lacks are made on the tmpfs, or on an overlay over the host's directory.

use super::container::{Refusal, Refuse};
use crate::control::{BindMount, ContainerSetup};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::pivot_root;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const REASON: &str = "CreateContainerError";
/// Device files of the host that every container sees (the OCI runtime specification's default devices).
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Builds the root and makes it this process's. The process must be the first of a new PID namespace, in a mount
/// namespace of its own.
pub(super) fn assemble(setup: &ContainerSetup) -> Result<(), Refusal> {
    // What is to be bound is cloned first, while the host's paths are in sight; it is attached when the container's are.
    let tmp = clone_mount(&setup.tmp)?;
    let mut volumes = Vec::new();
    for directory in &setup.visible {
        let volume = BindMount { source: directory.clone(), target: directory.clone(), read_only: false };
        volumes.push((clone_mount(directory)?, volume));
    }
    for volume in &setup.mounts {
        volumes.push((clone_mount(&volume.source)?, volume.clone()));
    }
    let mut root = Root { path: setup.root.clone(), own: Vec::new() };
    root.tmpfs(Path::new("/"), "mode=755")?;
    root.mirror_host()?;
    root.sys()?;
    root.devices()?;
    root.proc()?;
    root.enter()?;
    // From here on links are followed as the container will follow them.
    attach(&tmp, Path::new("/tmp"))?;
    root.own.push(PathBuf::from("/tmp"));
    for (mount, volume) in &volumes {
        root.volume(mount, volume)?;
    }
    Ok(())
}

struct Root {
    /// Where it is being assembled; `/` once it has been entered.
    path: PathBuf,
    /// Directories (as the container sees them) in which we may create entries, for they are not the host's.
    own: Vec<PathBuf>,
}

impl Root {
    fn at(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn tmpfs(&mut self, target: &Path, options: &str) -> Result<(), Refusal> {
        mount(Some("tmpfs"), &self.at(target), Some("tmpfs"), MsFlags::MS_NOSUID, Some(options))
            .refuse(REASON, format_args!("mount a tmpfs for {}", target.display()))?;
        self.own.push(target.into());
        Ok(())
    }

    fn bind(&self, source: &Path, target: &Path) -> Result<(), Refusal> {
        mount(Some(source), &self.at(target), None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
            .refuse(REASON, format_args!("mount {}", target.display()))
    }

    /// The host's top-level entries: directories and files are bound, links are made again.
    fn mirror_host(&mut self) -> Result<(), Refusal> {
        for entry in fs::read_dir("/").refuse(REASON, "read the root directory")? {
            let entry = entry.refuse(REASON, "read the root directory")?;
            let (path, kind) = (entry.path(), entry.file_type().refuse(REASON, "read the root directory")?);
            let target = self.at(&path);
            if kind.is_symlink() {
                let to = fs::read_link(&path).refuse(REASON, path.display())?;
                symlink(to, &target).refuse(REASON, path.display())?;
            } else if kind.is_dir() {
                fs::create_dir(&target).refuse(REASON, path.display())?;
                if !["/proc", "/dev", "/tmp", "/sys"].iter().any(|ours| Path::new(ours) == path) {
                    self.bind(&path, &path)?;
                }
            } else if kind.is_file() {
                fs::write(&target, "").refuse(REASON, path.display())?;
                self.bind(&path, &path)?;
            }
        }
        for needed in ["/proc", "/dev", "/tmp"] {
            fs::create_dir_all(self.at(Path::new(needed))).refuse(REASON, needed)?;
        }
        Ok(())
    }

    /// A `/sys` that shows the pod's own network, read-only; where the kernel refuses that, the host's, read-only.
    fn sys(&self) -> Result<(), Refusal> {
        let sys = Path::new("/sys");
        if !sys.is_dir() {
            return Ok(());
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
        if mount(Some("sysfs"), &self.at(sys), Some("sysfs"), flags, None::<&str>).is_err() {
            self.bind(sys, sys)?;
            make_read_only(&self.at(sys)).refuse(REASON, "make /sys read-only")?;
        }
        Ok(())
    }

    fn devices(&mut self) -> Result<(), Refusal> {
        self.tmpfs(Path::new("/dev"), "mode=755,size=65536k")?;
        for device in DEVICES {
            let path = Path::new("/dev").join(device);
            if !path.exists() {
                continue;
            }
            fs::write(self.at(&path), "").refuse(REASON, path.display())?;
            self.bind(&path, &path)?;
        }
        for (link, to) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
            symlink(to, self.at(&Path::new("/dev").join(link))).refuse(REASON, link)?;
        }
        let shm = Path::new("/dev/shm");
        fs::create_dir(self.at(shm)).refuse(REASON, "make /dev/shm")?;
        // 64 MiB, as containerd has it.
        self.tmpfs(shm, "mode=1777,size=65536k")?;
        let pts = Path::new("/dev/pts");
        fs::create_dir(self.at(pts)).refuse(REASON, "make /dev/pts")?;
        let options = Some("newinstance,ptmxmode=0666,mode=0620");
        mount(Some("devpts"), &self.at(pts), Some("devpts"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, options)
            .refuse(REASON, "mount /dev/pts")?;
        symlink("pts/ptmx", self.at(Path::new("/dev/ptmx"))).refuse(REASON, "make /dev/ptmx")
    }

    /// The PID namespace's own `/proc`. Inside some containers the kernel refuses it (the host's is partly hidden).
    fn proc(&self) -> Result<(), Refusal> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), &self.at(Path::new("/proc")), Some("proc"), flags, None::<&str>)
            .refuse(REASON, "mount /proc (is Atoll inside a container that hides parts of it?)")
    }

    /// Makes the assembled directory the root, and lets go of the host's.
    fn enter(&mut self) -> Result<(), Refusal> {
        std::env::set_current_dir(&self.path).refuse(REASON, "enter the root")?;
        pivot_root(".", ".").refuse(REASON, "change the root")?;
        umount2(".", MntFlags::MNT_DETACH).refuse(REASON, "let go of the host's root")?;
        std::env::set_current_dir("/").refuse(REASON, "enter the root")?;
        self.path = PathBuf::from("/");
        Ok(())
    }

    fn volume(&mut self, mount: &OwnedFd, volume: &BindMount) -> Result<(), Refusal> {
        let kind = fstat(mount).refuse(REASON, volume.source.display())?;
        let is_directory = SFlag::from_bits_truncate(kind.st_mode).contains(SFlag::S_IFDIR);
        self.make_mount_point(&volume.target, is_directory)?;
        attach(mount, &volume.target)?;
        if volume.read_only {
            make_read_only(&volume.target)
                .refuse(REASON, format_args!("make {} read-only", volume.target.display()))?;
        } else if is_directory {
            self.own.push(volume.target.clone());
        }
        Ok(())
    }

    /// Makes sure that something can be mounted at `target`, without creating anything on the host.
    fn make_mount_point(&mut self, target: &Path, is_directory: bool) -> Result<(), Refusal> {
        if target.exists() {
            return Ok(());
        }
        let missing = target.ancestors().take_while(|ancestor| !ancestor.exists()).last().unwrap_or(target);
        let existing = missing.parent().unwrap_or(missing);
        // The nearest directory of our own above it. On the root itself, everything that exists is the host's.
        let ours = self.own.iter().filter(|own| target.starts_with(own)).max_by_key(|own| own.components().count());
        if ours.is_none_or(|own| own == Path::new("/") && existing != Path::new("/")) {
            self.overlay(existing)?;
        }
        let made = if is_directory {
            fs::create_dir_all(target)
        } else {
            fs::create_dir_all(target.parent().unwrap_or(target)).and_then(|()| fs::write(target, ""))
        };
        made.refuse(REASON, format_args!("make the mount point {}", target.display()))?;
        self.own.push(missing.to_path_buf());
        Ok(())
    }

    /// Lays a writable layer of the container's own over a directory of the host.
    fn overlay(&mut self, directory: &Path) -> Result<(), Refusal> {
        let step = format!("make a mount point in {} (overlay)", directory.display());
        if directory.as_os_str().as_bytes().iter().any(|byte| b":,\\".contains(byte)) {
            return Err(Refusal::new(REASON, format!("{step}: the path has characters that overlay cannot take")));
        }
        // The layer's own mount can go when the overlay holds it.
        let layer = Path::new("/.layer");
        fs::create_dir_all(layer).refuse(REASON, &step)?;
        mount(Some("tmpfs"), layer, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755")).refuse(REASON, &step)?;
        for part in ["upper", "work"] {
            fs::create_dir(layer.join(part)).refuse(REASON, &step)?;
        }
        let options = format!("lowerdir={},upperdir=/.layer/upper,workdir=/.layer/work,userxattr", directory.display());
        mount(Some("overlay"), directory, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .refuse(REASON, &step)?;
        umount2(layer, MntFlags::MNT_DETACH).refuse(REASON, &step)?;
        fs::remove_dir(layer).refuse(REASON, &step)?;
        self.own.push(directory.into());
        Ok(())
    }
}

/// A detached copy of what is mounted at `path`, to be attached elsewhere (`open_tree`, Linux 5.2).
fn clone_mount(path: &Path) -> Result<OwnedFd, Refusal> {
    let step = format!("open {}", path.display());
    let text = CString::new(path.as_os_str().as_bytes()).refuse(REASON, &step)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as libc::c_uint;
    // SAFETY: the path is NUL-terminated; a non-negative result is a new descriptor that is ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, text.as_ptr(), flags);
        if fd < 0 {
            return Err(std::io::Error::last_os_error()).refuse(REASON, &step);
        }
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Attaches a detached mount (`move_mount`, Linux 5.2).
fn attach(mount: &OwnedFd, target: &Path) -> Result<(), Refusal> {
    let step = format!("mount {}", target.display());
    let text = CString::new(target.as_os_str().as_bytes()).refuse(REASON, &step)?;
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_SYMLINKS;
    // SAFETY: both paths are NUL-terminated, and the descriptor is open.
    let result = unsafe {
        libc::syscall(libc::SYS_move_mount, mount.as_raw_fd(), c"".as_ptr(), libc::AT_FDCWD, text.as_ptr(), flags)
    };
    if result < 0 { Err(std::io::Error::last_os_error()).refuse(REASON, &step) } else { Ok(()) }
}

/// Makes a mount and everything mounted below it read-only, keeping its other flags (`mount_setattr`, Linux 5.12).
fn make_read_only(path: &Path) -> std::io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is NUL-terminated, and the size is that of the structure pointed to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
