package loadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

const (
	slots           = 16384
	refreshPauseMin = 200 * time.Millisecond // between looks at a cluster's topology
	nodesMax        = 10_000
)

// topology is who owns which slot of a cluster. All clients of a target share it.
type topology struct {
	mu struct {
		sync.RWMutex
		owners [slots]string // addresses; empty: nobody
		looked time.Time
		busy   bool
	}
}

// learn asks the cluster who owns what, unless that was done just now or is being done.
func (t *RESP) learn(ctx context.Context) error {
	p := &t.topology
	if !p.claim() {
		return nil
	}
	owners, err := t.askOwners(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.busy = false
	if err == nil {
		p.mu.owners, p.mu.looked = *owners, time.Now()
	}
	return err
}

// lost is called where a node cannot be reached: another one may have taken over.
func (t *RESP) lost(ctx context.Context) {
	if t.Cluster {
		_ = t.learn(ctx) // nobody answers: the next attempt asks again
	}
}

func (p *topology) claim() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.busy || time.Since(p.mu.looked) < refreshPauseMin {
		return false
	}
	p.mu.busy = true
	return true
}

// askOwners asks the nodes that are known, one after the other, the one named by the user first.
func (t *RESP) askOwners(ctx context.Context) (owners *[slots]string, err error) {
	for _, addr := range append([]string{t.Addr}, t.topology.primaries()...) {
		var reply protocol.Value
		if reply, err = t.askNode(ctx, addr, "CLUSTER", "SLOTS"); err != nil {
			continue
		}
		if owners, err = parseSlots(reply, addr); err == nil {
			return owners, nil
		}
	}
	return nil, err
}

// askNode asks over a connection of its own.
func (t *RESP) askNode(ctx context.Context, addr string, words ...string) (protocol.Value, error) {
	conn, err := t.connect(ctx, addr)
	if err != nil {
		return protocol.Value{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(dialTimeout))
	return ask(conn, words...)
}

// parseSlots reads the reply to CLUSTER SLOTS: first slot, last slot, the primary's host, port and more, others. A node that does
// not know how it is reached names no host: it is the one asked.
func parseSlots(reply protocol.Value, asked string) (*[slots]string, error) {
	var owners [slots]string
	known := 0
	for _, part := range reply.Elems {
		if len(part.Elems) < 3 || len(part.Elems[2].Elems) < 2 {
			return nil, errors.New("the reply to CLUSTER SLOTS is not understood")
		}
		first, last, node := part.Elems[0].Int, part.Elems[1].Int, part.Elems[2].Elems
		if first < 0 || last >= slots || first > last {
			return nil, fmt.Errorf("CLUSTER SLOTS names slots %d to %d", first, last)
		}
		addr := nodeAddress(string(node[0].Str), strconv.FormatInt(node[1].Int, 10), asked)
		for slot := first; slot <= last; slot++ {
			owners[slot] = addr
			known++
		}
	}
	if known == 0 {
		return nil, errors.New("no node of the cluster owns slots")
	}
	return &owners, nil
}

func nodeAddress(host, port, asked string) string {
	if host == "" || host == "?" {
		host, _, _ = net.SplitHostPort(asked)
	}
	return net.JoinHostPort(host, port)
}

// owner is the address of a slot's node.
func (p *topology) owner(slot int) string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if addr := p.mu.owners[slot]; addr != "" {
		return addr
	}
	for _, addr := range p.mu.owners { // it tells who has the slot, or that nobody has
		if addr != "" {
			return addr
		}
	}
	return ""
}

// primaries are all nodes that own slots.
func (p *topology) primaries() (addrs []string) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	seen := map[string]bool{"": true}
	for _, addr := range p.mu.owners {
		if !seen[addr] && len(addrs) < nodesMax {
			seen[addr] = true
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// redirection reads what follows MOVED or ASK: "3999 127.0.0.1:6381".
func (p *topology) redirection(text []byte, from string) (addr string, slot int, ok bool) {
	number, where, ok := bytes.Cut(text, []byte(" "))
	slot, err := strconv.Atoi(string(number))
	if !ok || err != nil || slot < 0 || slot >= slots {
		return "", 0, false
	}
	host, port, err := net.SplitHostPort(string(where))
	if err != nil {
		return "", 0, false
	}
	return nodeAddress(host, port, from), slot, true
}

// moved notes a slot's new owner.
func (p *topology) moved(slot int, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.owners[slot] = addr
}
