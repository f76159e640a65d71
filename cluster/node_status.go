package cluster

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// Status is the grid as one node knows it.
type Status struct {
	Grid    string      `json:"grid"` // its id, hexadecimal
	Node    core.NodeID `json:"node"` // who says so
	Version uint64      `json:"version"`
	Feature uint32      `json:"feature"`
	Leader  core.NodeID `json:"leader"` // of the control plane; "" = nobody is known to be

	Promise    PromiseStatus   `json:"promise"`
	Members    []MemberState   `json:"members"` // by id
	Partitions PartitionCounts `json:"partitions"`
	Moves      MoveStatus      `json:"moves"`
}

// PromiseStatus is what the grid promises about acknowledged writes, and whether that holds now.
type PromiseStatus struct {
	Profile string   `json:"profile"` // cache, safe or custom
	Text    string   `json:"text"`
	Kept    bool     `json:"kept"`
	Why     []string `json:"why,omitempty"` // it is not kept
}

// MemberState is one node of the registry.
type MemberState struct {
	ID          core.NodeID `json:"id"`
	Incarnation string      `json:"incarnation"` // hexadecimal
	Peer        string      `json:"peer"`
	Client      string      `json:"client,omitempty"`
	Cluster     string      `json:"cluster,omitempty"`
	Zone        string      `json:"zone,omitempty"`
	Role        string      `json:"role"`
	Version     string      `json:"version,omitempty"` // of the program; "" = not known
	Voter       bool        `json:"voter"`
	// State is alive, stopping, draining, fenced, or failed: Serf does not reach it, and the control plane has not decided yet.
	State  string `json:"state"`
	Drains bool   `json:"drains"` // it leaves once it is empty, whatever its state

	Primary int `json:"primary"` // partitions, by what it is for them
	Backup  int `json:"backup"`
	Learner int `json:"learner"`
}

// PartitionCounts are how many partitions are as they should be, and are not.
type PartitionCounts struct {
	Total       int `json:"total"`
	Serving     int `json:"serving"` // they have a primary
	Lost        int `json:"lost"`
	BelowCopies int `json:"below_copies"`  // fewer copies in sync than are wanted; the lost ones are not counted again
	BelowMinISR int `json:"below_min_isr"` // writes are refused (R13); the same
}

// MoveStatus is what is being moved, and what is left: copies to fill, copies to drop, primaries to hand over.
type MoveStatus struct {
	UnderWay int `json:"under_way"`
	Left     int `json:"left"` // those under way included
	// SecondsLeft is how long the rest will take at the rate since it began; 0 = nothing is left, -1 = not known, as at first.
	SecondsLeft int `json:"seconds_left"`
}

// Status is the grid as this node knows it now. It may be called often: what is costly is worked out only when the table has
// changed.
func (n *Node) Status() Status { return n.status(true) }

// StatusAtHand is Status for who must not wait: what is left to do may be what it was a while ago, and is worked out anew meanwhile.
func (n *Node) StatusAtHand() Status { return n.status(false) }

func (n *Node) status(wait bool) Status {
	t := n.Table()
	leader, _ := n.control.Load().Leader()
	s := Status{
		Grid: hex.EncodeToString(t.Settings.Grid[:]), Node: n.self.Node, Version: t.Version, Feature: t.Settings.Feature, Leader: leader,
		Members: memberStates(t, n.control.Load().Voters(), n.members.Members()),
	}
	s.Partitions = countPartitions(t)
	s.Promise = promiseOf(t, s.Partitions, leader, s.Members)
	s.Moves = n.moves(t, wait)
	return s
}

// memberStates joins what the table and Serf say.
func memberStates(t *core.Table, voters []core.NodeID, heard []MemberInfo) []MemberState {
	states := make([]MemberState, 0, len(t.Nodes))
	index := make(map[core.Member]int, len(t.Nodes))
	for i := range t.Nodes {
		e := &t.Nodes[i]
		index[e.Member()] = len(states)
		m := MemberState{
			ID: e.ID, Incarnation: hex.EncodeToString(e.Inc[:]), Peer: e.Peer, Client: e.Client, Cluster: e.Cluster, Zone: e.Zone,
			Role: e.Role.String(), Voter: slices.Contains(voters, e.ID), State: e.Status.String(), Drains: e.Drains,
		}
		at := slices.IndexFunc(heard, func(h MemberInfo) bool { return h.Member == e.Member() })
		if at >= 0 {
			m.Version = heard[at].Version
			if e.Status == core.Alive && heard[at].Status != MemberAlive {
				m.State = MemberFailed.String()
			}
		}
		states = append(states, m)
	}
	for i := range t.Rows {
		r := &t.Rows[i]
		for _, m := range r.ISR {
			if at, ok := index[m]; ok && m == r.Primary {
				states[at].Primary++
			} else if ok {
				states[at].Backup++
			}
		}
		for _, m := range r.Learners {
			if at, ok := index[m]; ok {
				states[at].Learner++
			}
		}
	}
	return states
}

func countPartitions(t *core.Table) PartitionCounts {
	c := PartitionCounts{Total: len(t.Rows)}
	for i := range t.Rows {
		r := &t.Rows[i]
		if r.State == core.Lost {
			c.Lost++
			continue
		}
		c.Serving++
		if len(r.ISR) < t.Settings.Copies {
			c.BelowCopies++
		}
		if len(r.ISR) < t.Settings.MinISR {
			c.BelowMinISR++
		}
	}
	return c
}

// promiseOf says what the settings promise, and what stands against it.
func promiseOf(t *core.Table, c PartitionCounts, leader core.NodeID, members []MemberState) PromiseStatus {
	s := &t.Settings
	p := PromiseStatus{Profile: "custom"}
	switch [2]int{s.Copies, s.MinISR} {
	case [2]int{2, 1}:
		p.Profile = "cache"
	case [2]int{3, 2}:
		p.Profile = "safe"
	}
	v := votesOf(members)
	switch {
	case s.Copies == 1:
		p.Text = "1 copy: a write lasts as long as the process that took it"
	case s.MinISR > 1:
		p.Text = fmt.Sprintf("%d copies: no write is acknowledged that fewer than %d nodes hold", s.Copies, s.MinISR)
	case v.members == 2 && len(v.all) == 1:
		p.Text = fmt.Sprintf("%d copies on two nodes: survives a crash of the one that does not vote; while the voter %s is down partitions "+
			"stop: a third node, or a witness, helps", s.Copies, v.all[0])
	default:
		p.Text = fmt.Sprintf("%d copies: survives any one crash; another one before the copies are made again may lose data", s.Copies)
	}
	against := func(broken bool, format string, args ...any) {
		if broken {
			p.Why = append(p.Why, fmt.Sprintf(format, args...))
		}
	}
	holders := 0
	for i := range t.Nodes {
		if e := &t.Nodes[i]; e.Role == core.Data && e.Status != core.Fenced && e.Status != core.Draining {
			holders++
		}
	}
	against(holders < s.Copies, "%d nodes can hold data, and %d copies are wanted", holders, s.Copies)
	against(c.Lost > 0, "%d partitions are lost", c.Lost)
	against(c.BelowMinISR > 0, "%d partitions take no writes: fewer than %d copies are in sync", c.BelowMinISR, s.MinISR)
	against(c.BelowCopies > 0, "%d partitions have fewer than %d copies in sync", c.BelowCopies, s.Copies)
	against(leader == "", "no leader of the control plane is known")
	against(v.members > 2 && len(v.all) < v.wanted, "%d of %d voters so far: no voter may fail (%s)", len(v.all), v.wanted, joinIDs(v.all))
	against(v.members > 2 && len(v.all) >= v.wanted && len(v.alive)-1 <= len(v.all)/2,
		"%d of %d voters are there: no other may fail (%s)", len(v.alive), len(v.all), joinIDs(v.alive))
	p.Kept = len(p.Why) == 0
	return p
}

// votes is who votes on what the grid agrees on (R32). Without a majority nobody takes over from a node that fails.
type votes struct {
	members    int // that are to stay
	wanted     int
	all, alive []core.NodeID
}

func votesOf(members []MemberState) (v votes) {
	for i := range members {
		m := &members[i]
		if !m.Drains {
			v.members++
		}
		if !m.Voter {
			continue
		}
		v.all = append(v.all, m.ID)
		if m.State == core.Alive.String() {
			v.alive = append(v.alive, m.ID)
		}
	}
	v.wanted = wantedVoters(v.members)
	return v
}

func joinIDs(ids []core.NodeID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = string(id)
	}
	return strings.Join(words, ", ")
}

// plannedMoves is what PlanProgress said of a table.
type plannedMoves struct {
	version uint64
	moves   core.Progress
	next    time.Duration // not to be worked out again before
}

// planShare bounds what Status spends on plans: a 20th of the time, where tables change faster than that.
const planShare = 20

func (n *Node) moves(t *core.Table, wait bool) MoveStatus {
	var s MoveStatus
	for i := range t.Rows {
		s.UnderWay += len(t.Rows[i].Learners)
		if !t.Rows[i].Target.IsZero() {
			s.UnderWay++
		}
	}
	begin := n.config.Now()
	known := n.planned.Load()
	switch stale := known == nil || known.version != t.Version && begin >= known.next; {
	case stale && wait:
		known = n.planMoves(t)
	case stale && n.planning.CompareAndSwap(false, true):
		go func() { // it waits for nothing, and ends by itself
			n.planMoves(t)
			n.planning.Store(false)
		}()
	}
	if s.Left = s.UnderWay; known != nil {
		s.Left = max(s.UnderWay, known.moves.Moves()+known.moves.Filling)
	}
	switch rate := n.progress.rate(begin); {
	case s.Left == 0:
	case rate == 0:
		s.SecondsLeft = -1
	default:
		s.SecondsLeft = int(math.Ceil(float64(s.Left) / rate))
	}
	return s
}

// planMoves works out what is left to do.
func (n *Node) planMoves(t *core.Table) *plannedMoves {
	begin := n.config.Now()
	p := &plannedMoves{version: t.Version, moves: core.PlanProgress(t)}
	end := n.config.Now()
	p.next = end + planShare*(end-begin)
	n.planned.Store(p)
	return p
}

// progressSeconds is how far back the rate of moves is reckoned.
const progressSeconds = 30

// progressLog counts the moves that were finished in each of the last seconds.
type progressLog struct {
	mu struct {
		sync.Mutex
		done  [progressSeconds]struct{ second, moves int64 }
		began int64 // in which second what is under way began, after a rest; 0 = not known
	}
}

// note counts what is done in rows that follow those of a table, and gave another. What was done before a rest may have been quicker or
// slower than what comes after it, and tells nothing.
func (l *progressLog) note(old, t *core.Table, rows []core.Row, now time.Duration) {
	moves, begins := int64(0), false // begins: a row is to move that was not
	for i := range rows {
		if p := rows[i].Partition; p < len(old.Rows) {
			moves += movesDone(&old.Rows[p], &rows[i])
			begins = begins || moving(&rows[i]) && !moving(&old.Rows[p])
		}
	}
	begins = begins && rests(old)
	ends := moves > 0 && rests(t)
	if moves == 0 && !begins {
		return
	}
	second := int64(now / time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	if begins || ends {
		clear(l.mu.done[:])
		l.mu.began = second
	}
	if moves == 0 || ends {
		return
	}
	slot := &l.mu.done[second%progressSeconds]
	if slot.second != second {
		slot.second, slot.moves = second, 0
	}
	slot.moves += moves
}

// moving tells whether a row has something to do.
func moving(r *core.Row) bool { return len(r.Learners) > 0 || !r.Target.IsZero() }

// rests tells whether nothing is under way in a table, and no copy waits for being dropped.
func rests(t *core.Table) bool {
	return !slices.ContainsFunc(t.Rows, func(r core.Row) bool { return moving(&r) || len(r.ISR) > t.Settings.Copies })
}

// movesDone counts the copies that were filled or dropped, and the handover, between two rows of a partition.
func movesDone(old, row *core.Row) (moves int64) {
	for _, m := range old.Learners {
		if row.InSync(m) {
			moves++
		}
	}
	for _, s := range old.Stints {
		if !row.Holds(s.Member) {
			moves++
		}
	}
	if row.Reign != old.Reign && row.Released {
		moves++
	}
	return moves
}

// rateSeconds have passed before a rate is told: what was finished in less says little.
const rateSeconds = 2

// rate is how many moves were finished in a second, since what is under way began, as far as that is counted; 0 where there was none, or
// it is not known yet.
func (l *progressLog) rate(now time.Duration) float64 {
	second := int64(now / time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	sum, first := int64(0), second
	if l.mu.began > 0 {
		if second < l.mu.began+rateSeconds {
			return 0
		}
		first = max(l.mu.began, second-progressSeconds+1)
	}
	for i := range l.mu.done {
		if d := &l.mu.done[i]; d.moves > 0 && d.second > second-progressSeconds {
			sum += d.moves
			first = min(first, d.second)
		}
	}
	return float64(sum) / float64(second-first+1)
}
