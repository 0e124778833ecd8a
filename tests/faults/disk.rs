//! File systems for a test: a small one in memory, and one in a file.
//!
//! A copy of that file is the state after a power loss.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tempfile::TempDir;

use crate::common::both;

/// A mounted file system, unmounted on drop.
pub(crate) struct Mounted {
    place: PathBuf,
}

impl Mounted {
    /// A file system in memory, with a size in megabytes.
    ///
    /// `None` if mounting is not permitted. For root under CI, that is a failure.
    pub(crate) fn in_memory(place: &Path, megabytes: u32) -> Option<Self> {
        Self::mount(place, &["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
    }

    /// The file system in a file.
    pub(crate) fn image(place: &Path, image: &Path) -> Option<Self> {
        Self::mount(place, &["-o", "loop", image.to_str().unwrap()])
    }

    fn mount(place: &Path, arguments: &[&str]) -> Option<Self> {
        fs::create_dir_all(place).unwrap();
        let mounted = Command::new("mount").args(arguments).arg(place).output().unwrap();
        if mounted.status.success() {
            return Some(Self { place: place.to_owned() });
        }
        let reason = both(&mounted);
        let is_ci = std::env::var_os("CI").is_some() && rustix::process::geteuid().is_root();
        assert!(!is_ci, "this test needs to mount {}: {reason}", place.display());
        eprintln!("not run: {} cannot be mounted: {}", place.display(), reason.trim());
        None
    }

    /// Fills the remaining space, also space that becomes free, until the returned value is removed.
    pub(crate) fn fill(&self) -> Filler {
        let path = self.place.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        let mut take_all = move || {
            for size in [1 << 20, 1 << 12, 1] {
                while file.write_all(&vec![1; size]).is_ok() {}
            }
        };
        take_all();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                take_all();
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Filler { path, is_over, thread: Some(thread) }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A lazy unmount, because a server that is being killed may still hold files.
        let _ = Command::new("umount").arg("--lazy").arg(&self.place).status();
    }
}

/// A file that fills the space.
pub(crate) struct Filler {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Filler {
    pub(crate) fn remove(self) {
        let path = self.path.clone();
        drop(self);
        fs::remove_file(path).unwrap();
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A file with an empty ext4 file system, with a size in megabytes.
pub(crate) fn image(dir: &TempDir, megabytes: u64) -> PathBuf {
    let path = dir.path().join("image");
    fs::File::create(&path).unwrap().set_len(megabytes << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&path).output().unwrap();
    assert!(made.status.success(), "{}", both(&made));
    path
}
