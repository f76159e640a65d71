package cluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Bounds of a network in memory, as systems have them.
const (
	memBacklogMax = 128  // connections of a listener that nobody has accepted
	memPacketsMax = 1024 // packets that nobody has read; further ones are lost
)

// The ports that a network in memory hands out.
const (
	memPortFirst = 32768
	memPorts     = 28232
)

// MemNetwork is a network within a process, for tests: hosts with IP addresses, streams with buffers and deadlines as TCP
// has them, packets that may be lost. Links between hosts can be slow, or cut in one direction or both. It has no
// goroutines and waits by channels and timers alone, so it works in real time and in a bubble of testing/synctest; there it
// must be made within the bubble.
type MemNetwork struct {
	gate      // wakes who dials or accepts
	hosts     []netip.Addr
	links     map[memRoute]memLink
	listeners map[netip.AddrPort]*memListener
	packets   map[netip.AddrPort]*memPacketConn
	pairs     map[*memPair]struct{}
	drop      func(from, to netip.AddrPort) bool
	opened    int // ports handed out
}

// memRoute is one direction between two hosts, memLink what it is like.
type memRoute struct{ from, to netip.Addr }

type memLink struct {
	cut     bool
	latency time.Duration
}

// NewMemNetwork returns a network without hosts.
func NewMemNetwork() *MemNetwork {
	return &MemNetwork{
		links:     map[memRoute]memLink{},
		listeners: map[netip.AddrPort]*memListener{},
		packets:   map[netip.AddrPort]*memPacketConn{},
		pairs:     map[*memPair]struct{}{},
		drop:      func(_, _ netip.AddrPort) bool { return false },
	}
}

// Host is the network as the host with an IP address sees it. The same address is the same host.
func (n *MemNetwork) Host(ip string) Network {
	h := memHost{n, netip.MustParseAddr(ip)}
	n.Lock()
	defer n.Unlock()
	if !slices.Contains(n.hosts, h.ip) {
		n.hosts = append(n.hosts, h.ip)
	}
	return h
}

// Cut stops one direction: packets are lost, and what a stream carries waits for Heal, as TCP sends it again. What has
// arrived already can be read.
func (n *MemNetwork) Cut(from, to string) {
	n.change(from, to, func(l *memLink) { l.cut = true })
}

// Heal undoes Cut.
func (n *MemNetwork) Heal(from, to string) {
	n.change(from, to, func(l *memLink) { l.cut = false })
}

// SetLatency says how long one direction takes, for what is sent from now on.
func (n *MemNetwork) SetLatency(from, to string, latency time.Duration) {
	n.change(from, to, func(l *memLink) { l.latency = latency })
}

// Isolate cuts a host off from all others, in both directions.
func (n *MemNetwork) Isolate(ip string) { n.eachLink(ip, n.Cut) }

// Rejoin undoes Isolate.
func (n *MemNetwork) Rejoin(ip string) { n.eachLink(ip, n.Heal) }

// Reset breaks all connections between two hosts; both sides see it at once.
func (n *MemNetwork) Reset(a, b string) {
	one, two := netip.MustParseAddr(a), netip.MustParseAddr(b)
	n.Lock()
	defer n.Unlock()
	for p := range n.pairs {
		if r := p.ends[0].route(); r == (memRoute{one, two}) || r == (memRoute{two, one}) {
			p.reset()
		}
	}
}

// DropPackets has f decide which packets are lost. It is called under the network's lock.
func (n *MemNetwork) DropPackets(f func(from, to netip.AddrPort) bool) {
	n.Lock()
	defer n.Unlock()
	n.drop = f
}

func (n *MemNetwork) eachLink(ip string, f func(from, to string)) {
	n.Lock()
	hosts := slices.Clone(n.hosts)
	n.Unlock()
	for _, h := range hosts {
		if other := h.String(); other != ip {
			f(ip, other)
			f(other, ip)
		}
	}
}

// change makes a link, and the connections that use it, other than they were.
func (n *MemNetwork) change(from, to string, f func(*memLink)) {
	route := memRoute{netip.MustParseAddr(from), netip.MustParseAddr(to)}
	n.Lock()
	defer n.Unlock()
	link := n.links[route]
	f(&link)
	n.links[route] = link
	for p := range n.pairs {
		for i := range p.ends {
			if e := &p.ends[i]; e.route() == route {
				e.relink(link)
			}
		}
	}
	n.wakeLocked()
}

// route is the one on which an end's bytes come.
func (e *memEnd) route() memRoute {
	return memRoute{addrPort(e.remote).Addr(), addrPort(e.local).Addr()}
}

func (n *MemNetwork) forget(p *memPair) {
	n.Lock()
	defer n.Unlock()
	delete(n.pairs, p)
}

// portLocked hands out a port. Those of connections may come again: nothing is told apart by them.
func (n *MemNetwork) portLocked() uint16 {
	n.opened++
	return uint16(memPortFirst + n.opened%memPorts)
}

// bindLocked finds the address that a listener asks for; port 0 is any that is free.
func (n *MemNetwork) bindLocked(ip netip.Addr, addr, network string, used func(netip.AddrPort) bool) (netip.AddrPort, error) {
	fail := func(err error) (netip.AddrPort, error) {
		return netip.AddrPort{}, &net.OpError{Op: "listen", Net: network, Err: fmt.Errorf("%s: %w", addr, err)}
	}
	if strings.HasPrefix(addr, ":") {
		addr = ip.String() + addr
	}
	want, err := netip.ParseAddrPort(addr)
	switch {
	case err != nil:
		return fail(err)
	case want.Addr() != ip && !want.Addr().IsUnspecified():
		return fail(syscall.EADDRNOTAVAIL)
	}
	at := netip.AddrPortFrom(ip, want.Port())
	for range memPorts {
		if want.Port() == 0 {
			at = netip.AddrPortFrom(ip, n.portLocked())
		}
		if !used(at) {
			return at, nil
		}
	}
	return fail(syscall.EADDRINUSE)
}

// memHost is a MemNetwork seen from one of its hosts.
type memHost struct {
	network *MemNetwork
	ip      netip.Addr
}

func (h memHost) Listen(addr string) (net.Listener, error) {
	n := h.network
	n.Lock()
	defer n.Unlock()
	at, err := n.bindLocked(h.ip, addr, "tcp", func(a netip.AddrPort) bool { return n.listeners[a] != nil })
	if err != nil {
		return nil, err
	}
	l := &memListener{network: n, addr: at}
	n.listeners[at] = l
	return l, nil
}

func (h memHost) ListenPacket(addr string) (net.PacketConn, error) {
	n := h.network
	n.Lock()
	defer n.Unlock()
	at, err := n.bindLocked(h.ip, addr, "udp", func(a netip.AddrPort) bool { return n.packets[a] != nil })
	if err != nil {
		return nil, err
	}
	c := &memPacketConn{network: n, addr: at}
	n.packets[at] = c
	return c, nil
}

// Dial waits for a way there and back, and for room in the listener's backlog. Where nobody listens, it is refused.
func (h memHost) Dial(ctx context.Context, addr string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%s: %w", addr, err)}
	}
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fail(err)
	}
	n := h.network
	n.Lock()
	defer n.Unlock()
	out, back := memRoute{h.ip, to.Addr()}, memRoute{to.Addr(), h.ip}
	due := time.Now().Add(n.links[out].latency + n.links[back].latency)
	for {
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		if time.Now().Before(due) {
			n.waitLocked(due, ctx.Done())
			continue
		}
		if !n.links[out].cut && !n.links[back].cut {
			l := n.listeners[to]
			if l == nil {
				return fail(syscall.ECONNREFUSED)
			}
			if len(l.backlog) < memBacklogMax {
				return l.connectLocked(netip.AddrPortFrom(h.ip, n.portLocked()), n.links[out], n.links[back]), nil
			}
		}
		n.waitLocked(time.Time{}, ctx.Done())
	}
}

func (h memHost) Resolve(_ context.Context, addr string) (netip.AddrPort, error) {
	return netip.ParseAddrPort(addr)
}

// memListener is a net.Listener. Its fields are guarded by the network's lock.
type memListener struct {
	network *MemNetwork
	addr    netip.AddrPort
	backlog []*memEnd // len <= memBacklogMax
	closed  bool
}

func (l *memListener) connectLocked(from netip.AddrPort, out, back memLink) net.Conn {
	p := newMemPair(l.network, net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(l.addr), out, back)
	l.network.pairs[p] = struct{}{}
	l.backlog = append(l.backlog, &p.ends[1])
	l.network.wakeLocked()
	return &p.ends[0]
}

func (l *memListener) Accept() (net.Conn, error) {
	n := l.network
	n.Lock()
	defer n.Unlock()
	for {
		if l.closed {
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
		}
		if len(l.backlog) > 0 {
			c := l.backlog[0]
			l.backlog = l.backlog[1:]
			n.wakeLocked()
			return c, nil
		}
		n.waitLocked(time.Time{}, nil)
	}
}

// Close also closes the connections that nobody has accepted.
func (l *memListener) Close() error {
	n := l.network
	n.Lock()
	if l.closed {
		n.Unlock()
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.closed = true
	delete(n.listeners, l.addr)
	waiting := l.backlog
	l.backlog = nil
	n.wakeLocked()
	n.Unlock()
	for _, c := range waiting {
		c.Close()
	}
	return nil
}

func (l *memListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// memPacketConn is a net.PacketConn.
type memPacketConn struct {
	network *MemNetwork
	addr    netip.AddrPort

	gate               // guards what follows
	inbox  []memPacket // len <= memPacketsMax
	closed bool
	readBy time.Time
}

type memPacket struct {
	from netip.AddrPort
	data []byte
}

// WriteTo never waits. A packet is lost where its way is cut, where nobody listens or reads, and where the test says so.
func (c *memPacketConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	if c.isClosed() {
		return 0, c.failed("write", net.ErrClosed)
	}
	if len(p) > PacketSizeMax {
		return 0, c.failed("write", syscall.EMSGSIZE)
	}
	to := addrPort(addr)
	n := c.network
	n.Lock()
	link, dest := n.links[memRoute{c.addr.Addr(), to.Addr()}], n.packets[to]
	lost := link.cut || dest == nil || n.drop(c.addr, to)
	n.Unlock()
	if lost {
		return len(p), nil
	}
	packet := memPacket{c.addr, slices.Clone(p)}
	if link.latency > 0 {
		time.AfterFunc(link.latency, func() { dest.deliver(packet) })
	} else {
		dest.deliver(packet)
	}
	return len(p), nil
}

func (c *memPacketConn) deliver(packet memPacket) {
	c.Lock()
	defer c.Unlock()
	if !c.closed && len(c.inbox) < memPacketsMax {
		c.inbox = append(c.inbox, packet)
		c.wakeLocked()
	}
}

// ReadFrom waits for a packet; what p has no room for is lost.
func (c *memPacketConn) ReadFrom(p []byte) (int, net.Addr, error) {
	c.Lock()
	defer c.Unlock()
	for {
		switch {
		case c.closed:
			return 0, nil, c.failed("read", net.ErrClosed)
		case !c.readBy.IsZero() && !time.Now().Before(c.readBy):
			return 0, nil, c.failed("read", os.ErrDeadlineExceeded)
		case len(c.inbox) > 0:
			packet := c.inbox[0]
			c.inbox = c.inbox[1:]
			return copy(p, packet.data), net.UDPAddrFromAddrPort(packet.from), nil
		}
		c.waitLocked(c.readBy, nil)
	}
}

func (c *memPacketConn) Close() error {
	c.network.Lock()
	if c.network.packets[c.addr] == c {
		delete(c.network.packets, c.addr)
	}
	c.network.Unlock()
	c.Lock()
	defer c.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	c.closed, c.inbox = true, nil
	c.wakeLocked()
	return nil
}

func (c *memPacketConn) isClosed() bool {
	c.Lock()
	defer c.Unlock()
	return c.closed
}

func (c *memPacketConn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Err: err}
}

func (c *memPacketConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.addr) }

func (c *memPacketConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *memPacketConn) SetReadDeadline(t time.Time) error {
	c.Lock()
	defer c.Unlock()
	c.readBy = t
	c.wakeLocked()
	return nil
}

func (c *memPacketConn) SetWriteDeadline(time.Time) error { return nil } // a write never waits
