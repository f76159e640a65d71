package main

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

// nearReader is a client that keeps what it has read, and drops what it is told to.
type nearReader struct {
	t    *testing.T
	conn *testredis.Conn
	held map[string]string
}

func newNearReader(t *testing.T, n *process) *nearReader {
	t.Helper()
	conn, err := testredis.Dial(n.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := &nearReader{t, conn, map[string]string{}}
	r.call("HELLO", "3")
	r.call("CLIENT", "TRACKING", "ON")
	return r
}

// call returns the reply to a command, and does what it is told before.
func (r *nearReader) call(args ...string) testredis.Value {
	r.t.Helper()
	v := r.conn.Do(r.t, args...)
	for v.Kind == testredis.Push {
		if v.Elems[1].Kind == testredis.Null {
			clear(r.held)
		}
		for _, key := range v.Elems[1].Elems {
			delete(r.held, key.Text)
		}
		var err error
		if v, err = r.conn.Receive(); err != nil {
			r.t.Fatal(err)
		}
	}
	return v
}

// holdAll reads until it holds every key. What is read before the other nodes were first asked is dropped.
func (r *nearReader) holdAll(value string) {
	r.t.Helper()
	deadline := time.Now().Add(waitMax)
	var failed testredis.Value
	for len(r.held) < testKeys {
		for i := range testKeys {
			key := "key:" + strconv.Itoa(i)
			if _, held := r.held[key]; held {
				continue
			}
			if v := r.call("GET", key); v.IsError() {
				failed = v
			} else {
				r.held[key] = v.Text
			}
		}
		r.call("PING") // what comes behind the last reply
		if time.Now().After(deadline) {
			r.t.Fatalf("it holds %d keys of %d; the last error: %q", len(r.held), testKeys, failed.Text)
		}
	}
	for key, held := range r.held {
		if held != value {
			r.t.Fatalf("%s is %q, want %q", key, held, value)
		}
	}
}

// dropsAll waits until nothing is held but what is right, without reading any of it. It says how long that took.
func (r *nearReader) dropsAll(right string) time.Duration {
	r.t.Helper()
	begin := time.Now()
	for {
		r.call("PING")
		stale := 0
		for _, held := range r.held {
			if held != right {
				stale++
			}
		}
		if took := time.Since(begin); stale == 0 || took > waitMax {
			if stale > 0 {
				r.t.Fatalf("%d keys of old values are held", stale)
			}
			return took
		}
		time.Sleep(time.Millisecond)
	}
}

// testNear: a client of one node keeps what it reads, whoever leads it, and is told of what others write through another node; also when
// a node that has read for it is killed.
func testNear(t *testing.T, g *testGrid) {
	a, b := g.nodes["a"], g.nodes["b"]
	setKeys(t, b, "near")
	r := newNearReader(t, a)
	r.holdAll("near")
	setKeys(t, b, "nearer")
	t.Logf("all is dropped %v after the last write", r.dropsAll("nearer"))
	r.holdAll("nearer")
	g.stop("c", syscall.SIGKILL)
	checkKeys(t, a, "nearer")
	setKeys(t, b, "nearest")
	t.Logf("all is dropped %v after the last write, with a node killed", r.dropsAll("nearest"))
	r.holdAll("nearest")
	g.start("c")
	a.untilWhole(3) // copies move to it, and some of what it leads: that is told as well
	setKeys(t, b, "one")
	r.dropsAll("one")
	r.holdAll("one")
}
