package cluster

import (
	"context"
	"net"
	"net/netip"
	"strconv"
)

// Network is what peers meet on: sockets, or a MemNetwork's host. Addresses are host:port; the connections' own are
// *net.TCPAddr and *net.UDPAddr. All that is built on it (handshake, streams, gossip, raft) is the same on both.
type Network interface {
	// Listen opens a port for streams; port 0 is any.
	Listen(addr string) (net.Listener, error)
	// ListenPacket opens a port for packets, to be addressed by *net.UDPAddr.
	ListenPacket(addr string) (net.PacketConn, error)
	// Dial opens a stream, unless ctx ends before.
	Dial(ctx context.Context, addr string) (net.Conn, error)
	// Resolve finds the IP address of a host.
	Resolve(ctx context.Context, addr string) (netip.AddrPort, error)
}

// Sockets is the system's network.
func Sockets() Network { return sockets{} }

type sockets struct{}

// packetBufferSize is how many bytes of packets the system is asked to hold while none are read. It may grant less.
const packetBufferSize = 2 << 20

func (sockets) Listen(addr string) (net.Listener, error) {
	lc := net.ListenConfig{}
	lc.SetMultipathTCP(false) // peers have one path, and its options cost every packet
	return lc.Listen(context.Background(), "tcp", addr)
}

func (sockets) ListenPacket(addr string) (net.PacketConn, error) {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	_ = c.(*net.UDPConn).SetReadBuffer(packetBufferSize)
	return c, nil
}

func (sockets) Dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func (sockets) Resolve(ctx context.Context, addr string) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(addr); err == nil {
		return at, nil
	}
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, &net.AddrError{Err: "the port is no number", Addr: addr}
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(ips) == 0 {
		return netip.AddrPort{}, &net.AddrError{Err: "no address", Addr: addr}
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(port)), nil
}

// addrPort is the address in a *net.TCPAddr or *net.UDPAddr, an IPv4 one always in its short form.
func addrPort(a net.Addr) netip.AddrPort {
	var at netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		at = a.AddrPort()
	case *net.UDPAddr:
		at = a.AddrPort()
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}
