package client

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// monotonic returns a clock that does not go back; with suspended, one that goes on while the machine is suspended.
func monotonic(suspended bool) (func() time.Duration, error) {
	if !suspended {
		return runningClock(), nil
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return nil, fmt.Errorf("neargrid: NearCache.SuspendSafe: CLOCK_BOOTTIME: %w", err)
	}
	return func() time.Duration {
		var ts unix.Timespec
		if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
			return 1<<63 - 1 // past every lease: nothing is used
		}
		return time.Duration(ts.Nano())
	}, nil
}
