package loadtest

import (
	"time"

	"golang.org/x/sys/unix"
)

// preciseSleeps takes away the 50 us by which the kernel may prolong this thread's sleeps.
func preciseSleeps() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

// sleep pauses the thread in the kernel. A signal, such as the Go scheduler sends, does not shorten it.
func sleep(d time.Duration) {
	left := unix.NsecToTimespec(d.Nanoseconds())
	for unix.Nanosleep(&left, &left) == unix.EINTR {
	}
}
