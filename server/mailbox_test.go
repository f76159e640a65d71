package server

import "testing"

// A loop wakes for the first post only, and not at all while it is up.
func TestMailboxWakesOnce(t *testing.T) {
	wakes, ran := 0, 0
	m := mailbox{wake: func() { wakes++ }}
	check := func(what string, wantWakes, wantRan int) {
		t.Helper()
		if wakes != wantWakes || ran != wantRan {
			t.Errorf("%s: woken %d times and ran %d, want %d and %d", what, wakes, ran, wantWakes, wantRan)
		}
	}
	post := func() bool { return m.post(func() { ran++ }) }
	post()
	check("a post while the owner is up", 0, 0)
	if m.sleep() {
		t.Error("the owner may sleep with mail waiting")
	}
	m.run()
	check("run", 0, 1)
	if !m.sleep() {
		t.Error("the owner may not sleep without mail")
	}
	post()
	post()
	check("two posts while the owner sleeps", 1, 1)
	m.awake()
	m.run()
	check("run", 1, 3)
	post()
	m.stop()
	check("stop", 1, 4)
	if post() {
		t.Error("a post after stop was taken")
	}
	check("a post after stop", 1, 4)
}
