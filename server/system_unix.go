//go:build unix

package server

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTimes is the processor time this process has used.
func cpuTimes() (user, sys time.Duration) {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0, 0
	}
	return time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano())
}

// osName is what uname says: system, release, machine.
func osName() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return runtime.GOOS
	}
	text := func(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }
	return text(u.Sysname[:]) + " " + text(u.Release[:]) + " " + text(u.Machine[:])
}

// processRSS is the resident memory of this process in bytes; where the system does not tell, the most it ever was.
func processRSS() int64 {
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(b); len(fields) > 1 {
			pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			return pages * int64(os.Getpagesize())
		}
	}
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return int64(u.Maxrss)
}

// systemMemory is the machine's memory in bytes; 0 where it is not known.
func systemMemory() int64 {
	b, _ := os.ReadFile("/proc/meminfo")
	if fields := bytes.Fields(b); len(fields) > 1 && string(fields[0]) == "MemTotal:" {
		kb, _ := strconv.ParseInt(string(fields[1]), 10, 64)
		return kb << 10
	}
	return 0
}
