package cluster

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/serf/serf"
)

// startSerf runs Serf over a transport, with encrypted gossip.
func startSerf(t *testing.T, tr *Transport) *serf.Serf {
	t.Helper()
	c := serf.DefaultConfig()
	c.NodeName = string(tr.Identity().Member.Node)
	c.LogOutput = io.Discard
	c.LeavePropagateDelay = 100 * time.Millisecond
	c.ReconnectInterval = time.Second
	c.MemberlistConfig.LogOutput = io.Discard
	c.MemberlistConfig.Transport = tr.Memberlist()
	c.MemberlistConfig.SecretKey = rightKeys.GossipKey()
	c.MemberlistConfig.GossipInterval = 20 * time.Millisecond
	s, err := serf.Create(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sees waits until a node knows of so many members with a status.
func sees(t *testing.T, s *serf.Serf, count int, status serf.MemberStatus) {
	t.Helper()
	within(t, time.Minute, fmt.Sprintf("%s sees %d nodes %s", s.LocalMember().Name, count, status), func() bool {
		n := 0
		for _, m := range s.Members() {
			if m.Status == status {
				n++
			}
		}
		return n == count
	})
}

// TestSerf forms a grid of three, over the one port, and ends it.
func TestSerf(t *testing.T) {
	overBoth(t, func(t *testing.T, host func(int) (Network, string)) {
		var nodes []*serf.Serf
		var first string
		for i, name := range []string{"a", "b", "c"} {
			network, listen := host(i)
			tr := open(t, network, listen, identity(name), rightKeys)
			s := startSerf(t, tr)
			nodes = append(nodes, s)
			if i == 0 {
				first = tr.Addr().String()
			} else if _, err := s.Join([]string{first}, false); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range nodes {
			sees(t, s, 3, serf.StatusAlive)
		}
		if err := nodes[2].Leave(); err != nil {
			t.Error(err)
		}
		for _, s := range nodes[:2] {
			sees(t, s, 1, serf.StatusLeft)
		}
		for _, s := range nodes {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestSerfCut isolates a node: the others find it has failed, and find it again. A node may be stopped meanwhile, and
// another with the wrong secret does not get in.
func TestSerfCut(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		a := startSerf(t, open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys))
		b := startSerf(t, open(t, n.Host(hostB), hostB+":7000", identity("b"), rightKeys))
		c := startSerf(t, open(t, n.Host(hostC), hostC+":7000", identity("c"), rightKeys))
		for _, s := range []*serf.Serf{b, c} {
			if _, err := s.Join([]string{hostA + ":7000"}, false); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range []*serf.Serf{a, b, c} {
			sees(t, s, 3, serf.StatusAlive)
		}

		n.Isolate(hostC)
		sees(t, a, 1, serf.StatusFailed)
		sees(t, c, 2, serf.StatusFailed)
		n.Rejoin(hostC)
		for _, s := range []*serf.Serf{a, b, c} {
			sees(t, s, 3, serf.StatusAlive)
		}

		const hostD = "10.0.0.4"
		d := startSerf(t, open(t, n.Host(hostD), hostD+":7000", identity("d"), wrongKeys))
		if _, err := d.Join([]string{hostA + ":7000"}, false); err == nil {
			t.Error("joined with the wrong secret")
		}
		for _, s := range []*serf.Serf{d, c, b, a} {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
		}
	})
}
