//! The queue that hands out questions and says when a request may be sent: one place for the budget, the server's pauses and the end.
//!
//! ```text
//! admitted while   spent + lost + reserved + worst ≤ budget      reserved: the worst case of every request in flight
//! waits            until the pause that a server asked for is over, or until a request in flight frees its reserve
//! ends             when nothing is in flight and the next one still does not fit, or when a worker found an end
//! ```
use super::usage::{Prices, Tokens};
use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

pub struct RequestQueue {
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
    stopped: bool,
    /// What the budget would not hold.
    refused: Option<Tokens>,
    reached: bool,
}

/// What a request that is over counts for the budget.
pub enum Billing {
    /// Tokens of its answer, or of one that was lost and may be billed.
    Spent(Tokens),
    /// The server did not work on it.
    Free,
}

impl RequestQueue {
    /// `spent`: by earlier tries of the same run.
    pub fn new(questions: usize, budget: Option<(f64, Prices)>, spent: Tokens) -> Self {
        Self { budget, questions, state: Mutex::new(State { spent, ..State::default() }), changed: Condvar::new() }
    }

    /// The number of the next question; None when there is none, or no more are to be asked.
    pub fn next(&self) -> Option<usize> {
        let mut state = self.state.lock();
        let next = state.next;
        state.next += 1;
        (next < self.questions && !state.stopped).then_some(next)
    }

    /// Waits until a request may be sent and reserves its worst case; false when no more may be.
    pub fn acquire(&self, worst: Tokens) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
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
                (state.stopped, state.refused) = (true, Some(worst));
                self.changed.notify_all();
                return false;
            }
        }
    }

    fn fits(&self, state: &State, worst: Tokens) -> bool {
        self.budget.is_none_or(|(budget, prices)| prices.cost(state.spent + state.reserved + worst) <= budget)
    }

    /// The request that `worst` was reserved for is over.
    pub fn release(&self, worst: Tokens, closed: Billing) {
        let mut state = self.state.lock();
        state.in_flight -= 1;
        state.reserved -= worst;
        if let Billing::Spent(tokens) = closed {
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
    pub fn sleep(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.state.lock();
        while !state.stopped && Instant::now() < until {
            self.changed.wait_until(&mut state, until);
        }
    }

    /// No more requests; those in flight come to their end.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// The server has answered something, well or badly.
    pub fn set_reached(&self) {
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
        let queue = RequestQueue::new(9, Some((50.0, PRICES)), Tokens::default());
        assert!(queue.acquire(WORST) && queue.acquire(WORST), "40 of 50");
        std::thread::scope(|scope| {
            let third = scope.spawn(|| queue.acquire(WORST)); // waits: 60 would be too much
            std::thread::sleep(Duration::from_millis(20));
            assert!(!third.is_finished());
            queue.release(WORST, Billing::Spent(Tokens { prompt: 5, new: 2 })); // 7 spent, 20 in flight
            assert!(third.join().unwrap());
        });
        queue.release(WORST, Billing::Spent(Tokens { prompt: 10, new: 10 })); // 27 spent, 20 in flight
        queue.release(WORST, Billing::Free); // 27 spent
        assert!(queue.acquire(WORST), "47 of 50");
        queue.release(WORST, Billing::Spent(Tokens { prompt: 4, new: 0 })); // 31 spent
        assert!(!queue.acquire(WORST) && queue.refused() == Some(20.0), "51 of 50, and nothing to wait for");
        assert!(queue.next().is_none(), "that was the end");
    }

    #[test]
    fn what_was_spent_before_counts() {
        let queue = RequestQueue::new(1, Some((50.0, PRICES)), Tokens { prompt: 31, new: 0 });
        assert!(!queue.acquire(WORST));
        assert!(RequestQueue::new(1, None, Tokens { prompt: 31, new: 0 }).acquire(WORST), "no budget, no limit");
    }

    #[test]
    fn nobody_is_admitted_during_a_pause() {
        let (queue, wait, started) =
            (RequestQueue::new(9, None, Tokens::default()), Duration::from_millis(50), Instant::now());
        queue.pause(wait);
        queue.pause(Duration::ZERO); // a shorter one does not end it
        assert!(queue.acquire(WORST) && started.elapsed() >= wait);
    }

    #[test]
    fn every_question_is_taken_once() {
        let queue = RequestQueue::new(100, None, Tokens::default());
        let taken = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..4).map(|_| scope.spawn(|| std::iter::from_fn(|| queue.next()).collect::<Vec<_>>())).collect();
            workers.into_iter().flat_map(|w| w.join().unwrap()).collect::<std::collections::BTreeSet<_>>()
        });
        assert_eq!(taken.len(), 100);
    }

    #[test]
    fn an_end_wakes_those_who_rest_and_those_who_wait() {
        let queue = RequestQueue::new(9, Some((20.0, PRICES)), Tokens::default());
        assert!(queue.acquire(WORST));
        std::thread::scope(|scope| {
            let resting = scope.spawn(|| queue.sleep(Duration::from_secs(600)));
            let waiting = scope.spawn(|| queue.acquire(WORST));
            std::thread::sleep(Duration::from_millis(20));
            queue.stop();
            resting.join().unwrap();
            assert!(!waiting.join().unwrap() && queue.refused().is_none());
        });
    }
}
