//! What a process sets once, before its first tensor.

/// Keeps candle's own threads out of our loops' way, and freed memory for the next tensor of its size.
///
/// candle's backward pass adds every gradient to zeros on a second pool of threads, which then spins beside ours; and every large
/// buffer that goes back to the system is paid for again, page by page (LOG.md, benches). A value that the user has set stays.
pub fn prepare() {
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: called first thing in `main`, when no other thread is there to read the environment.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // 32 MiB is the most that glibc takes; a larger threshold is refused, and then every large buffer is mapped anew
    for (parameter, value) in [(libc::M_MMAP_THRESHOLD, 32 << 20), (libc::M_TRIM_THRESHOLD, i32::MAX)] {
        // SAFETY: mallopt takes two numbers and is safe at any time; where it refuses, nothing changes.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Tells the user something beside the results: on stderr, in a notebook on stdout, where a word on stderr is an error.
pub fn tell(line: &str) {
    match std::env::var_os("EVCXR_IS_RUNTIME") {
        Some(_) => println!("{line}"),
        None => eprintln!("{line}"),
    }
}

/// A command whose output nobody reads any more (`dxlab runs list | head -1`) ends as other programs do, without a word.
pub fn end_with_the_pipe() {
    #[cfg(unix)]
    // SAFETY: called first thing in `main`; sockets are written with MSG_NOSIGNAL and are not touched by it.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Gives freed memory back to the system, so that a peak measured from here on is that of what comes.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes a number and only releases pages that nothing uses.
    unsafe {
        libc::malloc_trim(0);
    }
}
