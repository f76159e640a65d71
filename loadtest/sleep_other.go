//go:build !linux

package loadtest

import "time"

func preciseSleeps() {}

func sleep(d time.Duration) { time.Sleep(d) }
