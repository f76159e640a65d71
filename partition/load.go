package partition

// Loads: many find at the same time that a key is not there, and each would fetch what belongs there from wherever it comes from.
// One of them gets a token and does; the others wait. And only who shows the token puts a value in. Any change to the key voids
// the token, and so does any deletion, also of a key that is not there, under the lock under which it is made:
//
//	loader                                  writer
//	1 Load: the key is not there; token 7
//	2 reads "old" from the database
//	                                        3 writes "new" to the database
//	                                        4 DEL key, which is not there: token 7 is void
//	5 Loads(7): no; "old" is not put in
//
// Tokens are no data. No effect tells of them: only who leads a partition knows them, and forgets them when it does not any more
// (LoseTracked). A successor has none, so it refuses whatever was loaded before it began: it cannot know what was written
// meanwhile by way of others, and to refuse is always right, as the next one loads again.
//
// Who waits learns that it is over as anybody learns of a change to a key that he has read: by Track.

const (
	// loadsMax is how many keys of a store may be loaded at a time with a token. Whoever wants one more gets none.
	loadsMax = 1 << 16
	// loadKeyMaxBytes: there are no tokens for longer keys.
	loadKeyMaxBytes = 1 << 10
	// tokenMax is the largest token: what is exact as a float, too, which is all that some languages have.
	tokenMax = 1<<53 - 1
)

// loading is one key that somebody loads.
type loading struct {
	token int64 // 1 <= token <= tokenMax
	until int64 // ms since 1970: from then on somebody else may load the key
}

// Load says who loads a key.
type Load struct {
	Token  int64 // of who has asked: it is to load the key. 0: it is not, or has to do so without
	LeftMs int64 // for how long nobody else may; 0: there is no token to be had
}

// Load asks to load a key that is not there, for so many ms. The transaction must hold the key's partition, and have looked it
// up.
func (tx *Tx) Load(key []byte, forMs int64) Load {
	p, _ := tx.locate(key)
	k := watchKey{tx.DB, string(key)}
	l, there := p.loads[k]
	if there && l.until > tx.Now {
		return Load{LeftMs: l.until - tx.Now}
	}
	if !there && !p.roomToLoad(key, tx.Now) {
		return Load{}
	}
	l = loading{token: 1 + tx.rng.Int64N(tokenMax), until: tx.Now + forMs}
	p.putLoad(k, l)
	return Load{Token: l.token, LeftMs: forMs}
}

// Loads tells whether a token allows to put a key in: it is this key's, its time is not over, and nothing has voided it.
func (tx *Tx) Loads(key []byte, token int64) bool {
	p, _ := tx.locate(key)
	l, there := p.loads[watchKey{tx.DB, string(key)}]
	return there && l.token == token && l.until > tx.Now
}

// PassLoad gives a token back: whoever asks next is to load the key. It reports whether it was good.
func (tx *Tx) PassLoad(key []byte, token int64) bool {
	if !tx.Loads(key, token) {
		return false
	}
	p, _ := tx.locate(key)
	p.loseLoad(tx.DB, key)
	return true
}

// loseLoad voids a key's token where there is one, without a change to the key: who waits for one is told nevertheless.
func (p *Partition) loseLoad(db int, key []byte) {
	if p.voidLoad(db, key) {
		p.noteTracked(key)
	}
}

// roomToLoad tells whether one more key may be loaded; those whose time is over are forgotten for it.
func (p *Partition) roomToLoad(key []byte, now int64) bool {
	if len(key) > loadKeyMaxBytes {
		return false
	}
	if p.store.loading.Load() >= loadsMax {
		p.expireLoads(now)
	}
	return p.store.loading.Load() < loadsMax
}

func (p *Partition) putLoad(k watchKey, l loading) {
	if p.loads == nil {
		p.loads = map[watchKey]loading{}
	}
	n := len(p.loads)
	p.loads[k] = l
	p.store.loading.Add(int64(len(p.loads) - n))
	if p.loadsDue == 0 || l.until < p.loadsDue {
		p.loadsDue = l.until
	}
	p.noticed = true
	p.bare.Store(false)
}

// voidLoad forgets a key's token, and reports whether there was one.
func (p *Partition) voidLoad(db int, key []byte) bool {
	if _, there := p.loads[watchKey{db, string(key)}]; !there {
		return false
	}
	delete(p.loads, watchKey{db, string(key)})
	p.loadsLeft(1)
	return true
}

// voidLoads forgets all tokens.
func (p *Partition) voidLoads() {
	if n := len(p.loads); n > 0 {
		clear(p.loads)
		p.loadsLeft(n)
	}
}

// expireLoads forgets the tokens whose time is over.
func (p *Partition) expireLoads(now int64) {
	if p.loadsDue == 0 || now < p.loadsDue {
		return
	}
	n := len(p.loads)
	p.loadsDue = 0
	for k, l := range p.loads {
		switch {
		case l.until <= now:
			delete(p.loads, k)
		case p.loadsDue == 0 || l.until < p.loadsDue:
			p.loadsDue = l.until
		}
	}
	p.loadsLeft(n - len(p.loads))
}

// loadsLeft notes that so many tokens are gone.
func (p *Partition) loadsLeft(gone int) {
	p.store.loading.Add(-int64(gone))
	if len(p.loads) == 0 {
		p.loads, p.loadsDue = nil, 0
		p.renotice()
	}
}

// Loading is how many keys are being loaded with a token.
func (s *Store) Loading() int64 { return s.loading.Load() }
