package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// Transport is a node's peer port: one number, TCP and UDP, over which everything between nodes goes. Streams begin with a
// handshake and are handed out by their kind; packets are handed out by their first byte. Connections are made when asked
// for, by Dial, and belong to who asked.
type Transport struct {
	network  Network
	keys     *Keys
	identity Identity // without the grid and the generation
	grid     atomic.Pointer[[16]byte]
	// generation is the control plane's that this node follows, and onGeneration is told of peers of the same grid that follow another.
	generation   atomic.Pointer[Generation]
	onGeneration atomic.Pointer[func(Identity)]
	log          *slog.Logger

	listener  net.Listener
	packets   net.PacketConn
	advertise netip.AddrPort

	closing context.Context // done once Close is called
	close   context.CancelFunc
	running sync.WaitGroup // all goroutines of the transport and of its streams' handlers
	refused refusals

	mu struct {
		sync.Mutex
		closed  bool
		streams [streamKinds]func(*Conn)
		taken   [streamKinds]int // accepted connections that are open; <= streamsMax each
		conns   map[*Conn]struct{}
		pending []net.Conn // in their handshake, oldest first; len <= pendingMax
	}
	onPacket [packetKinds]atomic.Pointer[func(inPacket)]
}

// Bounds of a transport.
const (
	openTimeout  = 5 * time.Second // for a connection and its handshake, on both sides
	pendingMax   = 64              // connections in their handshake; one more ends the oldest
	streamsMax   = 1024            // open connections of one kind that peers have made
	portTries    = 10              // to find a port number that is free for TCP and UDP alike
	retryPause   = 5 * time.Millisecond
	retryLongest = time.Second
)

// TransportConfig is what a transport needs to know.
type TransportConfig struct {
	Network Network
	// Listen is the address to listen on, for TCP and UDP; port 0 is any.
	Listen string
	// Advertise is the host:port that peers are told. Empty: what Listen turned out to be. Port 0: that one's port.
	Advertise string
	// Identity may lack the grid, to be given with SetGrid later.
	Identity Identity
	Keys     *Keys
	Log      *slog.Logger // nil: none
}

// OpenTransport starts listening. Streams and packets are refused or dropped until somebody handles their kind.
func OpenTransport(ctx context.Context, config TransportConfig) (*Transport, error) {
	if err := config.Identity.check(); err != nil {
		return nil, fmt.Errorf("open peer port: %w", err)
	}
	t := &Transport{network: config.Network, keys: config.Keys, identity: config.Identity, log: config.Log}
	t.SetGrid(config.Identity.Grid)
	t.SetGeneration(config.Identity.Generation)
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.mu.conns = map[*Conn]struct{}{}
	if err := t.listen(config.Listen); err != nil {
		return nil, fmt.Errorf("listen on %s for peers: %w", config.Listen, err)
	}
	if err := t.chooseAddr(ctx, config.Advertise); err != nil {
		return nil, errors.Join(fmt.Errorf("address for peers: %w", err), t.listener.Close(), t.packets.Close())
	}
	t.closing, t.close = context.WithCancel(context.Background())
	t.running.Go(t.acceptStreams)
	t.running.Go(t.readPackets)
	return t, nil
}

// listen opens both listeners on one port number.
func (t *Transport) listen(addr string) error {
	var last error
	for range portTries {
		l, err := t.network.Listen(addr)
		if err != nil {
			return err
		}
		p, err := t.network.ListenPacket(l.Addr().String())
		if err == nil {
			t.listener, t.packets = l, p
			return nil
		}
		l.Close()
		if last = err; !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return last
}

func (t *Transport) chooseAddr(ctx context.Context, advertise string) error {
	at := addrPort(t.listener.Addr())
	port := at.Port()
	if advertise != "" {
		var err error
		if at, err = t.network.Resolve(ctx, advertise); err != nil {
			return err
		}
		if at.Port() == 0 {
			at = netip.AddrPortFrom(at.Addr(), port)
		}
	}
	if at.Addr().IsUnspecified() {
		return fmt.Errorf("%s is every address of this machine: say which one peers are to use", at)
	}
	t.advertise = at
	return nil
}

// Addr is where peers reach this node.
func (t *Transport) Addr() netip.AddrPort { return t.advertise }

// Identity is what peers are told of this node now.
func (t *Transport) Identity() Identity {
	id := t.identity
	id.Grid, id.Generation = *t.grid.Load(), *t.generation.Load()
	return id
}

// SetGrid says which grid the node has become a member of. Connections that are open stay.
func (t *Transport) SetGrid(id [16]byte) { t.grid.Store(&id) }

// SetGeneration says which control plane of its grid the node follows. Connections that are open stay.
func (t *Transport) SetGeneration(g Generation) { t.generation.Store(&g) }

// HandleGenerations has f told of each stream to or from a peer that follows another control plane of the grid. It must not wait. Such
// peers get control streams alone, over which they learn of each other (R34).
func (t *Transport) HandleGenerations(f func(peer Identity)) { t.onGeneration.Store(&f) }

// sameGeneration tells why a stream of a kind is not for a peer that follows another control plane.
func (t *Transport) sameGeneration(peer Identity, kind StreamKind) error {
	own := t.Identity()
	if own.Grid == [16]byte{} || peer.Grid != own.Grid || peer.Generation == own.Generation {
		return nil
	}
	if f := t.onGeneration.Load(); f != nil {
		(*f)(peer)
	}
	if kind == Control {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", errGeneration, peer.Member, own.Generation.against(peer.Generation))
}

// Resolve finds the IP address of a peer's host, as packets need it.
func (t *Transport) Resolve(ctx context.Context, addr string) (netip.AddrPort, error) {
	return t.network.Resolve(ctx, addr)
}

// Conn is a stream to an authenticated peer. What it carries is plain: see handshake.go. Close also makes room for another.
type Conn struct {
	net.Conn
	Kind StreamKind
	Peer Identity // as of the handshake

	transport *Transport
	accepted  bool
	closed    atomic.Bool
}

// Close closes the stream; again is no error.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.transport.forget(c)
	return c.Conn.Close()
}

// Handle has f serve the streams of a kind that peers open. It runs on a goroutine of its own for each, and owns the stream,
// past its return if it likes; it must return soon after the stream is closed. A kind has one handler at a time.
func (t *Transport) Handle(kind StreamKind, f func(*Conn)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.streams[kind] != nil {
		panic(fmt.Sprintf("cluster: two handlers for %s streams", kind))
	}
	t.mu.streams[kind] = f
}

// stopKind ends what Handle began, and all streams of the kind, whoever made them.
func (t *Transport) stopKind(kind StreamKind) {
	t.mu.Lock()
	t.mu.streams[kind] = nil
	var open []*Conn
	for c := range t.mu.conns {
		if c.Kind == kind {
			open = append(open, c)
		}
	}
	t.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

// Dial opens a stream to the peer at addr. It takes openTimeout at most. The error wraps ErrWrongSecret, ErrOtherGrid,
// ErrVersion, ErrSelf, ErrNotServed or ErrHandshake where that is the reason.
func (t *Transport) Dial(ctx context.Context, addr string, kind StreamKind) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	defer context.AfterFunc(t.closing, cancel)()
	c, err := t.dial(ctx, addr, kind)
	switch {
	case err != nil && t.closing.Err() != nil:
		err = net.ErrClosed
	case err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s stream to %s: %w", kind, addr, err)
	}
	return c, nil
}

func (t *Transport) dial(ctx context.Context, addr string, kind StreamKind) (*Conn, error) {
	raw, err := t.network.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	interrupt := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	peer, err := dialHandshake(raw, kind, t.Identity(), t.keys, newNonce())
	if !interrupt() && err == nil {
		err = ctx.Err()
	}
	if err == nil || errors.Is(err, errGeneration) {
		err = cmp.Or(t.sameGeneration(peer, kind), err)
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	c := &Conn{Conn: raw, Kind: kind, Peer: peer, transport: t}
	if err := t.admit(c); err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}

// admit enters a stream among those that Close ends; one that a peer has made, only within the bounds.
func (t *Transport) admit(c *Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.mu.closed:
		return net.ErrClosed
	case !c.accepted:
	case c.Kind >= streamKinds || t.mu.streams[c.Kind] == nil:
		return fmt.Errorf("%w: %s", ErrNotServed, c.Kind)
	case t.mu.taken[c.Kind] == streamsMax:
		return fmt.Errorf("%w: %s has %d streams", ErrNotServed, c.Kind, streamsMax)
	default:
		t.mu.taken[c.Kind]++
	}
	t.mu.conns[c] = struct{}{}
	return nil
}

func (t *Transport) forget(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.mu.conns, c)
	if c.accepted {
		t.mu.taken[c.Kind]--
	}
}

// inPacket is a packet as it came. Its bytes are valid until the handler returns.
type inPacket struct {
	data []byte
	from net.Addr
	at   time.Time
}

// HandlePackets has f take the packets of a kind that is sealed, once they are known to be from a member, for this
// incarnation. It runs on the one goroutine that reads packets, so it must not wait; payload is valid until it returns.
// Answers go to where the table says that the member is: a packet's own source proves nothing.
func (t *Transport) HandlePackets(kind PacketKind, f func(from core.Member, payload []byte)) {
	if !kind.sealed() {
		panic(fmt.Sprintf("cluster: a %s is not sealed", kind))
	}
	t.handlePackets(kind, func(p inPacket) {
		_, from, payload, err := t.keys.Open(p.data, t.identity.Member)
		if errors.Is(err, errPacketNotFor) {
			return // after a restart, until all have heard
		}
		if err != nil {
			t.refused.log(t.log, p.at, p.from, err)
			return
		}
		f(from, payload)
	})
}

// stopPackets ends what HandlePackets began; f may run once more.
func (t *Transport) stopPackets(kind PacketKind) { t.onPacket[kind].Store(nil) }

func (t *Transport) handlePackets(kind PacketKind, f func(inPacket)) {
	if !t.onPacket[kind].CompareAndSwap(nil, &f) {
		panic(fmt.Sprintf("cluster: two handlers for %ss", kind))
	}
}

// SendPacket seals a packet and sends it to a member at an address. It does not wait, and does not know what becomes of it.
func (t *Transport) SendPacket(kind PacketKind, to core.Member, addr netip.AddrPort, payload []byte) error {
	packet := t.keys.Seal(make([]byte, 0, len(payload)+128), kind, t.identity.Member, to, payload)
	if _, err := t.packets.WriteTo(packet, net.UDPAddrFromAddrPort(addr)); err != nil {
		return fmt.Errorf("send %s: %w", kind, err)
	}
	return nil
}

// readPackets reads until the transport is closed.
func (t *Transport) readPackets() {
	buf := make([]byte, PacketSizeMax+1)
	pause := retryPause
	for {
		n, from, err := t.packets.ReadFrom(buf)
		if t.closing.Err() != nil {
			return
		}
		if err != nil {
			t.log.Warn("read peer packet", "error", err)
			pause = t.wait(pause)
			continue
		}
		pause = retryPause
		if n == 0 || buf[0] >= packetKinds {
			continue
		}
		if f := t.onPacket[buf[0]].Load(); f != nil {
			(*f)(inPacket{buf[:n], from, time.Now()})
		}
	}
}

// Close ends all streams and packets and waits until no handler runs.
func (t *Transport) Close() error {
	t.close()
	t.mu.Lock()
	t.mu.closed = true
	pending := t.mu.pending
	t.mu.pending = nil
	var open []*Conn
	for c := range t.mu.conns {
		open = append(open, c)
	}
	t.mu.Unlock()

	err := errors.Join(ignoreClosed(t.listener.Close()), ignoreClosed(t.packets.Close()))
	for _, raw := range pending {
		raw.Close()
	}
	for _, c := range open {
		c.Close()
	}
	t.running.Wait()
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
