package clock

import (
	"testing"
	"time"
)

// TestLook: a suspension counts once, is added to Now, and everybody can tell; a clock that is read late is none.
func TestLook(t *testing.T) {
	var running, slept, late time.Duration
	c := newClock(time.Now(), func() time.Duration { return running }, func() time.Duration {
		at := 77*time.Hour + running + slept
		running += late // whoever reads the other one then has waited
		return at
	})
	expect := func(what string, now time.Duration, sleeps uint64) {
		t.Helper()
		if got := c.Look(); got != sleeps || c.Sleeps() != sleeps {
			t.Errorf("%s: %d sleeps, %d, want %d", what, got, c.Sleeps(), sleeps)
		}
		if got := c.Now(); got != now {
			t.Errorf("%s: %v, want %v", what, got, now)
		}
	}
	expect("at the start", 0, 0)
	running += time.Second
	expect("a second later", time.Second, 0)
	late = 5 * time.Millisecond
	expect("a thread that waits", time.Second+5*time.Millisecond, 0)
	late = 0
	slept += 300 * time.Millisecond
	if got := c.Now(); got != running {
		t.Errorf("not looked yet: %v", got)
	}
	expect("after a sleep", running+slept, 1)
	expect("again", running+slept, 1)
	slept += sleepMin / 2
	expect("half of what counts", running+slept-sleepMin/2, 1)
	slept += sleepMin / 2
	expect("the other half", running+slept, 2)
}

// TestSystem: without a suspension there is none, whatever the system's clocks are, and Now goes on.
func TestSystem(t *testing.T) {
	c := New()
	last := c.Now()
	for range 10_000 {
		if n := c.Look(); n != 0 {
			t.Fatalf("%d suspensions", n)
		}
		now := c.Now()
		if now < last {
			t.Fatalf("%v after %v", now, last)
		}
		last = now
	}
}

func BenchmarkNow(b *testing.B) {
	c := New()
	for b.Loop() {
		c.Now()
	}
}

func BenchmarkLook(b *testing.B) {
	c := New()
	for b.Loop() {
		c.Look()
	}
}
