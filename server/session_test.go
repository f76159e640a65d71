package server

import (
	"bytes"
	"strings"
	"testing"

	"github.com/neargrid/neargrid/protocol"
)

// slowClient is a session whose client reads only when it is told to. It holds a value of 100 KiB.
type slowClient struct {
	*Session
	t *testing.T
}

const slowValueBytes = 100 << 10

func newSlowClient(t *testing.T) slowClient {
	t.Helper()
	srv, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.store.Close)
	c := slowClient{srv.newSession(noLoop{t}, connInfo{}).(*Session), t}
	c.Feed(protocol.AppendCommand(nil, "SET", "big", strings.Repeat("x", slowValueBytes)))
	c.Sent(len(c.Out()))
	return c
}

// gets are n commands whose replies take slowValueBytes each.
func gets(n int) []byte { return bytes.Repeat(protocol.AppendCommand(nil, "GET", "big"), n) }

// read takes all replies there are, until there is nothing more to say.
func (c slowClient) read() (replies int) {
	for {
		out := c.Out()
		if len(out) == 0 {
			return replies
		}
		replies += bytes.Count(out, []byte("$"))
		c.Sent(len(out))
	}
}

// Output is bounded within one piece of input too: it may hold thousands of commands with large replies.
func TestOutputPausesAPipeline(t *testing.T) {
	c := newSlowClient(t)
	defer c.Closed()
	const commands = 100
	c.Feed(gets(commands))
	if got, most := len(c.Out()), outputPauseBytes+2*slowValueBytes; got > most {
		t.Errorf("%d GETs of %d bytes leave %d bytes to be sent, want at most %d", commands, slowValueBytes, got, most)
	}
	if got := c.read(); got != commands {
		t.Errorf("%d replies to %d GETs", got, commands)
	}
}

// A client that has sent its commands and shut down its side gets all replies, however slowly it reads.
func TestEOFWaitsForPausedInput(t *testing.T) {
	c := newSlowClient(t)
	defer c.Closed()
	const commands = 30
	for range 3 {
		c.Feed(gets(commands / 3))
	}
	c.EOF()
	if _, _, closing := c.Wants(); closing {
		t.Errorf("the session wants to close with %d bytes of input unexecuted", len(c.in))
	}
	if got := c.read(); got != commands {
		t.Errorf("%d replies to %d GETs before the end of input", got, commands)
	}
	if _, _, closing := c.Wants(); !closing {
		t.Error("the session does not want to close after its last reply")
	}
}
