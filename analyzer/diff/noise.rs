//! Whether two numbers differ by more than they do by chance.
//!
//! Each recording is cut into [`SLICES`] of the same length, and the report is made of each. Whether the slices of
//! one recording tend to have larger numbers than those of the other is the question of the Mann–Whitney test (H. B.
//! Mann, D. R. Whitney: On a test of whether one of two random variables is stochastically larger than the
//! other, Annals of Mathematical Statistics 18, 1947), which asks nothing of how the numbers are distributed. Its
//! statistic has a known mean and deviation where they do not differ; ties are corrected for. So many
//! deviations from that mean is [`ranks`].
//!
//! Counts must pass another test, that of the Poisson distribution, since few events make large ratios: if events are
//! independent, the variance of their number is that number itself ([`counts`]).
//!
//! A difference is beyond noise if it is beyond [`SIGMAS`] by each test that applies, which by chance one in 370
//! is. What that cannot tell is in docs/diff.md.

/// How many slices a recording is cut into.
pub const SLICES: i64 = 16;

/// So many slices of each must have a number, or nothing is said. Of 8 and 8, three deviations are within reach.
const LEAST_SLICES: usize = 8;

/// The deviations beyond which a difference is no chance.
const SIGMAS: f64 = 3.0;

/// Events that were counted, and in how many seconds.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// How many.
    pub events: f64,
    /// In which time.
    pub seconds: f64,
}

/// Whether the rates at which events came differ by more than events do that come independently.
#[must_use]
pub fn counts(before: Counted, after: Counted) -> bool {
    let rate = |of: Counted| of.events / of.seconds;
    let variance = |of: Counted| of.events / (of.seconds * of.seconds);
    let deviation = (variance(before) + variance(after)).sqrt();
    deviation > 0.0 && (rate(after) - rate(before)).abs() / deviation > SIGMAS
}

/// Whether one's slices have larger numbers than the other's: the Mann–Whitney test. `None` where too few
/// slices have any.
#[must_use]
pub fn ranks(before: &[f64], after: &[f64]) -> Option<bool> {
    if before.len() < LEAST_SLICES || after.len() < LEAST_SLICES {
        return None;
    }
    let mut all: Vec<(f64, bool)> = before.iter().map(|value| (*value, true)).collect();
    all.extend(after.iter().map(|value| (*value, false)));
    all.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let (mut sum_of_ranks, mut ties, mut below) = (0.0, 0.0, 0.0);
    for equal in all.chunk_by(|(one, _), (other, _)| one == other) {
        let count = equal.len() as f64;
        // Equal values share the mean of their ranks, which begin with one.
        let rank = below + (count + 1.0) / 2.0;
        sum_of_ranks += rank * equal.iter().filter(|(_, before)| *before).count() as f64;
        ties += count.powi(3) - count;
        below += count;
    }
    let (first, second) = (before.len() as f64, after.len() as f64);
    let total = first + second;
    let statistic = sum_of_ranks - first * (first + 1.0) / 2.0;
    let mean = first * second / 2.0;
    let variance = first * second / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    // Half a rank, since the statistic goes in steps.
    Some(variance > 0.0 && ((statistic - mean).abs() - 0.5) / variance.sqrt() > SIGMAS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_as_uncertain_as_its_root() {
        let in_ten = |events| Counted { events, seconds: 10.0 };
        // 100 and 142: 42 / √242 is 2.7; 100 and 148: 3.05.
        assert!(!counts(in_ten(100.0), in_ten(142.0)));
        assert!(counts(in_ten(100.0), in_ten(148.0)));
        assert!(!counts(in_ten(0.0), in_ten(9.0)), "exactly three");
        assert!(counts(in_ten(0.0), in_ten(10.0)));
        assert!(!counts(in_ten(0.0), in_ten(0.0)));
        // Ten times as many in ten times the time are the same.
        assert!(!counts(in_ten(100.0), Counted { events: 1000.0, seconds: 100.0 }));
        assert!(counts(in_ten(100.0), Counted { events: 100.0, seconds: 100.0 }));
    }

    #[test]
    fn ranks_tell_what_means_do_not() {
        let steady: Vec<f64> = (0..16).map(|slice| 100.0 + f64::from(slice % 4)).collect();
        let slower: Vec<f64> = steady.iter().map(|value| value + 10.0).collect();
        assert_eq!(ranks(&steady, &slower), Some(true));
        assert_eq!(ranks(&slower, &steady), Some(true));
        assert_eq!(ranks(&steady, &steady), Some(false));
        // One slice that is out of all measure doubles the mean, and is chance.
        let mut spoilt = steady.clone();
        spoilt[7] = 2000.0;
        assert_eq!(ranks(&steady, &spoilt), Some(false));
        // All the same in both.
        assert_eq!(ranks(&[5.0; 16], &[5.0; 16]), Some(false));
        assert_eq!(ranks(&[5.0; 16], &[6.0; 16]), Some(true));
    }

    #[test]
    fn the_statistic_is_the_known_one() {
        // Without ties U is the number of pairs in the wrong order. 8 and 8 have a mean of 32 and a deviation
        // of √(8·8·17/12) = 9.52: U = 3 is (29 - 0.5) / 9.52 = 2.99, U = 2 is 3.10.
        let before = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 10.5];
        let three = [8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];
        assert_eq!(ranks(&before, &three), Some(false));
        let two = [8.0, 9.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0];
        assert_eq!(ranks(&before, &two), Some(true));
    }

    #[test]
    fn too_few_slices_say_nothing() {
        assert_eq!(ranks(&[1.0; 7], &[2.0; 16]), None);
        assert_eq!(ranks(&[1.0; 16], &[2.0; 7]), None);
        assert_eq!(ranks(&[], &[]), None);
    }
}
