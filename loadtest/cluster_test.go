package loadtest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/protocol"
)

// fakeCluster is two nodes, "node:1" and "node:2". What CLUSTER SLOTS tells may differ from who really has a slot.
type fakeCluster struct {
	fake
	mu     sync.Mutex
	told   [slots]int // 1 or 2
	real   [slots]int // 1 or 2; 3: node 1 is handing it over to node 2, and asks to ask there
	asking map[*fakeConn]bool
	moved  int
	asked  int
}

func newFakeCluster() *fakeCluster {
	c := &fakeCluster{asking: map[*fakeConn]bool{}}
	for slot := range slots {
		c.told[slot], c.real[slot] = 1+slot/(slots/2), 1+slot/(slots/2)
	}
	c.handle = c.answer
	return c
}

func (c *fakeCluster) answer(conn *fakeConn, words []string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch words[0] {
	case "CLUSTER":
		return c.slots()
	case "ASKING":
		c.asking[conn] = true
		return "+OK\r\n"
	}
	asking := c.asking[conn]
	delete(c.asking, conn)
	slot := client.Slot(words[1])
	switch owner := c.real[slot]; {
	case owner == 3 && conn.addr == "node:1":
		c.asked++
		return fmt.Sprintf("-ASK %d node:2\r\n", slot)
	case owner == 3 && asking, fmt.Sprintf("node:%d", owner) == conn.addr:
		return c.store(conn, words)
	case owner == 3:
		owner = 1
		fallthrough
	default:
		c.moved++
		return fmt.Sprintf("-MOVED %d node:%d\r\n", slot, owner)
	}
}

// slots tells in as many pieces as there are changes of the owner.
func (c *fakeCluster) slots() string {
	var pieces strings.Builder
	count := 0
	for first := 0; first < slots; {
		last := first
		for last+1 < slots && c.told[last+1] == c.told[first] {
			last++
		}
		fmt.Fprintf(&pieces, "*3\r\n:%d\r\n:%d\r\n*3\r\n$4\r\nnode\r\n:%d\r\n$2\r\nid\r\n", first, last, c.told[first])
		count++
		first = last + 1
	}
	return fmt.Sprintf("*%d\r\n%s", count, pieces.String())
}

func (c *fakeCluster) target() *RESP {
	t := c.fake.target()
	t.Addr, t.Cluster = "node:1", true
	return t
}

func clusterRun(t *testing.T, target *RESP, operations uint64) *Measured {
	t.Helper()
	w := workload(t, "a", 1000)
	w.Choice, w.Limit = Uniform, operations
	m := measure(t, Options{Target: target, Workload: w, Clients: 2, Depth: 4})
	if err := m.Check(); err != nil || m.Operations() != operations {
		t.Fatalf("%d operations of %d: %v", m.Operations(), operations, err)
	}
	return m
}

func TestClusterRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		clusterRun(t, c.target(), 1000)
		if c.moved > 0 || c.conns != 1+2*2 {
			t.Errorf("%d commands went to the wrong node; %d connections, want one to ask and two for each client", c.moved, c.conns)
		}
	})
}

// A slot that has moved is asked for where it went, at once and from then on; what is known is looked at again.
func TestMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		for slot := range c.real {
			c.real[slot] = 3 - c.real[slot]
		}
		target := c.target()
		clusterRun(t, target, 5000)
		if c.moved == 0 || c.moved > 1100 {
			t.Errorf("%d commands were sent on, want at most one for each of 1000 keys and a few under way", c.moved)
		}
		c.told = c.real
		time.Sleep(2 * refreshPauseMin)
		target.topology.moved(0, "node:1") // wrong again: the next that is sent on makes the rest right too
		c.moved = 0
		clusterRun(t, target, 1000)
		if c.moved > 20 {
			t.Errorf("%d commands were sent on by a cluster that tells who has what", c.moved)
		}
	})
}

func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		for slot := range slots / 4 {
			c.real[slot] = 3
		}
		clusterRun(t, c.target(), 1000)
		if c.asked < 100 || c.moved > 0 {
			t.Errorf("%d commands were sent to ask, %d were sent on", c.asked, c.moved)
		}
	})
}

// Nodes that send a command to each other without an end do not keep it for ever.
func TestRedirectedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		c.handle = func(conn *fakeConn, words []string) string {
			if words[0] == "CLUSTER" {
				return c.slots()
			}
			return fmt.Sprintf("-MOVED %d node:%d\r\n", client.Slot(words[1]), 3-int(conn.addr[len("node:")]-'0'))
		}
		w := workload(t, "a", 1000)
		w.Limit = 100
		m := measure(t, Options{Target: c.target(), Workload: w, Clients: 1, Depth: 1})
		if count, first := m.failure(Redirected); count != 100 || !strings.Contains(first, "MOVED") {
			t.Errorf("%d operations given up, first %q, want 100", count, first)
		}
	})
}

func TestParseSlots(t *testing.T) {
	number := func(n int64) protocol.Value { return protocol.Value{Kind: ':', Int: n} }
	text := func(s string) protocol.Value { return protocol.Value{Kind: '$', Str: []byte(s)} }
	list := func(v ...protocol.Value) protocol.Value { return protocol.Value{Kind: '*', Elems: v} }
	node := func(host string) protocol.Value { return list(text(host), number(7000), text("id")) }

	owners, err := parseSlots(list(list(number(0), number(9), node("h")), list(number(20), number(slots-1), node(""))), "asked:1")
	if err != nil || owners[9] != "h:7000" || owners[10] != "" || owners[20] != "asked:7000" || owners[slots-1] != "asked:7000" {
		t.Errorf("%v: %q %q %q", err, owners[9], owners[10], owners[20])
	}
	for name, reply := range map[string]protocol.Value{
		"nobody":         list(),
		"no list":        text("x"),
		"no node":        list(list(number(0), number(9))),
		"no port":        list(list(number(0), number(9), list(text("h")))),
		"beyond":         list(list(number(0), number(slots), node("h"))),
		"below":          list(list(number(-1), number(1), node("h"))),
		"the wrong way":  list(list(number(2), number(1), node("h"))),
		"lists of words": list(list(text("0"), text("9"), text("h"))),
	} {
		if owners, err := parseSlots(reply, "asked:1"); err == nil {
			t.Errorf("%s: no error, %q", name, owners[0])
		}
	}
}
