package main

import (
	"context"
	"net"
	"sync"
)

// holes are ways from a client to nodes, all in this process, into which what is sent may fall: nothing arrives, and nobody is told. As with a
// TCP connection whose packets are lost it arrives once the hole is closed, if both ends are still there.
type holes struct {
	mu   sync.Mutex
	ways map[string]*way // by address
}

// way is one address as a client reaches it; gates are closed where a hole is.
type way struct{ out, in gate }

// gate is passed while it is open.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // nil: it is open; else closed when it opens
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case open && g.closed != nil:
		close(g.closed)
		g.closed = nil
	case !open && g.closed == nil:
		g.closed = make(chan struct{})
	}
}

// pass waits until the gate is open, or the connection has ended.
func (g *gate) pass(ended <-chan struct{}) {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed == nil {
		return
	}
	select {
	case <-closed:
	case <-ended:
	}
}

func newHoles() *holes { return &holes{ways: map[string]*way{}} }

func (h *holes) way(addr string) *way {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.ways[addr]
	if w == nil {
		w = &way{}
		h.ways[addr] = w
	}
	return w
}

// open makes a hole in one direction, or both, towards some addresses.
func (h *holes) open(addrs []string, out, in bool) {
	for _, addr := range addrs {
		w := h.way(addr)
		w.out.set(!out)
		w.in.set(!in)
	}
}

// close ends all holes.
func (h *holes) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.ways {
		w.out.set(true)
		w.in.set(true)
	}
}

// Dial connects by such a way.
func (h *holes) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	far, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	w := h.way(addr)
	near, inner := net.Pipe()
	ended := make(chan struct{})
	end := sync.OnceFunc(func() {
		close(ended)
		far.Close()
		inner.Close()
	})
	carry := func(to, from net.Conn, g *gate) {
		defer end()
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			g.pass(ended)
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	go carry(far, inner, &w.out)
	go carry(inner, far, &w.in)
	return near, nil
}
