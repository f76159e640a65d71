package client

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// playTurns runs a test with a node whose answers to GRID.LOAD are played, one after the other: the last one again and again.
func playTurns(t *testing.T, f func(t *testing.T, c *Client, n *fakeNode), answers ...string) {
	playLoad(t, func(t *testing.T, c *Client, n *fakeNode) {
		n.change(func() {
			n.script = func(conn *fakeConn, args []string) bool {
				if !strings.HasPrefix(args[0], "GRID.") {
					return false
				}
				answer := "+OK|"
				if args[0] == "GRID.LOAD" {
					answer = answers[0]
					if len(answers) > 1 {
						answers = answers[1:]
					}
				}
				conn.send("%s", answer)
				return true
			}
		})
		f(t, c, n)
	})
}

const isThere = "*2|$5|value|$1|v|"

func mustWait(ms, told int) string { return fmt.Sprintf("*3|$4|wait|:%d|:%d|", ms, told) }

func noLoader(t *testing.T) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		t.Error("the loader was called")
		return "", nil
	}
}

// loadedAfter is how long GetOrLoad takes to return "v", without its loader.
func loadedAfter(t *testing.T, c *Client) time.Duration {
	t.Helper()
	began := time.Now()
	if got, err := c.GetOrLoad(context.Background(), "k", 0, noLoader(t)); got != "v" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	return time.Since(began)
}

// TestTurnTold: who is told that another one's load is over asks at once, and not before.
func TestTurnTold(t *testing.T) {
	playTurns(t, func(t *testing.T, c *Client, n *fakeNode) {
		go func() {
			time.Sleep(3 * time.Second)
			for _, conn := range n.trackers() {
				conn.invalidate("another")
				conn.invalidate("k")
			}
		}()
		if d := loadedAfter(t, c); d != 3*time.Second || n.count("GRID.LOAD k 10000") != 2 {
			t.Errorf("after %v, and %d questions; want 3 s and 2", d, n.count("GRID.LOAD"))
		}
	}, mustWait(9000, 1), isThere)
}

// TestTurnTokenOver: where nothing is said, who waits asks when the token's time is over.
func TestTurnTokenOver(t *testing.T) {
	playTurns(t, func(t *testing.T, c *Client, n *fakeNode) {
		if d := loadedAfter(t, c); d != 9*time.Second || n.count("GRID.LOAD") != 2 {
			t.Errorf("after %v, and %d questions; want 9 s and 2", d, n.count("GRID.LOAD"))
		}
	}, mustWait(9000, 1), isThere)
}

// TestTurnConnectionLost: nobody would be told on a connection that has failed, so who waits asks again.
func TestTurnConnectionLost(t *testing.T) {
	playTurns(t, func(t *testing.T, c *Client, n *fakeNode) {
		go func() {
			time.Sleep(time.Second)
			for _, conn := range n.trackers() {
				conn.close()
			}
		}()
		if d := loadedAfter(t, c); d < time.Second || d > 2*time.Second {
			t.Errorf("after %v, want soon after 1 s", d)
		}
	}, mustWait(9000, 1), isThere)
}

// TestTurnUntold: who cannot be told asks again, seldom enough; and so does who is told again and again, without that anything
// has changed.
func TestTurnUntold(t *testing.T) {
	for told := range 2 {
		playTurns(t, func(t *testing.T, c *Client, n *fakeNode) {
			script := n.script
			n.change(func() {
				n.script = func(conn *fakeConn, args []string) bool {
					done := script(conn, args)
					if args[0] == "GRID.LOAD" && told == 1 {
						conn.invalidate("k")
					}
					return done
				}
			})
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if _, err := c.GetOrLoad(ctx, "k", 0, noLoader(t)); err != context.DeadlineExceeded {
				t.Errorf("%v", err)
			}
			synctest.Wait()
			if asked := n.count("GRID.LOAD"); asked < 40 || asked > 90 { // up to 4 a second at first, and one each 125 to 250 ms then
				t.Errorf("told %d: %d questions in 10 s", told, asked)
			}
		}, mustWait(60_000, told))
	}
}

// TestTurnAbandoned: who gives up before the token is there gives it back as it comes, so that others need not wait.
func TestTurnAbandoned(t *testing.T) {
	playLoad(t, func(t *testing.T, c *Client, n *fakeNode) {
		n.change(func() {
			n.script = func(conn *fakeConn, args []string) bool {
				switch args[0] {
				case "GRID.LOAD":
					time.AfterFunc(time.Second, func() { conn.send("*3|$4|load|:4711|:10000|") })
				case "GRID.PASS":
					conn.send(":1|")
				default:
					return false
				}
				return true
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if _, err := c.GetOrLoad(ctx, "k", 0, noLoader(t)); err != context.DeadlineExceeded {
			t.Errorf("%v", err)
		}
		time.Sleep(400 * time.Millisecond)
		if got := n.count("GRID.PASS"); got != 0 {
			t.Errorf("%d times GRID.PASS before the token is there", got)
		}
		time.Sleep(200 * time.Millisecond)
		if got := n.count("GRID.PASS k 4711"); got != 1 {
			t.Errorf("%d times GRID.PASS, want 1", got)
		}
	})
}

// TestTurnNoToken: where there is no token to be had the value is loaded, returned, and not put in.
func TestTurnNoToken(t *testing.T) {
	playTurns(t, func(t *testing.T, c *Client, n *fakeNode) {
		got, err := c.GetOrLoad(context.Background(), "k", 0, func(context.Context) (string, error) { return "own", nil })
		if got != "own" || err != nil || n.count("GRID.FILL")+n.count("SET") > 0 {
			t.Errorf("%q, %v; %d writes", got, err, n.count("GRID.FILL")+n.count("SET"))
		}
	}, "*3|$4|load|:0|:0|")
}

// TestTurnPlain: a server that has no GRID.LOAD is asked once on each connection.
func TestTurnPlain(t *testing.T) {
	playLoad(t, func(t *testing.T, c *Client, n *fakeNode) {
		for i := range 3 {
			key := fmt.Sprint("k", i)
			got, err := c.GetOrLoad(context.Background(), key, 0, func(context.Context) (string, error) { return "v", nil })
			if got != "v" || err != nil || n.count("SET "+key+" v NX") != 1 {
				t.Errorf("%q, %v; set %d times", got, err, n.count("SET "+key+" v NX"))
			}
		}
		if n.count("GRID.LOAD") != 1 {
			t.Errorf("it was asked %d times", n.count("GRID.LOAD"))
		}
	})
}

// TestTurnStrange: replies that are none, and bounds of LoadTime.
func TestTurnStrange(t *testing.T) {
	for _, answer := range []string{"+OK|", "*0|", "*3|$4|load|+x|:1|", "*3|$4|what|:1|:1|", "*2|$4|wait|:1|", "-ERR no|"} {
		playTurns(t, func(t *testing.T, c *Client, n *fakeNode) {
			if got, err := c.GetOrLoad(context.Background(), "k", 0, noLoader(t)); err == nil {
				t.Errorf("%s: %q, and no error", answer, got)
			}
		}, answer)
	}
	for _, d := range []time.Duration{-1, time.Microsecond, time.Hour + 1} {
		if _, err := (Options{LoadTime: d}).withDefaults(); err == nil {
			t.Errorf("LoadTime %v is taken", d)
		}
	}
}
