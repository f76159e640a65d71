package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/neargrid/neargrid/cluster/core"
)

// ErrEncoding is wrapped by every error about the bytes of a command, table or delta: they are damaged, or from a program
// that knows more than this one. Such a command must stop the table where it is, never be skipped (R27, R28).
var ErrEncoding = errors.New("unknown or malformed encoding")

// The encoding of commands, tables and deltas: in raft's log and snapshots, and between nodes.
//
//	1 B  version
//	     the members that the body names, each once
//	     the body
//
// Numbers are uvarints in their shortest form, strings carry their length, members of the body are indexes into the list, from
// 1; 0 is nobody. Equal values have equal bytes. A new field needs a new version, and a new version or kind a new feature
// level: nothing that is not known here is skipped.
const encodingVersion = 1

// Bounds of what is encoded.
const (
	commandSizeMax = 1 << 20  // bytes: one entry of raft's log
	tableSizeMax   = 16 << 20 // bytes: a snapshot
	textSizeMax    = 1 << 10  // bytes of an address or a zone
	partitionsMax  = 16384
	copiesMax      = 255 // of one row, learners included
	nodesMax       = 1 << 12
)

// appendCommand encodes a command; only the fields that its kind uses.
func appendCommand(dst []byte, c core.Command) ([]byte, error) {
	var e encoder
	e.byte(byte(c.Kind))
	switch c.Kind {
	case core.CreateGrid:
		e.settings(c.Settings)
		e.node(&c.Node)
	case core.Register:
		e.node(&c.Node)
		e.member(c.Member)
	case core.FenceNode, core.Drain, core.Undrain, core.Leave, core.Stop:
		e.member(c.Member)
	case core.ChangeRows:
		e.uint(uint64(len(c.Changes)))
		for _, change := range c.Changes {
			e.change(change)
		}
	case core.SetFeature:
		e.uint(uint64(c.Feature))
	}
	start := len(dst)
	dst = e.appendTo(dst)
	// What we cannot read must not enter the log: it would stop every node.
	if _, err := parseCommand(dst[start:]); err != nil {
		return dst[:start], fmt.Errorf("encode command %d: %w", c.Kind, err)
	}
	return dst, nil
}

// parseCommand decodes a command. Its error wraps ErrEncoding.
func parseCommand(b []byte) (c core.Command, err error) {
	if len(b) > commandSizeMax {
		return c, fmt.Errorf("%w: a command of %d bytes, and %d are allowed", ErrEncoding, len(b), commandSizeMax)
	}
	d := newDecoder(b)
	c.Kind = core.CommandKind(d.byte())
	switch c.Kind {
	case core.CreateGrid:
		c.Settings = d.settings()
		c.Node = d.node()
	case core.Register:
		c.Node = d.node()
		c.Member = d.member()
	case core.FenceNode, core.Drain, core.Undrain, core.Leave, core.Stop:
		c.Member = d.member()
	case core.ChangeRows:
		c.Changes = make([]core.Change, d.count(partitionsMax))
		for i := range c.Changes {
			c.Changes[i] = d.change()
		}
	case core.SetFeature:
		c.Feature = d.uint32()
	default:
		d.fail("command kind %d", c.Kind)
	}
	if err := d.end(); err != nil {
		return core.Command{}, fmt.Errorf("command: %w", err)
	}
	return c, nil
}

// appendTable encodes a whole table.
func appendTable(dst []byte, t *core.Table) []byte {
	return appendDelta(dst, t.Since(0))
}

// parseTable decodes a table.
func parseTable(b []byte) (*core.Table, error) {
	d, err := parseDelta(b)
	if err != nil {
		return nil, err
	}
	return applyDelta(&core.Table{}, d)
}

// appendDelta encodes what has changed in a table.
func appendDelta(dst []byte, d core.Delta) []byte {
	var e encoder
	e.uint(d.From)
	e.uint(d.Version)
	e.settings(d.Settings)
	e.uint(uint64(len(d.Nodes)))
	for i := range d.Nodes {
		e.node(&d.Nodes[i])
	}
	e.uint(uint64(len(d.Rows)))
	for i := range d.Rows {
		e.row(&d.Rows[i])
	}
	return e.appendTo(dst)
}

// parseDelta decodes a delta. Its nodes are in order of their ids, its rows in order and of partitions that there are.
func parseDelta(b []byte) (core.Delta, error) {
	if len(b) > tableSizeMax {
		return core.Delta{}, fmt.Errorf("%w: a table of %d bytes, and %d are allowed", ErrEncoding, len(b), tableSizeMax)
	}
	d := newDecoder(b)
	delta := core.Delta{From: d.uint(), Version: d.uint(), Settings: d.settings()}
	for i := range d.count(nodesMax) {
		n := d.node()
		if i > 0 && n.ID <= delta.Nodes[i-1].ID {
			d.fail("node %q after %q", n.ID, delta.Nodes[i-1].ID)
		}
		delta.Nodes = append(delta.Nodes, n)
	}
	for i := range d.count(delta.Settings.Partitions) {
		r := d.row()
		if r.Partition >= delta.Settings.Partitions || i > 0 && r.Partition <= delta.Rows[i-1].Partition {
			d.fail("row of partition %d at %d, of %d", r.Partition, i, delta.Settings.Partitions)
		}
		delta.Rows = append(delta.Rows, r)
	}
	if err := d.end(); err != nil {
		return core.Delta{}, fmt.Errorf("table: %w", err)
	}
	return delta, nil
}

// applyDelta returns the table that a delta makes of t, if it can. Rows that did not change are shared: neither is changed any
// more.
func applyDelta(t *core.Table, d core.Delta) (*core.Table, error) {
	if d.From > t.Version || len(t.Rows) > 0 && d.Settings.Partitions != len(t.Rows) {
		return nil, fmt.Errorf("table %d with %d rows: a delta from %d, of %d rows", t.Version, len(t.Rows), d.From, d.Settings.Partitions)
	}
	next := t.Follow(d)
	if len(next.Rows) != d.Settings.Partitions {
		return nil, fmt.Errorf("%w: table %d has %d rows of %d", ErrEncoding, d.Version, len(next.Rows), d.Settings.Partitions)
	}
	for p := range next.Rows {
		if r := &next.Rows[p]; r.Partition != p || r.Epoch == 0 {
			return nil, fmt.Errorf("%w: table %d lacks the row of partition %d", ErrEncoding, d.Version, p)
		}
	}
	return next, nil
}

// encoder builds a body, and the list of the members that it names.
type encoder struct {
	body    []byte
	members []core.Member
	index   map[core.Member]int // into members, from 1
}

func (e *encoder) appendTo(dst []byte) []byte {
	head := encoder{body: dst}
	head.byte(encodingVersion)
	head.uint(uint64(len(e.members)))
	for _, m := range e.members {
		head.text(string(m.Node))
		head.id(m.Inc)
	}
	return append(head.body, e.body...)
}

func (e *encoder) byte(b byte)    { e.body = append(e.body, b) }
func (e *encoder) uint(v uint64)  { e.body = binary.AppendUvarint(e.body, v) }
func (e *encoder) id(id [16]byte) { e.body = append(e.body, id[:]...) }
func (e *encoder) bytes(b []byte) {
	e.body = append(binary.AppendUvarint(e.body, uint64(len(b))), b...)
}
func (e *encoder) text(s string) { e.bytes([]byte(s)) }
func (e *encoder) flag(v bool) {
	if v {
		e.byte(1)
		return
	}
	e.byte(0)
}

func (e *encoder) member(m core.Member) {
	if m.IsZero() {
		e.uint(0)
		return
	}
	if e.index[m] == 0 {
		if e.index == nil {
			e.index = map[core.Member]int{}
		}
		e.members = append(e.members, m)
		e.index[m] = len(e.members)
	}
	e.uint(uint64(e.index[m]))
}

func (e *encoder) membersOf(list []core.Member) {
	e.uint(uint64(len(list)))
	for _, m := range list {
		e.member(m)
	}
}

func (e *encoder) settings(s core.Settings) {
	e.id(s.Grid)
	e.id(s.Seed)
	e.uint(uint64(s.Partitions))
	e.uint(uint64(s.Copies))
	e.uint(uint64(s.MinISR))
	e.flag(s.ResetLost)
	e.uint(uint64(s.Feature))
}

func (e *encoder) node(n *core.Node) {
	e.member(n.Member())
	e.byte(byte(n.Role))
	e.byte(byte(n.Status))
	e.flag(n.Drains)
	e.text(n.Zone)
	e.uint(n.Version)
	e.uint(uint64(n.FeatureMin))
	e.uint(uint64(n.FeatureMax))
	e.text(n.Peer)
	e.text(n.Client)
	e.text(n.Cluster)
}

func (e *encoder) row(r *core.Row) {
	e.uint(uint64(r.Partition))
	e.uint(r.Epoch)
	e.uint(r.Version)
	e.uint(r.Born)
	e.uint(r.Reign)
	e.byte(byte(r.State))
	e.member(r.Primary)
	e.membersOf(r.ISR)
	e.membersOf(r.Learners)
	e.uint(uint64(len(r.Stints)))
	for _, s := range r.Stints {
		e.member(s.Member)
		e.uint(s.Since)
	}
	e.flag(r.Released)
	e.member(r.Target)
	e.member(r.LastDropped)
}

func (e *encoder) change(c core.Change) {
	e.byte(byte(c.Kind))
	e.uint(uint64(c.Partition))
	e.uint(c.Epoch)
	e.member(c.Member)
	e.flag(c.Accepted)
}

// decoder reads what an encoder wrote. After its first error it returns zeros.
type decoder struct {
	rest    []byte
	members []core.Member
	err     error
}

func newDecoder(b []byte) *decoder {
	d := &decoder{rest: b}
	if v := d.byte(); v != encodingVersion {
		d.fail("version %d, and this program knows %d", v, encodingVersion)
	}
	for range d.count(math.MaxInt) {
		m := core.Member{Node: core.NodeID(d.text(nodeIDSizeMax)), Inc: d.id()}
		if m.IsZero() {
			d.fail("a member without a name")
		}
		d.members = append(d.members, m)
	}
	return d
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrEncoding, fmt.Sprintf(format, args...))
		d.rest = nil
	}
}

// end returns the first error; bytes that are left are one.
func (d *decoder) end() error {
	if len(d.rest) > 0 {
		d.fail("%d bytes too many", len(d.rest))
	}
	return d.err
}

func (d *decoder) take(n int) []byte {
	if n > len(d.rest) {
		d.fail("it ends too soon")
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

// upTo reads a byte that has no value above last.
func (d *decoder) upTo(last byte, what string) byte {
	b := d.byte()
	if b > last {
		d.fail("%s %d", what, b)
		return 0
	}
	return b
}

func (d *decoder) flag() bool { return d.upTo(1, "flag") == 1 }

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || n > 1 && d.rest[n-1] == 0 {
		d.fail("no number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// below reads a number that is at most limit.
func (d *decoder) below(limit int) int {
	v := d.uint()
	if v > uint64(limit) {
		d.fail("%d, and %d is the limit", v, limit)
		return 0
	}
	return int(v)
}

func (d *decoder) uint32() uint32 { return uint32(d.below(math.MaxUint32)) }

// count reads how many elements follow. Each has a byte at least, so no more is made room for than bytes are there.
func (d *decoder) count(limit int) int { return d.below(min(limit, len(d.rest))) }

func (d *decoder) id() (id [16]byte) {
	copy(id[:], d.take(16))
	return id
}

func (d *decoder) bytes(limit int) []byte { return d.take(d.below(limit)) }
func (d *decoder) text(limit int) string  { return string(d.bytes(limit)) }

func (d *decoder) member() core.Member {
	i := d.below(len(d.members))
	if i == 0 {
		return core.Member{}
	}
	return d.members[i-1]
}

func (d *decoder) membersOf() (list []core.Member) {
	for range d.count(copiesMax) {
		list = append(list, d.member())
	}
	return list
}

func (d *decoder) settings() core.Settings {
	return core.Settings{
		Grid: d.id(), Seed: d.id(), Partitions: d.below(partitionsMax), Copies: d.below(copiesMax), MinISR: d.below(copiesMax),
		ResetLost: d.flag(), Feature: d.uint32(),
	}
}

func (d *decoder) node() core.Node {
	m := d.member()
	n := core.Node{
		ID: m.Node, Inc: m.Inc,
		Role: core.Role(d.upTo(byte(core.Witness), "role")), Status: core.NodeStatus(d.upTo(byte(core.Stopping), "status")),
		Drains: d.flag(), Zone: d.text(textSizeMax), Version: d.uint(), FeatureMin: d.uint32(), FeatureMax: d.uint32(),
		Peer: d.text(textSizeMax), Client: d.text(textSizeMax), Cluster: d.text(textSizeMax),
	}
	if n.ID == "" {
		d.fail("a node without a name")
	}
	return n
}

func (d *decoder) row() core.Row {
	r := core.Row{
		Partition: d.below(partitionsMax - 1), Epoch: d.uint(), Version: d.uint(), Born: d.uint(), Reign: d.uint(),
		State:   core.RowState(d.upTo(byte(core.Lost), "row state")),
		Primary: d.member(), ISR: d.membersOf(), Learners: d.membersOf(),
	}
	for range d.count(copiesMax) {
		r.Stints = append(r.Stints, core.Stint{Member: d.member(), Since: d.uint()})
	}
	r.Released, r.Target, r.LastDropped = d.flag(), d.member(), d.member()
	return r
}

func (d *decoder) change() core.Change {
	c := core.Change{
		Kind: core.ChangeKind(d.upTo(byte(core.Reset), "change kind")), Partition: d.below(partitionsMax - 1), Epoch: d.uint(),
		Member: d.member(), Accepted: d.flag(),
	}
	if c.Kind == 0 {
		d.fail("a change without a kind")
	}
	return c
}
