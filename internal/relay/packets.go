package relay

import (
	"net"
	"sync"
	"sync/atomic"
)

const (
	packetBytes = 64 << 10
	sourcesMax  = 256 // who has sent a packet; those of others are dropped
)

// Packets hands on packets to one server, and its answers to whom they are for. Its methods may be called from any goroutine.
type Packets struct {
	target *net.UDPAddr
	door   *net.UDPConn
	silent atomic.Bool
	ended  sync.WaitGroup

	mu struct {
		sync.Mutex
		closed  bool
		onwards map[string]*net.UDPConn // to the target, by whom it is for
	}
}

// StartPackets begins to hand on what is sent to addr, both host:port.
func StartPackets(addr, target string) (*Packets, error) {
	at, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	p := &Packets{}
	if p.target, err = net.ResolveUDPAddr("udp", target); err != nil {
		return nil, err
	}
	if p.door, err = net.ListenUDP("udp", at); err != nil {
		return nil, err
	}
	p.mu.onwards = map[string]*net.UDPConn{}
	p.ended.Go(p.take)
	return p, nil
}

// Addr is where to send in place of the target.
func (p *Packets) Addr() string { return p.door.LocalAddr().String() }

// Swallow has no packet arrive any more.
func (p *Packets) Swallow() { p.silent.Store(true) }

func (p *Packets) Close() {
	p.mu.Lock()
	p.mu.closed = true
	for _, onward := range p.mu.onwards {
		onward.Close()
	}
	p.mu.Unlock()
	p.door.Close()
	p.ended.Wait()
}

func (p *Packets) take() {
	buf := make([]byte, packetBytes)
	for {
		n, from, err := p.door.ReadFromUDP(buf)
		if err != nil {
			return
		}
		if onward := p.onward(from); onward != nil && !p.silent.Load() {
			_, _ = onward.Write(buf[:n]) // where nobody listens it is lost, as packets are
		}
	}
}

// onward is the way to the target for one source; nil: there is none.
func (p *Packets) onward(from *net.UDPAddr) *net.UDPConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	onward := p.mu.onwards[from.String()]
	if onward != nil || p.mu.closed || len(p.mu.onwards) == sourcesMax {
		return onward
	}
	onward, err := net.DialUDP("udp", nil, p.target)
	if err != nil {
		return nil
	}
	p.mu.onwards[from.String()] = onward
	p.ended.Go(func() { p.answer(onward, from) })
	return onward
}

func (p *Packets) answer(onward *net.UDPConn, to *net.UDPAddr) {
	buf := make([]byte, packetBytes)
	for {
		n, err := onward.Read(buf)
		if err != nil && p.isClosed() {
			return
		}
		if err == nil && !p.silent.Load() { // an error tells that nobody listens at present
			_, _ = p.door.WriteToUDP(buf[:n], to)
		}
	}
}

func (p *Packets) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.closed
}
