//! Waking up in time: a poll's own time-out counts in milliseconds, messages are due in
//! between.

use std::io;
use std::time::Duration;

use mio::{Poll, Token};

/// What the poll calls the timer.
pub(crate) const TIMER: Token = Token(usize::MAX);

#[cfg(target_os = "linux")]
mod system {
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::Interest;
    use mio::unix::SourceFd;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::{Duration, Poll, TIMER, io};

    /// A timer descriptor in the poll.
    #[derive(Debug)]
    pub(crate) struct Timer(OwnedFd);

    impl Timer {
        pub(crate) fn new(poll: &Poll) -> io::Result<Timer> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            let source = timer.as_raw_fd();
            poll.registry()
                .register(&mut SourceFd(&source), TIMER, Interest::READABLE)?;
            Ok(Timer(timer))
        }

        /// Ends the next poll after this time, or `longest`; the time-out to poll with.
        pub(crate) fn arm(&mut self, after: Duration, longest: Duration) -> io::Result<Duration> {
            let after = after.max(Duration::from_nanos(1));
            let value = Timespec {
                tv_sec: after.as_secs() as _,
                tv_nsec: after.subsec_nanos() as _,
            };
            let once = Itimerspec {
                it_interval: Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                },
                it_value: value,
            };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
            Ok(longest)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{Duration, Poll, io};

    /// Elsewhere the poll's time-out has to do.
    #[derive(Debug)]
    pub(crate) struct Timer;

    impl Timer {
        pub(crate) fn new(_poll: &Poll) -> io::Result<Timer> {
            Ok(Timer)
        }

        pub(crate) fn arm(&mut self, after: Duration, longest: Duration) -> io::Result<Duration> {
            Ok(after.min(longest))
        }
    }
}

pub(crate) use system::Timer;
