//! Threads that stay awake during a decoding step, and loops that they share. A step has dozens of loops of some microseconds each, which is
//! about what waking a thread takes, or handing a job over by way of rayon's queues.
use rayon::prelude::*;
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Time without work after which a thread that was kept awake goes to sleep all the same.
const PATIENCE: Duration = Duration::from_micros(300);
/// Looks for a shared loop before rayon's queues are looked through.
const LOOKS: usize = 16;
/// RotaryEmbedding of a waiting loop before the processor is offered to others.
const TURNS: usize = 1 << 12;

/// How many threads one product may use.
#[derive(Clone, Copy, Debug)]
pub enum Threads {
    /// For products inside a loop that is itself parallel.
    One,
    All,
}

thread_local!(static LED: Cell<Option<*const Team>> = const { Cell::new(None) });
thread_local!(static BY_ROW: Cell<bool> = const { Cell::new(false) });

/// Runs `f` so that every row of a product comes out with the same bits whatever rows stand beside it: products take the way of a few
/// rows ([`small_batch`](super::small_batch)) however many there are, and the general product, whose sums depend on its shape, is left out. For
/// inference, inside of [`on_workers`].
pub fn by_row<R>(f: impl FnOnce() -> R) -> R {
    let _before = ByRow(BY_ROW.replace(true));
    f()
}

/// Whether this thread is inside [`by_row`].
pub fn is_by_row() -> bool {
    BY_ROW.get()
}

/// Restores what was before, also when what comes between panics.
struct ByRow(bool);

impl Drop for ByRow {
    fn drop(&mut self) {
        BY_ROW.set(self.0);
    }
}

/// Runs `f` on one of the threads that products use and keeps the others awake meanwhile: they share what `f` gives to [`each`], and
/// rayon's loops. It begins outside of [`by_row`]: a thread that waits inside of that may be the one that `f` runs on.
pub fn on_workers<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let team = Team::default();
    let team = &team;
    rayon::scope(|scope| {
        let here = rayon::current_thread_index();
        for _ in 1..rayon::current_num_threads() {
            // the thread that runs `f` may meet this while it waits for another inside `f`, and must not wait for itself
            scope.spawn(move |_| {
                if rayon::current_thread_index() != here {
                    team.awake.fetch_add(1, Ordering::Relaxed);
                    team.stay_awake();
                    team.awake.fetch_sub(1, Ordering::Relaxed);
                }
            });
        }
        let _end = Led { before: LED.replace(Some(team)), team };
        let _before = ByRow(BY_ROW.replace(false));
        f()
    })
}

/// Runs `task` with the index of every item and the item, on this thread and those that [`on_workers`] keeps awake; outside of it by
/// rayon. A task must not wait for another thread.
pub fn each<T: Send>(items: &mut [T], task: impl Fn(usize, &mut T) + Sync) {
    // SAFETY: the team is on the stack of `on_workers`, which this thread is inside of (`Led` takes it back before).
    let team = LED.get().map(|team| unsafe { &*team }).filter(|team| team.awake.load(Ordering::Relaxed) > 0);
    let team = match (items.len(), team) {
        (0, _) => return,
        (1, _) => return task(0, &mut items[0]),
        (_, None) => return items.par_iter_mut().enumerate().for_each(|(i, item)| task(i, item)),
        (_, Some(team)) => team,
    };
    let _led = LedAgain(LED.take());
    let first = Items(items.as_mut_ptr());
    let numbered = |i: usize| {
        let first = &first;
        // SAFETY: a job gives every number below `items.len()` out once, so no one else has this item.
        task(i, unsafe { &mut *first.0.add(i) })
    };
    team.share(&Job::new(items.len(), &numbered));
}

/// The first of some items that are handed out by number.
struct Items<T>(*mut T);

// SAFETY: every item goes to one thread (`each`), and items may be sent.
unsafe impl<T: Send> Sync for Items<T> {}

/// Restores what this thread led before, and sends the others away, also when what comes between panics.
struct Led<'a> {
    before: Option<*const Team>,
    team: &'a Team,
}

impl Drop for Led<'_> {
    fn drop(&mut self) {
        LED.set(self.before);
        self.team.over.store(true, Ordering::Release);
    }
}

/// Inside a shared loop its thread leads no one; then it does again.
struct LedAgain(Option<*const Team>);

impl Drop for LedAgain {
    fn drop(&mut self) {
        LED.set(self.0);
    }
}

/// A loop: its tasks are taken by number.
struct Job<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    count: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl<'a> Job<'a> {
    fn new(count: usize, task: &'a (dyn Fn(usize) + Sync)) -> Self {
        Self { task, count, next: AtomicUsize::new(0), panic: Mutex::default() }
    }

    /// Takes tasks until there are none, or one has panicked.
    fn work(&self) {
        let tasks = || {
            let number = || Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|i| *i < self.count);
            std::iter::from_fn(number).for_each(self.task);
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(tasks)) {
            self.next.store(self.count, Ordering::Relaxed);
            self.panic.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(panic);
        }
    }
}

/// One thread that leads and others that are awake.
#[derive(Default)]
struct Team {
    /// Jobs so far.
    jobs: AtomicUsize,
    job: AtomicPtr<Job<'static>>,
    /// Threads that may be looking at the job.
    inside: AtomicUsize,
    /// Threads that are awake for it.
    awake: AtomicUsize,
    over: AtomicBool,
}

impl Team {
    /// Runs a job with whoever comes, and returns when it is done.
    fn share(&self, job: &Job) {
        self.job.store(ptr::from_ref(job).cast_mut().cast(), Ordering::SeqCst);
        self.jobs.fetch_add(1, Ordering::SeqCst);
        job.work();
        self.job.store(ptr::null_mut(), Ordering::SeqCst);
        let mut rotary = 0;
        while self.inside.load(Ordering::SeqCst) > 0 {
            rotary += 1;
            if rotary % TURNS == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        let panic = job.panic.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(panic) = panic {
            resume_unwind(panic)
        }
    }

    fn help(&self) {
        self.inside.fetch_add(1, Ordering::SeqCst);
        // SAFETY: whoever sees a job here has been counted before, and `share` takes the job away before it waits for those counted.
        if let Some(job) = unsafe { self.job.load(Ordering::SeqCst).as_ref() } {
            job.work();
        }
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    /// Helps until `over`. A thread that met this inside a loop of its own may be what others wait for, so it also ends when there has
    /// been nothing to do for [`PATIENCE`].
    fn stay_awake(&self) {
        let (mut helped, mut idle_since) = (0, Instant::now());
        loop {
            for _ in 0..LOOKS {
                if self.over.load(Ordering::Acquire) {
                    return;
                }
                let jobs = self.jobs.load(Ordering::Acquire);
                if jobs != helped {
                    helped = jobs;
                    self.help();
                    idle_since = Instant::now();
                }
                std::hint::spin_loop();
            }
            if rayon::yield_now() == Some(rayon::Yield::Executed) {
                idle_since = Instant::now();
            } else if idle_since.elapsed() > PATIENCE {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(n: u64) -> u64 {
        (0..n).into_par_iter().map(|i| (0..i % 7).into_par_iter().sum::<u64>()).sum()
    }

    #[test]
    fn parallel_loops_of_every_depth_end_while_threads_are_kept_awake() {
        let want = sum(1000);
        // several at once, each inside parallel loops of others, are what could make one wait for itself
        let got: Vec<u64> = (0..16).into_par_iter().map(|_| on_workers(|| on_workers(|| sum(1000)))).collect();
        assert_eq!(got, vec![want; 16]);
    }

    #[test]
    fn every_item_of_a_shared_loop_is_met_once() {
        let count = |items: &mut Vec<u32>| each(items, |i, item| *item += i as u32);
        let rounds = |items: &mut Vec<u32>| (0..2000).for_each(|_| count(items));
        for n in [0usize, 1, 2, 3, 100] {
            let want: Vec<u32> = (0..n as u32).map(|i| 2000 * i).collect();
            let (mut outside, mut inside) = (vec![0; n], vec![0; n]);
            rounds(&mut outside);
            on_workers(|| rounds(&mut inside));
            assert_eq!((&outside, &inside), (&want, &want));
            // teams beside each other, and a loop inside a task
            let mut all = vec![vec![0; n]; 8];
            all.par_iter_mut().for_each(|items| on_workers(|| rounds(items)));
            on_workers(|| each(&mut all, |_, items| count(items)));
            let want: Vec<u32> = (0..n as u32).map(|i| 2001 * i).collect();
            assert!(all.iter().all(|items| *items == want));
        }
    }

    #[test]
    fn a_panic_among_kept_threads_comes_through() {
        let caught = catch_unwind(|| on_workers(|| -> usize { panic!("inside") }));
        assert!(caught.is_err());
        for bad in [0, 1, 63] {
            let caught = catch_unwind(|| {
                on_workers(|| each(&mut [0; 64], |i, _| assert!(i != bad, "task {i}")));
            });
            let message = caught.err().and_then(|e| e.downcast::<String>().ok());
            assert_eq!(message.as_deref().map(String::as_str), Some(format!("task {bad}").as_str()));
        }
        assert_eq!(on_workers(|| 3), 3);
    }
}
