package core

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// oracle knows what nobody in the grid knows: everything. It judges every step, and the histories at the end.
type oracle struct {
	sim       *sim
	histories [][simKeys][]porcupine.Operation
	// entries are the committed ones of each partition, by sequence number from 1 on; executed is what was ever executed.
	entries  [][]string
	executed map[executedEntry]string
}

type executedEntry struct {
	partition  int
	epoch, seq uint64
}

func newOracle(s *sim) oracle {
	return oracle{sim: s, histories: make([][simKeys][]porcupine.Operation, s.setup.partitions), entries: make([][]string, s.setup.partitions), executed: map[executedEntry]string{}}
}

func (o *oracle) record(client, p, key int, in registerInput, out uint64, start, end time.Duration) {
	h := &o.histories[p][key]
	*h = append(*h, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: int64(start), Return: int64(end)})
}

// wrote notes a write. One that was not executed is none: if it shows up all the same, no order explains it.
func (o *oracle) wrote(client, p, key int, value uint64, start time.Duration, out outcome) {
	switch out {
	case done:
		o.record(client, p, key, registerInput{true, value}, 0, start, o.sim.now)
	case unknown:
		o.record(client, p, key, registerInput{true, value}, 0, start, never)
	}
}

func (o *oracle) read(client, p, key int, value uint64, start time.Duration, out outcome) {
	if out == done {
		o.record(client, p, key, registerInput{false, 0}, value, start, o.sim.now)
	}
}

// wasReset notes that a lost partition began anew: from then on its keys may be gone.
func (o *oracle) wasReset(p int) {
	o.sim.count("reset")
	o.entries[p] = nil
	if o.sim.near != nil {
		o.sim.near.check.emptied(p)
	}
	for key := range simKeys {
		o.record(1000+len(o.histories[p][key]), p, key, registerInput{true, 0}, 0, o.sim.now, never)
	}
}

// committed checks a primary's commit against what was committed before: the same entries, never fewer.
func (o *oracle) committed(n *simNode, p int) {
	rep := n.parts[p].rep
	if born := o.sim.control.table.Rows[p].Born; rep.born != born {
		o.sim.fail("R10: partition %d: %s commits %d of the data born in %d, and it was born anew in %d", p, n.id, rep.commit, rep.born, born)
		return
	}
	if len(rep.row.ISR) < o.sim.setup.settings.MinISR {
		o.sim.fail("R13: partition %d: %s commits %d with %d copies in sync", p, n.id, rep.commit, len(rep.row.ISR))
	}
	for seq := uint64(len(o.entries[p])) + 1; seq <= rep.commit; seq++ {
		name, ok := o.executed[executedEntry{p, rep.log.epochOf(seq), seq}]
		if !ok {
			o.sim.fail("partition %d: %s commits entry %d, which nobody has executed", p, n.id, seq)
		}
		o.entries[p] = append(o.entries[p], name)
		if o.sim.near != nil {
			o.sim.near.check.committed(p, executedEntry{p, rep.log.epochOf(seq), seq}, rep.row.Reign)
		}
	}
	for seq := rep.log.base + 1; seq <= min(rep.commit, uint64(len(o.entries[p]))); seq++ {
		if got, want := entryName(rep.log.at(seq)), o.entries[p][seq-1]; got != want {
			o.sim.fail("partition %d on %s: entry %d is %s, and was committed as %s", p, n.id, seq, got, want)
		}
	}
}

// execute notes what a primary executes.
func (o *oracle) execute(p int, e Entry) {
	o.executed[executedEntry{p, e.Epoch, e.Seq}] = entryName(&e)
}

func entryName(e *Entry) string { return fmt.Sprintf("%d:%x", e.Epoch, e.Payload) }

// step checks what must hold at every moment.
func (o *oracle) step() {
	s := o.sim
	for p := range s.setup.partitions {
		row := &s.control.table.Rows[p]
		for _, m := range row.ISR {
			if n := s.node(m.Node); n.up && n.member() == m && n.parts[p].rep.born == row.Born &&
				n.parts[p].rep.log.last < uint64(len(o.entries[p])) {
				s.fail("R4, R12: partition %d: %s is in sync in epoch %d with %d of %d committed entries",
					p, m, row.Epoch, n.parts[p].rep.log.last, len(o.entries[p]))
			}
		}
		var serving *simNode
		for _, n := range s.nodes {
			if !n.up {
				continue
			}
			rep := n.parts[p].rep
			if rep.born != 0 && rep.role == backup && rep.born == s.control.table.Rows[p].Born &&
				rep.applied > uint64(len(o.entries[p])) && s.setup.settings.MinISR == 1 {
				s.fail("R11: partition %d: backup %s shows entry %d, and %d are committed", p, n.id, rep.applied, len(o.entries[p]))
			}
			if !rep.Serving(n.clock()) {
				continue
			}
			if serving != nil {
				s.fail("R8: partition %d is served by %s in epoch %d and by %s in epoch %d",
					p, serving.id, serving.parts[p].rep.row.Epoch, n.id, rep.row.Epoch)
			}
			serving = n
			if row := &s.control.table.Rows[p]; rep.born == row.Born && rep.row.Epoch == row.Epoch && rep.log.last < uint64(len(o.entries[p])) {
				s.fail("partition %d: %s serves with %d of %d committed entries", p, n.id, rep.log.last, len(o.entries[p]))
			}
		}
	}
}

// unsettled says what is not yet as it should be, once nothing goes wrong any more.
func (s *sim) unsettled() string {
	t := s.control.table
	if s.control.leader == nil {
		return "no leader"
	}
	eligible := 0
	for i := range t.Nodes {
		if t.Nodes[i].holdsData() {
			eligible++
		}
	}
	for _, n := range s.nodes {
		if n.up && !n.gone && (t.Node(n.id) == nil || !t.current(n.member())) {
			return fmt.Sprintf("%s is not registered", n.id)
		}
		if n.up && !n.gone && n.table.Version != t.Version {
			return fmt.Sprintf("%s has table %d of %d", n.id, n.table.Version, t.Version)
		}
	}
	for p := range t.Rows {
		if reason := s.rowUnsettled(&t.Rows[p], min(t.Settings.Copies, eligible)); reason != "" {
			return reason
		}
	}
	if moves := Plan(t, DefaultControlOptions().Limits); len(moves) > 0 {
		return fmt.Sprintf("%d moves are planned, such as %+v", len(moves), moves[0])
	}
	return ""
}

func (s *sim) rowUnsettled(r *Row, copies int) string {
	if r.State == Lost {
		if n := s.node(r.LastDropped.Node); n.up && n.member() == r.LastDropped || s.setup.settings.ResetLost {
			return fmt.Sprintf("partition %d is lost, and need not be", r.Partition)
		}
		return ""
	}
	if len(r.ISR) != copies || len(r.Learners) > 0 || !r.Target.IsZero() {
		return fmt.Sprintf("partition %d: isr %v, learners %v, target %s; %d copies wanted", r.Partition, r.ISR, r.Learners, r.Target, copies)
	}
	first := s.node(r.Primary.Node)
	for _, m := range r.ISR {
		n := s.node(m.Node)
		if !n.up || n.member() != m {
			return fmt.Sprintf("partition %d: %s is down", r.Partition, m)
		}
		a, b := first.parts[r.Partition], n.parts[r.Partition]
		if !a.rep.Serving(first.clock()) {
			return fmt.Sprintf("partition %d: %s does not serve", r.Partition, m)
		}
		if b.rep.applied != a.rep.log.last || a.rep.commit != a.rep.log.last {
			return fmt.Sprintf("partition %d: %s has applied %d of %d, commit %d", r.Partition, m, b.rep.applied, a.rep.log.last, a.rep.commit)
		}
		if s.near != nil {
			if a, b := first.door.content(r.Partition), n.door.content(r.Partition); a != b {
				s.fail("partition %d: what %s and %s hold differs: digests %x and %x", r.Partition, r.Primary, m, a, b)
			}
			continue
		}
		if !maps.Equal(a.store, b.store) {
			s.fail("partition %d: %s holds %v, %s holds %v", r.Partition, r.Primary, a.store, m, b.store)
		}
	}
	return ""
}

// end judges the histories.
func (o *oracle) end() {
	for p := range o.histories {
		for key, h := range o.histories[p] {
			if o.sim.failure != "" {
				return
			}
			h = slices.Clone(h)
			// Each operation whose end is unknown stands alone: porcupine takes a client's operations to be one after another.
			for i := range h {
				h[i].ClientId = i
			}
			switch porcupine.CheckOperationsTimeout(registerModel, h, 20*time.Second) {
			case porcupine.Illegal:
				for _, op := range h {
					o.sim.note("from %.3f to %.3f: %+v -> %v", time.Duration(op.Call).Seconds(), time.Duration(min(op.Return, int64(time.Hour))).Seconds(), op.Input, op.Output)
				}
				o.sim.fail("partition %d key %d: no order explains what clients saw", p, key)
			case porcupine.Unknown:
				o.sim.count("history too hard to judge")
			}
		}
	}
}
