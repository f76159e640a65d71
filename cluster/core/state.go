package core

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// CommandKind says what a command asks of the control plane. Values are part of the raft log: never reuse one.
type CommandKind uint8

const (
	// CreateGrid sets Settings and makes every partition's first row, with Node as its only copy.
	CreateGrid CommandKind = 1
	// Register enters Node with its incarnation, and fences the incarnation that was there (R2). With Member's Node set, it is a
	// compare-and-set: what was there must be Member's incarnation, none at all where that is zero, or Node's own.
	Register CommandKind = 2
	// FenceNode ends Member's incarnation: every row that names it goes on without (R2).
	FenceNode CommandKind = 3
	// Drain marks Member's node: its copies are to be moved away. Undrain takes that back.
	Drain   CommandKind = 4
	Undrain CommandKind = 5
	// Leave takes Member's node out of the registry; it must hold nothing.
	Leave CommandKind = 6
	// ChangeRows makes Changes, each on its own: those that no longer fit are refused, the others made.
	ChangeRows CommandKind = 7
	// SetFeature raises Settings.Feature to Feature, where every node speaks it (R27).
	SetFeature CommandKind = 8
	// Stop marks Member's node as about to end: it keeps its copies, and is to lead none (R22). Register, or Undrain, takes that
	// back.
	Stop CommandKind = 9
)

// Command is one entry of the control plane's log. Which fields count depends on Kind.
type Command struct {
	Kind     CommandKind
	Settings Settings
	Node     Node
	Member   Member
	Feature  uint32
	Changes  []Change
}

// ChangeKind says what a Change does to its row.
type ChangeKind uint8

const (
	// AddLearner: Member begins to get a copy.
	AddLearner ChangeKind = 1
	// Grow: the learner Member has everything and joins the ISR; proposed by the primary (R4).
	Grow ChangeKind = 2
	// Shrink: Member, a backup or learner, leaves; proposed by the primary for a backup that cannot keep up (R5), by the
	// controller for a copy that is not wanted.
	Shrink ChangeKind = 3
	// SetTarget: Member, a backup, is to be the primary; the primary itself: no longer anybody else.
	SetTarget ChangeKind = 4
	// Handover: Member, a backup, is the primary, and need not wait (R20). Proposed by the primary, which has stopped.
	Handover ChangeKind = 5
	// Reclaim: the primary, Member, that proposed a handover of unknown outcome goes on, as the owner of a new epoch (R20).
	Reclaim ChangeKind = 6
	// Reset: a lost partition begins anew, empty, with Member as its only copy: where the grid's settings allow (R10), or
	// a person accepted it (R34).
	Reset ChangeKind = 7
)

func (k ChangeKind) String() string {
	names := []string{1: "add learner", 2: "grow", 3: "shrink", 4: "set target", 5: "handover", 6: "reclaim", 7: "reset"}
	if int(k) < len(names) && names[k] != "" {
		return names[k]
	}
	return fmt.Sprintf("change %d", uint8(k))
}

// Change is a compare-and-set of one row: made only while the row's epoch is Epoch (R4).
type Change struct {
	Kind      ChangeKind
	Partition int
	Epoch     uint64
	Member    Member
	Accepted  bool // of a Reset: a person accepts the loss, whatever the settings
}

// What a command can be refused with. A refused command has changed nothing.
var (
	ErrStale   = errors.New("the row has changed meanwhile")
	ErrUnknown = errors.New("no such member, or not its present incarnation")
	ErrRefused = errors.New("the change does not fit the row")
)

// Apply carries out a command. The same commands in the same order give the same table on every node (R2): nothing but the
// table and the command decides. The error is that of the whole command, refused those of single changes by index.
func (t *Table) Apply(c Command) (refused map[int]error, err error) {
	next := t.Version + 1
	switch c.Kind {
	case CreateGrid:
		err = t.create(c, next)
	case Register:
		err = t.register(c.Node, c.Member, next)
	case FenceNode:
		err = t.fence(c.Member, next)
	case Drain:
		err = t.drain(c.Member, next)
	case Undrain:
		err = t.undrain(c.Member, next)
	case Stop:
		err = t.stop(c.Member, next)
	case Leave:
		err = t.leave(c.Member)
	case SetFeature:
		err = t.setFeature(c.Feature)
	case ChangeRows:
		refused = t.changeRows(c.Changes, next)
		if len(refused) == len(c.Changes) {
			return refused, nil // nothing has changed
		}
	default:
		return nil, fmt.Errorf("unknown command %d", c.Kind)
	}
	if err != nil {
		return nil, err
	}
	t.Version = next
	return refused, nil
}

func (t *Table) create(c Command, version uint64) error {
	if len(t.Rows) > 0 {
		return fmt.Errorf("create grid: there is one already: %w", ErrRefused)
	}
	if n := c.Settings.Partitions; n < 1 || n&(n-1) != 0 || n > 16384 {
		return fmt.Errorf("create grid: %d partitions: a power of two up to 16384 is wanted", n)
	}
	if c.Settings.Copies < 1 || c.Settings.MinISR < 1 || c.Settings.MinISR > c.Settings.Copies {
		return fmt.Errorf("create grid: %d copies with at least %d in sync", c.Settings.Copies, c.Settings.MinISR)
	}
	if c.Node.Role != Data || c.Node.ID == "" {
		return errors.New("create grid: the first node must hold data")
	}
	t.Settings = c.Settings
	n := c.Node
	n.Version, n.Status = version, Alive
	t.Nodes = []Node{n}
	t.Rows = make([]Row, c.Settings.Partitions)
	for p := range t.Rows {
		t.Rows[p] = Row{Partition: p, Epoch: 1, Born: 1, Reign: 1, Version: version, Primary: n.Member(), ISR: []Member{n.Member()}}
		t.Rows[p].countStints()
	}
	return nil
}

// register enters a node. One that comes back with the incarnation that was fenced resumes the partitions that were lost
// with it and no other: it still has their data (R10).
func (t *Table) register(n Node, replaces Member, version uint64) error {
	if len(t.Rows) == 0 {
		return fmt.Errorf("register %s: there is no grid: %w", n.ID, ErrRefused)
	}
	if f := t.Settings.Feature; n.FeatureMin > f || n.FeatureMax < f {
		return fmt.Errorf("register %s: it speaks feature levels %d to %d, the grid's is %d: %w", n.ID, n.FeatureMin, n.FeatureMax, f, ErrRefused)
	}
	n.Version = version
	old := t.Node(n.ID)
	if err := fitsRegistry(&n, old, replaces); err != nil {
		t.marks.hit(RegisteredLate)
		return err
	}
	if old == nil {
		n.Status, n.Drains = Alive, false
		i, _ := slices.BinarySearchFunc(t.Nodes, n.ID, func(n Node, id NodeID) int { return cmp.Compare(n.ID, id) })
		t.Nodes = slices.Insert(t.Nodes, i, n)
		return nil
	}
	if old.Inc != n.Inc && old.Status != Fenced {
		t.marks.hit(EarlierFenced)
	}
	if old.Inc != n.Inc {
		t.dropMember(old.Member(), version)
	}
	n.Status, n.Drains = Alive, old.Drains
	if n.Drains {
		n.Status = Draining
	}
	*old = n
	if n.Role == Data {
		t.resume(n.Member(), version)
	}
	return nil
}

// fitsRegistry keeps an earlier start, whose registration is late, from ending the present one.
func fitsRegistry(n, old *Node, replaces Member) error {
	switch {
	case replaces.Node == "":
		return nil
	case old == nil && replaces.Inc == (Incarnation{}), old != nil && (old.Inc == replaces.Inc || old.Inc == n.Inc):
		return nil
	case old == nil:
		return fmt.Errorf("register %s in place of %s, which is gone: %w", n.Member(), replaces, ErrStale)
	}
	return fmt.Errorf("register %s in place of %s, and %s is there: %w", n.Member(), replaces, old.Member(), ErrStale)
}

// resume gives a member back what was lost when it was dropped.
func (t *Table) resume(m Member, version uint64) {
	for p := range t.Rows {
		r := &t.Rows[p]
		if r.State == Lost && r.LastDropped == m {
			t.marks.hit(Resumed)
			r.State, r.ISR = Serving, []Member{m}
			r.lead(m)
			t.changed(r, version)
		}
	}
}

func (t *Table) fence(m Member, version uint64) error {
	if !t.current(m) {
		return fmt.Errorf("fence %s: %w", m, ErrUnknown)
	}
	t.dropMember(m, version)
	n := t.Node(m.Node)
	n.Status, n.Version = Fenced, version
	return nil
}

// dropMember takes a member out of every row (R2).
func (t *Table) dropMember(m Member, version uint64) {
	load := t.Primaries()
	for p := range t.Rows {
		if r := &t.Rows[p]; r.Holds(m) {
			t.dropCopy(r, m, load)
			t.changed(r, version)
		}
	}
}

// dropCopy takes a member out of one row. Where it was the primary, the backup whose node has the fewest partitions by then
// takes over, after its promise (R8), one on a node that is about to go only where there is no other; where it was the only
// copy, the partition is lost.
func (t *Table) dropCopy(r *Row, m Member, load map[NodeID]int) {
	if i := slices.Index(r.Learners, m); i >= 0 {
		r.Learners = slices.Delete(slices.Clone(r.Learners), i, i+1)
		return
	}
	i := slices.Index(r.ISR, m)
	r.ISR = slices.Delete(slices.Clone(r.ISR), i, i+1)
	r.LastDropped = m
	if r.Target == m {
		r.Target = Member{}
	}
	if r.Primary != m {
		return
	}
	r.Target, r.Released = Member{}, false
	if len(r.ISR) == 0 {
		t.marks.hit(LastCopyDropped)
		r.State, r.Primary, r.Learners = Lost, Member{}, nil
		return
	}
	least := slices.MinFunc(r.ISR, func(a, b Member) int {
		if goes := !t.leadable(a); goes == t.leadable(b) {
			if goes {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(load[a.Node], load[b.Node]), a.Compare(b))
	})
	r.lead(least)
	load[least.Node]++
}

// lead makes a member of the ISR the primary, from the epoch on that the row is about to get.
func (r *Row) lead(m Member) {
	i := slices.Index(r.ISR, m)
	isr := append([]Member{m}, r.ISR[:i]...)
	r.Primary, r.ISR, r.Reign = m, append(isr, r.ISR[i+1:]...), r.Epoch+1
}

// Primaries counts the partitions that each node leads.
func (t *Table) Primaries() map[NodeID]int {
	load := make(map[NodeID]int, len(t.Nodes))
	for p := range t.Rows {
		if r := &t.Rows[p]; r.State == Serving {
			load[r.Primary.Node]++
		}
	}
	return load
}

func (t *Table) drain(m Member, version uint64) error {
	n := t.Node(m.Node)
	if n == nil || n.Inc != m.Inc || n.Drains {
		return fmt.Errorf("drain %s, which is to be there and not to drain yet: %w", m, ErrUnknown)
	}
	n.Drains, n.Version = true, version
	if n.Status != Fenced {
		n.Status = Draining
	}
	return nil
}

func (t *Table) undrain(m Member, version uint64) error {
	n := t.Node(m.Node)
	if n == nil || n.Inc != m.Inc || !n.Drains && n.Status != Stopping {
		return fmt.Errorf("keep %s, which is to be about to go: %w", m, ErrUnknown)
	}
	n.Drains, n.Version = false, version
	if n.Status != Fenced {
		n.Status = Alive
	}
	return nil
}

// stop also calls off the handovers to the node that are under way: its row's next epoch ends them.
func (t *Table) stop(m Member, version uint64) error {
	n := t.Node(m.Node)
	if n == nil || n.Inc != m.Inc || n.Status != Alive {
		return fmt.Errorf("stop %s, which is to be %s: %w", m, Alive, ErrUnknown)
	}
	n.Status, n.Version = Stopping, version
	for p := range t.Rows {
		if r := &t.Rows[p]; r.Target == m {
			r.Target = Member{}
			t.changed(r, version)
		}
	}
	return nil
}

func (t *Table) leave(m Member) error {
	n := t.Node(m.Node)
	if n == nil || n.Inc != m.Inc {
		return fmt.Errorf("leave of %s: %w", m, ErrUnknown)
	}
	for p := range t.Rows {
		if t.Rows[p].Holds(m) {
			return fmt.Errorf("leave of %s: it has a copy of partition %d: %w", m, p, ErrRefused)
		}
	}
	t.Nodes = slices.DeleteFunc(slices.Clone(t.Nodes), func(n Node) bool { return n.ID == m.Node })
	return nil
}

// featureOfAll is the highest level that every node of the registry speaks (R27). Those that are fenced count: a node that is down while
// others are upgraded would not be let in again. One that is down for good holds the level back until it is drained.
func (t *Table) featureOfAll() uint32 {
	level := uint32(math.MaxUint32)
	for i := range t.Nodes {
		level = min(level, t.Nodes[i].FeatureMax)
	}
	if len(t.Nodes) == 0 {
		return 0
	}
	return level
}

func (t *Table) setFeature(level uint32) error {
	if level <= t.Settings.Feature {
		return fmt.Errorf("feature level %d: it is %d already: %w", level, t.Settings.Feature, ErrRefused)
	}
	for _, n := range t.Nodes {
		if n.Status != Fenced && n.FeatureMax < level {
			return fmt.Errorf("feature level %d: %s speaks %d at most: %w", level, n.ID, n.FeatureMax, ErrRefused)
		}
	}
	t.Settings.Feature = level
	return nil
}

func (t *Table) changeRows(changes []Change, version uint64) (refused map[int]error) {
	for i, c := range changes {
		if err := t.changeRow(c, version); err != nil {
			if refused == nil {
				refused = map[int]error{}
			}
			refused[i] = err
		}
	}
	return refused
}

// changeRow is the compare-and-set of R4.
func (t *Table) changeRow(c Change, version uint64) error {
	if c.Partition < 0 || c.Partition >= len(t.Rows) {
		return fmt.Errorf("%s: there is no partition %d", c.Kind, c.Partition)
	}
	r := &t.Rows[c.Partition]
	if r.Epoch != c.Epoch {
		t.marks.hit(ChangeStale)
		return fmt.Errorf("%s of partition %d in epoch %d, which is %d: %w", c.Kind, c.Partition, c.Epoch, r.Epoch, ErrStale)
	}
	if err := t.fits(r, c); err != nil {
		t.marks.hit(ChangeRefused)
		return fmt.Errorf("%s of partition %d, %s: %w", c.Kind, c.Partition, c.Member, err)
	}
	switch c.Kind {
	case AddLearner:
		r.Learners = append(slices.Clone(r.Learners), c.Member)
	case Grow:
		i := slices.Index(r.Learners, c.Member)
		r.Learners = slices.Delete(slices.Clone(r.Learners), i, i+1)
		r.ISR = append(slices.Clone(r.ISR), c.Member)
	case Shrink:
		t.dropCopy(r, c.Member, nil)
	case SetTarget:
		if r.Target = c.Member; c.Member == r.Primary {
			r.Target = Member{}
		}
	case Handover:
		r.lead(c.Member)
		r.Released, r.Target = true, Member{}
	case Reclaim:
		r.Released = false
	case Reset:
		r.State, r.ISR, r.LastDropped = Serving, []Member{c.Member}, Member{}
		r.lead(c.Member)
		r.Born, r.Released = r.Epoch+1, false
	}
	t.changed(r, version)
	return nil
}

// fits tells whether a change makes sense on a row whose epoch is right.
func (t *Table) fits(r *Row, c Change) error {
	learner, backup := slices.Contains(r.Learners, c.Member), r.InSync(c.Member) && c.Member != r.Primary
	var ok bool
	switch c.Kind {
	case AddLearner:
		n := t.Node(c.Member.Node)
		_, has := r.copyOf(c.Member.Node)
		ok = r.State == Serving && !has && n != nil && n.Member() == c.Member && n.holdsData()
	case Grow:
		ok = learner
	case Shrink:
		ok = learner || backup
	case SetTarget:
		ok = r.State == Serving && r.InSync(c.Member)
	case Handover:
		ok = backup
	case Reclaim:
		ok = r.State == Serving && c.Member == r.Primary
	case Reset:
		ok = r.State == Lost && (t.Settings.ResetLost || c.Accepted) && t.current(c.Member) && t.Node(c.Member.Node).Role == Data
	}
	if !ok {
		return ErrRefused
	}
	return nil
}

// changed gives a row its next epoch, after the change.
func (t *Table) changed(r *Row, version uint64) {
	r.Epoch++
	r.Version = version
	r.countStints()
}
