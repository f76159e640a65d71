package partition

import (
	"math/rand/v2"
	"time"
)

// A record's 24 bits of access: with LRU the second of the last access, modulo 2^24; with LFU the minute of the last
// decay, modulo 2^16, and a logarithmic counter of 8 bits (as Redis: "Using Redis as an LRU cache").
const (
	accessMask   = 1<<24 - 1
	lfuInitValue = 5
)

// accessAheadMax is by how much an access may be later than the time it is compared with: the loops of a node each have the
// time of their command's beginning, and a partition's log time may be ahead of the clock. Later by more, it is long ago, as
// times come round.
const accessAheadMax = time.Hour

// newAccess is the access word of a record that is made now.
func (p *Partition) newAccess() uint32 {
	if p.store.Limits.LFU.Load() {
		return lfuMinute(p.now)<<8 | lfuInitValue
	}
	return lruSecond(p.now)
}

func lruSecond(now int64) uint32 { return uint32(now/1000) & accessMask }
func lfuMinute(now int64) uint32 { return uint32(now/60_000) & 0xffff }

// since is the time from then to now, both modulo mask+1. A then that is ahead by at most aheadMax is now.
func since(now, then, mask uint32, aheadMax time.Duration) uint32 {
	passed := (now - then) & mask
	if passed > mask-uint32(aheadMax) {
		return 0
	}
	return passed
}

// idleSeconds is the time since the last access, where the word holds that.
func idleSeconds(access uint32, now int64) uint32 {
	return since(lruSecond(now), access, accessMask, accessAheadMax/time.Second)
}

// noteAccess marks a record as used now.
func (p *Partition) noteAccess(r record, now int64) {
	l := p.store.Limits
	if !l.LFU.Load() {
		if a := lruSecond(now); a != r.access() {
			r.setAccess(a)
		}
		return
	}
	count := lfuDecayed(r.access(), now, l.LFUDecayMin.Load())
	if count < 255 {
		over := max(0, float64(count)-lfuInitValue)
		if rand.Float64() < 1/(over*float64(l.LFULogFactor.Load())+1) {
			count++
		}
	}
	r.setAccess(lfuMinute(now)<<8 | count)
}

// lfuDecayed is the counter of an access word after what has passed since its last decay.
func lfuDecayed(access uint32, now, decayMin int64) uint32 {
	count := access & 0xff
	if decayMin <= 0 {
		return count
	}
	passed := since(lfuMinute(now), access>>8, 0xffff, accessAheadMax/time.Minute)
	return count - min(count, passed/uint32(decayMin))
}

// IdleSeconds is the time since the last access, as OBJECT IDLETIME tells it.
func (v Value) IdleSeconds(now int64) int64 {
	return int64(idleSeconds(v.rec.access(), now))
}

// Frequency is the logarithmic access counter, as OBJECT FREQ tells it.
func (v Value) Frequency(now int64) int64 {
	return int64(lfuDecayed(v.rec.access(), now, v.p.store.Limits.LFUDecayMin.Load()))
}
