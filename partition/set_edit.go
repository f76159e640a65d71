package partition

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// setEdit is a set under change, away from its record. It takes the form that Redis would choose: an intset while all
// members are integers and not too many, and from then on members as they are spelled, packed or large.
type setEdit struct {
	Set
	p     *Partition
	limit int // of an intset's length
}

// editSet copies a set that is not large.
func (p *Partition) editSet(s Set, limit int) setEdit {
	s.blob = append(p.scratch[:0], s.blob...)
	return setEdit{Set: s, p: p, limit: limit}
}

// putSet makes the edited set a key's value. The expiry stays.
func (p *Partition) putSet(db int, h uint64, key []byte, e *setEdit) {
	switch {
	case e.large != nil:
		p.setLarge(db, h, key, e.large)
	case e.ints:
		p.setPacked(db, h, key, kindIntset, e.blob)
	default:
		p.setPacked(db, h, key, kindSet, e.blob)
	}
	p.keepScratch(e.blob)
}

func (e *setEdit) add(member []byte) bool {
	if e.large != nil {
		return e.large.add(member)
	}
	if e.Has(member) {
		return false
	}
	if e.ints {
		if n, ok := exactInt(member); ok {
			e.blob = packedIntsetAdd(e.blob[:0], e.blob, n)
			if e.Len() > e.limit {
				e.spell()
			}
			return true
		}
		e.spell()
	}
	if e.large == nil && !e.packs(member) {
		e.enlarge()
	}
	if e.large != nil {
		return e.large.add(member)
	}
	edit := packedSetAdd(e.blob, member)
	e.blob = edit.appendTo(e.blob[:0])
	return true
}

func (e *setEdit) remove(member []byte) bool {
	switch {
	case e.large != nil:
		return e.large.remove(member)
	case e.ints:
		n, ok := exactInt(member)
		i, found := packedIntsetFind(e.blob, n)
		if !ok || !found {
			return false
		}
		e.blob = packedIntsetRemove(e.blob[:0], e.blob, i)
		return true
	default:
		edit, ok := packedSetRemove(e.blob, member)
		if ok {
			e.blob = edit.appendTo(e.blob[:0])
		}
		return ok
	}
}

// packs tells whether a packed set stays packed with one more member.
func (s *Set) packs(member []byte) bool {
	return len(member) <= packedSetMemberMax && s.Len() < packedSetEntriesMax
}

// spell turns an intset into a set of the integers' spellings.
func (e *setEdit) spell() {
	if e.Len() > packedSetEntriesMax {
		e.enlarge()
		return
	}
	blob := binary.AppendUvarint(nil, uint64(e.Len()))
	for it := e.Iter(); it.Next(); {
		blob = appendBytes(blob, it.Member())
	}
	e.blob, e.ints = blob, false
}

// enlarge makes the set a large one.
func (e *setEdit) enlarge() {
	large := &largeSet{newMembers(e.p)}
	for it := e.Iter(); it.Next(); {
		large.add(it.Member())
	}
	e.blob, e.ints, e.large = e.blob[:0], false, large
}

// add reports whether member is new.
func (l *largeSet) add(member []byte) bool {
	h := l.d.hash(member)
	if l.d.find(h, member).off != 0 {
		return false
	}
	l.d.put(entry{}, h, member, kindMember, 0, 0, 0)
	return true
}

// pack appends the members as a packed set; it fails where one is too long. They are sorted: their order in the dict depends
// on what that has been through, and copies are to be alike.
func (l *largeSet) pack(dst []byte) ([]byte, bool) {
	members := make([][]byte, 0, l.count())
	s := Set{large: l}
	for it := s.Iter(); it.Next(); {
		m := it.Member()
		if len(m) > packedSetMemberMax {
			return dst, false
		}
		members = append(members, m)
	}
	slices.SortFunc(members, bytes.Compare)
	return appendMany(dst, 1, members), true
}

// SetBuilder gathers a set that no key holds yet. Close frees its memory.
type SetBuilder struct{ setEdit }

// NewSet returns an empty builder. In Redis's way it gathers an intset for as long as it can.
func (tx *Tx) NewSet() *SetBuilder {
	return &SetBuilder{setEdit{p: tx.store.parts[0], limit: tx.intsetMax(), Set: Set{ints: true}}}
}

// Add adds a copy of member and reports whether it is new.
func (b *SetBuilder) Add(member []byte) bool { return b.add(member) }

// Remove reports whether there was such a member.
func (b *SetBuilder) Remove(member []byte) bool { return b.remove(member) }

// Close ends the builder's use, and that of all views of it.
func (b *SetBuilder) Close() {
	if b.large != nil {
		b.large.release()
	}
	*b = SetBuilder{}
}
