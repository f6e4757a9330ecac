//! How long answers took, from the `seconds` of every line of `preds.jsonl` and the run's `environment.json`: of the
//! machine, not of the model. And how fast `dxlab serve` is beside another server, from what `benches/serving.py` wrote.
use crate::error::{Error, Result};
use crate::io;
use crate::metric::quantile;
use crate::report::kit::display::{NONE, Table};
use crate::study::{Answered, Results};
use serde::Deserialize;
use std::path::Path;

/// One row a model that generates: tokens a case, seconds until a case was answered (with those that were decoded
/// beside it), cases a minute over the whole run, and the processor. Baselines, which answer at once, have dashes.
pub fn answering(results: &Results) -> Result<Table> {
    let rows = results.models.iter().map(row).collect::<Result<Vec<_>>>()?;
    let names = [
        "model",
        "n",
        "prompt tokens",
        "new tokens",
        "seconds to an answer, median",
        "95th percentile",
        "cases a minute",
        "processor, threads",
    ];
    Ok(Table::from_rows(&names, &rows))
}

fn row(model: &Answered) -> Result<Vec<String>> {
    let mut seconds: Vec<f64> = model.predictions.iter().map(|p| p.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let n = model.predictions.len();
    let (asked, made) =
        model.predictions.iter().fold((0, 0), |(asked, made), p| (asked + p.prompt_tokens, made + p.new_tokens));
    let mut row = vec![model.name.clone(), n.to_string()];
    if made == 0 {
        row.extend(std::iter::repeat_n(NONE.to_string(), 6));
        return Ok(row);
    }
    let mean = |sum: usize| format!("{:.1}", sum as f64 / n.max(1) as f64);
    let at = |q: f64| quantile(&seconds, q).map_or(NONE.into(), |s| format!("{s:.2}"));
    let machine = model.run.environment()?;
    row.extend([mean(asked), mean(made), at(0.5), at(0.95)]);
    row.push(format!("{:.0}", 60.0 * n as f64 / machine.wall_seconds.max(1e-9)));
    row.push(format!("{}, {}", machine.cpu.unwrap_or_else(|| "unknown".into()), machine.threads));
    Ok(row)
}

/// Two servers with the same model file, asked in turn by as many clients; the file that `benches/serving.py` writes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ServingSpeeds {
    pub cpu: String,
    pub threads: usize,
    pub date: String,
    /// The side that the others are compared with.
    pub peer: String,
    /// Its package and version.
    pub peer_version: String,
    /// Maximum number of new tokens per answer.
    pub tokens: usize,
    lines: Vec<Load>,
}

/// One load on one server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Load {
    side: String,
    clients: usize,
    tokens_per_sec: f64,
    /// Median over the requests.
    first_token_sec: f64,
}

impl ServingSpeeds {
    pub fn read(path: &Path) -> Result<Self> {
        let found: Self = io::read_json(path)?;
        if !found.lines.iter().any(|line| line.side == found.peer) {
            return Err(Error::input(format!("{}: no line of `{}`", path.display(), found.peer)));
        }
        Ok(found)
    }

    /// One row for each server and number of clients: new tokens per second and seconds to the first token, medians over the rounds, and the
    /// ratios to the peer of the same run.
    pub fn table(&self) -> Table {
        let mut rows = Vec::new();
        let mut loads: Vec<(usize, &str)> = Vec::new();
        for line in &self.lines {
            if !loads.contains(&(line.clients, &line.side)) {
                loads.push((line.clients, &line.side));
            }
        }
        loads.sort_by_key(|(clients, _)| *clients); // sides stay in their order
        for (clients, side) in loads {
            let ratio =
                |of: fn(&Load) -> f64| match (self.middle(side, clients, of), self.middle(&self.peer, clients, of)) {
                    (Some(own), Some(peer)) => [format!("{own:.2}"), format!("{:.2}", own / peer)],
                    (own, _) => [own.map_or(NONE.into(), |own| format!("{own:.2}")), NONE.into()],
                };
            let mut row = vec![clients.to_string(), side.to_string()];
            row.extend(ratio(|line| line.tokens_per_sec));
            row.extend(ratio(|line| line.first_token_sec));
            rows.push(row);
        }
        let names = ["clients", "server", "tokens per second", "× peer", "seconds to the first token", "× peer's"];
        Table::from_rows(&names, &rows)
    }

    fn middle(&self, side: &str, clients: usize, of: fn(&Load) -> f64) -> Option<f64> {
        let mut all: Vec<f64> =
            self.lines.iter().filter(|line| line.side == side && line.clients == clients).map(of).collect();
        all.sort_by(f64::total_cmp);
        quantile(&all, 0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::results::tests::toy;

    #[test]
    fn servers_are_compared_with_the_peer_under_the_same_load() {
        let line = |side: &str, clients: usize, speed: f64, first: f64| serde_json::json!({"side": side, "clients": clients, "round": 0, "tokens_per_sec": speed, "first_token_sec": first});
        let mut file = serde_json::json!({"cpu": "a", "threads": 2, "date": "2026-11-30", "peer": "other", "peer_version": "p 1",
            "tokens": 48, "lines": [line("own", 1, 80.0, 0.1), line("own", 1, 100.0, 0.1), line("own", 8, 300.0, 0.2),
                line("own", 1, 90.0, 0.3), line("other", 1, 60.0, 0.4)]});
        let speeds: ServingSpeeds = serde_json::from_value(file.clone()).unwrap();
        let text = speeds.table().to_text();
        let cells: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let row =
            |clients: &str, side: &str| cells.iter().find(|row| row.len() > 2 && row[0] == clients && row[1] == side);
        assert_eq!(row("1", "own").unwrap()[2..], ["90.00", "1.50", "0.10", "0.25"], "{text}");
        assert_eq!(row("8", "own").unwrap()[2..], ["300.00", "–", "0.20", "–"], "{text}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serving.json");
        file["peer"] = "nobody".into();
        io::write_json(&path, &file).unwrap();
        assert!(ServingSpeeds::read(&path).unwrap_err().to_string().contains("serving.json: no line of `nobody`"));
    }

    #[test]
    fn the_median_is_over_cases_and_a_baseline_has_no_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = toy(folder.path());
        for (i, p) in results.models[1].predictions.iter_mut().enumerate() {
            (p.prompt_tokens, p.new_tokens, p.seconds) = (100, 10, (i + 1) as f64);
        }
        let text = answering(&results).unwrap().to_text();
        let cells = |name: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(String::from).collect()
        };
        assert_eq!(cells("bad")[2..], ["–", "–", "–", "–", "–", "–"], "{text}");
        assert_eq!(cells("good")[..6], ["good", "20", "100.0", "10.0", "10.50", "19.05"], "{text}");
    }
}
