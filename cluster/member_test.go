package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/goleak"

	"github.com/neargrid/neargrid/cluster/core"
)

// hinted is how long a failure may go unnoticed in a small grid.
const hinted = 3 * time.Second

// testMember is a node that takes part in membership, and what it was told.
type testMember struct {
	*Membership
	transport *Transport
	told      transcript
}

// transcript gathers lines.
type transcript struct {
	sync.Mutex
	lines []string
}

func (s *transcript) add(line string) {
	s.Lock()
	defer s.Unlock()
	s.lines = append(s.lines, line)
}

// take returns the lines so far and forgets them. What is under way is added before: Members shows a change a little earlier than
// OnChange is called with it.
func (s *transcript) take() string {
	synctest.Wait()
	s.Lock()
	defer s.Unlock()
	all := strings.Join(s.lines, "\n")
	s.lines = nil
	return all
}

// openMember starts a node at an address. It crashes when the test ends, if it has not been stopped before.
func openMember(t *testing.T, network Network, listen string, id Identity, keys *Keys,
	change ...func(*MembershipOptions)) *testMember {
	t.Helper()
	m := &testMember{transport: open(t, network, listen, id, keys)}
	o := MembershipOptions{
		Transport: m.transport, Keys: keys, Node: id.Member.Node, Tags: Tags{Zone: "z", Version: "1.0"},
		OnChange: func(e MemberEvent) { m.told.add(describe(e)) },
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	if m.Membership, err = OpenMembership(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.crash(t) })
	return m
}

// member starts a node of gridOne by its letter, at its usual address.
func member(t *testing.T, n *MemNetwork, name string, change ...func(*MembershipOptions)) *testMember {
	t.Helper()
	host := map[string]string{"a": hostA, "b": hostB, "c": hostC}[name]
	return openMember(t, n.Host(host), host+":7000", identity(name), rightKeys, change...)
}

// crash ends a node without a word to others.
func (m *testMember) crash(t *testing.T) {
	t.Helper()
	if err := m.Shutdown(); err != nil {
		t.Error(err)
	}
	if err := m.transport.Close(); err != nil {
		t.Error(err)
	}
}

func (m *testMember) mustJoin(t *testing.T, addrs ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := m.Join(ctx, addrs); err != nil {
		t.Fatal(err)
	}
}

// list is what a member knows, as in "a alive, b failed".
func (m *testMember) list() string {
	var all []string
	for _, i := range m.Members() {
		all = append(all, fmt.Sprintf("%s %s", i.Member.Node, i.Status))
	}
	return strings.Join(all, ", ")
}

func (m *testMember) info(node core.NodeID) MemberInfo {
	for _, i := range m.Members() {
		if i.Member.Node == node {
			return i
		}
	}
	return MemberInfo{}
}

// knows waits until nodes have the same list.
func knows(t *testing.T, limit time.Duration, want string, nodes ...*testMember) {
	t.Helper()
	for _, m := range nodes {
		within(t, limit, fmt.Sprintf("%s knows %q, and has %q", m.own(), want, m.list()), func() bool { return m.list() == want })
	}
}

// describe shows a change, and with a tag or an incarnation that changed.
func describe(e MemberEvent) string {
	s := fmt.Sprintf("%s %s -> %s", e.Is.Member.Node, e.Was.Status, e.Is.Status)
	if e.Was.Status != MemberUnknown && e.Was.Zone != e.Is.Zone {
		s += fmt.Sprintf(", zone %s -> %s", e.Was.Zone, e.Is.Zone)
	}
	if e.Was.Status != MemberUnknown && e.Was.Member != e.Is.Member {
		s += fmt.Sprintf(", %s -> %s", e.Was.Member, e.Is.Member)
	}
	return s
}

// three starts a, b and c, who know each other.
func three(t *testing.T, n *MemNetwork) (a, b, c *testMember) {
	t.Helper()
	a, b, c = member(t, n, "a"), member(t, n, "b"), member(t, n, "c")
	b.mustJoin(t, hostA+":7000")
	c.mustJoin(t, hostB+":7000")
	knows(t, 5*time.Second, "a alive, b alive, c alive", a, b, c)
	return a, b, c
}

// TestMembers has three nodes meet, tell their tags, change them, and one leave.
func TestMembers(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		a, b := member(t, n, "a"), member(t, n, "b")
		b.mustJoin(t, hostA+":7000")
		tags := Tags{Role: core.Witness, Client: hostC + ":6379", Cluster: hostC + ":7379", Zone: "east", Version: "1.2.3"}
		c := member(t, n, "c", func(o *MembershipOptions) { o.Tags = tags })
		c.mustJoin(t, hostB+":7000")
		knows(t, 5*time.Second, "a alive, b alive, c alive", a, b, c)

		want := MemberInfo{Identity: identity("c"), Tags: tags, Peer: netip.MustParseAddrPort(hostC + ":7000"), Status: MemberAlive}
		for _, m := range []*testMember{a, b, c} {
			if got := m.info("c"); got != want {
				t.Errorf("%s: got %+v, want %+v", m.own(), got, want)
			}
		}

		tags.Zone = "west"
		if err := c.SetTags(tags); err != nil {
			t.Error(err)
		}
		within(t, hinted, "a hears of the zone", func() bool { return a.info("c").Zone == "west" })
		if c.Tags() != tags {
			t.Errorf("its own tags: %+v", c.Tags())
		}

		if err := c.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		knows(t, time.Second, "a alive, b alive, c left", a, b)
		c.crash(t)
		<-time.After(10 * time.Second)
		knows(t, 0, "a alive, b alive, c left", a, b)
		expect(t, "told", a.told.take(), `a unknown -> alive
b unknown -> alive
c unknown -> alive
c alive -> alive, zone east -> west
c alive -> left`)
	})
}

// TestMemberGrid has nodes that are no members of a grid yet become so.
func TestMemberGrid(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		var nodes []*testMember
		for i, host := range []string{hostA, hostB} {
			id := with(identity(string(rune('a'+i))), func(id *Identity) { id.Grid = [16]byte{} })
			nodes = append(nodes, openMember(t, n.Host(host), host+":7000", id, rightKeys))
		}
		a, b := nodes[0], nodes[1]
		b.mustJoin(t, hostA+":7000")
		a.transport.SetGrid(gridOne)
		if err := a.SetTags(a.Tags()); err != nil {
			t.Fatal(err)
		}
		within(t, hinted, "b hears of the grid", func() bool { return b.info("a").Grid == gridOne })

		b.transport.SetGrid(gridTwo)
		if err := b.SetTags(b.Tags()); !errors.Is(err, ErrOtherGrid) {
			t.Errorf("another grid than the members': %v", err)
		}
		b.transport.SetGrid(gridOne)
		if err := b.SetTags(b.Tags()); err != nil {
			t.Error(err)
		}
		within(t, hinted, "a hears of the grid", func() bool { return a.info("b").Grid == gridOne })
	})
}

// TestMemberCrash has a node come back with another incarnation (R2): late and early, and at another address.
func TestMemberCrash(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		a, b, c := three(t, n)
		c.crash(t)
		knows(t, hinted, "a alive, b alive, c failed", a, b)
		a.told.take()

		again := func(inc byte, listen string) *testMember {
			t.Helper()
			id := with(identity("c"), func(id *Identity) { id.Member.Inc = core.Incarnation{inc} })
			host, _, _ := net.SplitHostPort(listen)
			c := openMember(t, n.Host(host), listen, id, rightKeys)
			c.mustJoin(t, hostA+":7000")
			for _, m := range []*testMember{a, b, c} {
				within(t, 2*hinted, fmt.Sprintf("%s knows incarnation %d", m.own(), inc), func() bool {
					i := m.info("c")
					return i.Status == MemberAlive && i.Member == id.Member && i.Peer.String() == listen
				})
			}
			return c
		}
		c = again(1, hostC+":7000")
		expect(t, "after a while", a.told.take(), "c failed -> alive, c/63000000 -> c/01000000")

		c.crash(t)
		c = again(2, hostC+":7000") // before anybody missed it
		expect(t, "at once", a.told.take(), "c alive -> alive, c/01000000 -> c/02000000")

		c.crash(t)
		again(3, hostC+":7001") // nobody believes that before the former start is found dead
		expect(t, "elsewhere", a.told.take(), "c alive -> failed\nc failed -> alive, c/02000000 -> c/03000000")
	})
}

// TestMemberCut cuts a node off, longer than memberlist remembers it: Serf finds it again.
func TestMemberCut(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		a, b, c := three(t, n)
		n.Isolate(hostC)
		knows(t, hinted, "a alive, b alive, c failed", a, b)
		knows(t, 2*hinted, "a failed, b failed, c alive", c)
		<-time.After(2 * time.Minute)
		n.Rejoin(hostC)
		knows(t, 20*time.Second, "a alive, b alive, c alive", a, b, c)
	})
}

// TestMemberJoinLate has nobody there at first.
func TestMemberJoinLate(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		c := member(t, n, "c")
		joined := make(chan error, 1)
		go func() { joined <- c.Join(t.Context(), []string{hostC + ":7000", hostA + ":7000", hostB + ":7000"}) }()
		<-time.After(time.Minute)
		a := member(t, n, "a")
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
		knows(t, hinted, "a alive, c alive", a, c)

		b := member(t, n, "b") // joins nobody; c has not forgotten it
		knows(t, 2*seekInterval, "a alive, b alive, c alive", a, b, c)
	})
}

// TestMemberJoinErrors has a's join fail, for each address by name (R27, R33).
func TestMemberJoinErrors(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		const ownHost, silentHost, cutHost = "10.0.0.10", "10.0.0.11", "10.0.0.12"
		at := func(i int) string { return fmt.Sprintf("10.0.1.%d:7000", i) }
		peer := func(i int, keys *Keys, change func(*Identity)) {
			host, _, _ := net.SplitHostPort(at(i))
			openMember(t, n.Host(host), at(i), with(identity(string(rune('k'+i))), change), keys)
		}
		peer(1, wrongKeys, func(*Identity) {})
		peer(2, NoSecret(), func(*Identity) {})
		peer(3, rightKeys, func(id *Identity) { id.Grid = gridTwo })
		peer(4, rightKeys, func(id *Identity) { id.FeatureMin, id.FeatureMax = 3, 4 })
		peer(5, rightKeys, func(id *Identity) { id.Member.Node = "a" })
		open(t, n.Host("10.0.1.6"), at(6), identity("s"), rightKeys) // has no membership yet
		silent, err := n.Host(silentHost).Listen(silentHost + ":7000")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		n.Host(cutHost)

		a := openMember(t, n.Host(ownHost), ownHost+":7000", identity("a"), rightKeys)
		n.Cut(ownHost, cutHost)
		cases := []struct {
			addr string
			want error
		}{
			{at(1), ErrWrongSecret},
			{at(2), ErrWrongSecret},
			{at(3), ErrOtherGrid},
			{at(4), ErrVersion},
			{at(5), ErrNodeTwice},
			{at(6), ErrNotServed},
			{ownHost + ":7000", ErrSelf},
			{"10.0.1.7:7000", ErrNobody},
			{cutHost + ":7000", ErrNobody},
			{"no address", ErrNobody},
			{silentHost + ":7000", ErrHandshake},
		}
		join := func(addrs ...string) error {
			ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
			defer cancel()
			start := time.Now()
			err := a.Join(ctx, addrs)
			if took := time.Since(start); took > 13*time.Second {
				t.Errorf("%s: it took %v", addrs, took)
			}
			return err
		}
		var all []string
		for _, c := range cases {
			all = append(all, c.addr)
			if err := join(c.addr); !errors.Is(err, c.want) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %v, want %v", c.addr, err, c.want)
			}
		}
		err = join(all...)
		for _, c := range cases {
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), "\n"+c.addr+": ") {
				t.Errorf("%s and %v are not in:\n%v", c.addr, c.want, err)
			}
		}
		if err := join(); err == nil {
			t.Error("joined nobody")
		}
		if err := join(make([]string, seedsMax+1)...); err == nil {
			t.Error("joined too many")
		}
		expect(t, "members", a.list(), "a alive")
	})
}

// TestMemberThirdParty has nodes of two grids, and of two feature levels, meet through one that could do with either: they never
// merge (R27, R33).
func TestMemberThirdParty(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		start := func(i int, name string, change func(*Identity)) *testMember {
			host := fmt.Sprintf("10.0.1.%d", i)
			return openMember(t, n.Host(host), host+":7000", with(identity(name), change), rightKeys)
		}
		gone := func(id *Identity) { id.Grid = [16]byte{} }
		a := start(1, "a", func(*Identity) {})
		z := start(2, "z", gone)
		c := start(3, "c", func(id *Identity) { id.Grid = gridTwo })
		z.mustJoin(t, a.transport.Addr().String())

		try := func(m *testMember, want error, addrs ...string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := m.Join(ctx, addrs); !errors.Is(err, want) {
				t.Errorf("%s joins %s: got %v, want %v", m.own(), addrs, err, want)
			}
		}
		try(c, ErrOtherGrid, z.transport.Addr().String()) // z itself is of none, but a is with it
		try(z, ErrOtherGrid, c.transport.Addr().String())
		knows(t, 0, "a alive, z alive", a, z)
		knows(t, 0, "c alive", c)

		// z could do with either of the two, but they cannot with each other
		x := start(4, "x", func(id *Identity) { id.FeatureMin, id.FeatureMax = 2, 3 })
		old := start(5, "old", func(id *Identity) { id.FeatureMin, id.FeatureMax = 1, 1 })
		try(x, nil, z.transport.Addr().String())
		knows(t, 10*time.Second, "a alive, x alive, z alive", a, z) // news of x takes its time to get around
		try(old, ErrVersion, z.transport.Addr().String())
		<-time.After(time.Minute)
		knows(t, 0, "a alive, x alive, z alive", a, x, z)
		knows(t, 0, "old alive", old)
	})
}

// TestMemberSecrets has two pairs of nodes with different secrets, each told of the other: they never merge.
func TestMemberSecrets(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		var pairs [][]*testMember
		for i, keys := range []*Keys{rightKeys, wrongKeys} {
			var pair []*testMember
			for j := range 2 {
				host := fmt.Sprintf("10.0.%d.%d", i+1, j+1)
				pair = append(pair, openMember(t, n.Host(host), host+":7000", identity(string(rune('a'+2*i+j))), keys))
			}
			pair[1].mustJoin(t, "10.0.1.1:7000", "10.0.2.1:7000") // and seeks the other one from now on
			pairs = append(pairs, pair)
		}
		for _, to := range pairs[0] { // packets that its members did not ask for
			g := &gossip{transport: pairs[1][0].transport}
			if _, err := g.WriteTo([]byte("gossip of others"), to.transport.Addr().String()); err != nil {
				t.Error(err)
			}
		}
		<-time.After(time.Minute)
		knows(t, 0, "a alive, b alive", pairs[0]...)
		knows(t, 0, "c alive, d alive", pairs[1]...)
	})
}

// TestMemberAdmission asks about nodes that only somebody with the secret could tell of.
func TestMemberAdmission(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		a, b := member(t, n, "a"), member(t, n, "b")
		b.mustJoin(t, hostA+":7000")
		knows(t, hinted, "a alive, b alive", a, b)
		node := func(name, addr string, change func(*Identity)) *memberlist.Node {
			at := netip.MustParseAddrPort(addr)
			tags, err := encodeTags(with(identity(name), change), Tags{})
			if err != nil {
				t.Fatal(err)
			}
			meta := append([]byte(metaHead), 0, byte(len(tags)))
			return &memberlist.Node{Name: name, Addr: at.Addr().AsSlice(), Port: at.Port(), Meta: append(meta, tags...)}
		}
		same := func(*Identity) {}
		bad := func(change func(*memberlist.Node)) *memberlist.Node {
			n := node("x", "10.0.0.9:7000", same)
			change(n)
			return n
		}
		later := func(id *Identity) { id.FeatureMin, id.FeatureMax = 3, 3 }
		cases := []struct {
			about        string
			node         *memberlist.Node
			alive, merge error
		}{
			{"a new one", node("x", "10.0.0.9:7000", same), nil, nil},
			{"a known one", node("b", hostB+":7000", same), nil, nil},
			{"itself, and of another grid before", node("a", hostA+":7000", func(id *Identity) { id.Grid = gridTwo }), nil, nil},
			{"itself elsewhere", node("a", "10.0.0.9:7000", same), nil, ErrNodeTwice},
			{"a known one elsewhere", node("b", hostB+":7001", same), nil, ErrNodeTwice},
			{"another grid", node("x", "10.0.0.9:7000", func(id *Identity) { id.Grid = gridTwo }), ErrOtherGrid, ErrOtherGrid},
			{"a later version", node("x", "10.0.0.9:7000", later), ErrVersion, ErrVersion},
			{"no tags", bad(func(n *memberlist.Node) { n.Meta = nil }), ErrVersion, ErrVersion},
			{"a role as Serf had it", bad(func(n *memberlist.Node) { n.Meta = []byte("web") }), ErrVersion, ErrVersion},
			{"half the tags", bad(func(n *memberlist.Node) { n.Meta = n.Meta[:20] }), ErrVersion, ErrVersion},
		}
		for _, c := range cases {
			if err := (admission{a.Membership}).NotifyAlive(c.node); !errors.Is(err, c.alive) {
				t.Errorf("%s is alive: got %v, want %v", c.about, err, c.alive)
			}
			if err := (admission{a.Membership}).NotifyMerge([]*memberlist.Node{c.node}); !errors.Is(err, c.merge) {
				t.Errorf("%s is in a list: got %v, want %v", c.about, err, c.merge)
			}
			c.node.State = memberlist.StateDead
			if err := (admission{a.Membership}).NotifyMerge([]*memberlist.Node{c.node}); err != nil {
				t.Errorf("%s is in a list, dead: %v", c.about, err)
			}
		}
		if err := (admission{a.Membership}).NotifyAlive(bad(func(n *memberlist.Node) { n.Addr = []byte{1} })); err == nil {
			t.Error("an address of one byte")
		}

		b.crash(t)
		knows(t, hinted, "a alive, b failed", a)
		itself, moved, stranger := node("a", hostA+":7000", same), node("b", hostB+":7001", same), node("x", "10.0.0.9:7000", same)
		for about, c := range map[string]struct {
			list []*memberlist.Node
			want error
		}{
			"where it was, and has met nobody":  {[]*memberlist.Node{node("b", hostB+":7000", same)}, nil},
			"elsewhere, and has met nobody":     {[]*memberlist.Node{moved}, errFormer},
			"elsewhere, and has met a stranger": {[]*memberlist.Node{stranger, moved}, errFormer},
			"elsewhere, and has met a":          {[]*memberlist.Node{moved, itself}, nil},
		} {
			if err := (admission{a.Membership}).NotifyMerge(c.list); !errors.Is(err, c.want) {
				t.Errorf("one that failed comes back %s: got %v, want %v", about, err, c.want)
			}
		}
	})
}

// TestMemberTwice has a data directory used twice: whoever runs goes on, and the newcomer hears why it cannot.
func TestMemberTwice(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		a, b, c := three(t, n)
		clone := openMember(t, n.Host("10.0.0.9"), "10.0.0.9:7000",
			with(identity("a"), func(id *Identity) { id.Member.Inc = core.Incarnation{9} }), rightKeys)
		for _, addr := range []string{hostA, hostB} { // the node itself, and one that knows it
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if err := clone.Join(ctx, []string{addr + ":7000"}); !errors.Is(err, ErrNodeTwice) {
				t.Errorf("by %s: got %v, want %v", addr, err, ErrNodeTwice)
			}
			cancel()
		}
		knows(t, 0, "a alive, b alive, c alive", a, b, c)
		knows(t, 0, "a alive", clone)
		for _, m := range []*testMember{a, b, c} {
			if got := m.info("a").Member; got != identity("a").Member {
				t.Errorf("%s knows %s", m.own(), got)
			}
		}
		a.crash(t)
		within(t, 4*hinted, "the only one left is in", func() bool {
			return b.info("a").Member == clone.transport.Identity().Member && b.list() == "a alive, b alive, c alive"
		})
	})
}

// TestMemberEvents has a receiver that is busy: what happens meanwhile comes in order, and no more often than needed.
func TestMemberEvents(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		var told transcript
		busy := make(chan struct{})
		a := member(t, n, "a", func(o *MembershipOptions) {
			o.OnChange = func(e MemberEvent) {
				<-busy
				told.add(describe(e))
			}
		})
		c, b := member(t, n, "c"), member(t, n, "b")
		c.mustJoin(t, hostA+":7000")
		b.mustJoin(t, hostA+":7000")
		for i := range 2 * serfEventsMax {
			if err := c.SetTags(Tags{Zone: fmt.Sprint("z", i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		within(t, hinted, "b has left", func() bool { return a.info("b").Status == MemberLeft })
		close(busy)
		expect(t, "told", told.take(), "a unknown -> alive\nc unknown -> alive\nb unknown -> left")
		if got := a.info("c").Zone; got != fmt.Sprint("z", 2*serfEventsMax-1) {
			t.Errorf("the last zone is %q", got)
		}
	})
}

// TestMemberChanges is a transcript of the queue alone: "b+" is alive, "b!" failed, "b-" forgotten, "?" takes one.
func TestMemberChanges(t *testing.T) {
	var q changes
	q.init()
	var out []string
	longest := 0
	for _, op := range strings.Fields("? b+ c+ b! ? ? ? c! b+ c+ ? ? d+ e+ d- ? ? b- c! b+ ? ? b- ? b+ ?") {
		if op == "?" {
			e, ok := q.take()
			if !ok {
				out = append(out, "nothing")
				continue
			}
			out = append(out, describe(e))
			continue
		}
		status := map[byte]MemberStatus{'+': MemberAlive, '!': MemberFailed, '-': MemberUnknown}[op[1]]
		q.put(MemberInfo{Identity: Identity{Member: core.Member{Node: core.NodeID(op[:1])}}, Status: status})
		longest = max(longest, len(q.mu.order))
	}
	expect(t, "taken", strings.Join(out, "\n"), `nothing
b unknown -> failed
c unknown -> alive
nothing
nothing
b failed -> alive
e unknown -> alive
nothing
nothing
c alive -> failed
b alive -> unknown
b unknown -> alive`)
	if longest != 2 {
		t.Errorf("%d changes waited at once", longest)
	}
	if len(q.mu.is) != 0 || len(q.mu.order) != 0 {
		t.Errorf("left over: %v", q.mu.order)
	}
}

// TestMemberForget has failed nodes forgotten at last.
func TestMemberForget(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		a, b := member(t, n, "a"), member(t, n, "b")
		b.mustJoin(t, hostA+":7000")
		knows(t, hinted, "a alive, b alive", a)
		b.crash(t)
		knows(t, hinted, "a alive, b failed", a)
		<-time.After(forgetFailed - time.Minute)
		knows(t, 0, "a alive, b failed", a)
		<-time.After(2 * time.Minute)
		knows(t, 0, "a alive", a)
		expect(t, "told", a.told.take(), "a unknown -> alive\nb unknown -> alive\nb alive -> failed\nb failed -> unknown")
	})
}

// TestMemberTags fits tags into the room that memberlist leaves.
func TestMemberTags(t *testing.T) {
	full := Tags{Role: core.Witness, Client: strings.Repeat("c", 255), Cluster: strings.Repeat("l", 100), Zone: "z", Version: "v"}
	cases := []struct {
		tags Tags
		want string // of the error; empty: it fits
	}{
		{Tags{}, ""},
		{full, ""},
		{Tags{Client: strings.Repeat("c", 230), Zone: strings.Repeat("z", 230)}, ""},
		{Tags{Client: strings.Repeat("c", 230), Zone: strings.Repeat("z", 231)}, "need 465 bytes together, and there is room for 464"},
		{Tags{Zone: strings.Repeat("z", 256)}, "a tag of 256 bytes, and 255 are allowed"},
	}
	for _, c := range cases {
		encoded, err := encodeTags(identity("a"), c.tags)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		later := encoded + "a field of later versions"
		for _, b := range []string{encoded, later} {
			if id, tags, err := parseTags([]byte(b), "a"); err != nil || id != identity("a") || tags != c.tags {
				t.Errorf("got %+v %+v, %v", id, tags, err)
			}
		}
		for size := range encoded {
			if _, _, err := parseTags([]byte(encoded[:size]), "a"); !errors.Is(err, ErrVersion) {
				t.Errorf("%d bytes of it: %v", size, err)
			}
		}
	}
}

// TestMemberOptions opens with what cannot be.
func TestMemberOptions(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		tr := open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys)
		slash := open(t, n.Host(hostB), hostB+":7000", identity("a/b"), rightKeys)
		big := Tags{Zone: strings.Repeat("z", 255), Client: strings.Repeat("c", 255)}
		for _, o := range []MembershipOptions{
			{Transport: tr, Keys: rightKeys, Node: "b"},
			{Transport: tr, Keys: rightKeys, Node: "a", Tags: big},
			{Transport: slash, Keys: rightKeys, Node: "a/b"},
		} {
			if _, err := OpenMembership(o); err == nil {
				t.Errorf("opened with %+v", o)
			}
		}
		m, err := OpenMembership(MembershipOptions{Transport: tr, Keys: rightKeys, Node: "a"}) // nothing was left behind
		if err != nil {
			t.Fatal(err)
		}
		if err := m.SetTags(big); err == nil || m.Tags() != (Tags{}) {
			t.Errorf("tags that do not fit: %v, and has %+v", err, m.Tags())
		}
		tags, _ := encodeTags(identity("a"), Tags{})
		meta := m.serf.Load().Memberlist().LocalNode().Meta
		if want := metaHead + "\x00" + string(rune(len(tags))) + tags; string(meta) != want {
			t.Errorf("Serf writes tags in another form: %q, want %q", meta, want)
		}
		if err := m.Shutdown(); err != nil {
			t.Error(err)
		}
	})
}

// TestMemberShutdown ends a node in all its states, while it joins and while it leaves.
func TestMemberShutdown(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		_, b, c := three(t, n)
		joined := make(chan error, 1)
		go func() { joined <- c.Join(t.Context(), []string{"10.0.0.9:7000"}) }()
		synctest.Wait()
		if err := c.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-joined; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a join under way: %v", err)
		}
		for about, f := range map[string]func() error{
			"join":     func() error { return c.Join(t.Context(), []string{hostA + ":7000"}) },
			"set tags": func() error { return c.SetTags(Tags{}) },
		} {
			if err := f(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s afterwards: %v", about, err)
			}
		}
		for about, f := range map[string]func() error{
			"leave":    func() error { return c.Leave(t.Context()) },
			"shutdown": c.Shutdown,
		} {
			if err := f(); err != nil {
				t.Errorf("%s afterwards: %v", about, err)
			}
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := b.Leave(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("leave for a millisecond: %v", err)
		}
		start := time.Now()
		if err := b.Shutdown(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 2*broadcastTimeout+farewellPause {
			t.Errorf("it took %v", took)
		}
	})
}

// TestMemberSockets runs over the system's network, and leaves no goroutine behind.
func TestMemberSockets(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	a := openMember(t, Sockets(), "127.0.0.1:0", identity("a"), rightKeys)
	b := openMember(t, Sockets(), "127.0.0.1:0", identity("b"), rightKeys)
	b.mustJoin(t, a.transport.Addr().String())
	knows(t, 5*time.Second, "a alive, b alive", a, b)
	if err := b.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	knows(t, 5*time.Second, "a alive, b left", a)
}

// TestMemberLog has Serf's lines come at their levels, and not too many of them.
func TestMemberLog(t *testing.T) {
	for line, want := range map[string]string{
		"[DEBUG] memberlist: Stream\n":     "DEBUG memberlist: Stream",
		"[INFO] serf: EventMemberJoin: a":  "INFO serf: EventMemberJoin: a",
		"[WARN] serf: odd":                 "WARN serf: odd",
		"[ERR] memberlist: bad [x] y":      "ERROR memberlist: bad [x] y",
		"[ERROR] serf: bad":                "ERROR serf: bad",
		"Err: Could not set the deadline":  "ERROR Err: Could not set the deadline",
		"Err: Could not [set] the thing":   "ERROR Err: Could not [set] the thing",
		strings.Repeat("x", 1000):          "ERROR " + strings.Repeat("x", serfLineSizeMax) + "...",
		"[WARN] " + strings.Repeat("x", 8): "WARN xxxxxxxx",
	} {
		level, text := parseLogLine(line)
		expect(t, "level and text", level.String()+" "+text, want)
	}

	synctest.Test(t, func(t *testing.T) {
		var out lines
		l := &serfLog{log: slog.New(slog.NewTextHandler(&out, nil))}
		for range 1000 {
			l.Write([]byte("[DEBUG] memberlist: nobody reads this"))
			l.Write([]byte("[ERR] memberlist: a stranger"))
		}
		<-time.After(time.Second)
		l.Write([]byte("[ERR] memberlist: the last"))
		got := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(got) != serfLinesMax+1 || !strings.Contains(got[serfLinesMax], fmt.Sprint("the last\" others=", 1000-serfLinesMax)) {
			t.Errorf("%d lines, the last %s", len(got), got[len(got)-1])
		}
		if slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "nobody") }) {
			t.Error("lines below the level")
		}
	})
}
