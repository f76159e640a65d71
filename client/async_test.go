package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/protocol"
)

// TestBeginAfter: what was begun on a connection is followed on that one, or not sent; replies come in order, each side in its protocol.
func TestBeginAfter(t *testing.T) {
	s := testredis.StartNeargrid(t)
	c, err := Connect(context.Background(), []string{s.Addr}, Options{GridDoors: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	side := Side{DB: 2, Resp: 2}
	replies := make(chan []protocol.Value, 3)
	begin := func(after Sent, line ...string) (Sent, error) {
		return c.Begin(s.Addr, side, after, [][]string{line}, func(v []protocol.Value, err error) {
			if err != nil {
				t.Error(err)
			}
			replies <- append([]protocol.Value{}, v...)
		})
	}
	var first Sent
	for { // the connection is made meanwhile
		if first, err = begin(0, "SET", "k", "v"); err == nil {
			break
		}
		if !errors.Is(err, errDialing) {
			t.Fatal(err)
		}
		c.nodeAt(s.Addr).sideLane(side).get(context.Background())
	}
	if second, err := begin(first, "GET", "k"); err != nil || second != first {
		t.Fatalf("behind the first: %d, %v", second, err)
	}
	if _, err := begin(first, "HGETALL", "none"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"+OK\r\n", "$1\r\nv\r\n", "*0\r\n"} {
		if got := string(protocol.AppendValue(nil, (<-replies)[0])); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	c.nodeAt(s.Addr).sideLane(side).conn.Load().fail(errors.New("cut by the test"))
	c.nodeAt(s.Addr).sideLane(side).get(context.Background()) // another
	var e *ConnError
	if _, err := begin(first, "GET", "k"); !errors.As(err, &e) || e.Sent || !errors.Is(err, errBroken) {
		t.Fatalf("behind what went by a connection that is lost: %v", err)
	}
	if again, err := begin(0, "GET", "k"); err != nil || again == first {
		t.Fatalf("behind nothing: %d, %v", again, err)
	}
	<-replies
}

// TestDialEnds: Dial at a node that takes connections and says nothing ends with its context, and with the client.
func TestDialEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, "a:1", "b:1")
		f.nodes["b:1"].deaf = true
		c := f.connect(t, Options{DialTimeout: time.Hour})
		began := time.Now()
		dial := func(d time.Duration) error {
			_, err := c.Dial(within(t, d), "b:1", Side{Resp: 3})
			return err
		}
		if err := dial(time.Second); !errors.Is(err, context.DeadlineExceeded) || !NotExecuted(err) || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		time.AfterFunc(time.Second, c.Close)
		if err := dial(time.Minute); err == nil || time.Since(began) != 2*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
