//! Fine-tuning: a base learns to recognise threats, batch by batch.
//!
//! All random numbers come from the seed and the number of the step. A run that resumes from a saved [`State`]
//! therefore gives the same bytes as an uninterrupted one.

use std::fmt;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    base::Base,
    config::{Config, Layout},
    math::{add_scaled, dot, exp},
    network::{self, Tape, Workspace},
    random::SplitMix,
    simd::vectorised,
};

/// All settings of fine-tuning; they are stored with the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The number of passes over all sentences.
    pub epochs: u32,
    /// The number of sentences per step.
    pub batch: usize,
    /// The highest learning rate of the encoder.
    pub rate: f32,
    /// The highest learning rate of the head.
    pub head_rate: f32,
    /// The share of the steps in which the learning rate rises.
    ///
    /// After that it falls to zero. Both are linear.
    pub warm_up: f32,
    /// The decay of every parameter per step, times the learning rate.
    pub weight_decay: f32,
    /// The cost of an error on a threat; an error on another sentence costs 1.
    pub threat_weight: f32,
    /// The dropout of a sentence's mean during training.
    pub dropout: f32,
    /// A longer gradient is clipped to this length.
    pub longest_gradient: f32,
    /// Whether the word embeddings learn, too.
    pub words_learn: bool,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            epochs: 2,
            batch: 32,
            rate: 8e-5,
            head_rate: 1e-3,
            warm_up: 0.1,
            weight_decay: 0.01,
            threat_weight: 2.0,
            dropout: 0.1,
            longest_gradient: 1.0,
            words_learn: true,
        }
    }
}

/// A sentence's word pieces and whether it is a threat.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Example {
    /// Its word pieces.
    pub ids: Vec<u32>,
    /// Its label.
    pub is_threat: bool,
}

/// The state of a training run.
///
/// Together with the examples, the recipe and the seed it determines all following steps.
#[derive(Clone, PartialEq)]
pub struct State {
    /// The number of finished steps.
    pub(crate) step: u64,
    /// The encoder's parameters.
    pub(crate) numbers: Vec<f32>,
    /// Running means of the gradients.
    pub(crate) first: Vec<f32>,
    /// Running means of their squares.
    pub(crate) second: Vec<f32>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("step", &self.step).finish_non_exhaustive()
    }
}

/// A training run.
///
/// ```
/// use encoder::{Base, BaseFiles, Encoder, Example, Recipe, Room, Training};
///
/// let base = Base::read(&BaseFiles::random(1, 16, 7))?;
/// let example = |text, is_threat| Example { ids: base.tokens().encode(text), is_threat };
/// let examples = vec![example("we will kill you", true), example("this is my house", false)];
/// let recipe = Recipe { epochs: 30, batch: 2, rate: 1e-3, head_rate: 1e-2, ..Recipe::default() };
/// let mut training = Training::new(&base, examples, recipe, 1);
/// while !training.is_done() {
///     training.step();
/// }
/// let encoder = Encoder::of(&training, &base);
/// let texts = ["we will kill you", "this is my house"];
/// let scores = encoder.score_texts(texts.into_iter(), &mut Room::default());
/// assert!(scores[0] > scores[1]);
/// # Ok::<(), encoder::WrongBase>(())
/// ```
#[derive(Debug)]
pub struct Training {
    config: Config,
    layout: Layout,
    recipe: Recipe,
    seed: u64,
    examples: Vec<Example>,
    state: State,
    gradients: Vec<f32>,
    tape: Tape,
    workspace: Workspace,
    /// The epoch of the order below.
    epoch: u64,
    order: Vec<u32>,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stepped {
    /// The number of finished steps.
    pub step: u64,
    /// The number of all steps.
    pub of: u64,
    /// The mean loss of the step's sentences, before learning from them.
    pub loss: f32,
    /// The number of sentences in the step.
    pub sentences: usize,
}

/// Decay of the running means, and epsilon: the defaults of `AdamW`.
const FIRST_DECAY: f32 = 0.9;
const SECOND_DECAY: f32 = 0.999;
const EPSILON: f32 = 1e-8;

impl Training {
    /// A new run; the order of the examples does not matter.
    #[must_use]
    pub fn new(base: &Base, mut examples: Vec<Example>, recipe: Recipe, seed: u64) -> Self {
        examples.sort_unstable();
        let layout = base.config.layout();
        let zeros = || vec![0.0; layout.len()];
        Self {
            config: base.config,
            recipe,
            seed,
            examples,
            state: State { step: 0, numbers: base.numbers.clone(), first: zeros(), second: zeros() },
            gradients: zeros(),
            tape: Tape::default(),
            workspace: Workspace::default(),
            epoch: u64::MAX,
            order: Vec::new(),
            layout,
        }
    }

    /// Resumes from a state; everything else must be as in the run that made it.
    #[must_use]
    pub fn resume(self, state: State) -> Self {
        Self { state, ..self }
    }

    /// The number of steps of the whole run.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps_of_an_epoch() * u64::from(self.recipe.epochs)
    }

    fn steps_of_an_epoch(&self) -> u64 {
        self.examples.len().div_ceil(self.recipe.batch) as u64
    }

    /// The current state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    pub(crate) fn numbers(&self) -> &[f32] {
        &self.state.numbers
    }

    /// Whether the run is finished.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state.step >= self.steps()
    }

    /// Learns from the next batch, on the threads of the current pool.
    pub fn step(&mut self) -> Stepped {
        let batch = self.next_batch();
        let sentences: Vec<&[u32]> = batch.iter().map(|&i| self.examples[i as usize].ids.as_slice()).collect();
        network::forward(&self.config, &self.layout, &self.state.numbers, &sentences, &mut self.tape);
        let loss = self.backward(&batch);
        self.learn();
        self.state.step += 1;
        Stepped { step: self.state.step, of: self.steps(), loss, sentences: batch.len() }
    }

    /// The indices of the step's examples.
    fn next_batch(&mut self) -> Vec<u32> {
        let (epoch, at) = (self.state.step / self.steps_of_an_epoch(), self.state.step % self.steps_of_an_epoch());
        if epoch != self.epoch {
            self.epoch = epoch;
            self.order = (0..self.examples.len() as u32).collect();
            let mut random = SplitMix(self.seed ^ (epoch + 1).wrapping_mul(0x9e6c_63d0_876a_3f6b));
            for i in (1..self.order.len()).rev() {
                self.order.swap(i, random.below(i + 1));
            }
        }
        let start = at as usize * self.recipe.batch;
        self.order[start..(start + self.recipe.batch).min(self.order.len())].to_vec()
    }

    /// The loss of the batch on the tape; computes its gradients.
    fn backward(&mut self, batch: &[u32]) -> f32 {
        let Self { config, layout, recipe, state, gradients, tape, workspace, .. } = self;
        let h = config.hidden_size;
        gradients[layout.words.end..].fill(0.0);
        let mut random = SplitMix(self.seed ^ (state.step + 1).wrapping_mul(0xd1b5_4a32_d192_ed03));
        let kept = 1.0 / (1.0 - recipe.dropout);
        let mut keeps = Vec::with_capacity(batch.len() * h);
        keeps.resize_with(batch.len() * h, || {
            if recipe.dropout > 0.0 && (random.draw() >> 40) as f32 / (1 << 24) as f32 <= recipe.dropout {
                0.0
            } else {
                kept
            }
        });
        let dropped: Vec<f32> = tape.means.iter().zip(&keeps).map(|(x, keep)| x * keep).collect();
        let scores = network::head(layout, &state.numbers, &dropped);

        let mut loss = 0.0_f64;
        let mut mean_gradients = Vec::with_capacity(dropped.len());
        let weight = &state.numbers[layout.head.weight.clone()];
        for ((&i, score), (mean, keeps)) in
            batch.iter().zip(scores).zip(dropped.chunks_exact(h).zip(keeps.chunks_exact(h)))
        {
            let (of_score, slope) = loss_of(score, self.examples[i as usize].is_threat, recipe.threat_weight);
            loss += f64::from(of_score);
            let slope = slope / batch.len() as f32;
            add_scaled(&mut gradients[layout.head.weight.clone()], slope, mean);
            gradients[layout.head.bias.start] += slope;
            mean_gradients.extend(weight.iter().zip(keeps).map(|(w, keep)| slope * w * keep));
        }
        let of_words = network::backward(config, layout, &state.numbers, tape, &mean_gradients, gradients, workspace);
        if recipe.words_learn {
            let ids = tape.ids();
            for id in ids {
                gradients[*id as usize * h..][..h].fill(0.0);
            }
            for (id, row) in ids.iter().zip(of_words.chunks_exact(h)) {
                add_scaled(&mut gradients[*id as usize * h..][..h], 1.0, row);
            }
        }
        (loss / batch.len() as f64) as f32
    }

    /// The distinct words of the batch; empty if words do not learn.
    fn words(&self) -> Vec<u32> {
        if !self.recipe.words_learn {
            return Vec::new();
        }
        let mut ids = self.tape.ids().to_vec();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The gradient's length.
    fn gradient_length(&self, words: &[u32]) -> f64 {
        const LENGTH: usize = 1 << 14;
        let h = self.config.hidden_size;
        let square = |row: &[f32]| {
            let mut total = 0.0;
            vectorised(|| total = dot(row, row));
            f64::from(total)
        };
        let of_words: f64 = words.iter().map(|id| square(&self.gradients[*id as usize * h..][..h])).sum();
        let rest = &self.gradients[self.layout.words.end..];
        let of_rest: Vec<f64> = rest.par_chunks(LENGTH).map(square).collect();
        (of_words + of_rest.iter().sum::<f64>()).sqrt()
    }

    /// One step of `AdamW`; words that are not in the batch stay unchanged.
    ///
    /// Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019.
    fn learn(&mut self) {
        let words = self.words();
        let length = self.gradient_length(&words) as f32;
        let recipe = &self.recipe;
        let cut = (recipe.longest_gradient / (length + 1e-6)).min(1.0);
        let share = self.state.step as f32 / self.steps() as f32;
        let height =
            if share < recipe.warm_up { share / recipe.warm_up } else { (1.0 - share) / (1.0 - recipe.warm_up) };
        // A product in a fixed order, because the library's power function may differ between machines.
        let power =
            |decay: f32| (0..=self.state.step).try_fold(1.0_f32, |power, _| Some(power * decay).filter(|p| *p > 1e-9));
        let update = Update {
            cut,
            rate: recipe.rate * height,
            decay: recipe.weight_decay,
            first_scale: 1.0 / (1.0 - power(FIRST_DECAY).unwrap_or(0.0)),
            second_scale: 1.0 / (1.0 - power(SECOND_DECAY).unwrap_or(0.0)),
        };
        let h = self.config.hidden_size;
        let State { numbers, first, second, .. } = &mut self.state;
        for id in words {
            let row = id as usize * h..(id as usize + 1) * h;
            update.apply(
                &mut numbers[row.clone()],
                &mut first[row.clone()],
                &mut second[row.clone()],
                &self.gradients[row],
            );
        }
        let head = self.layout.head.weight.start;
        for (range, rate) in [(self.layout.words.end..head, recipe.rate), (head..self.layout.len(), recipe.head_rate)] {
            const LENGTH: usize = 1 << 14;
            let update = Update { rate: rate * height, ..update };
            let pieces = numbers[range.clone()].par_chunks_mut(LENGTH).zip(first[range.clone()].par_chunks_mut(LENGTH));
            let pieces = pieces.zip(second[range.clone()].par_chunks_mut(LENGTH));
            pieces.zip(self.gradients[range].par_chunks(LENGTH)).for_each(|(((numbers, first), second), gradients)| {
                update.apply(numbers, first, second, gradients);
            });
        }
    }

    /// The mean of each sentence's tokens after the last layer, one row per sentence.
    pub fn embed(&mut self, sentences: &[&[u32]]) -> &[f32] {
        network::forward(&self.config, &self.layout, &self.state.numbers, sentences, &mut self.tape);
        &self.tape.means
    }

    /// Scores of sentences in the current state, in 32-bit floats.
    pub fn scores(&mut self, sentences: &[&[u32]]) -> Vec<f32> {
        let batch = self.recipe.batch;
        let of_batch = |sentences: &[&[u32]]| {
            self.embed(sentences);
            network::head(&self.layout, &self.state.numbers, &self.tape.means)
        };
        sentences.chunks(batch).flat_map(of_batch).collect()
    }
}

/// The loss of a score (binary cross entropy) and its slope.
fn loss_of(score: f32, is_threat: bool, threat_weight: f32) -> (f32, f32) {
    let softplus = |x: f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let p = 1.0 / (1.0 + exp(-score));
    if is_threat { (threat_weight * softplus(-score), threat_weight * (p - 1.0)) } else { (softplus(score), p) }
}

/// The constants of a step.
#[derive(Clone, Copy)]
struct Update {
    cut: f32,
    rate: f32,
    decay: f32,
    first_scale: f32,
    second_scale: f32,
}

impl Update {
    fn apply(&self, numbers: &mut [f32], first: &mut [f32], second: &mut [f32], gradients: &[f32]) {
        let Self { cut, rate, decay, first_scale, second_scale } = *self;
        vectorised(move || {
            for (((x, first), second), gradient) in numbers.iter_mut().zip(first).zip(second).zip(gradients) {
                let gradient = gradient * cut;
                *first = FIRST_DECAY * *first + (1.0 - FIRST_DECAY) * gradient;
                *second = SECOND_DECAY * *second + (1.0 - SECOND_DECAY) * gradient * gradient;
                let step = *first * first_scale / ((*second * second_scale).sqrt() + EPSILON);
                *x -= rate * (step + decay * *x);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BaseFiles, Encoder, Room};

    fn base() -> Base {
        Base::read(&BaseFiles::random(2, 32, 5)).unwrap()
    }

    fn examples(base: &Base) -> Vec<Example> {
        let threats = ["we will kill you", "i will shoot you and burn your house", "you will die", "they kill"];
        let others = ["that is my house", "we are in the house of the king", "you and i", "this is not a test", ""];
        let label = |is_threat| move |text: &&str| Example { ids: base.tokens().encode(text), is_threat };
        threats.iter().map(label(true)).chain(others.iter().map(label(false))).collect()
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let base = base().with_head(&(0..32).map(|i| (i as f32).sin()).collect::<Vec<f32>>(), 0.1);
        let mut training = Training::new(&base, examples(&base), Recipe { dropout: 0.0, ..Recipe::default() }, 1);
        let batch: Vec<u32> = (0..training.examples.len() as u32).collect();
        let loss = |training: &mut Training, numbers: Vec<f32>| {
            training.state.numbers = numbers;
            let ids: Vec<Vec<u32>> = training.examples.iter().map(|example| example.ids.clone()).collect();
            training.embed(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>());
            f64::from(training.backward(&batch))
        };
        let start = training.state.numbers.clone();
        loss(&mut training, start.clone());
        let gradients = training.gradients.clone();
        let mut named = training.layout.named();
        named.push(("head.weight".to_owned(), training.layout.head.weight.clone()));
        named.push(("head.bias".to_owned(), training.layout.head.bias.clone()));
        let mut random = SplitMix(3);
        for (name, range) in named {
            // Along the gradient, and half as far across it: a wrong length shows as well as a wrong direction.
            let length = gradients[range.clone()].iter().map(|g| g * g).sum::<f32>().sqrt().max(1e-6);
            let along = gradients[range.clone()].iter().map(|g| g / length);
            let direction: Vec<f32> = along
                .map(|g| {
                    g + ((random.draw() >> 40) as f32 / (1 << 23) as f32 - 1.0) * 0.5 / (range.len() as f32).sqrt()
                })
                .collect();
            let moved = |by: f32| {
                let mut numbers = start.clone();
                numbers[range.clone()].iter_mut().zip(&direction).for_each(|(x, d)| *x += by * d);
                numbers
            };
            let step = 1e-2;
            let rise = loss(&mut training, moved(step)) - loss(&mut training, moved(-step));
            let by_differences = rise / (2.0 * f64::from(step));
            let by_hand: f64 =
                gradients[range.clone()].iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            assert!(
                (by_differences - by_hand).abs() < 2e-4 + 5e-3 * by_hand.abs(),
                "{name}: {by_hand} by hand, {by_differences} by differences"
            );
        }
    }

    #[test]
    fn a_run_that_goes_on_ends_in_the_bytes_of_one_that_never_stopped() {
        let (base, recipe) = (base(), Recipe { epochs: 4, batch: 2, ..Recipe::default() });
        let new = || Training::new(&base, examples(&base), recipe, 9);
        let finished = |mut training: Training, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                while !training.is_done() {
                    training.step();
                }
            });
            Encoder::of(&training, &base).encode()
        };
        let whole = finished(new(), 1);
        assert!(finished(new(), 3) == whole, "threads do not matter");
        for stop in [1, 5, 19] {
            let mut training = new();
            for _ in 0..stop {
                training.step();
            }
            let saved = training.state().encode(&base);
            let state = State::decode(&saved, &base).unwrap();
            assert!(state == *training.state());
            assert!(finished(new().resume(state), 2) == whole, "stopped after {stop} steps");
            for k in 0..50 {
                let mut broken = saved.clone();
                broken[k * (saved.len() - 1) / 49] ^= 1 << (k % 8);
                assert!(State::decode(&broken, &base).is_err());
            }
            assert!(State::decode(&saved[..saved.len() - 4], &base).is_err());
        }
        let mut turned = examples(&base);
        turned.reverse();
        let of_turned = finished(Training::new(&base, turned, recipe, 9), 1);
        assert!(of_turned == whole, "the order of examples does not matter");
    }

    #[test]
    fn threats_are_learned_and_the_compact_form_says_the_same() {
        let base = base();
        let recipe = Recipe { epochs: 60, batch: 4, rate: 1e-3, head_rate: 1e-2, ..Recipe::default() };
        let mut training = Training::new(&base, examples(&base), recipe, 2);
        let first = training.step().loss;
        let mut last = first;
        while !training.is_done() {
            last = training.step().loss;
        }
        assert!(last < 0.2 * first, "{first} -> {last}");
        let examples = examples(&base);
        let sentences: Vec<&[u32]> = examples.iter().map(|example| example.ids.as_slice()).collect();
        let scores = training.scores(&sentences);
        assert!(scores.iter().zip(&examples).all(|(score, example)| (*score > 0.0) == example.is_threat), "{scores:?}");
        let encoder = Encoder::of(&training, &base);
        let mut room = Room::default();
        let together = encoder.score(&sentences, &mut room);
        for ((sentence, score), by_floats) in sentences.iter().zip(&together).zip(&scores) {
            assert_eq!(encoder.score(&[*sentence], &mut room), [*score], "alone or beside others");
            assert!((score - by_floats).abs() < 0.1 * (1.0 + by_floats.abs()), "{score} {by_floats}");
        }
    }
}
