package partition

import "encoding/binary"

// ExpireAt sets when a key expires, in ms since 1970; 0 = never. It reports whether the key is there.
func (tx *Tx) ExpireAt(key []byte, at int64) bool {
	p, h := tx.locate(key)
	if _, ok := tx.live(p, h, key); !ok {
		return false
	}
	p.emit(opExpireAt, tx.DB, key)
	p.effects = binary.AppendUvarint(p.effects, uint64(at))
	return p.applyExpireAt(tx.DB, h, key, at)
}

func (p *Partition) applyExpireAt(db int, h uint64, key []byte, expireAt int64) bool {
	at := p.find(db, h, key)
	if at.off == 0 {
		return false
	}
	d := p.dict(db)
	r := d.record(at.off)
	had := r.mem[0]&hasExpiry != 0
	if had && expireAt != 0 {
		binary.LittleEndian.PutUint64(r.mem[r.keyAt-expiryBytes:], uint64(expireAt))
		d.setExpiring(at, true, expireAt)
		return true
	}
	if !had && expireAt == 0 {
		return true
	}
	// The record changes its size, at most into another class: its bytes are copied before they are written over.
	value := append(p.scratch[:0], r.value()...)
	moved, _ := d.put(at, h, key, r.mem[0], r.access(), len(value), expireAt)
	copy(moved.value(), value)
	p.keepScratch(value)
	return true
}

// expire deletes a key whose time has come, where the partition is active: only the primary expires, and the others learn
// of it as of any other deletion (R17).
func (p *Partition) expire(db int, at entry, key []byte) {
	if p.passive {
		return
	}
	origin := p.origin
	p.origin = nil
	p.emit(opDel, db, key)
	p.origin = origin
	p.remove(db, at)
	p.lapsed++
	p.stats.Expired++
}

// expireSlotsMax is how many index slots one call of ExpireDue looks at before it lets others have the partition.
const expireSlotsMax = 4096

// ExpireDue deletes keys whose expiry has passed, in the segments of the index that say they have some, and does some
// tidying; only the latter where the partition is not active (R17). It reports whether there is more to do at once.
func (p *Partition) ExpireDue(now int64) (more bool) {
	if p.bare.Load() { // a large grid's node has few of its partitions, and should not pay for the others
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now = max(now, p.logMs)
	p.expireLoads(now)
	looked := 0
	for db, d := range p.dbs {
		if d == nil || d.expiring == 0 || p.passive {
			continue
		}
		for id := 0; id < len(d.segments); id++ {
			if at := d.segments[id].minExpire; at == 0 || at > now {
				continue
			}
			if looked > expireSlotsMax {
				more = true
				break
			}
			looked += d.segments[id].size()
			p.expireSegment(db, d, id, now)
		}
	}
	p.seal(now, 0, 0)
	p.bare.Store(p.dbs == [Databases]*dict{} && len(p.loads) == 0)
	return more || len(p.touched) > 0
}

// expireSegment deletes a segment's expired keys and finds its earliest expiry anew.
func (p *Partition) expireSegment(db int, d *dict, id int, now int64) {
	var due [segmentSlotsMax]uint64
	n, earliest := 0, int64(0)
	s := &d.segments[id]
	slots := d.slots(s)
	for i := range s.size() {
		w := slotAt(slots, i)
		if w&expirySlot == 0 {
			continue
		}
		at := d.record(slotOff(w)).expireAt()
		if at <= now {
			due[n] = slotOff(w)
			n++
		} else if earliest == 0 || at < earliest {
			earliest = at
		}
	}
	for _, off := range due[:n] {
		key := d.record(off).key()
		h := d.hash(key)
		p.looked |= bucketBit(h)
		p.expire(db, d.find(h, key), key)
	}
	d.segments[id].minExpire = earliest
}
