//! Maps a function over many inputs on several threads, in order.

use std::{
    num::NonZero,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The number of threads that can run in parallel.
pub(super) fn available() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Maps a function over inputs. `progress` gets the number of finished and of all inputs.
pub(crate) fn map<I: Sync, O: Send>(
    inputs: &[I],
    threads: usize,
    run: impl Fn(&I) -> O + Sync,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Vec<O> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let outputs: Mutex<Vec<Option<O>>> = Mutex::new(inputs.iter().map(|_| None).collect());
    progress(0, inputs.len());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, inputs.len().max(1)) {
            scope.spawn(|| {
                while let Some((at, input)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, inputs.get(at)?)))
                {
                    let output = run(input);
                    outputs.lock().expect("no holder panics")[at] = Some(output);
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, inputs.len());
                }
            });
        }
    });
    let outputs = outputs.into_inner().expect("no holder panics");
    outputs.into_iter().map(|output| output.expect("every input was taken once")).collect()
}
