package cluster

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// raftStreamsMax bounds the connections that raft has not accepted yet.
const raftStreamsMax = 64

// raftLayer is raft's stream layer over the peer port.
type raftLayer struct {
	transport *Transport
	streams   chan net.Conn
	stopped   chan struct{}
	stop      sync.Once
}

var _ raft.StreamLayer = (*raftLayer)(nil)

// RaftLayer is the stream layer for raft's network transport. It serves one raft at a time; its Close ends raft's streams,
// those that raft dialled and pooled included, and leaves the peer port to the others.
func (t *Transport) RaftLayer() raft.StreamLayer {
	l := &raftLayer{transport: t, streams: make(chan net.Conn, raftStreamsMax), stopped: make(chan struct{})}
	t.Handle(Raft, func(c *Conn) { offer(l.streams, c) })
	return l
}

func (l *raftLayer) Accept() (net.Conn, error) {
	select {
	case c := <-l.streams:
		if !l.isStopped() { // else it is one of those that Close has closed
			return c, nil
		}
	case <-l.stopped:
	case <-l.transport.closing.Done():
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
}

func (l *raftLayer) isStopped() bool {
	select {
	case <-l.stopped:
		return true
	default:
		return false
	}
}

func (l *raftLayer) Close() error {
	l.stop.Do(func() {
		close(l.stopped)
		l.transport.stopKind(Raft)
	})
	return nil
}

// Addr is the one that peers are told.
func (l *raftLayer) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.transport.advertise) }

func (l *raftLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return l.transport.dialTimeout(context.Background(), string(addr), Raft, timeout)
}
