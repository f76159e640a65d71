package partition

import "encoding/binary"

// Del deletes a key and reports whether it was there.
func (tx *Tx) Del(key []byte) bool {
	p, h := tx.locate(key)
	if _, ok := tx.live(p, h, key); !ok {
		p.loseLoad(tx.DB, key)
		return false
	}
	p.emit(opDel, tx.DB, key)
	return p.applyDel(tx.DB, h, key)
}

func (p *Partition) applyDel(db int, h uint64, key []byte) bool {
	at := p.find(db, h, key)
	if at.off == 0 {
		return false
	}
	p.remove(db, at)
	return true
}

// FlushDB empties a database of every partition the transaction holds. It must hold all.
func (tx *Tx) FlushDB(db int) {
	tx.invalidateAll()
	for _, p := range tx.parts {
		p.looked = allBuckets // where it is empty already, too: that must be committed before a reply says so
		if p.dbs[db] == nil || p.dbs[db].count == 0 {
			continue
		}
		p.emitWhole(opFlushDB, db)
		p.noteWatchedDB(db, db)
		p.applyFlushDB(db)
	}
	tx.last.key = nil
}

// emitWhole begins an effect that concerns the partition, not one key.
func (p *Partition) emitWhole(op byte, db int) {
	p.looked = allBuckets
	if invariants {
		p.checkChange(0)
	}
	p.changed++
	p.effects = append(p.effects, op, byte(db), 0)
}

func (p *Partition) applyFlushDB(db int) bool {
	d := p.dbs[db]
	if d == nil {
		return true
	}
	for i, o := range p.objects {
		if o.object != nil && o.db == db {
			p.dropObject(uint32(i))
		}
	}
	d.dropped = true
	p.dbs[db] = nil
	p.doomed = append(p.doomed, d)
	return true
}

// SwapDB exchanges two databases. The transaction must hold all partitions.
func (tx *Tx) SwapDB(a, b int) {
	tx.invalidateAll()
	for _, p := range tx.parts {
		p.noteWatchedDB(a, b)
		p.noteWatchedDB(b, a)
		p.emitWhole(opSwapDB, a)
		p.effects = binary.AppendUvarint(p.effects, uint64(b))
		p.applySwapDB(a, b)
	}
	tx.last.key = nil
}

func (p *Partition) applySwapDB(a, b int) bool {
	if b < 0 || b >= Databases {
		return false
	}
	p.dbs[a], p.dbs[b] = p.dbs[b], p.dbs[a]
	for i := range p.objects {
		switch p.objects[i].db {
		case a:
			p.objects[i].db = b
		case b:
			p.objects[i].db = a
		}
	}
	return true
}

// Len is the number of keys in a database, expired ones that nobody has noticed yet included.
func (tx *Tx) Len(db int) (n int) {
	tx.Each(func(p *Partition) bool {
		if p.dbs[db] != nil {
			n += p.dbs[db].count
		}
		return true
	})
	return n
}

// Expiring is the number of keys in a database that have an expiry.
func (tx *Tx) Expiring(db int) (n int) {
	tx.Each(func(p *Partition) bool {
		if p.dbs[db] != nil {
			n += p.dbs[db].expiring
		}
		return true
	})
	return n
}

// expiredDrawsMax is how many expired keys RandomKey draws before it gives up: a copy that is not active keeps them, and
// may hold nothing else.
const expiredDrawsMax = 100

// RandomKey returns a key of the transaction's database, each as likely as any other but for the size of its index
// segment; false where there is none. Expired keys are passed over, and deleted where the partition is active. The key is
// a copy.
func (tx *Tx) RandomKey() (key []byte, ok bool) {
	for draws := 0; draws < expiredDrawsMax; {
		total := tx.Len(tx.DB)
		if total == 0 {
			return nil, false
		}
		n := tx.rng.IntN(total)
		tx.Each(func(p *Partition) bool {
			d := p.dbs[tx.DB]
			if d == nil || n >= d.count {
				if d != nil {
					n -= d.count
				}
				return true
			}
			off := d.random(tx.rng.Uint64)
			r := d.record(off)
			key = append(key[:0], r.key()...)
			if e := r.expireAt(); e != 0 && e <= tx.Now {
				if p.passive {
					draws++
				}
				p.expire(tx.DB, d.find(d.hash(key), key), key)
				key = key[:0]
				return false
			}
			ok = true
			return false
		})
		if ok {
			return key, true
		}
	}
	return nil, false
}

// random returns the address of one record of a dict that is not empty.
func (d *dict) random(rnd func() uint64) uint64 {
	for {
		x := rnd()
		s := &d.segments[d.segmentOf(x)]
		if s.count == 0 {
			continue
		}
		slots := d.slots(s)
		for {
			i := int(rnd() % uint64(s.size()))
			if w := slotAt(slots, i); w != 0 {
				return slotOff(w)
			}
		}
	}
}
