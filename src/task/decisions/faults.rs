//! What went wrong with the spans of a note, each gold span and each invented one in one class.
use crate::corpus::decisions::Span;

/// In the order in which they are looked for: the first that holds counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A predicted span of the same category overlaps a gold span, with other bounds.
    Bounds,
    /// A predicted span of another category overlaps it by an IoU of at least 0.5.
    Category,
    /// Nothing of the kind.
    Missed,
    /// A predicted span that is right for no gold span and was taken for none above.
    Invented,
}

impl Fault {
    pub const ALL: [Fault; 4] = [Fault::Bounds, Fault::Category, Fault::Missed, Fault::Invented];

    /// As it is written in prose.
    pub fn title(self) -> &'static str {
        match self {
            Self::Bounds => "wrong bounds",
            Self::Category => "wrong category",
            Self::Missed => "missed",
            Self::Invented => "invented",
        }
    }
}

/// One error: what was asked for, what was given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faulty {
    pub fault: Fault,
    pub gold: Option<Span>,
    pub predicted: Option<Span>,
}

/// The errors of a note: gold spans first, in their order, then invented ones. A predicted span explains one gold span at most; the one with
/// the highest IoU is taken.
pub fn faults(gold: &[Span], predicted: &[Span]) -> Vec<Faulty> {
    let mut left: Vec<Span> = predicted.iter().filter(|span| !gold.contains(span)).copied().collect();
    let mut open: Vec<Span> = gold.iter().filter(|span| !predicted.contains(span)).copied().collect();
    let mut found = Vec::new();
    let rules: [(Fault, fn(&Span, &Span) -> bool); 2] = [
        (Fault::Bounds, |a, b| a.category == b.category && a.overlap(b) > 0),
        (Fault::Category, |a, b| a.category != b.category && a.iou(b) >= super::score::SAME),
    ];
    for (fault, holds) in rules {
        open.retain(|span| {
            let near = left.iter().enumerate().filter(|(_, other)| holds(span, other));
            let best = near.max_by(|a, b| span.iou(a.1).total_cmp(&span.iou(b.1))).map(|(i, _)| i);
            let predicted = best.map(|i| left.remove(i));
            found.extend(predicted.map(|_| Faulty { fault, gold: Some(*span), predicted }));
            predicted.is_none()
        });
    }
    found.extend(open.iter().map(|span| Faulty { fault: Fault::Missed, gold: Some(*span), predicted: None }));
    found.sort_by_key(|one| one.gold);
    found.extend(left.iter().map(|span| Faulty { fault: Fault::Invented, gold: None, predicted: Some(*span) }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::decisions::Category::{DefineProblem, DrugDecision, GatherInfo};

    #[test]
    fn each_error_has_one_class() {
        let gold = [
            Span::new(0, 10, DrugDecision),
            Span::new(20, 30, DefineProblem),
            Span::new(40, 50, DrugDecision),
            Span::new(60, 70, GatherInfo),
        ];
        let predicted = [
            Span::new(0, 10, DrugDecision),
            Span::new(20, 30, GatherInfo),
            Span::new(42, 50, DrugDecision),
            Span::new(43, 44, DrugDecision),
        ];
        let said: Vec<_> = faults(&gold, &predicted).into_iter().map(|f| (f.fault, f.gold, f.predicted)).collect();
        assert_eq!(
            said,
            [
                (Fault::Category, Some(gold[1]), Some(predicted[1])),
                (Fault::Bounds, Some(gold[2]), Some(predicted[2])),
                (Fault::Missed, Some(gold[3]), None),
                (Fault::Invented, None, Some(predicted[3])),
            ]
        );
        assert!(faults(&gold, &gold).is_empty());
    }
}
