use super::*;
use crate::corpus::synthetic::{dice::Dice, fresh_cases};

fn case(id: &str, input: String) -> Case {
    Case { case_id: id.into(), group: format!("g{id}"), input }
}

fn part<'a>(name: &str, role: Role, cases: &'a [Case]) -> Part<'a> {
    Part { name: name.into(), role, space: "here".into(), cases: cases.iter().collect() }
}

/// `base`, and a copy of each with every word replaced with probability `share`.
fn planted(share: f64) -> (Vec<Case>, Vec<Case>) {
    let mut dice = Dice::new(5, 0);
    let base: Vec<Case> = fresh_cases(5, 120).unwrap().into_iter().map(|one| one.case).collect();
    let edited = |case: &Case| {
        let word = |(i, word): (usize, &str)| match (dice.below(10_000) as f64) < share * 1e4 {
            true => format!("changed{i}"),
            false => word.to_string(),
        };
        let words: Vec<String> = case.input.split_whitespace().enumerate().map(word).collect();
        words.join("  ").to_uppercase()
    };
    let copies: Vec<String> = base.iter().map(edited).collect();
    (base.clone(), copies.into_iter().enumerate().map(|(i, text)| case(&format!("copy{i}"), text)).collect())
}

#[test]
fn the_same_pairs_are_found_as_by_comparing_all() {
    for (share, limit) in [(0.0, 0.8), (0.02, 0.8), (0.04, 0.6), (0.1, 0.4)] {
        let (base, copies) = planted(share);
        let found = find(&[part("train", Role::Train, &base), part("test", Role::Test, &copies)], limit).unwrap();
        let mut wanted = Vec::new();
        for a in &base {
            for b in &copies {
                let (x, y) = (near::runs(&a.input), near::runs(&b.input));
                let similarity = x.intersection(&y).count() as f64 / x.union(&y).count() as f64;
                if similarity >= limit {
                    wanted.push((a.case_id.clone(), b.case_id.clone(), similarity));
                }
            }
        }
        let got = found.leaks.iter().map(|l| (l.a.case_id.clone(), l.b.case_id.clone(), l.similarity));
        assert_eq!(got.collect::<Vec<_>>(), wanted, "share {share}");
        assert!(wanted.len() > 20, "share {share}: {} planted pairs are left", wanted.len());
        assert!(found.candidates < found.pairs / 4, "{} of {}", found.candidates, found.pairs);
        let kind = if share == 0.0 { Kind::Exact } else { Kind::Near };
        assert!(found.leaks.iter().filter(|leak| leak.kind == kind).count() > 20);
    }
}

#[test]
fn candidates_come_as_often_as_the_curve_says() {
    // sets of 300 numbers that share m of them: similarity m / (600 − m)
    let mut next = 0u64;
    let mut fresh = |n: usize| -> Vec<u64> {
        let from = next;
        next += n as u64;
        (from..next).map(|x| mixed(x ^ 0xabcd)).collect()
    };
    let banding = Banding::at(LIMIT);
    assert_eq!(banding, Banding { bands: 25, rows: 5 });
    for shared in [140, 200, 230, 267] {
        let (trials, similarity) = (400, shared as f64 / (600 - shared) as f64);
        let mut texts = Vec::new();
        for _ in 0..trials {
            let both = fresh(shared);
            texts.extend([[both.clone(), fresh(300 - shared)].concat(), [both, fresh(300 - shared)].concat()]);
        }
        texts.iter_mut().for_each(|text| text.sort());
        let pairs = candidates(&texts, banding, |a, b| a / 2 == b / 2);
        let (share, wanted) = (pairs.len() as f64 / trials as f64, banding.probability(similarity));
        let four_sigma = 4.0 * (wanted * (1.0 - wanted) / trials as f64).sqrt() + 0.003;
        assert!((share - wanted).abs() < four_sigma, "similarity {similarity:.3}: {share:.3}, wanted {wanted:.3}");
        assert!((jaccard(&texts[0], &texts[1]) - similarity).abs() < 1e-12);
    }
}

#[test]
fn the_table_of_the_header_is_the_curve_and_every_limit_is_kept() {
    let at = |similarity| Banding::at(LIMIT).probability(similarity);
    for (similarity, wanted) in [(0.3, 0.059), (0.5, 0.548), (0.7, 0.990), (0.8, 0.99995)] {
        assert!((at(similarity) - wanted).abs() < 6e-4, "{similarity}: {}", at(similarity));
    }
    for limit in [0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0] {
        let banding = Banding::at(limit);
        assert!(banding.probability(limit) >= 1.0 - OVERLOOKED, "limit {limit}: {banding:?}");
        assert!(banding.bands * banding.rows <= HASHES);
    }
}

#[test]
fn groups_and_roles_decide_what_leaks() {
    let text = |i: usize| format!("finding number {i} has words of its own {i} and again {i}");
    let one = |id: &str, group: &str, i| Case { group: group.into(), ..case(id, text(i)) };
    let train = [one("1", "p1", 1), one("2", "p1", 2), one("3", "p3", 3)];
    let valid = [one("4", "p3", 4)];
    let test = [one("5", "p1", 5), one("6", "p1", 3), one("7", "p7", 7)];
    let parts = [
        part("train", Role::Train, &train),
        part("train", Role::Validation, &valid),
        part("test", Role::Test, &test),
        Part { space: "elsewhere".into(), ..part("other train", Role::Train, &test) },
    ];
    let leaks = find(&parts[..3], LIMIT).unwrap();
    let said: Vec<String> = leaks.leaks.iter().map(Leak::to_string).collect();
    assert_eq!(
        said,
        [
            "train/1 and test/5: same group `p1` of 2 and 2 cases",
            "train/3 and train/4 (validation): same group `p3` of 1 and 1 cases",
            "train/3 and test/6: exact",
        ]
    );
    assert_eq!(leaks.pairs, 3 + 9 + 3);
    let with_other = find(&parts, LIMIT).unwrap();
    assert_eq!(with_other.leaks.len(), 3 + 3, "the other corpus holds the test's texts; its groups are others");
    assert!(find(&parts[..3], 0.0).unwrap_err().to_string().contains("got 0"));
}

#[test]
fn what_a_list_names_is_let_through_and_the_rest_is_named() {
    let text = |i: usize| format!("finding number {i} has words of its own {i} and again {i}");
    let train: Vec<Case> = (0..20).map(|i| case(&format!("a{i}"), text(i))).collect();
    let test: Vec<Case> = (0..10).map(|i| case(&format!("b{i}"), text(i))).collect();
    let mut leaks = find(&[part("train", Role::Train, &train), part("test", Role::Test, &test)], LIMIT).unwrap();
    let message = leaks.refuse().unwrap_err().to_string();
    assert!(message.starts_with("10 leak(s)") && message.contains("train/a0 and test/b0: exact"), "{message}");
    assert!(message.contains("and 2 more") && message.contains("allow_leaks"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leaks.toml");
    let pair = |i: usize| format!("[[pair]]\na = \"test/b{i}\"\nb = \"train/a{i}\"\nreason = \"a template\"\n");
    std::fs::write(&path, (0..11).map(pair).collect::<String>()).unwrap();
    let list = Allowed::read(&path).unwrap();
    assert_eq!(leaks.allow(&list), ["the pair test/b10 and train/a10"]);
    leaks.refuse().unwrap();
    assert!(leaks.to_string().contains("10 leaks: 10 exact, 0 near, 0 same group; 10 allowed"), "{leaks}");
    std::fs::write(&path, "[[pair]]\na = \"x/1\"\nb = \"y/2\"\nreason = \" \"\n").unwrap();
    assert!(Allowed::read(&path).unwrap_err().to_string().contains("x/1 and y/2 has no reason"));
    std::fs::write(&path, "[[group]]\nid = \"p1\"\nreason = \"\"\n").unwrap();
    assert!(Allowed::read(&path).unwrap_err().to_string().contains("`p1` has no reason"));
    std::fs::write(&path, "[[pair]]\na = \"x/1\"\n").unwrap();
    assert!(Allowed::read(&path).unwrap_err().to_string().contains("leaks.toml"));
}

#[test]
fn a_pair_of_texts_that_may_leak_does_not_let_its_patients_other_cases_through() {
    let text = |i: usize| format!("finding number {i} has words of its own {i} and again {i}");
    let one = |id: &str, group: &str, i| Case { group: group.into(), ..case(id, text(i)) };
    let train = [one("1", "p1", 1), one("2", "p1", 2)];
    let test = [one("5", "p1", 1), one("6", "p1", 6)];
    let mut leaks = find(&[part("train", Role::Train, &train), part("test", Role::Test, &test)], LIMIT).unwrap();
    let said = |leaks: &Leaks| leaks.refused().map(Leak::to_string).collect::<Vec<_>>();
    let group = "train/1 and test/5: same group `p1` of 2 and 2 cases";
    assert_eq!(said(&leaks), ["train/1 and test/5: exact", group]);
    let (a, b, reason) = ("train/1".to_string(), "test/5".to_string(), "a template".to_string());
    let mut list = Allowed { pairs: vec![AllowedPair { a, b, reason }], groups: Vec::new() };
    assert!(leaks.allow(&list).is_empty());
    assert_eq!(said(&leaks), [group]);
    let message = leaks.refuse().unwrap_err().to_string();
    assert!(message.starts_with("1 leak(s)") && message.contains("[[group]]"), "{message}");
    let named = |id: &str| AllowedGroup { id: id.into(), reason: "two patients, one number".into() };
    list.groups = vec![named("p1"), named("p9")];
    assert_eq!(leaks.allow(&list), ["the group `p9`"]);
    leaks.refuse().unwrap();
    assert!(leaks.to_string().contains("2 leaks: 1 exact, 0 near, 1 same group; 2 allowed"), "{leaks}");
}
