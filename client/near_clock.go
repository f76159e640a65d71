package client

import "time"

// runningClock counts from now on, while the machine runs.
func runningClock() func() time.Duration {
	base := time.Now()
	return func() time.Duration { return time.Since(base) }
}
