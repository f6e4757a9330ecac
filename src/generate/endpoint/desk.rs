//! The desk where workers ask whether they may send: one place for the budget, the server's pauses and the end.
//!
//! ```text
//! admitted while   spent + lost + reserved + worst ≤ budget      reserved: the worst case of every request in flight
//! waits            until the pause that a server asked for is over, or until a request in flight frees its reserve
//! ends             when nothing is in flight and the next one still does not fit, or when a worker found an end
//! ```
use super::money::{Prices, Tokens};
use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

pub struct Desk {
    /// USD, with the prices that say how much of it tokens take.
    budget: Option<(f64, Prices)>,
    questions: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Next question to be taken.
    next: usize,
    in_flight: usize,
    reserved: Tokens,
    spent: Tokens,
    paused: Option<Instant>,
    ended: bool,
    /// What the budget would not hold.
    refused: Option<Tokens>,
    reached: bool,
}

/// How a request ended, for the budget.
pub enum Closed {
    /// Tokens of its answer, or of one that was lost and may be billed.
    Spent(Tokens),
    /// The server did not work on it.
    Free,
}

impl Desk {
    /// `spent`: by earlier tries of the same run.
    pub fn new(questions: usize, budget: Option<(f64, Prices)>, spent: Tokens) -> Self {
        Self { budget, questions, state: Mutex::new(State { spent, ..State::default() }), changed: Condvar::new() }
    }

    /// The number of the next question; None when there is none, or no more are to be asked.
    pub fn take(&self) -> Option<usize> {
        let mut state = self.state.lock();
        let next = state.next;
        state.next += 1;
        (next < self.questions && !state.ended).then_some(next)
    }

    /// Waits until a request may be sent and reserves its worst case; false when no more may be.
    pub fn admit(&self, worst: Tokens) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.ended {
                return false;
            }
            if let Some(until) = state.paused.filter(|&until| until > Instant::now()) {
                self.changed.wait_until(&mut state, until);
            } else if self.fits(&state, worst) {
                state.in_flight += 1;
                state.reserved += worst;
                return true;
            } else if state.in_flight > 0 {
                self.changed.wait(&mut state);
            } else {
                (state.ended, state.refused) = (true, Some(worst));
                self.changed.notify_all();
                return false;
            }
        }
    }

    fn fits(&self, state: &State, worst: Tokens) -> bool {
        self.budget.is_none_or(|(budget, prices)| prices.cost(state.spent + state.reserved + worst) <= budget)
    }

    /// The request that `worst` was reserved for is over.
    pub fn close(&self, worst: Tokens, closed: Closed) {
        let mut state = self.state.lock();
        state.in_flight -= 1;
        state.reserved -= worst;
        if let Closed::Spent(tokens) = closed {
            state.spent += tokens;
        }
        self.changed.notify_all();
    }

    /// Nobody sends before this is over.
    pub fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.state.lock();
        state.paused = Some(state.paused.map_or(until, |before| before.max(until)));
    }

    /// Waits, unless it all ends before.
    pub fn rest(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.state.lock();
        while !state.ended && Instant::now() < until {
            self.changed.wait_until(&mut state, until);
        }
    }

    /// No more requests; those in flight come to their end.
    pub fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_all();
    }

    /// The server has answered something, well or badly.
    pub fn reach(&self) {
        self.state.lock().reached = true;
    }

    pub fn reached(&self) -> bool {
        self.state.lock().reached
    }

    /// The worst case that the budget would not hold, if that was the end; USD.
    pub fn refused(&self) -> Option<f64> {
        let (_, prices) = self.budget?;
        self.state.lock().refused.map(|worst| prices.cost(worst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORST: Tokens = Tokens { prompt: 10, new: 10 };
    const PRICES: Prices = Prices { prompt: 1e6, new: 1e6 }; // a dollar a token

    #[test]
    fn the_worst_case_of_everything_in_flight_stays_in_the_budget() {
        let desk = Desk::new(9, Some((50.0, PRICES)), Tokens::default());
        assert!(desk.admit(WORST) && desk.admit(WORST), "40 of 50");
        std::thread::scope(|scope| {
            let third = scope.spawn(|| desk.admit(WORST)); // waits: 60 would be too much
            std::thread::sleep(Duration::from_millis(20));
            assert!(!third.is_finished());
            desk.close(WORST, Closed::Spent(Tokens { prompt: 5, new: 2 })); // 7 spent, 20 in flight
            assert!(third.join().unwrap());
        });
        desk.close(WORST, Closed::Spent(Tokens { prompt: 10, new: 10 })); // 27 spent, 20 in flight
        desk.close(WORST, Closed::Free); // 27 spent
        assert!(desk.admit(WORST), "47 of 50");
        desk.close(WORST, Closed::Spent(Tokens { prompt: 4, new: 0 })); // 31 spent
        assert!(!desk.admit(WORST) && desk.refused() == Some(20.0), "51 of 50, and nothing to wait for");
        assert!(desk.take().is_none(), "that was the end");
    }

    #[test]
    fn what_was_spent_before_counts() {
        let desk = Desk::new(1, Some((50.0, PRICES)), Tokens { prompt: 31, new: 0 });
        assert!(!desk.admit(WORST));
        assert!(Desk::new(1, None, Tokens { prompt: 31, new: 0 }).admit(WORST), "no budget, no limit");
    }

    #[test]
    fn nobody_is_admitted_during_a_pause() {
        let (desk, wait, started) = (Desk::new(9, None, Tokens::default()), Duration::from_millis(50), Instant::now());
        desk.pause(wait);
        desk.pause(Duration::ZERO); // a shorter one does not end it
        assert!(desk.admit(WORST) && started.elapsed() >= wait);
    }

    #[test]
    fn every_question_is_taken_once() {
        let desk = Desk::new(100, None, Tokens::default());
        let taken = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..4).map(|_| scope.spawn(|| std::iter::from_fn(|| desk.take()).collect::<Vec<_>>())).collect();
            workers.into_iter().flat_map(|w| w.join().unwrap()).collect::<std::collections::BTreeSet<_>>()
        });
        assert_eq!(taken.len(), 100);
    }

    #[test]
    fn an_end_wakes_those_who_rest_and_those_who_wait() {
        let desk = Desk::new(9, Some((20.0, PRICES)), Tokens::default());
        assert!(desk.admit(WORST));
        std::thread::scope(|scope| {
            let resting = scope.spawn(|| desk.rest(Duration::from_secs(600)));
            let waiting = scope.spawn(|| desk.admit(WORST));
            std::thread::sleep(Duration::from_millis(20));
            desk.end();
            resting.join().unwrap();
            assert!(!waiting.join().unwrap() && desk.refused().is_none());
        });
    }
}
