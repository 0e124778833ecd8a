//! Measures how fast an encoder learns and scores.
//!
//! `cargo bench -p encoder --bench encoder -- BASE CORPUS`: `BASE` is a folder with `config.json`, `tokenizer.json` and
//! `model.safetensors`. `CORPUS` has a label, a tab and a sentence on each line; the first 3,200 lines are used. Runs
//! on two threads unless stated otherwise.

use std::{fs, path::Path, time::Instant};

use encoder::{Base, BaseFiles, Encoder, Example, Recipe, Room, Training};

const SENTENCES: usize = 3200;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(folder), Some(corpus)) = (arguments.next(), arguments.next()) else {
        println!("usage: cargo bench -p encoder --bench encoder -- BASE CORPUS");
        return;
    };
    let file = |name: &str| fs::read(Path::new(&folder).join(name)).expect("the base can be read");
    let (config, tokenizer) = (file("config.json"), file("tokenizer.json"));
    let base = Base::read(&BaseFiles { config, tokenizer, weights: file("model.safetensors") }).expect("it is a base");
    let corpus = fs::read_to_string(corpus).expect("the corpus can be read");
    let lines = corpus.lines().filter_map(|line| line.split_once('\t')).take(SENTENCES);
    let started = Instant::now();
    let mut examples: Vec<Example> =
        lines.map(|(label, text)| Example { ids: base.tokens().encode(text), is_threat: label == "1" }).collect();
    println!("tokenise, one thread      {:>8.0} sentences/s", examples.len() as f64 / started.elapsed().as_secs_f64());
    examples.sort_by_key(|example| example.ids.len());
    let sentences: Vec<&[u32]> = examples.iter().map(|example| example.ids.as_slice()).collect();
    let tokens = sentences.iter().map(|ids| ids.len()).sum::<usize>() as f64 / sentences.len() as f64;
    println!("{} sentences of {tokens:.1} tokens", sentences.len());

    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads can be started");
    pool.install(|| {
        let mut training = Training::new(&base, examples.clone(), Recipe::default(), 0);
        let started = Instant::now();
        sentences.chunks(64).for_each(|batch| drop(training.scores(batch)));
        println!("forward, 32-bit floats    {:>8.0} sentences/s", per_second(sentences.len(), started));
        let started = Instant::now();
        let learned: usize = (0..25).map(|_| training.step().sentences).sum();
        println!("fine-tune, batches of 32  {:>8.0} sentences/s", per_second(learned, started));
    });

    let learned = Training::new(&base, Vec::new(), Recipe::default(), 0);
    let bytes = Encoder::of(&learned, &base).encode();
    let started = Instant::now();
    let encoder = Encoder::decode(&bytes).expect("it was encoded");
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    println!(
        "compact: {:.1} MB stored, {:.1} MB in memory, decoded in {:.0} ms",
        megabytes(bytes.len()),
        megabytes(encoder.memory()),
        started.elapsed().as_secs_f64() * 1e3
    );
    let mut room = Room::default();
    let mut times: Vec<f64> = (0..500)
        .map(|i| {
            let started = Instant::now();
            std::hint::black_box(encoder.score(&[sentences[i * 7919 % sentences.len()]], &mut room));
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("compact, one alone        {:>8.1} ms median, {:.1} ms 99th percentile", times[250], times[494]);
    for threads in [1, 2] {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for share in sentences.chunks(sentences.len() / threads) {
                let encoder = &encoder;
                scope.spawn(move || {
                    let mut room = Room::default();
                    share.chunks(32).for_each(|batch| drop(encoder.score(batch, &mut room)));
                });
            }
        });
        println!("compact, {threads} thread(s)      {:>8.0} sentences/s", per_second(sentences.len(), started));
    }
}

fn per_second(count: usize, started: Instant) -> f64 {
    count as f64 / started.elapsed().as_secs_f64()
}
