package exactsleep

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// OnThread gives the goroutine a thread of its own and takes away the 50 us by which the kernel may prolong that thread's
// sleeps. restore undoes both. (A thread that ended with its goroutine would take along the processes that it has started, where
// these are to die with their parent.)
func OnThread() (restore func()) {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	return func() {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // 0: the default
		runtime.UnlockOSThread()
	}
}

// Sleep pauses the thread in the kernel. A signal, such as the Go scheduler sends, does not shorten it.
func Sleep(d time.Duration) {
	left := unix.NsecToTimespec(d.Nanoseconds())
	for unix.Nanosleep(&left, &left) == unix.EINTR {
	}
}
