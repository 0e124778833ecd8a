//! A running `up` and a second API replica: their processes, their addresses, and the wait until they are idle.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt;
use registry::{Registry, S3Store, Store};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use temporalio_client::WorkflowListOptions;
use tokio::runtime::Runtime;
use workflows::Orchestrator;

use crate::{
    client,
    common::{BINARY, Up, both, free_ports, processes_with, wait_for},
};

/// A part that may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Worker,
    Temporal,
    Store,
    /// The API that `up` runs.
    Api,
    /// The second API.
    Replica,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [Self::Worker, Self::Temporal, Self::Store, Self::Api, Self::Replica];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Temporal => "Temporal",
            Self::Store => "object store",
            Self::Api => "API",
            Self::Replica => "second API",
        }
    }

    /// Its name in the output of `up`.
    pub(crate) fn name_of_up(self) -> Option<&'static str> {
        match self {
            Self::Worker => Some("worker"),
            Self::Temporal => Some("temporal"),
            Self::Store => Some("s3"),
            Self::Api => Some("api"),
            Self::Replica => None,
        }
    }
}

/// Everything that runs.
pub(crate) struct Stack {
    pub(crate) up: Up,
    pub(crate) runtime: Runtime,
    pub(crate) orchestrator: Orchestrator,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Registry,
    /// The ports of the APIs: that of `up`, then the second.
    pub(crate) apis: [u16; 2],
    /// The second API, while it should run.
    replica: Mutex<Option<Child>>,
}

impl Stack {
    pub(crate) fn start() -> Self {
        let up = Up::start();
        let store: Arc<dyn Store> = Arc::new(S3Store::new(&up.settings().s3().unwrap()));
        let stack = Self {
            runtime: Runtime::new().unwrap(),
            orchestrator: up.settings().orchestrator("soak"),
            registry: Registry::new(Arc::clone(&store)),
            store,
            apis: [up.ports.api, free_ports().api],
            replica: Mutex::new(None),
            up,
        };
        stack.start_replica();
        assert!(wait_for(Duration::from_mins(1), || stack.is_well(Part::Replica)), "{}", stack.log_of_replica());
        stack
    }

    /// Starts the second API, as a supervisor would.
    pub(crate) fn start_replica(&self) {
        let dir = self.up.dir.path();
        let log = fs::File::options().create(true).append(true).open(dir.join("replica.out")).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["serve", "--address", &format!("127.0.0.1:{}", self.apis[1])]);
        command.arg("--state-dir").arg(self.up.state_dir()).arg("--cache-dir").arg(dir.join("replica-cache"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        *self.replica.lock().unwrap() = Some(command.spawn().unwrap());
    }

    pub(crate) fn log_of_replica(&self) -> String {
        fs::read_to_string(self.up.dir.path().join("replica.out")).unwrap()
    }

    /// Whether the second API ended without being killed.
    pub(crate) fn replica_died(&self) -> bool {
        let mut replica = self.replica.lock().unwrap();
        replica.as_mut().is_some_and(|process| process.try_wait().unwrap().is_some())
    }

    /// The process of a part, if it runs now.
    pub(crate) fn pid(&self, part: Part) -> Option<u32> {
        let find = |word: &str| self.up.pids(word).first().copied();
        match part {
            Part::Worker => find("threatwatch worker "),
            Part::Temporal => find(" server start-dev "),
            Part::Store => find("weed mini ").or_else(|| find("minio server ")),
            Part::Api => find(&format!(" serve --address 127.0.0.1:{} ", self.apis[0])),
            Part::Replica => find(&format!(" serve --address 127.0.0.1:{} ", self.apis[1])),
        }
    }

    /// Kills a part with SIGKILL; `false` if it did not run.
    pub(crate) fn kill(&self, part: Part) -> bool {
        if part == Part::Replica {
            let Some(mut process) = self.replica.lock().unwrap().take() else { return false };
            process.kill().unwrap();
            process.wait().unwrap();
            return true;
        }
        let pid = self.pid(part).and_then(|pid| Pid::from_raw(pid.cast_signed()));
        pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    }

    /// Whether a part works.
    pub(crate) fn is_well(&self, part: Part) -> bool {
        let is_ready = |port| client::get(port, "/health/ready").is_ok_and(|answer| answer.status == 200);
        match part {
            Part::Worker => is_ready(self.up.ports.worker),
            Part::Temporal => self.runtime.block_on(self.orchestrator.ping()).is_ok(),
            Part::Store => self.runtime.block_on(self.registry.ping()).is_ok(),
            Part::Api => is_ready(self.apis[0]),
            Part::Replica => is_ready(self.apis[1]),
        }
    }

    /// The generation that an API serves.
    pub(crate) fn serves(port: u16) -> Option<u64> {
        let answer = client::get(port, "/health/ready").ok()?;
        serde_json::from_str::<Value>(&answer.body).ok()?["generation"].as_u64()
    }

    /// Our workflows that are running. `None` if Temporal does not answer.
    fn running(&self) -> Option<usize> {
        self.runtime.block_on(async {
            let client = self.orchestrator.client().await.ok()?;
            let mut listed =
                client.list_workflows("ExecutionStatus = 'Running'", WorkflowListOptions::builder().build());
            let mut count = 0;
            while let Some(run) = listed.next().await {
                run.ok()?;
                count += 1;
            }
            Some(count)
        })
    }

    /// Waits until every part is well, no workflow runs, and every API serves the version in production.
    pub(crate) fn come_to_rest(&self) {
        let all_well = || Part::ALL.into_iter().all(|part| self.is_well(part));
        assert!(wait_for(Duration::from_mins(3), all_well), "a part is not well: {}", self.up.output());
        let is_quiet = || self.running() == Some(0);
        assert!(wait_for(Duration::from_mins(10), is_quiet), "{:?} workflows go on", self.running());
        let newest =
            || self.runtime.block_on(self.registry.production()).ok()?.map(|newest| newest.record.generation.0);
        let is_served = || {
            let newest = newest();
            newest.is_some() && self.apis.iter().all(|&port| Self::serves(port) == newest)
        };
        assert!(wait_for(Duration::from_mins(1), is_served), "an API does not serve generation {:?}", newest());
        let doctor = self.up.run(&["doctor"]);
        assert!(doctor.status.success(), "{}", both(&doctor));
    }

    /// Orphans and zombies among the processes of this stack.
    pub(crate) fn strays(&self) -> (usize, Vec<String>) {
        let dir = self.up.dir.path().display().to_string();
        let ours = std::process::id();
        let there = processes_with(&dir);
        let of_up = there.iter().find(|(_, line)| line.contains("threatwatch up ")).map(|(pid, _)| *pid);
        let mut strays = Vec::new();
        for (pid, line) in &there {
            let Some((_, parent)) = state_and_parent(*pid) else { continue };
            if parent != ours && Some(parent) != of_up {
                strays.push(format!("{pid} has the parent {parent}: {line}"));
            }
        }
        let kept = there.iter().map(|(pid, _)| *pid).chain([ours]).collect::<Vec<_>>();
        let all = fs::read_dir("/proc").unwrap().flatten();
        for pid in all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            if state_and_parent(pid).is_some_and(|(state, parent)| state == 'Z' && kept.contains(&parent)) {
                strays.push(format!("{pid} is a zombie"));
            }
        }
        if there.len() != Part::ALL.len() + 1 {
            strays.push(format!("there are {} processes: {there:?}", there.len()));
        }
        (there.len(), strays)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Some(mut process) = self.replica.lock().unwrap().take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// proc(5): the letter of a process's state, and its parent.
fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
