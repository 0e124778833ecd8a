//! Curves as SVG, without a script, in the page's colours.

use model::evaluation::{CalibrationBin, CurvePoint, Evaluation};

use super::escape;
use crate::figures::Histogram;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// Possible ends of an axis.
const ROUND: [f64; 7] = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0];

/// The axis labels, and the text for a screen reader.
struct Frame<'a> {
    label: &'a str,
    along: &'a str,
    up: &'a str,
    /// The highest value of the vertical axis. The horizontal one goes from 0 to 1.
    highest: f64,
}

impl Frame<'_> {
    fn x(value: f64) -> f64 {
        LEFT + value * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value / self.highest * (HEIGHT - TOP - BOTTOM)
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>, class: &str) -> String {
        let points: Vec<String> = points.map(|(x, y)| format!("{:.1},{:.1}", Self::x(x), self.y(y))).collect();
        format!("<polyline class=\"{class}\" points=\"{}\" />", points.join(" "))
    }

    fn dot(&self, (x, y): (f64, f64), radius: f64, class: &str) -> String {
        format!("<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" />", Self::x(x), self.y(y))
    }

    /// The drawing: the axes, then `drawn`.
    fn draw(&self, drawn: &str) -> String {
        let Self { label, along, up, highest } = self;
        let mut axes = String::new();
        for fifth in 0..=5 {
            let share = f64::from(fifth) / 5.0;
            let (x, y) = (Self::x(share), self.y(share * highest));
            let (bottom, right) = (self.y(0.0), Self::x(1.0));
            axes += &format!("<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" />");
            axes += &format!("<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right:.1}\" y2=\"{y:.1}\" />");
            axes += &format!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{share:.1}</text>", bottom + 17.0);
            let value = share * highest;
            let value = if *highest < 0.1 { format!("{value:.3}") } else { format!("{value:.2}") };
            axes += &format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>", LEFT - 6.0, y + 4.0);
        }
        let middle = f64::midpoint(HEIGHT - BOTTOM, TOP);
        axes += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            Self::x(0.5),
            HEIGHT - 8.0,
            escape(along)
        );
        axes += &format!(
            "<text x=\"13\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 13 {middle:.1})\">{}</text>",
            escape(up)
        );
        let label = escape(label);
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">{axes}{drawn}</svg>\n")
    }
}

/// Precision by recall, with the operating point and the precision of random guessing: the share of threats.
pub(super) fn precision_recall(curve: &[CurvePoint], at: &Evaluation) -> String {
    let chance = at.positives as f64 / at.n.max(1) as f64;
    let label = format!(
        "Precision by recall; PR-AUC {:.4}. The operating point has precision {:.4} and recall {:.4}.",
        at.pr_auc, at.precision, at.recall
    );
    let frame = Frame { label: &label, along: "recall", up: "precision", highest: 1.0 };
    let drawn = frame.path([(0.0, chance), (1.0, chance)].into_iter(), "reference")
        + &frame.path(curve.iter().map(|point| (point.recall, point.precision)), "curve")
        + &frame.dot((at.recall, at.precision), 5.0, "chosen");
    frame.draw(&drawn)
}

/// The share of threats by predicted probability. On the dashed line both are equal.
pub(super) fn calibration(curve: &[CalibrationBin], at: &Evaluation) -> String {
    let label = format!("Share of threats by probability; ECE {:.4}, Brier score {:.4}.", at.ece, at.brier);
    let frame = Frame { label: &label, along: "predicted probability", up: "share of threats", highest: 1.0 };
    let drawn = frame.path([(0.0, 0.0), (1.0, 1.0)].into_iter(), "reference")
        + &frame.path(curve.iter().map(|bin| (bin.said, bin.seen)), "curve")
        + &curve.iter().map(|bin| frame.dot((bin.said, bin.seen), 4.0, "point")).collect::<String>();
    frame.draw(&drawn)
}

/// A histogram of the probabilities of the threats, or of the other sentences, with the operating point.
pub(super) fn probabilities(histogram: &Histogram, of_threats: bool, threshold: f64) -> String {
    let counts = if of_threats { &histogram.threats } else { &histogram.harmless };
    let total = counts.iter().sum::<u64>().max(1) as f64;
    let shares: Vec<f64> = counts.iter().map(|&count| count as f64 / total).collect();
    let most = shares.iter().copied().fold(0.0, f64::max);
    let highest = ROUND.into_iter().find(|round| *round >= most).unwrap_or(1.0);
    let (who, class) = if of_threats { ("threats", "threats") } else { ("other sentences", "harmless") };
    let label = format!("Share of the {who} by probability; the operating point is at {threshold:.4}.");
    let up = format!("share of the {who}");
    let frame = Frame { label: &label, along: "probability", up: &up, highest };
    let bars = histogram.bins().zip(&shares).filter(|(_, share)| **share > 0.0);
    let bars = bars.map(|((from, to, ..), share)| {
        let (x, y) = (Frame::x(from), frame.y(*share));
        let (width, height) = (Frame::x(to) - x, frame.y(0.0) - y);
        let place = format!("x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"", x + 1.0, width - 2.0);
        format!("<rect class=\"{class}\" {place} />")
    });
    let drawn =
        bars.collect::<String>() + &frame.path([(threshold, 0.0), (threshold, highest)].into_iter(), "reference");
    frame.draw(&drawn)
}
