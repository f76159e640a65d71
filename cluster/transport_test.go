package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/neargrid/neargrid/cluster/core"
)

// overBoth runs a test on a network in memory, in virtual time, and on loopback sockets. host is the network of the i-th
// node, and what it listens on.
func overBoth(t *testing.T, f func(t *testing.T, host func(i int) (Network, string))) {
	t.Run("memory", func(t *testing.T) {
		inMemory(t, func(t *testing.T, n *MemNetwork) {
			f(t, func(i int) (Network, string) {
				ip := fmt.Sprintf("10.0.0.%d", i+1)
				return n.Host(ip), ip + ":7000"
			})
		})
	})
	t.Run("sockets", func(t *testing.T) {
		t.Cleanup(func() { goleak.VerifyNone(t) })
		f(t, func(int) (Network, string) { return Sockets(), "127.0.0.1:0" })
	})
}

// inMemory runs a test in virtual time. It ends with a minute in which what libraries leave to their timers comes to an end;
// whatever does not makes the test fail.
func inMemory(t *testing.T, f func(t *testing.T, n *MemNetwork)) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { <-time.After(time.Minute) })
		f(t, NewMemNetwork())
	})
}

// open starts a transport, which is closed before the test ends.
func open(t *testing.T, network Network, listen string, id Identity, keys *Keys) *Transport {
	t.Helper()
	tr, err := OpenTransport(t.Context(), TransportConfig{Network: network, Listen: listen, Identity: id, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return tr
}

// within waits for a condition: in virtual time that costs nothing.
func within(t *testing.T, limit time.Duration, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !f(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("after %v not yet: %s", limit, what)
		}
	}
}

// TestTransportStreams has each kind's streams answered by its own handler.
func TestTransportStreams(t *testing.T) {
	overBoth(t, func(t *testing.T, host func(int) (Network, string)) {
		netA, listenA := host(0)
		netB, listenB := host(1)
		a := open(t, netA, listenA, identity("a"), rightKeys)
		b := open(t, netB, listenB, identity("b"), rightKeys)
		kinds := []StreamKind{Gossip, Raft, Control, Data, Forward}
		for _, kind := range kinds {
			b.Handle(kind, func(c *Conn) {
				defer c.Close()
				fmt.Fprintf(c, "%s from %s", c.Kind, c.Peer.Member.Node)
			})
		}
		for _, kind := range kinds {
			c, err := a.Dial(t.Context(), b.Addr().String(), kind)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if want := kind.String() + " from a"; err != nil || string(got) != want || c.Peer != identity("b") {
				t.Errorf("got %q, %v from %s, want %q", got, err, c.Peer.Member, want)
			}
			c.Close()
		}
	})
}

// TestTransportIdle leaves a stream alone for longer than a handshake may take.
func TestTransportIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a := open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys)
		b := open(t, n.Host(hostB), hostB+":7000", identity("b"), rightKeys)
		b.Handle(Data, func(c *Conn) { io.Copy(c, c); c.Close() })
		c, err := a.Dial(t.Context(), b.Addr().String(), Data)
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		io.WriteString(c, "still there")
		expect(t, "after an hour", read(c), `"still there" after 0s`)
	})
}

// TestTransportShared has gossip and raft end and begin again, while the port goes on.
func TestTransportShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a := open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys)
		b := open(t, n.Host(hostB), hostB+":7000", identity("b"), rightKeys)
		echo := func(c *Conn) { io.Copy(c, c); c.Close() }
		for _, kind := range []StreamKind{Gossip, Raft, Data} {
			a.Handle(kind, echo)
		}
		b.Handle(Data, echo)
		dial := func(from, to *Transport, kind StreamKind) *Conn {
			t.Helper()
			c, err := from.Dial(t.Context(), to.Addr().String(), kind)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		for range 2 {
			gossip, layer := b.Memberlist(), b.RaftLayer()
			ends := map[StreamKind]func() error{Gossip: gossip.Shutdown, Raft: layer.Close}
			data := dial(a, b, Data)
			for kind, end := range ends {
				in, waiting, out := dial(a, b, kind), dial(a, b, kind), dial(b, a, kind)
				var taken net.Conn
				if kind == Raft {
					var err error
					if taken, err = layer.Accept(); err != nil {
						t.Fatal(err)
					}
				} else {
					taken = <-gossip.StreamCh()
				}
				if err := end(); err != nil {
					t.Error(err)
				}
				for name, c := range map[string]net.Conn{"accepted": in, "not accepted": waiting} {
					expect(t, name+" "+kind.String()+", at the other end", read(c), "EOF after 0s")
				}
				for name, c := range map[string]net.Conn{"accepted": taken, "dialled": out} {
					expect(t, name+" "+kind.String()+", at this end", read(c), "use of closed network connection after 0s")
				}
				if _, err := a.Dial(t.Context(), b.Addr().String(), kind); !errors.Is(err, ErrNotServed) {
					t.Errorf("%s has ended: %v", kind, err)
				}
			}
			if _, err := layer.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("accept after close: %v", err)
			}
			io.WriteString(data, "on and on")
			expect(t, "data", read(data), `"on and on" after 0s`)
		}
	})
}

// TestGossipBound has memberlist take nothing: beacons come through all the same (R6).
func TestGossipBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a := open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys)
		b := open(t, n.Host(hostB), hostB+":7000", identity("b"), rightKeys)
		beacons := 0
		b.HandlePackets(PacketBeacon, func(core.Member, []byte) { beacons++ })
		gossip, sender := b.Memberlist(), a.Memberlist()
		for range gossipPacketsMax + 10 {
			if _, err := sender.WriteTo([]byte("gossip"), b.Addr().String()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if err := a.SendPacket(PacketBeacon, b.Identity().Member, b.Addr(), nil); err != nil {
			t.Fatal(err)
		}
		var streams []*Conn
		for range gossipStreamsMax + 1 {
			c, err := a.Dial(t.Context(), b.Addr().String(), Gossip)
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, c)
			synctest.Wait() // so that they are taken in this order
		}
		if len(gossip.PacketCh()) != gossipPacketsMax || len(gossip.StreamCh()) != gossipStreamsMax || beacons != 1 {
			t.Errorf("%d packets and %d streams wait, %d beacons", len(gossip.PacketCh()), len(gossip.StreamCh()), beacons)
		}
		expect(t, "one stream too many", read(streams[gossipStreamsMax]), "EOF after 0s")
		if p := <-gossip.PacketCh(); string(p.Buf) != "gossip" || p.From.String() != hostA+":7000" {
			t.Errorf("got %q from %s", p.Buf, p.From)
		}
	})
}

func TestTransportRefuses(t *testing.T) {
	overBoth(t, func(t *testing.T, host func(int) (Network, string)) {
		netA, listenA := host(0)
		netB, listenB := host(1)
		b := open(t, netB, listenB, identity("b"), rightKeys)
		b.Handle(Data, func(c *Conn) { c.Close() })
		for _, c := range []struct {
			name string
			id   Identity
			keys *Keys
			kind StreamKind
			want error
		}{
			{"served", identity("a"), rightKeys, Data, nil},
			{"wrong secret", identity("a"), wrongKeys, Data, ErrWrongSecret},
			{"no secret", identity("a"), NoSecret(), Data, ErrWrongSecret},
			{"another grid", with(identity("a"), func(id *Identity) { id.Grid = gridTwo }), rightKeys, Data, ErrOtherGrid},
			{"another version", with(identity("a"), func(id *Identity) { id.FeatureMin, id.FeatureMax = 8, 9 }), rightKeys, Data, ErrVersion},
			{"itself", identity("b"), rightKeys, Data, ErrSelf},
			{"no handler", identity("a"), rightKeys, Forward, ErrNotServed},
			{"unknown kind", identity("a"), rightKeys, 77, ErrNotServed},
		} {
			a := open(t, netA, listenA, c.id, c.keys)
			conn, err := a.Dial(t.Context(), b.Addr().String(), c.kind)
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
			if err == nil {
				conn.Close()
			}
			a.Close()
		}

		joiner := open(t, netA, listenA, with(identity("a"), func(id *Identity) { id.Grid = [16]byte{} }), rightKeys)
		if c, err := joiner.Dial(t.Context(), b.Addr().String(), Data); err != nil || c.Peer.Grid != gridOne {
			t.Errorf("a joiner, which learns the grid: %v", err)
		}
		joiner.SetGrid(gridTwo)
		if _, err := joiner.Dial(t.Context(), b.Addr().String(), Data); !errors.Is(err, ErrOtherGrid) {
			t.Errorf("once it is a member elsewhere: %v", err)
		}
	})
}

// TestTransportPackets sends beacons and heartbeats; what is not for this incarnation, or changed, is dropped.
func TestTransportPackets(t *testing.T) {
	overBoth(t, func(t *testing.T, host func(int) (Network, string)) {
		netA, listenA := host(0)
		netB, listenB := host(1)
		a := open(t, netA, listenA, identity("a"), rightKeys)
		b := open(t, netB, listenB, identity("b"), rightKeys)
		got := make(chan string, 10)
		for _, kind := range []PacketKind{PacketBeacon, PacketHeartbeat} {
			b.HandlePackets(kind, func(from core.Member, payload []byte) { got <- fmt.Sprintf("%s from %s: %s", kind, from.Node, payload) })
		}
		self, to := b.Identity().Member, b.Addr()
		raw := func(packet []byte) {
			t.Helper()
			if _, err := a.packets.WriteTo(packet, net.UDPAddrFromAddrPort(to)); err != nil {
				t.Error(err)
			}
		}
		sealed := rightKeys.Seal(nil, PacketBeacon, a.Identity().Member, self, []byte("bad"))
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1
			raw(changed)
			raw(sealed[:i])
		}
		raw(wrongKeys.Seal(nil, PacketBeacon, a.Identity().Member, self, []byte("bad")))
		raw(rightKeys.Seal(nil, PacketBeacon, a.Identity().Member, core.Member{Node: "c", Inc: self.Inc}, []byte("bad")))
		if err := a.SendPacket(PacketBeacon, core.Member{Node: "b", Inc: core.Incarnation{9}}, to, []byte("to an earlier start")); err != nil {
			t.Error(err)
		}
		for _, c := range []struct {
			kind PacketKind
			text string
		}{{PacketBeacon, "one"}, {PacketHeartbeat, "two"}, {PacketHeartbeat, ""}} {
			if err := a.SendPacket(c.kind, self, to, []byte(c.text)); err != nil {
				t.Error(err)
			}
			if got, want := <-got, fmt.Sprintf("%s from a: %s", c.kind, c.text); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}

// TestTransportStrangers has those who do not speak the handshake end in time, answered by nothing.
func TestTransportStrangers(t *testing.T) {
	hello := appendHello(nil, Data, nonce{}, identity("x"))
	for _, c := range []struct {
		name    string
		says    []string // a second apart
		answers int      // bytes
		after   time.Duration
	}{
		{"silent", nil, 0, openTimeout},
		{"HTTP", []string{"GET / HTTP/1.1\r\nHost: grid\r\n\r\n"}, 0, 0},
		{"TLS", []string{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"}, 0, 0},
		{"announces too much", []string{"\x04ngrd\x01\xff\xff"}, 0, 0},
		{"announces too little", []string{"\x04ngrd\x01\x01\x00x"}, 0, 0},
		{"byte by byte", strings.Split(string(hello), ""), 0, openTimeout},
		{"hello, then silent", []string{string(hello)}, 1 + nonceSize, openTimeout},
		{"hello, then a guess", []string{string(hello) + strings.Repeat("?", macSize)}, 1 + nonceSize + 1, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := NewMemNetwork()
			b := open(t, n.Host(hostB), hostB+":7000", identity("b"), rightKeys)
			b.Handle(Data, func(*Conn) { t.Errorf("%s: got in", c.name) })
			conn, err := n.Host(hostA).Dial(t.Context(), b.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			said := make(chan struct{})
			go func() {
				defer close(said)
				for _, s := range c.says {
					if _, err := io.WriteString(conn, s); err != nil {
						return
					}
					<-time.After(time.Second)
				}
			}()
			answer, err := io.ReadAll(conn)
			if len(answer) != c.answers || err != nil || time.Since(start) != c.after {
				t.Errorf("%s: answered %q, %v after %v; want %d bytes after %v", c.name, answer, err, time.Since(start), c.answers, c.after)
			}
			conn.Close()
			<-said
		})
	}
}

// TestTransportPendingBound opens silent connections without end: a peer still gets in.
func TestTransportPendingBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a := open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys)
		b := open(t, n.Host(hostB), hostB+":7000", identity("b"), rightKeys)
		b.Handle(Data, func(c *Conn) { c.Close() })
		var strangers []net.Conn
		for range pendingMax + 10 {
			c, err := n.Host(hostC).Dial(t.Context(), b.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			strangers = append(strangers, c)
			synctest.Wait()
		}
		start := time.Now()
		c, err := a.Dial(t.Context(), b.Addr().String(), Data)
		if err != nil || time.Since(start) != 0 {
			t.Errorf("a peer among strangers: %v after %v", err, time.Since(start))
		}
		c.Close()
		for i, s := range strangers {
			_, err := s.Read(make([]byte, 1))
			ended, want := time.Since(start), time.Duration(0)
			if i > 10 { // the last ten made ten end; the peer one more
				want = openTimeout
			}
			if err != io.EOF || ended != want {
				t.Errorf("stranger %d: %v after %v, want %v", i, err, ended, want)
			}
			s.Close()
		}
	})
}

func TestTransportStreamsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a := open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys)
		b := open(t, n.Host(hostB), hostB+":7000", identity("b"), rightKeys)
		hold := func(c *Conn) { io.Copy(io.Discard, c); c.Close() }
		b.Handle(Data, hold)
		b.Handle(Control, hold)
		dial := func(kind StreamKind) (*Conn, error) { return a.Dial(t.Context(), b.Addr().String(), kind) }
		var last *Conn
		for i := range streamsMax {
			var err error
			if last, err = dial(Data); err != nil {
				t.Fatalf("stream %d: %v", i, err)
			}
		}
		if _, err := dial(Data); !errors.Is(err, ErrNotServed) {
			t.Errorf("one more: %v", err)
		}
		if _, err := dial(Control); err != nil {
			t.Errorf("of another kind: %v", err)
		}
		last.Close()
		synctest.Wait()
		if _, err := dial(Data); err != nil {
			t.Errorf("in the place of one that has gone: %v", err)
		}
	})
}

// TestTransportAcceptErrors runs out of descriptors for a while.
func TestTransportAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a := open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys)
		b := open(t, &scarce{n.Host(hostB)}, hostB+":7000", identity("b"), rightKeys)
		b.Handle(Data, func(c *Conn) { c.Close() })
		start := time.Now()
		if _, err := a.Dial(t.Context(), b.Addr().String(), Data); err != nil {
			t.Fatal(err)
		}
		if took, want := time.Since(start), (5+10+20)*time.Millisecond; took != want {
			t.Errorf("accepted after %v, want %v", took, want)
		}
	})
}

// scarce is a network on which the first accepts fail.
type scarce struct{ Network }

func (s *scarce) Listen(addr string) (net.Listener, error) {
	l, err := s.Network.Listen(addr)
	return &scarceListener{l, 3}, err
}

type scarceListener struct {
	net.Listener
	fails int
}

func (l *scarceListener) Accept() (net.Conn, error) {
	if l.fails == 0 {
		return l.Listener.Accept()
	}
	l.fails--
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
}

// TestTransportClose closes with everything under way.
func TestTransportClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a := open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys)
		b := open(t, n.Host(hostB), hostB+":7000", identity("b"), rightKeys)
		hold := func(c *Conn) { io.Copy(io.Discard, c) }
		a.Handle(Data, hold)
		b.Handle(Data, hold)
		b.Handle(Control, hold)
		out, err := b.Dial(t.Context(), a.Addr().String(), Data)
		if err != nil {
			t.Fatal(err)
		}
		in, err := a.Dial(t.Context(), b.Addr().String(), Control)
		if err != nil {
			t.Fatal(err)
		}
		stranger, err := n.Host(hostC).Dial(t.Context(), b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		deaf, err := n.Host(hostC).Listen(hostC + ":7000") // accepts, and says nothing
		if err != nil {
			t.Fatal(err)
		}
		dialled := make(chan error)
		go func() {
			_, err := b.Dial(t.Context(), deaf.Addr().String(), Data)
			dialled <- err
		}()
		synctest.Wait()

		start := time.Now()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := <-dialled; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a Dial under way: %v", err)
		}
		if _, err := out.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a stream it had made: %v", err)
		}
		for name, c := range map[string]net.Conn{"accepted": in, "in its handshake": stranger} {
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := b.Dial(t.Context(), a.Addr().String(), Data); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a Dial afterwards: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Errorf("closed again: %v", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
		deaf.Close()
		stranger.Close()
	})
}

// TestTransportDialTimes cuts the way, and the caller's patience.
func TestTransportDialTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a := open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys)
		deaf, err := n.Host(hostB).Listen(hostB + ":7000")
		if err != nil {
			t.Fatal(err)
		}
		defer deaf.Close()
		for _, c := range []struct {
			name  string
			to    string
			limit time.Duration
			want  error
			after time.Duration
		}{
			{"nobody there", hostB + ":1", time.Hour, syscall.ECONNREFUSED, 0},
			{"silent", hostB + ":7000", time.Hour, context.DeadlineExceeded, openTimeout},
			{"silent, and less patience", hostB + ":7000", time.Second, context.DeadlineExceeded, time.Second},
			{"cut off", hostC + ":7000", time.Second, context.DeadlineExceeded, time.Second},
		} {
			n.Host(hostC)
			n.Isolate(hostC)
			ctx, cancel := context.WithTimeout(t.Context(), c.limit)
			start := time.Now()
			_, err := a.Dial(ctx, c.to, Data)
			cancel()
			if !errors.Is(err, c.want) || time.Since(start) != c.after {
				t.Errorf("%s: %v after %v, want %v after %v", c.name, err, time.Since(start), c.want, c.after)
			}
		}
	})
}

func TestTransportAddr(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		for _, c := range []struct{ listen, advertise, want string }{
			{hostA + ":7000", "", hostA + ":7000"},
			{hostA + ":7000", hostB + ":0", hostB + ":7000"},
			{hostA + ":7000", hostB + ":9", hostB + ":9"},
			{hostA + ":7000", "0.0.0.0:9", "open peer port"},
		} {
			tr, err := OpenTransport(t.Context(), TransportConfig{
				Network: n.Host(hostA), Listen: c.listen, Advertise: c.advertise, Identity: identity("a"), Keys: rightKeys,
			})
			if err != nil {
				if c.want != "open peer port" || !strings.Contains(err.Error(), "say which one") {
					t.Errorf("%+v: %v", c, err)
				}
				continue
			}
			if tr.Addr() != netip.MustParseAddrPort(c.want) {
				t.Errorf("%+v: got %s", c, tr.Addr())
			}
			tr.Close()
		}
		if _, err := OpenTransport(t.Context(), TransportConfig{Network: n.Host(hostA), Listen: hostA + ":7000", Keys: rightKeys}); err == nil {
			t.Error("a node without an id")
		}
	})
}

// TestTransportLog has a thousand strangers make two lines.
func TestTransportLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		n := NewMemNetwork()
		b, err := OpenTransport(t.Context(), TransportConfig{
			Network: n.Host(hostB), Listen: hostB + ":7000", Identity: identity("b"), Keys: rightKeys,
			Log: slog.New(slog.NewTextHandler(&out, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		stranger := func() {
			c, err := n.Host(hostA).Dial(t.Context(), b.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
			io.Copy(io.Discard, c)
			c.Close()
			synctest.Wait()
		}
		for range 1000 {
			stranger()
		}
		<-time.After(refusalPause)
		stranger()
		if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "others=999") {
			t.Errorf("logged:\n%s", got)
		}
	})
}

// lines is a buffer that several may write to.
type lines struct {
	sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Buffer.Write(p)
}
