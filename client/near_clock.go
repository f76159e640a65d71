package client

import (
	"errors"
	"math"
	"time"

	"github.com/neargrid/neargrid/internal/clock"
)

var errNoBoot = errors.New("neargrid: NearCache.SuspendSafe works on Linux alone: here no clock goes on while the machine is suspended")

// monotonic returns a clock that does not go back; with suspended, one that goes on while the machine is suspended.
func monotonic(suspended bool) (func() time.Duration, error) {
	if !suspended {
		base := time.Now()
		return func() time.Duration { return time.Since(base) }, nil
	}
	if _, ok := clock.Boot(); !ok {
		return nil, errNoBoot
	}
	return func() time.Duration {
		if now, ok := clock.Boot(); ok {
			return now
		}
		return math.MaxInt64 // past every lease: nothing is used
	}, nil
}
