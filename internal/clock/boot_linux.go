package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Boot is the time since the machine was started, suspensions included; false: the system has no such clock.
func Boot() (time.Duration, bool) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano()), err == nil
}
