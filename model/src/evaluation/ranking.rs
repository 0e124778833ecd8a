//! Figures that need only probabilities and labels: ranking and calibration.

/// A probability, and whether the row is a threat.
pub type Judged = (f64, bool);

/// Groups of equal probability, highest first: (probability, threats, others).
pub(super) fn descending_groups(judged: &[Judged]) -> Vec<(f64, usize, usize)> {
    let mut sorted = judged.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let groups = sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq());
    let count = |group: &[Judged]| {
        let threats = group.iter().filter(|(_, threat)| *threat).count();
        (group[0].0, threats, group.len() - threats)
    };
    groups.map(count).collect()
}

/// Average precision: the precision at each group, weighted by the added recall.
pub(super) fn pr_auc(judged: &[Judged]) -> f64 {
    let (mut hits, mut flagged, mut area) = (0, 0, 0.0);
    for (_, threats, others) in descending_groups(judged) {
        hits += threats;
        flagged += threats + others;
        area += threats as f64 * hits as f64 / flagged as f64;
    }
    if hits == 0 { 0.0 } else { area / hits as f64 }
}

/// The Mann-Whitney statistic; a tie counts half.
pub(super) fn roc_auc(judged: &[Judged]) -> f64 {
    let (mut threats_above, mut others_total, mut area) = (0, 0, 0.0);
    for (_, threats, others) in descending_groups(judged) {
        area += others as f64 * (threats_above as f64 + threats as f64 / 2.0);
        threats_above += threats;
        others_total += others;
    }
    if threats_above == 0 || others_total == 0 { 0.5 } else { area / (threats_above as f64 * others_total as f64) }
}

pub(super) fn recall_at_fpr(judged: &[Judged], fpr: f64) -> f64 {
    let mut others: Vec<f64> = judged.iter().filter(|(_, threat)| !threat).map(|&(p, _)| p).collect();
    others.sort_by(|a, b| b.total_cmp(a));
    let bound = others.get((fpr * others.len() as f64) as usize).copied().unwrap_or(f64::NEG_INFINITY);
    let threats: Vec<f64> = judged.iter().filter(|(_, threat)| *threat).map(|&(p, _)| p).collect();
    let caught = threats.iter().filter(|&&p| p > bound).count();
    if threats.is_empty() { 0.0 } else { caught as f64 / threats.len() as f64 }
}

pub(super) fn brier(judged: &[Judged]) -> f64 {
    let errors = judged.iter().map(|&(p, threat)| (p - f64::from(u8::from(threat))).powi(2));
    errors.sum::<f64>() / judged.len().max(1) as f64
}

/// The number of bins (of equal width) for calibration.
pub(super) const CALIBRATION_BINS: usize = 15;

/// The bin of a probability.
pub(super) fn calibration_bin(probability: f64) -> usize {
    ((probability * CALIBRATION_BINS as f64) as usize).min(CALIBRATION_BINS - 1)
}

pub(super) fn ece(judged: &[Judged]) -> f64 {
    let gaps = bins(judged).into_iter().map(|(said, seen, _)| (said - seen).abs());
    gaps.sum::<f64>() / judged.len().max(1) as f64
}

/// For each of fifteen bins: the sum of probabilities, the threats, the rows.
pub(super) fn bins(judged: &[Judged]) -> [(f64, f64, usize); CALIBRATION_BINS] {
    let mut bins = [(0.0, 0.0, 0); CALIBRATION_BINS];
    for &(p, threat) in judged {
        let bin = &mut bins[calibration_bin(p)];
        bin.0 += p;
        bin.1 += f64::from(u8::from(threat));
        bin.2 += 1;
    }
    bins
}
