//go:build !linux

package exactsleep

import "time"

// OnThread has nothing to do here.
func OnThread() (restore func()) { return func() {} }

// Sleep is as exact as the system's timers are.
func Sleep(d time.Duration) { time.Sleep(d) }
