//! Spans paired one to one by how much they overlap, as scores by place and the consensus of models compare them.
use crate::corpus::decisions::Span;

/// Pairs (place in `a`, place in `b`, IoU) with an IoU of at least `least` and above 0, the highest first, each span in one pair at most;
/// of equal IoU the pair that stands first. Categories do not matter. Greedy: not always the most pairs, but always the nearest ones.
pub fn paired(a: &[Span], b: &[Span], least: f64) -> Vec<(usize, usize, f64)> {
    let all = a.iter().enumerate().flat_map(|(i, x)| b.iter().enumerate().map(move |(j, y)| (i, j, x.iou(y))));
    let mut all: Vec<(usize, usize, f64)> = all.filter(|(.., iou)| *iou > 0.0 && *iou >= least).collect();
    all.sort_by(|x, y| y.2.total_cmp(&x.2).then((x.0, x.1).cmp(&(y.0, y.1))));
    let (mut used_a, mut used_b) = (vec![false; a.len()], vec![false; b.len()]);
    all.retain(|&(i, j, _)| {
        let free = !used_a[i] && !used_b[j];
        if free {
            (used_a[i], used_b[j]) = (true, true);
        }
        free
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::decisions::Category;

    fn spans(all: &[(usize, usize)]) -> Vec<Span> {
        all.iter().map(|&(start, end)| Span::new(start, end, Category::DrugDecision)).collect()
    }

    #[test]
    fn the_nearest_are_paired_first_and_each_once() {
        let (a, b) = (spans(&[(0, 10), (8, 20)]), spans(&[(0, 8), (0, 10), (30, 40)]));
        assert_eq!(paired(&a, &b, 0.1), [(0, 1, 1.0)]);
        assert_eq!(paired(&a, &b, 0.0), [(0, 1, 1.0)], "what does not overlap is no pair");
        assert_eq!(paired(&b, &a, 0.1), [(1, 0, 1.0)]);
        let shifted = spans(&[(2, 12), (10, 22)]);
        assert_eq!(paired(&a, &shifted, 0.5), [(1, 1, 10.0 / 14.0), (0, 0, 8.0 / 12.0)]);
        assert!(paired(&a, &shifted, 0.8).is_empty() && paired(&[], &a, 0.0).is_empty());
    }
}
