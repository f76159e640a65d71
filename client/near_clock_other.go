//go:build !linux

package client

import (
	"errors"
	"time"
)

// monotonic returns a clock that does not go back.
func monotonic(suspended bool) (func() time.Duration, error) {
	if suspended {
		return nil, errors.New("neargrid: NearCache.SuspendSafe works on Linux alone")
	}
	return runningClock(), nil
}
