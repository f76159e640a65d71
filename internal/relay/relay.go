package relay

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/internal/exactsleep"
)

const (
	pieceBytes  = 64 << 10
	queueMax    = 256 // pieces of one direction that wait
	dialTimeout = 5 * time.Second
)

// Relay hands on connections to one server. Its methods may be called from any goroutine.
type Relay struct {
	target string
	door   net.Listener
	delay  atomic.Int64 // time.Duration, each way
	silent atomic.Bool
	ended  sync.WaitGroup

	mu struct {
		sync.Mutex
		closed bool
		conns  map[net.Conn]struct{}
	}
}

// Start begins to hand on connections to target, host:port. There is no delay at first.
func Start(target string) (*Relay, error) { return StartAt("127.0.0.1:0", target) }

// StartAt is Start for those who connect to an address of ours, host:port.
func StartAt(addr, target string) (*Relay, error) {
	door, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	r := &Relay{target: target, door: door}
	r.mu.conns = map[net.Conn]struct{}{}
	r.ended.Go(r.accept)
	return r, nil
}

// Addr is where to connect in place of the target.
func (r *Relay) Addr() string { return r.door.Addr().String() }

// SetDelay has everything that comes from now on wait so long, each way.
func (r *Relay) SetDelay(each time.Duration) { r.delay.Store(int64(each)) }

// Delay is what was set.
func (r *Relay) Delay() time.Duration { return time.Duration(r.delay.Load()) }

// Swallow has nothing arrive any more, in either direction, the ends of connections included: a black hole, but that connections are still
// taken. There is no way back: who has sent what was swallowed would be misunderstood.
func (r *Relay) Swallow() { r.silent.Store(true) }

// Dial connects through the relay, whatever the address: for clients that learn the server's own.
func (r *Relay) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", r.Addr())
}

// Close ends all connections.
func (r *Relay) Close() {
	r.mu.Lock()
	r.mu.closed = true
	for conn := range r.mu.conns {
		conn.Close()
	}
	r.mu.Unlock()
	r.door.Close()
	r.ended.Wait()
}

func (r *Relay) accept() {
	for {
		near, err := r.door.Accept()
		if err != nil {
			return
		}
		r.ended.Go(func() { r.serve(near) })
	}
}

// serve hands on one connection until both directions have ended.
func (r *Relay) serve(near net.Conn) {
	defer near.Close()
	far, err := net.DialTimeout("tcp", r.target, dialTimeout)
	if err != nil {
		return // the client's connection is closed, as a server's that is not there
	}
	defer far.Close()
	if !r.keep(near, far) {
		return
	}
	defer r.forget(near, far)
	var both sync.WaitGroup
	both.Go(func() { r.hand(far, near) })
	both.Go(func() { r.hand(near, far) })
	both.Wait()
}

func (r *Relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closed {
		return false
	}
	for _, conn := range conns {
		r.mu.conns[conn] = struct{}{}
	}
	return true
}

func (r *Relay) forget(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		delete(r.mu.conns, conn)
	}
}

// piece is what one read brought.
type piece struct {
	bytes []byte
	due   time.Time
}

// hand copies one direction. Its end is handed on like a byte: late, and behind all that came before.
func (r *Relay) hand(to, from net.Conn) {
	waiting := make(chan piece, queueMax)
	spare := make(chan []byte, queueMax)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(waiting)
		for {
			var buf []byte
			select {
			case buf = <-spare:
			default:
				buf = make([]byte, pieceBytes)
			}
			n, err := from.Read(buf)
			if n > 0 {
				waiting <- piece{buf[:n], time.Now().Add(r.Delay())}
			}
			if err != nil {
				return
			}
		}
	})
	if !r.write(to, waiting, spare) {
		from.Close() // nobody takes what it brings
		for range waiting {
		}
	}
	reader.Wait()
}

// write hands pieces on when they are due, until there are no more. It answers false where nobody takes them.
func (r *Relay) write(to net.Conn, waiting <-chan piece, spare chan<- []byte) bool {
	restore := exactsleep.OnThread()
	defer restore()
	for p := range waiting {
		if left := time.Until(p.due); left > 0 {
			exactsleep.Sleep(left)
		}
		if r.silent.Load() {
			continue
		}
		if _, err := to.Write(p.bytes); err != nil {
			return false
		}
		select {
		case spare <- p.bytes[:pieceBytes]:
		default:
		}
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok && !r.silent.Load() {
		_ = half.CloseWrite()
	}
	return true
}
