//! Starts processes, restarts them when they die, and stops them all.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures_util::FutureExt;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
    task::JoinHandle,
};

use super::parts::{Part, this_program};

/// First pause before a part is restarted. It doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After a part has run this long, its next pause is [`FIRST_PAUSE`] again.
const RAN_WELL: Duration = Duration::from_mins(1);
/// Our own parts may finish their work first, then the servers.
///
/// Both times together are below ten seconds.
const GRACE_OURS: Duration = Duration::from_secs(6);
const GRACE_SERVERS: Duration = Duration::from_secs(3);

/// The processes of this run. Each has a task that restarts it.
pub(crate) struct Supervisor {
    logs: PathBuf,
    ours: Group,
    servers: Group,
}

/// Parts that are stopped together.
struct Group {
    stop: watch::Sender<bool>,
    parts: Vec<Running>,
    grace: Duration,
}

/// A part, its task, and the signal that makes the task restart it.
struct Running {
    name: &'static str,
    task: JoinHandle<()>,
    restart: Arc<Notify>,
}

impl Group {
    fn new(grace: Duration) -> Self {
        Self { stop: watch::Sender::new(false), parts: Vec::new(), grace }
    }

    async fn stop(&mut self) {
        // An error means that there is no receiver: nothing is running.
        let _ = self.stop.send(true);
        for part in self.parts.drain(..) {
            let _ = part.task.await;
        }
    }
}

impl Supervisor {
    pub(crate) fn new(logs: PathBuf) -> Self {
        Self { logs, ours: Group::new(GRACE_OURS), servers: Group::new(GRACE_SERVERS) }
    }

    /// Starts a part, and restarts it whenever it dies.
    pub(crate) fn start(&mut self, part: Part) -> anyhow::Result<()> {
        let log = self.log(part.name);
        let child = spawn(&part, &log)?;
        let group = if part.is_server { &mut self.servers } else { &mut self.ours };
        let stop = Stop(group.stop.subscribe());
        let (name, restart) = (part.name, Arc::new(Notify::new()));
        let task = tokio::spawn(keep_running(part, log, child, stop, Arc::clone(&restart), group.grace));
        group.parts.push(Running { name, task, restart });
        Ok(())
    }

    /// Whether `up` runs this part itself.
    pub(crate) fn runs(&self, name: &str) -> bool {
        self.parts().any(|part| part.name == name)
    }

    /// Kills a part that does not answer. Its task then restarts it.
    pub(crate) fn restart(&self, name: &str) {
        for part in self.parts().filter(|part| part.name == name) {
            part.restart.notify_one();
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Running> {
        self.ours.parts.iter().chain(&self.servers.parts)
    }

    /// Stops everything: our own parts first, then the servers. Ends within ten seconds.
    pub(crate) async fn stop(&mut self) {
        self.ours.stop().await;
        self.servers.stop().await;
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// The end of a part's log, for an error message.
    pub(crate) fn last_words(&self, name: &str) -> String {
        let path = self.log(name);
        let Ok(tail) = tail(&path) else { return format!("{name} is not one of the parts that run here") };
        let lines: Vec<&str> = tail.lines().rev().take(5).collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        format!("{} ends with:\n    {}\n ", path.display(), lines.join("\n    "))
    }
}

fn spawn(part: &Part, log: &Path) -> anyhow::Result<Child> {
    let open = || fs::OpenOptions::new().create(true).append(true).open(log);
    let output = open().with_context(|| format!("open {}", log.display()))?;
    let errors = output.try_clone()?;
    // Starts it through this program: see `run_bound`.
    let mut command = Command::new(this_program()?);
    let ourselves = std::process::id().to_string();
    command.args(["run-bound", "--parent", &ourselves]).arg(&part.program).args((part.arguments)()?);
    command.envs(&part.environment).stdin(Stdio::null()).stdout(output).stderr(errors).kill_on_drop(true);
    // A separate process group: Ctrl-C in the terminal reaches only `up`, which then stops the parts in order.
    command.process_group(0);
    command.spawn().with_context(|| format!("start {}", part.program.display()))
}

/// Restarts a part with growing pauses until the stop signal, then ends it within `grace`.
async fn keep_running(part: Part, log: PathBuf, mut child: Child, stop: Stop, restart: Arc<Notify>, grace: Duration) {
    let mut pause = FIRST_PAUSE;
    loop {
        let since = Instant::now();
        let ended = tokio::select! {
            status = child.wait() => status.map_or_else(|error| error.to_string(), words),
            () = restart.notified() => {
                let _ = child.kill().await;
                "it did not answer".to_owned()
            }
            () = stop.received() => return end(child, grace).await,
        };
        if since.elapsed() > RAN_WELL {
            pause = FIRST_PAUSE;
        }
        let (name, path) = (part.name, log.display());
        say!("  ! {name} ended ({ended}); restart in {} s; log: {path}", pause.as_secs());
        child = loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.received() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            match spawn(&part, &log) {
                Ok(child) => {
                    // Drops a restart request for the process that has meanwhile ended by itself.
                    let _ = restart.notified().now_or_never();
                    break child;
                }
                Err(error) => say!("  ! {name}: {error:#}; next try in {} s", pause.as_secs()),
            }
        };
        say!("  {name} is running again");
    }
}

async fn end(mut child: Child, grace: Duration) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(grace, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown reason".to_owned(),
    }
}

/// Waits until `is_well` returns true. The error names `what` if that takes too long.
pub(crate) async fn wait_until<F>(what: &str, patience: Duration, is_well: impl Fn() -> F) -> anyhow::Result<()>
where
    F: Future<Output = bool>,
{
    let started = Instant::now();
    while !is_well().await {
        if started.elapsed() > patience {
            bail!("{what}: not ready after {} s", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// A signal that the process should stop.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Resolves when the stop signal comes; at once if it came before.
    pub(crate) async fn received(&self) {
        let mut receiver = self.0.clone();
        let _ = receiver.wait_for(|stopped| *stopped).await;
    }
}

/// Listens for SIGINT and SIGTERM.
pub(crate) fn stop_signal() -> anyhow::Result<Stop> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // An error means that there is no receiver: nothing is left to stop.
        let _ = sender.send(true);
        std::future::pending::<()>().await;
    });
    Ok(Stop(receiver))
}

/// Becomes `program`, which ends with the process that started it: even `kill -9` of `up` leaves no orphan.
///
/// On Linux only. Elsewhere the program does not end with its parent.
pub(crate) fn run_bound(
    parent: u32,
    program: &Path,
    arguments: &[std::ffi::OsString],
) -> anyhow::Result<std::convert::Infallible> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("bind to the parent process")?;
    // The parent may have died before the line above.
    if std::os::unix::process::parent_id() != parent {
        bail!("process {parent}, which started this, has ended");
    }
    let error = std::os::unix::process::CommandExt::exec(std::process::Command::new(program).args(arguments));
    Err(error).with_context(|| format!("start {}", program.display()))
}
