package cluster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// Bounds of gossip: what memberlist has not taken yet. More is dropped, which gossip stands; it never holds up beacons.
const (
	gossipPacketsMax = 512
	gossipStreamsMax = 64
)

// gossip is memberlist's transport over the peer port.
type gossip struct {
	transport *Transport
	packets   chan *memberlist.Packet
	streams   chan net.Conn
	stop      sync.Once
	dialing   atomic.Pointer[dialing]
}

// dialing bounds the streams that are dialed to an address.
type dialing struct {
	ctx context.Context
	to  string
}

var _ memberlist.NodeAwareTransport = (*gossip)(nil)

// Memberlist is the transport for memberlist's configuration, whose SecretKey is to be GossipKey. It serves one memberlist
// at a time; memberlist's Shutdown ends it, and leaves the peer port to the others.
func (t *Transport) Memberlist() memberlist.NodeAwareTransport { return t.newGossip() }

func (t *Transport) newGossip() *gossip {
	g := &gossip{
		transport: t,
		packets:   make(chan *memberlist.Packet, gossipPacketsMax),
		streams:   make(chan net.Conn, gossipStreamsMax),
	}
	t.Handle(Gossip, func(c *Conn) { offer(g.streams, c) })
	t.handlePackets(PacketGossip, g.receive)
	return g
}

// offer puts a stream into a queue, or closes it where there is no room.
func offer(queue chan<- net.Conn, c *Conn) {
	select {
	case queue <- c:
	default:
		c.Close()
	}
}

func (g *gossip) receive(p inPacket) {
	if len(p.data) < 2 {
		return
	}
	select {
	case g.packets <- &memberlist.Packet{Buf: bytes.Clone(p.data[1:]), From: p.from, Timestamp: p.at}:
	default:
	}
}

// FinalAdvertiseAddr is what memberlist's configuration asks for, else the peer port's address.
func (g *gossip) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	if ip == "" {
		return g.transport.advertise.Addr().AsSlice(), int(g.transport.advertise.Port()), nil
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, 0, fmt.Errorf("advertised address: %w", err)
	}
	return addr.Unmap().AsSlice(), port, nil
}

func (g *gossip) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr) // memberlist has resolved it
	if err != nil {
		return time.Time{}, fmt.Errorf("send gossip packet: %w", err)
	}
	packet := append([]byte{byte(PacketGossip)}, b...)
	_, err = g.transport.packets.WriteTo(packet, net.UDPAddrFromAddrPort(to)) // not wrapped: memberlist looks at its type
	return time.Now(), err
}

func (g *gossip) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return g.WriteTo(b, addr.Addr)
}

func (g *gossip) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx := context.Background()
	if d := g.dialing.Load(); d != nil && d.to == addr {
		ctx = d.ctx
	}
	c, err := g.transport.dialTimeout(ctx, addr, Gossip, timeout)
	if err == nil {
		context.AfterFunc(ctx, func() { c.Close() })
	}
	return c, err
}

// dialWithin has the end of ctx, which must come, end the streams that memberlist dials to an address until the function that is
// returned is called: memberlist knows no context. One address at a time.
func (g *gossip) dialWithin(ctx context.Context, to netip.AddrPort) (done func()) {
	g.dialing.Store(&dialing{ctx, to.String()})
	return func() { g.dialing.Store(nil) }
}

func (g *gossip) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return g.DialTimeout(addr.Addr, timeout)
}

func (g *gossip) PacketCh() <-chan *memberlist.Packet { return g.packets }

// StreamCh is never closed: memberlist takes what it receives for a connection.
func (g *gossip) StreamCh() <-chan net.Conn { return g.streams }

// Shutdown never waits for memberlist, which at that time takes nothing any more.
func (g *gossip) Shutdown() error {
	g.stop.Do(func() {
		g.transport.stopPackets(PacketGossip)
		g.transport.stopKind(Gossip)
	})
	return nil
}

// dialTimeout is Dial for libraries that know no context. Its errors are bare net.OpErrors: memberlist takes those, and no
// errors that wrap one, for the other side's failure. A timeout of zero has run out.
func (t *Transport) dialTimeout(ctx context.Context, addr string, kind StreamKind, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := t.Dial(ctx, addr, kind)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	return c, nil
}
