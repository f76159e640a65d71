package cluster

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/neargrid/neargrid/cluster/core"
)

// A control plane is of one generation from its start to its end. That of the next begins with a promise (R34): the node's part in this
// one ends for good, on disk first. It takes no part in this raft any more, follows no table, and waits for the one generation that it has
// promised to follow. Then this ControlPlane is shut down and another started, with what heritage says.

// heritage is what a control plane leaves to the next of its node.
type heritage struct {
	saved  savedGrid
	info   gridInfo    // the grid, as the next begins with it
	stores *raftStores // of the raft that this node begins, or goes on with where it has no disk; nil: it opens its own
}

// errSucceeded: this control plane is over, and what is to come after it is known.
var errSucceeded = errors.New("the control plane has been succeeded")

// promises is what a control plane knows of generations beside its own.
type promises struct {
	gate      chan struct{} // has room for one: who gives a promise, takes one back, or keeps it; a mutex could not be held over a wait
	frozen    atomic.Bool   // the node's part in this control plane is over
	forked    atomic.Bool   // somebody was told so
	entered   atomic.Bool   // this start has been in the table
	next      *heritage     // set before succeeded is closed
	succeeded chan struct{}
}

func newPromises() promises {
	return promises{gate: make(chan struct{}, 1), succeeded: make(chan struct{})}
}

// take waits for its turn; what it returns ends that.
func (p *promises) take() (done func()) {
	p.gate <- struct{}{}
	return func() { <-p.gate }
}

// load finds out where the node stands: by what the control plane before has left, or else by what is on disk.
func (c *ControlPlane) load() (saved savedGrid, err error) {
	if h := c.config.heritage; h != nil {
		saved = h.saved
	} else if saved, err = loadGrid(c.config.DataDir, c.self.Node); err != nil {
		return saved, err
	}
	saved.Node = c.self.Node
	c.state.saved, c.generation, c.remembered = saved, saved.Generation, saved.Peers
	return saved, nil
}

// openRaft starts this generation's raft. Who has promised to follow another takes no part in it.
func (c *ControlPlane) openRaft(saved savedGrid) (err error) {
	fsm := newTableFSM(c.follower.offer, c.fail)
	if saved.Promised != (Generation{}) {
		c.log.Warn("waits for the control plane that it has promised to follow. Was that given up, run neargrid recover again; if the one "+
			"before is alive, have this node begin anew with an empty data directory",
			"generation", saved.Promised, "begun_at", saved.Peers)
		c.promises.frozen.Store(true)
		c.follower.freeze()
		c.raft, err = openIdleRaft(c.config.Transport, fsm, c.log)
		return err
	}
	var stores raftStores
	if h := c.config.heritage; h != nil && h.stores != nil {
		stores = *h.stores
	} else if stores, err = openStores(c.config.DataDir, saved.Generation.Number, c.log); err != nil {
		return err
	}
	c.raft, err = openRaft(c.config.Transport, stores, fsm, c.addressOf, c.log)
	return err
}

// saveState changes what the node has on disk besides raft's state.
func (c *ControlPlane) saveState(change func(*savedGrid) error) error {
	c.state.Lock()
	defer c.state.Unlock()
	next := c.state.saved
	if err := change(&next); err != nil {
		return err
	}
	if err := next.store(c.config.DataDir); err != nil {
		return err
	}
	c.state.saved = next
	return nil
}

func (c *ControlPlane) savedState() savedGrid {
	c.state.Lock()
	defer c.state.Unlock()
	return c.state.saved
}

// promise has the node follow nobody but the founder's generation from now on. It is refused where the control plane is alive, and
// where something as late was promised already. Once it returns, no table is newer here than the one that info tells, and none will be.
func (c *ControlPlane) promise(g Generation, founder string) error {
	defer c.promises.take()()
	if id, _ := c.Leader(); !c.promises.frozen.Load() && (id != "" || c.raft.State() == raft.Leader) {
		return fmt.Errorf("the control plane answers: %s leads it", id)
	}
	if c.promises.next != nil {
		return errSucceeded
	}
	err := c.saveState(func(s *savedGrid) error {
		switch {
		case g.Number <= s.Generation.Number:
			return fmt.Errorf("it follows generation %s of the control plane already", s.Generation)
		case g != s.Promised && g.Number <= s.Promised.Number:
			return fmt.Errorf("it has promised to follow generation %s: another recovery is under way", s.Promised)
		}
		if s.Promised != g && s.Promised != (Generation{}) {
			s.Superseded = append(slices.Clone(s.Superseded), supersededPromise{s.Promised, s.Peers[0]})
			s.Superseded = s.Superseded[max(0, len(s.Superseded)-supersededMax):]
		}
		s.promise(g, founder)
		return nil
	})
	if err != nil {
		return err
	}
	c.log.Warn("has promised to follow another control plane, and nobody else", "generation", g, "begun_at", founder)
	c.founder.Store(&founder)
	c.freeze()
	return nil
}

// promise notes that the node is to follow a generation, and where that begins.
func (s *savedGrid) promise(g Generation, founder string) {
	s.Promised = g
	s.Peers = append([]string{founder}, slices.DeleteFunc(slices.Clone(s.Peers), func(a string) bool { return a == founder })...)
}

// freeze ends the node's part in this control plane. It returns once raft has nothing more to say here.
func (c *ControlPlane) freeze() {
	c.promises.frozen.Store(true)
	c.follower.freeze()
	_ = c.raft.stop().Error() // it has none
	c.leader.Store(&leaderInfo{Term: c.leader.Load().Term})
}

// release takes a promise back: nothing will come of that generation. An earlier one that had to make room for it counts again, for something
// may have come of that: two persons begin a control plane each,
//
//	1 this node promises to follow the one that begins at e, and so do all others: it is begun
//	2 before this node hears of that, it promises to follow the one that is to begin at d
//	3 e does not, as it is in another by now, and d takes all promises back
//
// and with neither promise the node would go on with the control plane that both have given up. Without an earlier promise it does.
func (c *ControlPlane) release(g Generation) error {
	defer c.promises.take()()
	saved := c.savedState()
	at := slices.IndexFunc(saved.Superseded, func(p supersededPromise) bool { return p.Generation == g })
	last := len(saved.Superseded) - 1
	switch {
	case g == (Generation{}) || c.promises.next != nil:
		return nil
	case at >= 0:
		return c.saveState(func(s *savedGrid) error {
			s.Superseded = slices.Delete(slices.Clone(s.Superseded), at, at+1)
			return nil
		})
	case saved.Promised != g:
		return nil
	case last >= 0:
		return c.repromise(saved.Superseded[last])
	}
	if err := c.saveState(func(s *savedGrid) error { s.Promised = Generation{}; return nil }); err != nil {
		return err
	}
	c.log.Warn("goes on with the control plane that it had: the other was given up before it began", "generation", g)
	h := heritage{saved: c.savedState(), info: c.info(0)}
	if c.config.DataDir == "" {
		h.stores = &c.raft.stores // there is nothing to open them from
	}
	c.succeedLocked(h)
	return nil
}

// repromise has the last of the superseded promises count again.
func (c *ControlPlane) repromise(p supersededPromise) error {
	err := c.saveState(func(s *savedGrid) error {
		s.Superseded = slices.Clone(s.Superseded[:len(s.Superseded)-1])
		s.promise(p.Generation, p.Founder)
		return nil
	})
	if err != nil {
		return err
	}
	c.log.Warn("waits for the control plane that it had promised to follow before", "generation", p.Generation, "begun_at", p.Founder)
	c.founder.Store(&p.Founder)
	signal(c.pullWanted)
	return nil
}

// found begins the control plane of a generation that this node has promised to follow, with a table that it has agreed on, and this node
// as its only voter. On disk, the generation begins with the last write here.
func (c *ControlPlane) found(g Generation, t *core.Table) error {
	defer c.promises.take()()
	if c.savedState().Promised != g || c.promises.next != nil {
		return fmt.Errorf("begin generation %s: the promise was taken back: another recovery is under way", g)
	}
	if err := c.clearRaft(g); err != nil {
		return err
	}
	stores, err := openStores(c.config.DataDir, g.Number, c.log)
	if err != nil {
		return err
	}
	self := raftServer(c.config.Transport)
	if err = stores.found(t, self); err == nil {
		err = c.saveState(func(s *savedGrid) error {
			s.Generation, s.Promised, s.Superseded, s.Peers = g, Generation{}, nil, []string{string(self.Address)}
			return nil
		})
	}
	if err != nil {
		return errors.Join(err, stores.close(), c.clearRaft(g))
	}
	only := serverList{Index: firstServers, Servers: []server{{ID: c.self.Node, Votes: true, Addr: string(self.Address)}}}
	c.succeedLocked(heritage{
		saved: c.savedState(), stores: &stores,
		info: gridInfo{Member: true, Grid: t.Settings.Grid, Servers: only, Delta: t.Since(0), Generation: g},
	})
	return nil
}

// clearRaft removes what a generation that never began has left on disk.
func (c *ControlPlane) clearRaft(g Generation) error {
	if c.config.DataDir == "" {
		return nil
	}
	if err := os.RemoveAll(raftDir(c.config.DataDir, g.Number)); err != nil {
		return fmt.Errorf("make room for the control plane's state: %w", err)
	}
	return nil
}

// follow has the node go over to a later generation, of which a member has told it.
func (c *ControlPlane) follow(info gridInfo) error {
	defer c.promises.take()()
	g := info.Generation
	switch {
	case c.promises.next != nil:
		return nil
	case !c.mayFollow(g):
		return c.generation.against(g)
	case info.Delta.From != 0 || core.GenerationOf(info.Delta.Version) != g.Number:
		return fmt.Errorf("%w: a table of version %d, since %d, is not that of generation %s", ErrEncoding, info.Delta.Version, info.Delta.From, g)
	}
	c.freeze()
	err := c.clearRaft(g)
	if err == nil {
		err = c.saveState(func(s *savedGrid) error {
			s.Grid, s.Node, s.Peers, s.Generation = info.Grid, c.self.Node, addressesOf(info.Servers), g
			s.Promised, s.Superseded = Generation{}, nil
			return nil
		})
	}
	if err != nil {
		return err
	}
	c.log.Warn("follows another control plane, which a person had begun in place of the one it knew", "generation", g)
	c.succeedLocked(heritage{saved: c.savedState(), info: info})
	return nil
}

func (c *ControlPlane) succeedLocked(h heritage) {
	c.promises.next = &h
	close(c.promises.succeeded)
}

// mayFollow tells whether the node can go over to a generation: it has promised to; or it has nothing that could be of another: no copy,
// as this start was never in the table, and no entry of raft's log. Who has a copy, and was not asked for a promise, was given up.
func (c *ControlPlane) mayFollow(g Generation) bool {
	saved := c.savedState()
	switch {
	case g.Number <= c.generation.Number:
		return false
	case saved.Promised != (Generation{}):
		return g == saved.Promised
	case saved.Generation == g:
		return true // it is about to
	}
	return !c.promises.entered.Load() && c.raft.LastIndex() == 0
}

// waitsBehind tells whether the node has promised to follow a generation, and a later one since.
func (c *ControlPlane) waitsBehind(g Generation) bool {
	return slices.ContainsFunc(c.savedState().Superseded, func(p supersededPromise) bool { return p.Generation == g })
}

// hear is told of a peer of another generation. It runs on the transport's goroutines.
func (c *ControlPlane) hear(peer Identity) {
	err := c.generation.against(peer.Generation)
	switch {
	case errors.Is(err, ErrForked) && c.promises.forked.Swap(true), errors.Is(err, ErrReplacedPeer):
	case errors.Is(err, ErrForked):
		c.log.Error("control plane", "peer", peer.Member, "error", err)
	case c.mayFollow(peer.Generation):
		signal(c.pullWanted)
	case c.waitsBehind(peer.Generation): // until the later promise is taken back, or something comes of it
	default:
		c.fail(fmt.Errorf("%s: %w", peer.Member, err))
	}
}
