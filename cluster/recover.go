package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// A person has a grid's control plane begun anew, because a majority of its voters is gone for good (R34):
//
//	SurveyControl   who answers, what they know, who does not answer anybody
//	RecoverControl  judge: may it be done at all
//	                promise, from every node that answers, voters first: to follow nothing else from now on
//	                the newest of their tables -> core.Table.Succeed -> ControlPlane.found, on this node's disk
//	                the others hear of it, and go over: ControlPlane.follow
//
// docs/REPLICATION.md has what could go wrong in which order, and why it does not.

const (
	surveyTimeout  = 3 * time.Second // for one node to say what it knows, and whom it reaches
	promiseTimeout = 5 * time.Second // for one node to end its part in the control plane
	releaseTimeout = 2 * time.Second
	recoverLook    = 50 * time.Millisecond // between looks whether the new control plane leads
)

// Survey is what a node found out about its grid's control plane.
type Survey struct {
	Grid       [16]byte
	Generation Generation    // of the control plane
	Version    uint64        // of the newest table that anybody who answers has
	Reached    []core.Member // the starts of the table's nodes that answer, by id
	Silent     []core.Node   // nodes of the table that do not answer, by id
	Voters     []core.NodeID // as far as anybody knows
	Refusal    error         // why no other control plane can be begun, whatever is said of Silent; nil: nothing is known against it

	promised uint64                      // the highest generation that anybody is of, or has promised to follow
	answers  []surveyed                  // this node's, then the others' in order
	table    *core.Table                 // the newest
	heard    map[core.NodeID]core.NodeID // silent nodes that somebody reaches, and who
}

// surveyed is what one node answered, and where.
type surveyed struct {
	surveyAnswer
	addr  string
	table *core.Table // nil: it has none
}

// SurveyControl asks every node that any table names. It changes nothing.
func (n *Node) SurveyControl(ctx context.Context) (*Survey, error) {
	c := n.control.Load()
	own := c.survey(nil)
	if !own.Info.Member {
		return nil, errors.New("this node has no table yet")
	}
	s := newSurvey(own, c.config.Transport.Addr().String())
	asked := map[string]bool{s.answers[0].addr: true}
	for {
		targets := s.unasked(asked)
		if len(targets) == 0 {
			break
		}
		answers, errs := n.surveyAll(ctx, c, targets, nil)
		for i := range targets {
			switch {
			case errs[i] == nil:
				s.take(answers[i], targets[i].Peer)
			case errors.Is(errs[i], ErrOtherGrid):
				s.refuse(fmt.Errorf("the nodes disagree on which grid they are of: %s: %w", targets[i].ID, errs[i]))
			case !errors.Is(errs[i], errNotSent) && ctx.Err() == nil:
				s.refuse(fmt.Errorf("%s runs, and does not say what it knows: %w", targets[i].ID, errs[i]))
			}
		}
	}
	s.settle()
	return s, n.askForSilent(ctx, c, s)
}

// askForSilent has every node that answers look for those that do not.
func (n *Node) askForSilent(ctx context.Context, c *ControlPlane, s *Survey) error {
	var addrs []string
	for _, e := range s.Silent {
		addrs = append(addrs, e.Peer)
	}
	if len(addrs) == 0 {
		return ctx.Err()
	}
	var others []core.Node
	for _, a := range s.answers[1:] {
		others = append(others, core.Node{ID: a.Member.Node, Peer: a.addr})
	}
	answers, errs := n.surveyAll(ctx, c, others, addrs)
	for i := range others {
		for j, id := range answers[i].Reached {
			if errs[i] == nil && j < len(s.Silent) && id == s.Silent[j].ID {
				s.heard[id] = others[i].ID
			}
		}
	}
	return ctx.Err()
}

func (n *Node) surveyAll(ctx context.Context, c *ControlPlane, nodes []core.Node, addrs []string) ([]surveyAnswer, []error) {
	answers, errs := make([]surveyAnswer, len(nodes)), make([]error, len(nodes))
	var asking sync.WaitGroup
	for i := range nodes {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
			defer cancel()
			answers[i], errs[i] = c.surveyPeer(ctx, nodes[i].Peer, addrs)
		})
	}
	asking.Wait()
	return answers, errs
}

func newSurvey(own surveyAnswer, addr string) *Survey {
	s := &Survey{Grid: own.Info.Grid, Generation: own.Info.Generation, heard: map[core.NodeID]core.NodeID{}}
	s.take(own, addr)
	return s
}

func (s *Survey) refuse(err error) {
	if s.Refusal == nil {
		s.Refusal = err
	}
}

// unasked are the nodes of all tables whose addresses were not asked yet.
func (s *Survey) unasked(asked map[string]bool) (nodes []core.Node) {
	for _, a := range s.answers {
		if a.table == nil {
			continue
		}
		for _, e := range a.table.Nodes {
			if !asked[e.Peer] {
				asked[e.Peer] = true
				nodes = append(nodes, e)
			}
		}
	}
	return nodes
}

// take notes an answer.
func (s *Survey) take(a surveyAnswer, addr string) {
	known := func(k surveyed) bool { return k.Member == a.Member }
	if slices.ContainsFunc(s.answers, known) {
		return // it moved, and is found at two addresses
	}
	of := surveyed{surveyAnswer: a, addr: addr}
	if a.Info.Member {
		of.table, _ = applyDelta(&core.Table{}, a.Info.Delta) // nil where it cannot be read: parseInfo has looked at most of it
	}
	s.answers = append(s.answers, of)
}

// settle reckons what the answers amount to.
func (s *Survey) settle() {
	slices.SortFunc(s.answers[1:], func(a, b surveyed) int { return a.Member.Compare(b.Member) })
	var list serverList
	for _, a := range s.answers {
		s.promised = max(s.promised, a.Promised.Number, a.Info.Generation.Number)
		switch {
		case a.Info.Member && a.Info.Grid != s.Grid:
			s.refuse(fmt.Errorf("the nodes disagree on which grid they are of: %s says %x, and this node %x", a.Member.Node, a.Info.Grid, s.Grid))
		case a.Info.Generation != s.Generation && a.table != nil:
			s.refuse(fmt.Errorf("%s is of generation %s of the control plane, and this node of %s", a.Member.Node, a.Info.Generation, s.Generation))
		case a.Leader != "":
			s.refuse(fmt.Errorf("the control plane answers: %s hears %s lead it", a.Member.Node, a.Leader))
		case a.table != nil && (s.table == nil || a.table.Version > s.table.Version):
			s.table = a.table
		}
		if a.Info.Servers.Index > list.Index {
			list = a.Info.Servers
		}
	}
	if s.table == nil {
		s.refuse(errors.New("no node that answers has a table"))
		s.table = &core.Table{}
	}
	s.Version = s.table.Version
	s.sortNodes()
	s.countVoters(list)
}

// sortNodes tells the table's nodes that answer from those that do not.
func (s *Survey) sortNodes() {
	for i := range s.table.Nodes {
		e := s.table.Nodes[i]
		at := slices.IndexFunc(s.answers, func(a surveyed) bool { return a.Member.Node == e.ID })
		if at < 0 {
			s.Silent = append(s.Silent, e)
			continue
		}
		s.Reached = append(s.Reached, s.answers[at].Member)
	}
}

// countVoters refuses where the voters that answer can agree by themselves. A server that the table does not name has left for good.
func (s *Survey) countVoters(list serverList) {
	var there []string
	for _, v := range list.Servers {
		if !v.Votes || s.table.Node(v.ID) == nil {
			continue
		}
		s.Voters = append(s.Voters, v.ID)
		if slices.ContainsFunc(s.answers, func(a surveyed) bool { return a.Member.Node == v.ID && a.Votes }) {
			there = append(there, string(v.ID))
		}
	}
	if len(s.Voters) > 0 && len(there) > len(s.Voters)/2 {
		s.refuse(fmt.Errorf("%d of %d voters are there (%s): they will find a leader by themselves", len(there), len(s.Voters), strings.Join(there, ", ")))
	}
}

// Judge tells why another control plane cannot be begun where a person says that the starts in gone are off for good; nil: it can.
func (s *Survey) Judge(gone []core.Member) error {
	if s.Refusal != nil {
		return s.Refusal
	}
	for _, m := range gone {
		switch silent := func(e core.Node) bool { return e.Member() == m }; {
		case slices.ContainsFunc(s.Reached, func(r core.Member) bool { return r.Node == m.Node }):
			return fmt.Errorf("%s was said to be off for good, and its node answers", m)
		case !slices.ContainsFunc(s.Silent, silent):
			return fmt.Errorf("%s was said to be off for good, and the newest table names no such start", m)
		case s.heard[m.Node] != "":
			return fmt.Errorf("%s was said to be off for good, and its node answers %s", m, s.heard[m.Node])
		}
	}
	var unnamed []string
	for _, e := range s.Silent {
		if !slices.Contains(gone, e.Member()) {
			unnamed = append(unnamed, fmt.Sprintf("%s at %s", e.Member(), e.Peer))
		}
	}
	if len(unnamed) > 0 {
		return fmt.Errorf("%d nodes do not answer, and could still be serving: %s: bring them back, or name them as off for good",
			len(unnamed), strings.Join(unnamed, "; "))
	}
	return nil
}

// Recovery is what came of RecoverControl.
type Recovery struct {
	Generation Generation
	Version    uint64 // of its first table
	Serving    int    // partitions
	Lost       int
}

// RecoverControl begins another control plane, with this node as its first voter, in place of the one that s was made of: a person says
// that the starts in gone are off, and stay so, and that nobody else of the grid runs but who answers. It returns once this node leads,
// or with the reason why nothing has changed.
func (n *Node) RecoverControl(ctx context.Context, s *Survey, gone []core.Member) (Recovery, error) {
	if !n.recovery.TryLock() {
		return Recovery{}, errors.New("this node is about to begin another control plane already")
	}
	defer n.recovery.Unlock()
	c := n.control.Load()
	if err := s.Judge(gone); err != nil {
		return Recovery{}, err
	}
	g := Generation{Number: s.promised + 1}
	if _, err := io.ReadFull(rand.Reader, g.ID[:]); err != nil {
		return Recovery{}, err
	}
	n.log.Warn("a person has another control plane begun here", "generation", g, "gone", gone, "reached", s.Reached, "table", s.Version)
	t, err := n.gatherPromises(ctx, c, s, g, gone)
	if err == nil {
		err = c.found(g, t)
	}
	if err != nil {
		n.releaseAll(c, s, g)
		n.log.Warn("no other control plane was begun", "generation", g, "error", err)
		return Recovery{}, err
	}
	r := Recovery{Generation: g, Version: t.Version}
	counts := countPartitions(t)
	r.Serving, r.Lost = counts.Serving, counts.Lost
	n.log.Warn("another control plane is begun", "generation", g, "table", t.Version, "serving", r.Serving, "lost", r.Lost)
	return r, n.awaitLead(ctx, g)
}

// awaitLead waits until this node leads the control plane of a generation.
func (n *Node) awaitLead(ctx context.Context, g Generation) error {
	for ctx.Err() == nil {
		c := n.control.Load()
		if id, _ := c.Leader(); c.generation == g && id == n.self.Node {
			return nil
		}
		pause(ctx, recoverLook)
	}
	return fmt.Errorf("generation %s of the control plane is begun, and has no leader yet: %w", g, ctx.Err())
}

// gatherPromises asks all nodes that answered to follow nothing but generation g from now on, and returns the table with which that
// begins: the newest that any of them has, which is the newest that any of them will ever have, without those that are gone.
func (n *Node) gatherPromises(ctx context.Context, c *ControlPlane, s *Survey, g Generation, gone []core.Member) (*core.Table, error) {
	newest := s.table
	// Voters first: once they have promised, the old control plane can agree on nothing.
	order := slices.Clone(s.answers)
	slices.SortStableFunc(order, func(a, b surveyed) int { return first(a.Votes, b.Votes) })
	for _, a := range order {
		info, err := n.promiseFrom(ctx, c, a, g)
		if err == nil {
			newest, err = s.newer(newest, info)
		}
		if err != nil {
			return nil, fmt.Errorf("%s does not promise to follow generation %s: %w", a.Member.Node, g, err)
		}
	}
	return succeed(newest, s, g, gone)
}

// newer is a table, or the one that a node has if that is newer.
func (s *Survey) newer(t *core.Table, info gridInfo) (*core.Table, error) {
	if !info.Member {
		return t, nil
	}
	other, err := applyDelta(&core.Table{}, info.Delta)
	switch {
	case err != nil:
		return t, err
	case other.Settings.Grid != s.Grid || other.Generation() != s.Generation.Number:
		return t, fmt.Errorf("its table is of grid %x and generation %d", other.Settings.Grid, other.Generation())
	case other.Version > t.Version:
		return other, nil
	}
	return t, nil
}

func (n *Node) promiseFrom(ctx context.Context, c *ControlPlane, a surveyed, g Generation) (gridInfo, error) {
	if a.Member == n.self {
		err := c.promise(g, a.addr)
		return c.info(0), err
	}
	ctx, cancel := context.WithTimeout(ctx, promiseTimeout)
	defer cancel()
	return c.askPromise(ctx, a.addr, g)
}

// succeed is the first table of a generation. Nobody may be in it who has neither answered nor been given up: it could have appeared in
// a table since the survey.
func succeed(t *core.Table, s *Survey, g Generation, gone []core.Member) (*core.Table, error) {
	starts := map[core.NodeID]core.Member{}
	for _, a := range s.answers {
		starts[a.Member.Node] = a.Member
	}
	var over []core.Member
	for i := range t.Nodes {
		m := t.Nodes[i].Member()
		switch start, answered := starts[m.Node]; {
		case slices.Contains(gone, m), answered && start == m:
		case answered:
			over = append(over, m)
		default:
			return nil, fmt.Errorf("%s has joined meanwhile, and was not asked: try again", m)
		}
	}
	present := func(m core.Member) bool { e := t.Node(m.Node); return e != nil && e.Member() == m }
	return t.Succeed(g.Number, slices.DeleteFunc(slices.Clone(gone), func(m core.Member) bool { return !present(m) }), over)
}

// releaseAll takes back what was promised. Who does not hear of it waits until the next attempt.
func (n *Node) releaseAll(c *ControlPlane, s *Survey, g Generation) {
	ctx, cancel := context.WithTimeout(n.closing, releaseTimeout)
	defer cancel()
	var asking sync.WaitGroup
	for _, a := range s.answers {
		asking.Go(func() {
			err := error(nil)
			if a.Member == n.self {
				err = c.release(g)
			} else {
				err = c.askRelease(ctx, a.addr, g)
			}
			if err != nil {
				n.log.Warn("take back a promise", "of", a.Member, "error", err)
			}
		})
	}
	asking.Wait()
}
