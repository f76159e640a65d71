package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Join finds the grid by the addresses of peer ports: one live node's is enough. It tries them all at once, again and again
// with pauses that grow, until it has exchanged members with one of them or ctx ends; then the error says for each address why
// not, wrapping ErrWrongSecret, ErrOtherGrid, ErrVersion, ErrNodeTwice, ErrSelf, ErrNotServed, ErrHandshake or ErrNobody.
//
// Whatever becomes of it, the membership goes on to look for those of the addresses that are no members, so that parts of a
// grid that began apart find each other.
func (m *Membership) Join(ctx context.Context, addrs []string) error {
	if n := len(addrs); n == 0 || n > seedsMax {
		return fmt.Errorf("join: %d addresses, and 1 to %d are wanted", n, seedsMax)
	}
	if m.seeking.Err() != nil {
		return fmt.Errorf("join: %w", errEnded)
	}
	m.mu.Lock()
	m.mu.seeds = slices.Clone(addrs)
	m.mu.Unlock()

	trying, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.seeking, cancel)()
	reasons := map[string]error{}
	for wait := joinPause; trying.Err() == nil; wait = min(2*wait, joinPauseLongest) {
		for r := range m.reachAll(trying, addrs) {
			if r.err == nil {
				return nil
			}
			if reasons[r.addr] == nil || trying.Err() == nil { // being cancelled is no better reason than the one before
				reasons[r.addr] = fmt.Errorf("%s: %w", r.addr, r.err)
			}
		}
		pause(trying, wait)
	}
	if m.seeking.Err() != nil {
		return fmt.Errorf("join: %w", errEnded)
	}
	failed := []error{ctx.Err()}
	for _, addr := range addrs {
		failed = append(failed, reasons[addr])
	}
	return fmt.Errorf("join: %w", errors.Join(failed...))
}

// reached says what became of an address.
type reached struct {
	addr string
	err  error
}

// reachAll tries addresses at once, and says of each what became of it. What is not waited for is cancelled.
func (m *Membership) reachAll(ctx context.Context, addrs []string) func(yield func(reached) bool) {
	return func(yield func(reached) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var tries sync.WaitGroup
		defer tries.Wait()
		defer cancel()
		results := make(chan reached, len(addrs))
		others := m.others()
		for _, addr := range addrs {
			tries.Go(func() { results <- reached{addr, m.reach(ctx, addr, others)} })
		}
		for range addrs {
			if !yield(<-results) {
				return
			}
		}
	}
}

// reach makes sure that the node at an address is a member, as those of others are. It knocks first: memberlist knows no context, and
// its errors are text.
func (m *Membership) reach(ctx context.Context, addr string, others map[netip.AddrPort]bool) error {
	at, err := m.transport.Resolve(ctx, addr)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNobody, err)
	}
	if others[at] {
		return nil
	}
	conn, err := m.transport.Dial(ctx, at.String(), Gossip)
	if err != nil {
		return whyNot(err)
	}
	peer := conn.Peer.Member
	conn.Close()
	if peer.Node == m.own() {
		return fmt.Errorf("%w: it is running there as %s", ErrNodeTwice, peer)
	}
	return m.exchange(ctx, at)
}

// whyNot names an error of Dial that has no name.
func whyNot(err error) error {
	for _, known := range []error{ErrWrongSecret, ErrOtherGrid, ErrVersion, ErrSelf, ErrNotServed, ErrHandshake} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrNobody, err)
}

// others are the peer ports of the other nodes that are alive.
func (m *Membership) others() map[netip.AddrPort]bool {
	at := map[netip.AddrPort]bool{}
	for _, i := range m.Members() {
		if i.Status == MemberAlive && i.Member.Node != m.own() {
			at[i.Peer] = true
		}
	}
	return at
}

// exchange has both sides learn each other's members. It is done twice: by the first list that comes back, this node learns what number
// memberlist gave the last news of its former start, and goes beyond it. Only then is it believed where that one is remembered at
// another address (see former). The end of ctx ends it at once.
func (m *Membership) exchange(ctx context.Context, at netip.AddrPort) error {
	if err := m.use(ctx); err != nil {
		return err
	}
	defer m.release()
	limited, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	defer m.gossip.dialWithin(limited, at)()
	err := m.exchangeOnce(at)
	if err == nil || errors.Is(err, errFormer) {
		err = m.exchangeOnce(at)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("exchange members: %w", ctx.Err())
	case err != nil && limited.Err() != nil:
		return fmt.Errorf("exchange members: not within %v: %w", exchangeTimeout, err)
	}
	return err
}

func (m *Membership) exchangeOnce(at netip.AddrPort) error {
	m.refused(nil)
	_, err := m.serf.Load().Join([]string{at.String()}, true)
	if err == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.mu.refusal; r != nil && strings.Contains(err.Error(), r.Error()) {
		return r // what memberlist has made text of
	}
	return fmt.Errorf("exchange members: %w", err)
}

func (m *Membership) refused(why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.refusal = why
}

// seek goes on where Join ended. Serf does so too, for nodes that were members once and have failed.
func (m *Membership) seek() {
	for {
		pause(m.seeking, seekInterval)
		if m.seeking.Err() != nil {
			return
		}
		m.mu.Lock()
		seeds := m.mu.seeds // replaced as a whole
		m.mu.Unlock()
		for r := range m.reachAll(m.seeking, seeds) {
			if r.err != nil && !errors.Is(r.err, ErrSelf) {
				m.log.Debug("not reached", "peer", r.addr, "reason", r.err)
			}
		}
	}
}

// announce tells the others again and again, for a while, of a node that has moved. Whoever has not found the former start dead when
// news of this one comes lets that pass, and would hear no more until lists are exchanged, half a minute later.
func (m *Membership) announce() {
	for {
		select {
		case <-m.moved:
		case <-m.seeking.Done():
			return
		}
		for range announcements {
			pause(m.seeking, announcePause)
			if err := m.use(m.seeking); err != nil {
				return
			}
			err := m.serf.Load().Memberlist().UpdateNode(broadcastTimeout) // with the same tags, and a higher number
			m.release()
			if err != nil {
				m.log.Debug("announce the new address", "error", err)
			}
		}
	}
}
