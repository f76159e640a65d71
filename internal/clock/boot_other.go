//go:build !linux

package clock

import "time"

// sinceBoot: elsewhere Go's monotonic clock goes on while the machine is suspended, or nothing can be known.
func sinceBoot() func() time.Duration { return nil }
