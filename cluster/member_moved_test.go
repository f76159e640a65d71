package cluster

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// linesOf are a transcript's lines about a node.
func linesOf(node, told string) string {
	var lines []string
	for line := range strings.Lines(told) {
		if strings.HasPrefix(line, node+" ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}

// TestMemberMoved has a node come back at another address while one of the others finds its former start dead only later, and tells of
// it. Packets to the one that knows already are lost, so that it hears of the new start by streams alone.
func TestMemberMoved(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		a, b, c := three(t, n)
		n.Isolate(hostA)
		knows(t, 2*hinted, "a alive, b failed, c failed", a)
		<-time.After(time.Second) // a has no news of that left that b would hear
		c.crash(t)
		n.Rejoin(hostA)
		b.mustJoin(t, hostA+":7000") // it is told at once of the new start, and cannot believe it yet
		moved := netip.MustParseAddrPort(hostC + ":7001")
		n.DropPackets(func(from, to netip.AddrPort) bool { return from == moved && to.Addr().String() == hostA })
		a.told.take()
		b.told.take()

		c = openMember(t, n.Host(hostC), moved.String(), again("c", 3), rightKeys)
		c.mustJoin(t, hostA+":7000")
		expect(t, "a is told", linesOf("c", a.told.take()), "c failed -> alive, c/63000000 -> c/03000000")
		if got := b.info("c"); got.Status != MemberAlive || got.Member != identity("c").Member {
			t.Fatalf("b has found the former start dead too early for this test: %+v", got)
		}
		knows(t, 3*hinted, "a alive, b alive, c alive", a, b, c)
		within(t, 3*hinted, "b knows the new start", func() bool { return b.info("c").Peer == moved })
		<-time.After(time.Minute)
		knows(t, 0, "a alive, b alive, c alive", a, b, c)
		expect(t, "a is told later", linesOf("c", a.told.take()), "")
		expect(t, "b is told", linesOf("c", b.told.take()), "c alive -> failed\nc failed -> alive, c/63000000 -> c/03000000")
	})
}

// again is the identity of a later start.
func again(name string, inc byte) Identity {
	return with(identity(name), func(id *Identity) { id.Member.Inc = core.Incarnation{inc} })
}

// TestMemberStall joins through a node far away that takes gossip streams and says nothing more. Whoever does not want to wait for it
// need not, and who changes tags waits for one attempt at most.
func TestMemberStall(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		silent := open(t, n.Host(hostB), hostB+":7000", identity("b"), rightKeys)
		silent.Handle(Gossip, func(*Conn) {})
		n.SetLatency(hostB, hostA, 700*time.Millisecond)
		join := func(m *testMember, limit time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			return m.Join(ctx, []string{hostB + ":7000"})
		}
		took := func(about string, limit time.Duration, f func() error, want error) {
			t.Helper()
			start := time.Now()
			err := f()
			if took := time.Since(start); took > limit || !errors.Is(err, want) {
				t.Errorf("%s: %v after %v, want %v within %v", about, err, took, want, limit)
			}
		}
		a := member(t, n, "a")
		for _, limit := range []time.Duration{3 * time.Second, time.Minute} {
			took("join", limit, func() error { return join(a, limit) }, context.DeadlineExceeded)
		}

		for _, end := range []func() error{
			func() error { return a.Leave(t.Context()) },
			func() error { return nil },
		} {
			joined := make(chan error, 1)
			go func() { joined <- join(a, time.Minute) }()
			exchanges := func() bool { return len(a.using) == 1 }
			within(t, openTimeout, "an exchange is under way", exchanges)
			took("tags", exchangeTimeout, func() error { return a.SetTags(Tags{Zone: "y"}) }, nil)
			within(t, openTimeout, "another exchange is under way", exchanges)
			took("leave", time.Second, end, nil) // there is nobody to say goodbye to
			took("shutdown", 0, a.Shutdown, nil)
			took("the join", 0, func() error { return <-joined }, net.ErrClosed)
			a.crash(t)
			a = member(t, n, "a")
		}
	})
}
