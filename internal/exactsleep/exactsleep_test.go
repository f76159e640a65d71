package exactsleep

import (
	"testing"
	"time"
)

func TestSleepIsNotShort(t *testing.T) {
	restore := OnThread()
	defer restore()
	for _, d := range []time.Duration{0, time.Microsecond, 100 * time.Microsecond, 2 * time.Millisecond} {
		start := time.Now()
		Sleep(d)
		if took := time.Since(start); took < d {
			t.Errorf("Sleep(%s) took %s", d, took)
		}
	}
}
