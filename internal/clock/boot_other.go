//go:build !linux

package clock

import "time"

// Boot is the time since the machine was started, suspensions included. Here Go's monotonic clock goes on while the machine is suspended,
// or nothing can be known.
func Boot() (time.Duration, bool) { return 0, false }
