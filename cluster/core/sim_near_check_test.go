package core

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
)

// nearCheck knows what each key's value was at any time, and judges what clients have read.
type nearCheck struct {
	near     *nearSim
	order    int                            // of beginnings and ends of operations
	ends     []*nearOp                      // in the order of their ends
	written  map[executedEntry][]nearChange // what was ever executed
	versions [][]nearVersion                // of each key, committed ones, in order; the first is nothing, from the beginning
}

// nearChange is what a batch has done to a key; value 0: it is gone.
type nearChange struct {
	key   int
	value uint64
	at    time.Duration // when it was executed
	by    string        // where, as which entry
}

// nearVersion is a value that a key had from a time until the next one's. What was executed by one primary and committed by another may
// have been nobody's meanwhile:
//
//	1 P executes a batch; a learner has it, the backup B has not; P is cut off
//	2 B leads, without it
//	3 B hands over to the learner of before, which has it: now the batch is executed, and is committed
//
// Nobody was told that it was executed, so that is right; what was before it was current until 3.
type nearVersion struct {
	value uint64
	from  time.Duration // it was the owner's from then on, at the earliest
	sure  time.Duration // and at the latest
	by    string
}

type nearKind int

const (
	nearRead nearKind = iota // from the near cache, or with another's reply
	farRead                  // from a node
	farWrite
)

// nearOp is an operation of a client.
type nearOp struct {
	client, key  int
	kind         nearKind
	value        uint64
	start, end   time.Duration
	begun, ended int    // in the order of all
	floor        int    // the version that it must not go behind
	via          string // how it went
}

// valueForm is what formatValue makes.
var valueForm = regexp.MustCompile("<[0-9]{12}>")

// nearSlack: clocks of clients and nodes differ by so much in their rates, at most.
const nearSlack = 1.02

func newNearCheck(near *nearSim) nearCheck {
	k := nearCheck{near: near, written: map[executedEntry][]nearChange{}, versions: make([][]nearVersion, len(near.keys))}
	for i := range k.versions {
		k.versions[i] = []nearVersion{{from: math.MinInt64}}
	}
	return k
}

func (k *nearCheck) begin(client, key int) *nearOp {
	k.order++
	return &nearOp{client: client, key: key, start: k.near.sim.now, begun: k.order}
}

// end notes what an operation has come to. One that has failed is not noted.
func (k *nearCheck) end(op *nearOp, kind nearKind, value uint64) {
	k.order++
	op.kind, op.value, op.end, op.ended = kind, value, k.near.sim.now, k.order
	k.ends = append(k.ends, op)
	k.near.trace("%s", k.describe(op))
	if at := k.near.keys[op.key]; kind == farRead {
		k.near.sim.oracle.read(op.client, at.partition, at.index, value, op.start, done)
	}
}

func (k *nearCheck) wrote(op *nearOp, o outcome) {
	at := k.near.keys[op.key]
	k.near.sim.oracle.wrote(op.client, at.partition, at.index, op.value, op.start, o)
	if o == done {
		k.end(op, farWrite, op.value)
	}
}

// executed notes what a batch does, which is about one key, or about all.
func (k *nearCheck) executed(n *simNode, p int, e Entry) {
	var changes []nearChange
	text, by := string(e.Payload), fmt.Sprintf("%s as %d of reign %d", n.id, e.Seq, e.Epoch)
	for i, key := range k.near.keys {
		if key.partition != p {
			continue
		}
		if at := strings.Index(text, key.name); at >= 0 {
			changes = []nearChange{{i, parseValue(valueForm.FindString(text[at:])), k.near.sim.now, by}}
			break
		}
		changes = append(changes, nearChange{i, 0, k.near.sim.now, by})
	}
	k.written[executedEntry{p, e.Epoch, e.Seq}] = changes
	k.near.trace("partition %d: %s: %v", p, by, changes)
}

// committed is told of committed entries, in order, and in which reign they are committed.
func (k *nearCheck) committed(p int, e executedEntry, reign uint64) {
	for _, c := range k.written[e] {
		sure := c.at
		if reign != e.epoch {
			k.near.sim.count("near: version of an earlier reign")
			sure = k.near.sim.now
		}
		k.add(c.key, nearVersion{c.value, c.at, sure, c.by})
	}
}

// emptied is told that a partition was lost and begins anew.
func (k *nearCheck) emptied(p int) {
	for i, key := range k.near.keys {
		if key.partition == p {
			k.add(i, nearVersion{0, k.near.sim.now, k.near.sim.now, "reset"})
		}
	}
}

func (k *nearCheck) add(key int, v nearVersion) {
	all := k.versions[key]
	if v.value == 0 && all[len(all)-1].value == 0 {
		return
	}
	k.versions[key] = append(all, v)
}

// until is when a version was replaced, at the latest.
func (k *nearCheck) until(key, version int) time.Duration {
	if version+1 < len(k.versions[key]) {
		return k.versions[key][version+1].sure
	}
	return math.MaxInt64
}

// judge goes through all operations in the order of their beginnings and ends.
func (k *nearCheck) judge() {
	events := make([]*nearOp, k.order+1)
	for _, op := range k.ends {
		events[op.begun], events[op.ended] = op, op
	}
	floors := make([][]int, nearClients+1)
	for i := range floors {
		floors[i] = make([]int, len(k.near.keys))
	}
	for i, op := range events {
		switch {
		case op == nil:
		case i == op.begun:
			op.floor = floors[op.client][op.key]
		default:
			version, why := k.explain(op)
			if why != "" {
				k.near.sim.fail("%s", why)
				return
			}
			floors[op.client][op.key] = max(floors[op.client][op.key], version)
		}
	}
}

// explain finds the first version that an operation may have seen, or made; why says that there is none.
func (k *nearCheck) explain(op *nearOp) (version int, why string) {
	since, what := op.start, "linearizable"
	if op.kind == nearRead {
		since -= time.Duration(nearSlack * float64(simLease))
		what = "G1"
	}
	older, late := -1, -1
	for i, v := range k.versions[op.key] {
		switch {
		case v.value != op.value || v.from > op.end:
		case i < op.floor:
			older = i
		case k.until(op.key, i) < since:
			late = i
		default:
			return i, ""
		}
	}
	switch {
	case late >= 0:
		why = fmt.Sprintf("%s: it was replaced at %.3f", what, k.until(op.key, late).Seconds())
	case older >= 0:
		why = fmt.Sprintf("G2: this client had seen version %d, and this is version %d", op.floor, older)
	default:
		why = "it was never the committed value"
	}
	return 0, fmt.Sprintf("%s\n%s", k.describe(op), why) + k.context(op, max(op.floor, late, older))
}

func (k *nearCheck) describe(op *nearOp) string {
	return fmt.Sprintf("client %d, key %d (%s, partition %d), %s of value %d %s, from %.6f to %.6f", op.client, op.key, k.near.keys[op.key].name,
		k.near.keys[op.key].partition, [...]string{"a near read", "a read", "a write"}[op.kind], op.value, op.via, op.start.Seconds(), op.end.Seconds())
}

// context tells what else was done with the key of an operation, and what it was around a version.
func (k *nearCheck) context(op *nearOp, version int) string {
	var b strings.Builder
	for i, v := range k.versions[op.key] {
		if i >= min(version, op.floor)-2 && i <= version+3 {
			fmt.Fprintf(&b, "\nversion %d: %d at %.6f by %s", i, v.value, max(0, v.from).Seconds(), v.by)
		}
	}
	for _, other := range k.ends {
		if other.key == op.key && other.end > op.start-1500*time.Millisecond && other.start < op.end+200*time.Millisecond {
			b.WriteString("\n" + k.describe(other))
		}
	}
	return b.String()
}
