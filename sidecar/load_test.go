package sidecar

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/server"
)

// TestLoadOnce: of programs that miss a key, at a sidecar and at nodes, one loads.
func TestLoadOnce(t *testing.T) {
	r := started(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var calls atomic.Int32
	var wg sync.WaitGroup
	release := make(chan struct{})
	for i := range 6 {
		c, err := client.Connect(ctx, []string{[]string{r.socket, nodeAddr(t)}[i%2]}, client.Options{LoadTime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		wg.Go(func() {
			got, err := c.GetOrLoad(ctx, "loaded", 0, func(context.Context) (string, error) {
				calls.Add(1)
				<-release
				return "v", nil
			})
			if got != "v" || err != nil {
				t.Errorf("GetOrLoad: %q, %v", got, err)
			}
		})
	}
	eventually(t, "one loads", func() bool { return calls.Load() == 1 })
	close(release)
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("%d loaders ran, want 1", n)
	}
}

// TestLoadNotHeld: the replies of GRID.LOAD are for one alone; a client that tracks is told that it will not be told.
func TestLoadNotHeld(t *testing.T) {
	r := started(t, nil)
	a, b := r.conn(), r.conn()
	a.Do(t, "HELLO", "3")
	want(t, a, "+OK", "CLIENT TRACKING ON")
	got := short(a.Do(t, "GRID.LOAD", "once", "60000"))
	words := strings.Fields(got)
	if len(words) != 3 || words[0] != "*[$load" || words[1] == ":0" {
		t.Fatalf("GRID.LOAD: %s, want a token", got)
	}
	for range 3 {
		if got := short(a.Do(t, "GRID.LOAD", "once")); !strings.HasPrefix(got, "*[$wait :") || !strings.HasSuffix(got, " :0]") {
			t.Fatalf("GRID.LOAD again: %s", got)
		}
	}
	want(t, b, "+OK", "GRID.FILL once "+words[1][1:]+" v")
	want(t, a, "*[$value $v]", "GRID.LOAD once")
	want(t, b, ":0", "GRID.PASS once "+words[1][1:])
}

// TestLoadGone: a client of the sidecar's that goes, or the sidecar itself, holds nobody up who waits for its token; nor does an answer that
// comes when its time is over.
func TestLoadGone(t *testing.T) {
	node := dial(t, nodeAddr(t))
	mayLoad := func(what, key string) {
		t.Helper()
		eventually(t, what+": another one may load", func() bool {
			got := short(node.Do(t, "GRID.LOAD", key, "60000"))
			return strings.HasPrefix(got, "*[$load") && !strings.HasPrefix(got, "*[$load :0")
		})
	}
	load := func(c *testredis.Conn, key string) {
		t.Helper()
		if got := short(c.Do(t, "GRID.LOAD", key, "60000")); !strings.HasPrefix(got, "*[$load") {
			t.Fatalf("GRID.LOAD: %s, want a token", got)
		}
	}
	r := startedQuiet(t, nil) // a partition that moves voids tokens
	a := r.conn()
	load(a, "gone")
	load(a, "gone:2")
	a.Close()
	mayLoad("a client has gone", "gone")
	mayLoad("a client has gone", "gone:2")

	key := "late"
	f := &server.Forwarded{Resp: 2, Timeout: time.Millisecond, Args: [][]byte{[]byte("GRID.LOAD"), []byte(key), []byte("60000")}}
	owner := r.Topology().Parts[partition.Slot([]byte(key))*partitions/partition.Slots].Primary
	want(t, r.conn(), "$nil", "GET "+key)
	load(r.conn(), "{"+key+"}:other") // so the connection is there
	thaw := r.wire.freeze()
	ended := make(chan server.Answer, 1)
	r.Forward(owner, f, func(a server.Answer) { ended <- a })
	if a := <-ended; a.Outcome != server.Unknown {
		t.Errorf("outcome %d, want that nobody knows", a.Outcome)
	}
	thaw()
	mayLoad("an answer came late", key)

	load(r.conn(), "cut")
	r.wire.set(true)
	mayLoad("the sidecar is cut off", "cut")
}
