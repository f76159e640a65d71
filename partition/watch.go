package partition

// WATCH: a partition counts versions for the keys that somebody watches, and for no others.

type watchKey struct {
	db  int
	key string
}

type watch struct {
	refs    int
	version uint64
}

// Watched is a client's hold on one key: from Watch to Unwatch.
type Watched struct {
	p       *Partition
	key     watchKey
	version uint64
}

// Watch begins to watch a key of the transaction's database.
func (tx *Tx) Watch(key []byte) Watched {
	p, h := tx.locate(key)
	tx.live(p, h, key)
	k := watchKey{tx.DB, string(key)}
	if p.watched == nil {
		p.watched = map[watchKey]*watch{}
	}
	w := p.watched[k]
	if w == nil {
		w = &watch{}
		p.watched[k] = w
	}
	w.refs++
	p.noticed = true
	return Watched{p: p, key: k, version: w.version}
}

// Key is the watched key, DB its database, Partition the index of its partition.
func (w Watched) Key() string    { return w.key.key }
func (w Watched) DB() int        { return w.key.db }
func (w Watched) Partition() int { return w.p.ID }

// Unchanged tells whether the key is as it was when the watch began. A key that has expired since has changed. The
// transaction must hold its partition.
func (tx *Tx) Unchanged(w Watched) bool {
	db := tx.DB
	tx.DB = w.key.db
	tx.Peek([]byte(w.key.key)) // deletes it if it has expired
	tx.DB = db
	return w.p.watched[w.key].version == w.version
}

// Mark says how a key was when somebody began to watch it from afar, without a hold on it.
type Mark struct {
	Seq       uint64 // batches up to here have made it what it was
	ExpiresMs int64  // when it expires, ms since 1970; 0 = it is not there, or does not
}

// Mark is a key's mark. The transaction must hold its partition, of a store with Options.Track.
func (tx *Tx) Mark(key []byte) (m Mark) {
	p, h := tx.locate(key)
	if v, ok := tx.live(p, h, key); ok {
		m.ExpiresMs = v.ExpireAt()
	}
	m.Seq = p.seq
	if p.changed > 0 { // the key has just expired
		m.Seq++
	}
	return m
}

// UnchangedSince tells whether a key is sure to be as it was when it was marked, in the same reign. It errs on the safe side:
// where another key of the same bucket has changed, it says no.
func (tx *Tx) UnchangedSince(key []byte, m Mark) bool {
	p, h := tx.locate(key)
	return p.buckets != nil && max(p.buckets[h%bucketCount], p.settled) <= m.Seq && (m.ExpiresMs == 0 || tx.Now < m.ExpiresMs)
}

// Unwatch ends a watch. It takes the partition's lock itself, so it must not be called inside a transaction.
func (w Watched) Unwatch() {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	if k := w.p.watched[w.key]; k != nil {
		if k.refs--; k.refs == 0 {
			delete(w.p.watched, w.key)
			w.p.renotice()
		}
	}
}

// Signal counts as a change of a key to those who watch or track it, without one: for commands that Redis takes for a change even where nothing
// is different afterwards.
func (tx *Tx) Signal(key []byte) {
	p, _ := tx.locate(key)
	if p.noticed {
		p.note(tx.DB, key)
	}
}

func (p *Partition) noteWatched(db int, key []byte) {
	if w := p.watched[watchKey{db, string(key)}]; w != nil {
		w.version++
	}
}

// noteWatchedDB notes a change of every watched key of a database that is about to be replaced by another (by itself: to
// be flushed): those that are there now or will be, as in Redis.
func (p *Partition) noteWatchedDB(db, by int) {
	for k, w := range p.watched {
		if k.db != db {
			continue
		}
		key := []byte(k.key)
		h := p.store.seed.hash(key)
		if p.find(db, h, key).off != 0 || p.find(by, h, key).off != 0 {
			w.version++
		}
	}
}
