//! One call of `Endpoint::answer`: what is asked, what is in the journal already, and what is told.
use super::defects::Defects;
use super::journal::{Journal, Line, Record};
use super::question::Question;
use super::queue::RequestQueue;
use super::reply::Defect;
use super::usage::{Tokens, Usage};
use super::{CaseReply, Endpoint};
use crate::corpus::Case;
use crate::error::{Error, Result};
use crate::generate::answers::Answer;
use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

/// What workers tell.
pub enum Event {
    /// Its worker goes on when the sender is dropped: then the answer is in the journal.
    Answered(usize, Record, Sender<()>),
    /// A try brought nothing and may be billed.
    Lost(usize),
    Retried(String),
    Failed(usize, Error),
}

/// One call of `answer`.
pub struct Session<'a> {
    endpoint: &'a Endpoint,
    cases: &'a [Case],
    /// One a case.
    asked: &'a [Question],
    journal: Journal,
    /// Distinct questions: how many cases share each.
    shared: BTreeMap<&'a str, usize>,
    /// Distinct questions without an answer, by the first case that asks each.
    pending: Vec<usize>,
    /// Cases that have an answer.
    finished: usize,
    retries: BTreeMap<String, usize>,
    defects: Defects,
}

impl<'a> Session<'a> {
    pub fn new(endpoint: &'a Endpoint, cases: &'a [Case], asked: &'a [Question], journal: Journal) -> Self {
        let (mut shared, mut pending) = (BTreeMap::new(), Vec::new());
        for (i, question) in asked.iter().enumerate() {
            let count = shared.entry(question.key.as_str()).or_insert(0);
            *count += 1;
            if *count == 1 && journal.answer(&question.key).is_none() {
                pending.push(i);
            }
        }
        let defects = Defects::of(journal.in_order(&shared).map(|record| record.reply.defect()));
        let answered = shared.iter().filter(|(key, _)| journal.answer(key).is_some());
        let finished = answered.map(|(_, cases)| cases).sum();
        Self { endpoint, cases, asked, journal, shared, pending, finished, retries: BTreeMap::new(), defects }
    }

    /// Asks what is pending; every answer is in the journal before `done` hears of it.
    pub fn run(&mut self, done: &mut dyn FnMut(usize)) -> Result<()> {
        self.tell_of_the_journal();
        if self.finished > 0 {
            crate::process::tell(&format!("… {} of {} cases were answered before", self.finished, self.cases.len()));
            done(self.finished);
        }
        let limit = self.endpoint.client.max_incomplete;
        if !self.pending.is_empty() && self.defects.reach(limit) {
            return Err(self.incomplete(&self.defects.verdict()));
        }
        let budget = self.endpoint.client.budget.zip(self.endpoint.prices());
        let queue = RequestQueue::new(self.pending.len(), budget, self.spent());
        let pending: Vec<&Question> = self.pending.iter().map(|&i| &self.asked[i]).collect();
        let (mut failed, mut verdict) = (None, None);
        self.endpoint.ask_all(&pending, &queue, |events| {
            // dropped last: no worker takes another question before the queue may be stopped
            let _workers = self.take(events, done, &mut failed)?;
            if self.defects.reach(limit) {
                queue.stop(); // what is in flight may still break the row: the verdict stands
                verdict.get_or_insert_with(|| self.defects.verdict());
            }
            Ok(())
        })?;
        match (failed, verdict.filter(|_| self.finished < self.cases.len()), queue.refused()) {
            (Some((at, error)), ..) => Err(self.stopped(at, error)),
            (None, Some(verdict), _) => Err(self.incomplete(&verdict)),
            (None, None, Some(worst)) => Err(self.over_budget(worst)),
            (None, None, None) => Ok(()),
        }
    }

    /// Writes what came to the journal, then tells of it; what it returns keeps the workers waiting that brought an answer.
    fn take(
        &mut self,
        events: Vec<Event>,
        done: &mut dyn FnMut(usize),
        failed: &mut Option<(usize, Error)>,
    ) -> Result<Vec<Sender<()>>> {
        let (mut lines, mut waiting, mut answered) = (Vec::new(), Vec::new(), Vec::new());
        let key = |at: usize| self.asked[self.pending[at]].key.clone();
        for event in events {
            match event {
                Event::Answered(at, record, worker) => {
                    waiting.push(worker);
                    answered.push((at, record.reply.defect()));
                    lines.push(Line { key: key(at), answer: Some(record), lost: None });
                }
                Event::Lost(at) => {
                    let worst = self.asked[self.pending[at]].worst;
                    lines.push(Line { key: key(at), answer: None, lost: Some(worst) });
                }
                Event::Retried(kind) => *self.retries.entry(kind).or_default() += 1,
                Event::Failed(at, error) => drop(failed.get_or_insert((at, error))),
            }
        }
        if !lines.is_empty() {
            self.journal.add(lines)?;
        }
        for &(at, defect) in &answered {
            self.finished += self.shared[self.asked[self.pending[at]].key.as_str()];
            self.defects.add(defect, &self.cases[self.pending[at]].case_id, self.endpoint.client.max_incomplete);
        }
        if !answered.is_empty() {
            done(self.finished);
            self.defects.progress(self.finished, self.cases.len());
        }
        Ok(waiting)
    }

    fn tell_of_the_journal(&self) {
        let (path, journal) = (self.journal.path.display(), &self.journal);
        if journal.unreadable > 0 {
            eprintln!("{path}: {} lines cannot be read and are asked again", journal.unreadable);
        }
        if journal.incomplete > 0 {
            eprintln!(
                "{path}: {} replies are not complete (no finish_reason, or no content) and are asked again",
                journal.incomplete
            );
        }
    }

    /// The error that ends a run whose answers are not of use.
    fn incomplete(&self, verdict: &str) -> Error {
        Error::failed(format!(
            "{verdict}; {} of {} cases are answered and kept. Other settings ask anew; where the server was changed instead, delete {} to ask \
             again; --max-incomplete 0 takes such answers as they are",
            self.finished,
            self.cases.len(),
            self.journal.path.display()
        ))
    }

    /// What the distinct questions took so far, lost tries among it.
    fn spent(&self) -> Tokens {
        let usage = self.usage();
        usage.tokens + usage.lost_tokens_at_most
    }

    /// The error that stopped it, with what is kept.
    fn stopped(&self, at: usize, error: Error) -> Error {
        let (case, finished, all) = (&self.cases[self.pending[at]].case_id, self.finished, self.cases.len());
        let kept = match finished {
            0 => "no case is answered yet".to_string(),
            _ => format!("{finished} of {all} cases are answered and kept, the same command goes on from there"),
        };
        let text = format!("case `{case}`: {error} ({kept})");
        if error.exit_code() == 2 { Error::input(text) } else { Error::failed(text) }
    }

    fn over_budget(&self, worst: f64) -> Error {
        let (usage, all) = (self.usage(), self.cases.len());
        let spent = usage.cost_usd.unwrap_or(0.0) + usage.lost_usd_at_most.unwrap_or(0.0);
        Error::failed(format!(
            "the budget ends here: {spent:.6} of {} USD are used, and the next question could cost {worst:.6} USD; \
             {} of {all} cases are answered and kept: the same command with a higher --budget goes on from there",
            self.endpoint.client.budget.unwrap_or(0.0),
            self.finished,
        ))
    }

    pub fn usage(&self) -> Usage {
        let mut usage = Usage {
            endpoint: self.endpoint.base.clone(),
            model: self.endpoint.model.clone(),
            cases: self.cases.len(),
            questions: self.shared.len(),
            retries: self.retries.clone(),
            ..Usage::default()
        };
        let mut seen = std::collections::BTreeSet::new();
        for question in self.asked.iter().filter(|question| seen.insert(&question.key)) {
            let (tries, tokens) = self.journal.lost(&question.key);
            usage.lost_tries += tries;
            usage.lost_tokens_at_most += tokens;
            (0..self.journal.uncounted(&question.key)).for_each(|_| usage.lost_tokens_at_most += question.worst);
            let Some(Record { reply, .. }) = self.journal.answer(&question.key) else { continue };
            usage.answered += 1;
            usage.tokens += reply.usage.unwrap_or(question.worst);
            usage.answers_without_count += usize::from(reply.usage.is_none());
            usage.with_reasoning += usize::from(reply.parts().0.is_some());
            match reply.defect() {
                Some(Defect::OnlyReasoning) => usage.only_reasoning += 1,
                Some(Defect::Empty) => usage.empty += 1,
                Some(Defect::Cut) => usage.cut += 1,
                None => {}
            }
            *usage.finish.entry(reply.finish.clone().unwrap_or("not said".into())).or_default() += 1;
            if let Some(served) = &reply.served {
                *usage.served.entry(served.clone()).or_default() += 1;
            }
        }
        usage.kept_before = usage.questions - self.pending.len();
        if let Some(prices) = self.endpoint.prices() {
            (usage.price_in, usage.price_out) = (Some(prices.prompt), Some(prices.new));
            usage.cost_usd = Some(prices.cost(usage.tokens));
            usage.lost_usd_at_most = Some(prices.cost(usage.lost_tokens_at_most));
        }
        usage
    }

    pub fn replies(&self) -> Vec<CaseReply> {
        let answered = |(case, question): (&Case, &Question)| {
            let answer = self.journal.answer(&question.key)?.clone();
            Some(CaseReply { case_id: case.case_id.clone(), question: question.key.clone(), answer })
        };
        self.cases.iter().zip(self.asked).filter_map(answered).collect()
    }

    pub fn answer(&self, question: &Question) -> Result<Answer> {
        let record = self.journal.answer(&question.key);
        let Record { reply, seconds, .. } = record.ok_or_else(|| Error::failed("a question has no answer"))?;
        let usage = reply.usage.unwrap_or_default();
        Ok(Answer {
            raw: reply.parts().1.into(),
            logprob: reply.logprob,
            prompt_tokens: usage.prompt as usize,
            new_tokens: usage.new as usize,
            steps: None,
            seconds: *seconds,
        })
    }
}
