//! The service under hostile clients and load: real processes, real sockets, a proxy between API and store.
//!
//! F13 and so on are the numbers of the matrix of faults (docs/faults.md); those of its parts are in `tests/faults/`.
//! One `up` serves every test, and one test measures at a time.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/client.rs"]
mod client;
#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod keys;
mod load;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/proxy/mod.rs"]
mod proxy;
mod requests;
#[path = "../common/stage.rs"]
mod stage;
mod wrk;

use stage::Stage;
