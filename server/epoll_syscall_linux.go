package server

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the hot path. They go past the Go scheduler, which is right only because none of them blocks: all
// descriptors are non-blocking, and epoll is asked with a timeout of 0.

// eventfdOne is the number 1 as an eventfd wants it; which byte it is in does not matter.
var eventfdOne = [8]byte{1}

// rawRead reads into p, which is not empty. errno is 0 and n 0 at the end of input.
func rawRead(fd int, p []byte) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// rawWrite writes p, which is not empty.
func rawWrite(fd int, p []byte) {
	unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
}

// rawSend writes p, which is not empty, to a socket; a broken one is an error, not a signal.
func rawSend(fd int, p []byte) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// rawEpollWait returns the events that are there already.
func rawEpollWait(epfd int, events []unix.EpollEvent) int {
	r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(r)
}
