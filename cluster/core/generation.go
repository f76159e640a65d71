package core

import (
	"errors"
	"fmt"
	"slices"
)

// A grid's control plane has a generation: 0 when the grid is created, a higher one each time a person has it begun anew because a
// majority of its voters is gone for good (R34). The number is the upper part of the table's version and of every row's epoch. So nothing
// that an earlier generation decides, or has decided without anybody's knowledge, is newer than what a later one does: it is stale to
// every comparison there is.
const (
	generationShift = 40 // versions and epochs of one generation are fewer
	// GenerationMax keeps versions below 2^52: numbers that every reader of JSON gets right.
	GenerationMax = 1<<12 - 1
)

// ErrGeneration: no table of that generation can follow.
var ErrGeneration = errors.New("the generation is not a later one")

// GenerationOf is the number of the control plane that made a table of some version.
func GenerationOf(version uint64) uint64 { return version >> generationShift }

// Generation is the number of the control plane that made the table.
func (t *Table) Generation() uint64 { return GenerationOf(t.Version) }

// Succeed returns the table with which the control plane of a later generation begins, where t is the newest of the one before that
// anybody follows. It is what t becomes when the starts in gone, whose nodes are no more, and those in over, whose nodes have started
// again since, are taken out of every row: whoever is left of an ISR goes on, and a partition of which nobody is left is lost. Every row
// gets an epoch of the generation, whether or not it changes otherwise. t stays as it is.
func (t *Table) Succeed(generation uint64, gone, over []Member) (*Table, error) {
	if generation <= t.Generation() || generation > GenerationMax || len(t.Rows) == 0 {
		return nil, fmt.Errorf("%w: %d, after %d of at most %d", ErrGeneration, generation, t.Generation(), GenerationMax)
	}
	next := t.Clone()
	base := generation << generationShift
	next.Version = base + 1
	for p := range next.Rows {
		r := &next.Rows[p]
		r.Epoch = base
		next.changed(r, next.Version)
	}
	for _, m := range slices.Concat(over, gone) {
		n := next.Node(m.Node)
		if n == nil || n.Inc != m.Inc {
			return nil, fmt.Errorf("%s: %w", m, ErrUnknown)
		}
		n.Status, n.Version = Fenced, next.Version // before others take over: none of these may
	}
	for _, m := range slices.Concat(over, gone) {
		next.dropMember(m, next.Version)
	}
	next.Nodes = slices.DeleteFunc(next.Nodes, func(n Node) bool { return slices.Contains(gone, n.Member()) })
	return next, nil
}
